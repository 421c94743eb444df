"""Mean squared difference of distance tables, each divided by its range: EComp's earlier attempt.

Source: the first form of the similarity loss of van den Beemt, Schröder and de Valk (2021),
"EComp".
"""

from collections.abc import Sequence

import torch

from ecomp_deap.similarity.distances import distance_tables, roots
from ecomp_deap.similarity.table_loss import TableLoss

__all__ = ["DistanceMSELoss", "range_normalised"]


def range_normalised(distances: torch.Tensor) -> torch.Tensor:
    """Return (D − min D) / (max D − min D), whose smallest distance, a sample's to itself, is 0.

    Args:
        distances: Non-negative, with a zero diagonal, shape ``(..., n, n)``.
    """
    return distances / distances.amax(dim=(-2, -1), keepdim=True)


class DistanceMSELoss(TableLoss):
    """Mean over pairs i ≠ j of (D_ij / max D − E_ij / max E)², D and E Euclidean distances.

    0 for equal representations, at most 1. Invariant to orthogonal transforms of the units, one
    scale for all, and translation; a single outlier sets the range of all distances.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 3 samples.

    >>> loss = DistanceMSELoss(torch.tensor([[0.0], [1.0], [2.0]]))
    >>> float(loss(torch.tensor([[5.0, 1.0], [5.0, 3.0], [5.0, 5.0]])))
    0.0
    >>> round(float(loss(torch.tensor([[0.0], [0.0], [1.0]]))), 4)  # (0.5² + 0.5² + 0²) / 3
    0.1667
    """

    worst = 1.0

    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        distances, dead = distance_tables(embeddings)
        return range_normalised(roots(distances)), dead

    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        n_pairs = self.n_samples * (self.n_samples - 1)
        return (tables - self._origin).square().sum(dim=(-2, -1)) / n_pairs
