"""Debiased linear CKA: do the same pairs of samples have large inner products?

Source: Kornblith, Norouzi, Lee and Hinton (2019), "Similarity of neural network representations
revisited", ICML; with the unbiased HSIC of Song, Smola, Gretton, Bedo and Borgwardt (2012),
"Feature selection via dependence maximization", JMLR 13, equation 5, as Nguyen, Raghu and
Kornblith (2021), "Do wide and deep networks learn the same things?", ICLR, use it.
"""

from collections.abc import Sequence

import torch

from ecomp_deap.similarity.centring import MIN_SAMPLES, one_minus_cosine, u_directions
from ecomp_deap.similarity.distances import distance_tables
from ecomp_deap.similarity.table_loss import TableLoss

__all__ = ["CKALoss"]


class CKALoss(TableLoss):
    """1 − CKA(X, Y) = 1 − HSIC(X, Y) / √(HSIC(X, X) · HSIC(Y, Y)), HSIC unbiased.

    0 for equal representations, about 1 for unrelated ones, at most 2. Without the debiasing,
    embeddings with many units for their samples would look alike whatever they hold. Invariant to
    orthogonal transforms of the units, one scale for all, and translation. An embedding whose
    samples are equally far apart, or of which only one differs from the others, has HSIC(Y, Y) = 0
    and is dead.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 4 samples.

    >>> origin = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [1.0, 4.0]])
    >>> loss = CKALoss(origin)
    >>> round(float(loss(2.0 * origin.flip(1))), 9)
    0.0
    >>> round(float(loss(origin[:, :1])), 3)
    0.573
    """

    worst = 2.0
    min_samples = MIN_SAMPLES

    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        # U-centring takes inner products to −½ times what it takes squared distances to, and of
        # these close samples leave more digits.
        distances, dead = distance_tables(embeddings)
        directions, vanished = u_directions(distances)
        return directions, dead | vanished

    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        return one_minus_cosine(tables, self._origin)
