"""Orthogonal Procrustes: how near do a rotation and a scale bring the child to the parent?

Source: Williams, Kunz, Kornblith and Linderman (2021), "Generalized shape metrics on neural
representations", NeurIPS, section 2.
"""

from collections.abc import Sequence

import torch

from ecomp_deap.similarity.interface import is_constant
from ecomp_deap.similarity.table_loss import BlockLoss

__all__ = ["ProcrustesLoss", "pre_shapes"]


def pre_shapes(embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings centred and of Frobenius norm 1, and which are dead, and so all 0.

    Args:
        embeddings: Shape ``(..., n_samples, n_units)``.

    Returns:
        Double, of the same shape; and of shape ``(...)`` True where an embedding is constant or
        not finite.
    """
    raw = embeddings.detach()
    dead = ~torch.isfinite(raw).all(dim=-1).all(dim=-1) | is_constant(raw)
    mask = dead[..., None, None]
    # The gradient of NaN is NaN even where the loss does not depend on it.
    x = embeddings.double().masked_fill(mask, 0.0)
    # No pre-shape depends on the scale, and squares of large or small numbers are lost.
    x = x / x.detach().abs().amax(dim=(-2, -1), keepdim=True).masked_fill(mask, 1.0)
    x = x - x.mean(dim=-2, keepdim=True)
    squares = x.square().sum(dim=(-2, -1), keepdim=True)
    vanished = squares.detach() == 0
    x = x / squares.masked_fill(vanished, 1.0).sqrt()
    return x, dead | vanished[..., 0, 0]


class ProcrustesLoss(BlockLoss):
    """1 − ‖XᵀY‖_*, X and Y centred and of Frobenius norm 1, ‖·‖_* the sum of singular values.

    It is ½ min ‖X − Y Q‖² over orthogonal Q, where zero columns make the two equally wide (they
    change no singular value). 0 for equal representations, 1 where no unit of one correlates with
    any of the other; with as many units as samples, unrelated ones too can be turned near each
    other. Invariant to orthogonal transforms of the units, one scale for all, and
    translation.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 3 samples.

    >>> origin = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [0.0, 2.0]])
    >>> loss = ProcrustesLoss(origin)
    >>> round(float(loss(2.0 * origin.flip(1))), 9)
    0.0
    >>> round(float(loss(origin[:, :1])), 3)
    0.172
    """

    worst = 1.0

    def _of_origin(self, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, dead = pre_shapes(origin)
        if x.shape[-1] > self.n_samples:
            # Turned so that all but the first columns are 0, which then change nothing.
            u, values, _ = torch.linalg.svd(x, full_matrices=False)
            x = u * values.unsqueeze(-2)
        return x, dead

    def _losses(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        # One after the other, as LAPACK decomposes them: padding would only make them larger.
        return torch.stack([self._loss(embedding) for embedding in embeddings])

    def _loss(self, embedding: torch.Tensor) -> torch.Tensor:
        y, dead = pre_shapes(embedding)
        values = torch.linalg.svdvals(self._origin.mT @ y)
        # Of equal embeddings rounding may take the loss below 0.
        return (1.0 - values.sum(dim=-1)).clamp_min(0.0).masked_fill(dead, self.worst)
