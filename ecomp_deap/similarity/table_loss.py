"""`BlockLoss` and `TableLoss`: what measures share that compare children in blocks, by tables."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from ecomp_deap.errors import argument_error
from ecomp_deap.similarity.interface import (
    SimilarityLoss,
    as_origin,
    as_tensor,
    check_child,
    check_children,
    refuse_dead,
)
from ecomp_deap.similarity.tables import table_capacity

__all__ = ["BlockLoss", "TableLoss"]


class BlockLoss(SimilarityLoss):
    """A measure that compares children with the parent block by block, which bounds its memory.

    A subclass says what of the parent is kept (`_of_origin`) and what children score (`_losses`).

    Args:
        origin_embeddings: The parent's, see `SimilarityLoss`.

    Raises:
        ArgumentError: Too few samples; a non-finite or dead parent embedding, or one in which the
            measure sees no structure.
    """

    #: With fewer samples all embeddings are alike, or the measure is not defined.
    min_samples: ClassVar[int] = 3

    def __init__(self, origin_embeddings: Any) -> None:
        origin = as_origin(origin_embeddings)
        self.n_samples = origin.shape[-2]
        if self.n_samples < self.min_samples:
            raise argument_error(
                "origin_embeddings", f"at least {self.min_samples} samples", tuple(origin.shape)
            )
        self._shape = origin.shape[:-2]
        self._origin, dead = self._of_origin(origin)
        if dead.any():
            refuse_dead(origin)

    def __call__(self, compressed_embeddings: Any) -> Any:
        """Return the losses of children of one width, see `SimilarityLoss`."""
        compressed, is_array = as_tensor("compressed_embeddings", compressed_embeddings)
        self._check(compressed)
        children = compressed.reshape(-1, *self._shape, *compressed.shape[-2:])
        parts = [self._losses([block])[0] for block in children.split(self._capacity)]
        losses = torch.cat(parts).reshape(compressed.shape[:-2])
        if is_array:
            return losses.numpy() if losses.ndim else np.float64(losses.item())
        return losses.to(compressed.dtype)

    def of_children(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the losses of children of different widths, see `SimilarityLoss`."""
        check_children(embeddings)
        for embedding in embeddings:
            self._check(embedding)
        size = self._capacity
        blocks = [embeddings[i : i + size] for i in range(0, len(embeddings), size)]
        none = self._origin.new_zeros((0, *self._shape))
        return torch.cat([none, *map(self._losses, blocks)])

    @property
    def _capacity(self) -> int:
        """Children whose tables are made at once."""
        return max(1, table_capacity(self.n_samples) // self._shape.numel())

    @abstractmethod
    def _of_origin(self, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is kept of the parent, double, and which of its tables are dead.

        Args:
            origin: Shape ``(..., n_samples, n_units)``.

        Returns:
            Shape ``(..., n_samples, any)``, and ``(...)``.
        """

    @abstractmethod
    def _losses(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return losses in double, shape ``(n_embeddings, ...)``, those of dead ones the worst.

        Args:
            embeddings: Each of shape ``(..., n_samples, n_units)``, alike but for the units.
        """

    def _check(self, compressed: torch.Tensor) -> None:
        """Refuse a child's embedding that cannot be compared with the parent's."""
        check_child(compressed, self.n_samples, self._shape)
        if not self.differentiable and torch.is_grad_enabled() and compressed.requires_grad:
            raise argument_error(
                "compressed_embeddings",
                f"no gradient to be asked, as {type(self).__name__} is not differentiable",
                "a tensor that requires one",
            )


class TableLoss(BlockLoss):
    """A measure that makes a table of each embedding and compares it with the parent's.

    Tables depend on the number of samples alone, so that those of children of any widths are
    compared at once. A subclass says what a table is (`_tables`) and how two are compared
    (`_compare`).
    """

    def _of_origin(self, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tables, dead = self._tables([origin])
        return tables[0], dead[0]

    def _losses(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        tables, dead = self._tables(embeddings)
        return self._compare(tables).masked_fill(dead, self.worst)

    @abstractmethod
    def _tables(self, embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tables of embeddings, and which of these are dead.

        Args:
            embeddings: Each of shape ``(..., n_samples, n_units)``, alike but for the units.

        Returns:
            Double, ``(n_embeddings, ..., n_samples, n_samples)``, finite and with a finite
            gradient also for dead embeddings; and ``(n_embeddings, ...)``.
        """

    @abstractmethod
    def _compare(self, tables: torch.Tensor) -> torch.Tensor:
        """Return the losses of tables ``(..., n_samples, n_samples)``, of shape ``(...)``."""
