"""Distance correlation: are the same pairs of samples far apart?

Source: Székely, Rizzo and Bakirov (2007), "Measuring and testing dependence by correlation of
distances", Annals of Statistics 35(6); bias-corrected as in Székely and Rizzo (2013), "The distance
correlation t-test of independence in high dimension", Journal of Multivariate Analysis 117.
"""

from collections.abc import Sequence

import torch

from ecomp_deap.similarity.centring import MIN_SAMPLES, one_minus_cosine, u_directions
from ecomp_deap.similarity.distances import distance_tables, roots
from ecomp_deap.similarity.table_loss import TableLoss

__all__ = ["DistanceCorrelationLoss"]


class DistanceCorrelationLoss(TableLoss):
    """1 − R*(X, Y), R* the bias-corrected squared distance correlation.

    R* = ⟨A, B⟩ / (‖A‖ ‖B‖), A and B the U-centred tables of Euclidean distances. 0 for equal
    representations, about 1 for unrelated ones, at most 2. Bias-corrected, because of a hundred
    samples with as many units the plain distance correlation is near 1 even if they are unrelated;
    squared, because R* may be negative, and a root has no gradient at 0. Invariant to orthogonal
    transforms of the units, one scale for all, and translation. An embedding whose samples are
    equally far apart, or of which only one differs from the others, has ‖B‖ = 0 and is dead.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 4 samples.

    >>> origin = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [1.0, 4.0]])
    >>> loss = DistanceCorrelationLoss(origin)
    >>> round(float(loss(2.0 * origin.flip(1))), 9)
    0.0
    >>> round(float(loss(origin[:, :1])), 3)
    0.991
    """

    worst = 2.0
    min_samples = MIN_SAMPLES

    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        distances, dead = distance_tables(embeddings)
        directions, vanished = u_directions(roots(distances))
        return directions, dead | vanished

    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        return one_minus_cosine(tables, self._origin)
