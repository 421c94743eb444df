"""Probabilistic knowledge transfer (PKT): do samples have the same neighbours by direction?

Source: Passalis and Tefas (2018), "Learning deep representations with probabilistic knowledge
transfer", ECCV, equations 3 to 6, with their cosine kernel.
"""

import math
from collections.abc import Sequence

import torch

from ecomp_deap.similarity.table_loss import TableLoss

__all__ = ["PKTLoss", "conditional_log_probabilities", "cosines"]

#: The smallest value of the kernel, of opposite directions; the one in the authors' code.
EPSILON = 1e-7
# Samples point in one direction where no cosine is further from 1: single precision tells no
# directions apart that are closer.
_ALIGNED = 1e-12


def cosines(embeddings: torch.Tensor) -> torch.Tensor:
    """Return cos(x_i, x_j) of all samples, 0 where one of the two is 0.

    Args:
        embeddings: Finite, shape ``(..., n_samples, n_units)``.

    Returns:
        Double tensor of shape ``(..., n_samples, n_samples)``.
    """
    x = embeddings.double()
    # Directions do not depend on the scale, and squares of large or small numbers are lost.
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    zero = largest == 0
    x = x / largest.masked_fill(zero, 1.0)
    norms = x.square().sum(dim=-1, keepdim=True).masked_fill(zero, 1.0).sqrt()
    # What has no direction has no gradient either.
    x = (x / norms).masked_fill(zero, 0.0)
    return x @ x.mT


def conditional_log_probabilities(cosines: torch.Tensor) -> torch.Tensor:
    """Return log p_j|i, p_j|i ∝ max(½ (1 + cos(x_i, x_j)), ε) over j ≠ i; diagonal 0.

    Args:
        cosines: Shape ``(..., n, n)``.
    """
    eye = torch.eye(cosines.shape[-1], dtype=torch.bool, device=cosines.device)
    kernel = (0.5 * (1.0 + cosines)).clamp_min(EPSILON)
    totals = kernel.masked_fill(eye, 0.0).sum(dim=-1, keepdim=True)
    return (kernel / totals).masked_fill(eye, 1.0).log()


class PKTLoss(TableLoss):
    """KL divergence of a child's conditional probabilities from the parent's, in nats a sample.

    1/n Σ_i Σ_{j ≠ i} p_j|i log(p_j|i / q_j|i), p and q from the parent's and the child's cosine
    similarities. 0 for equal representations; at most log((n−2) / ε), ε = 1e-7, so below 2
    log(1 / ε) ≈ 32.24 for any number of samples that a table can hold. Invariant to orthogonal
    transforms of the units and the scale of each sample, not to translation: embeddings are not
    centred. To this measure an embedding whose samples all point in one direction is constant, and
    so dead.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 3 samples.

    >>> loss = PKTLoss(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    >>> round(float(loss(torch.tensor([[0.0, 2.0], [3.0, 0.0], [4.0, 4.0]]))), 9)
    0.0
    """

    worst = 2.0 * math.log(1.0 / EPSILON)

    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        tables = []
        for embedding in embeddings:
            finite = torch.isfinite(embedding.detach()).all(dim=-1).all(dim=-1)
            # The gradient of NaN is NaN even where the loss does not depend on it.
            tables.append(cosines(embedding.where(finite[..., None, None], 0.0)))
        found = torch.stack(tables)
        # Of a zero embedding the diagonal is 0 too: it has no direction at all.
        aligned = found.detach() >= 1.0 - _ALIGNED
        dead = aligned.flatten(-2).all(dim=-1) | (found.detach() == 0).flatten(-2).all(dim=-1)
        return conditional_log_probabilities(found), dead

    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        p = self._origin.exp()
        p.diagonal(dim1=-2, dim2=-1).zero_()
        # Of equal tables rounding may take the divergence below 0.
        return (p * (self._origin - tables)).sum(dim=-1).mean(dim=-1).clamp_min(0.0)
