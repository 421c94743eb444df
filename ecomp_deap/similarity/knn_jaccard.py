"""k-NN Jaccard: do samples keep their nearest neighbours?

Source: the neighbourhood overlap reviewed by Klabunde, Schumacher, Strohmaier and Lemmerich (2023),
"Similarity of neural network models: a survey of functional and representational measures", as
"k-NN Jaccard similarity", with Euclidean distances.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ecomp_deap.errors import argument_error
from ecomp_deap.similarity.distances import distance_tables
from ecomp_deap.similarity.interface import as_origin
from ecomp_deap.similarity.table_loss import TableLoss

__all__ = ["KNNJaccardLoss", "nearest_neighbours"]

# Of a double's 52 binary places so many make way: distances within 1e-9 of each other are tied,
# which is as far as rounding may have moved them apart.
_PLACES = 22
_NEIGHBOURS = 10


def nearest_neighbours(distances: torch.Tensor, k: int) -> torch.Tensor:
    """Return where sample j is among the k nearest to sample i, itself excluded.

    Of samples that are equally near (to about nine digits) those of the lower index are nearer.

    Args:
        distances: Non-negative, double, shape ``(..., n, n)``.
        k: Neighbours, at most n − 1.

    Returns:
        Booleans of shape ``(..., n, n)``, k in each row.
    """
    n = distances.shape[-1]
    # The bits of non-negative doubles are in the doubles' order: round off the last ones, and put
    # the sample's index there.
    half = 1 << (_PLACES - 1)
    rounded = (distances.contiguous().view(torch.int64) + half) >> _PLACES << _PLACES
    keys = rounded | torch.arange(n, device=distances.device)
    eye = torch.eye(n, dtype=torch.bool, device=distances.device)
    keys.masked_fill_(eye, torch.iinfo(torch.int64).max)
    nearest = keys.topk(k, dim=-1, largest=False, sorted=False).indices
    return torch.zeros_like(eye).expand(distances.shape).scatter(-1, nearest, True)


class KNNJaccardLoss(TableLoss):
    """1 − the mean over samples of |N_i ∩ M_i| / |N_i ∪ M_i|, N_i and M_i the k nearest neighbours.

    0 where all neighbours are the same, 1 where no sample keeps any. Invariant to orthogonal
    transforms of the units, one scale for all, and translation. It changes in steps, so it has no
    gradient.

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`; at least 3 samples.
        n_neighbours: k, from 1 to n_samples − 2; by default 10, or a third of the other samples if
            that is less.

    Raises:
        ArgumentError: As any measure; ``n_neighbours`` out of range.

    >>> loss = KNNJaccardLoss(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), n_neighbours=1)
    >>> float(loss(torch.tensor([[0.0], [1.0], [3.0], [-7.0]])))  # 7 was nearest to 3
    0.25
    """

    worst = 1.0
    differentiable = False

    def __init__(self, origin_embeddings: Any, *, n_neighbours: int | None = None) -> None:
        origin = as_origin(origin_embeddings)
        others = origin.shape[-2] - 1
        if n_neighbours is None:
            n_neighbours = max(1, min(_NEIGHBOURS, others // 3))
        elif type(n_neighbours) is not int or not 1 <= n_neighbours < others:
            raise argument_error(
                "n_neighbours",
                f"a whole number from 1 to n_samples - 2 = {others - 1}",
                n_neighbours,
            )
        #: k.
        self.n_neighbours = n_neighbours
        super().__init__(origin)

    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        distances, dead = distance_tables(embeddings)
        return nearest_neighbours(distances, self.n_neighbours).double(), dead

    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        common = (tables * self._origin).sum(dim=-1)
        return 1.0 - (common / (2 * self.n_neighbours - common)).mean(dim=-1)
