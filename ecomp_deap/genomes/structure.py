"""Groups of units, and where they lie in the parent's tensors: plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ecomp_deap.errors import argument_error

__all__ = ["Axis", "Group", "Structure"]


@dataclass(frozen=True)
class Group:
    """Units that can be removed one by one, each from all its layers at once.

    Attributes:
        name: Name of the layer that makes the units.
        n_units: Number of units in the parent.
        min_units: A child keeps at least so many.
    """

    name: str
    n_units: int
    min_units: int = 1

    def __post_init__(self) -> None:
        if self.n_units < 1:
            raise argument_error(f"n_units of group {self.name!r}", "at least 1", self.n_units)
        if not 1 <= self.min_units <= self.n_units:
            raise argument_error(
                f"min_units of group {self.name!r}", f"1 to {self.n_units}", self.min_units
            )


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor that shrinks with a group.

    Attributes:
        group: Index of the group.
        block: Consecutive entries that belong to one unit (more than 1 behind a flatten).
    """

    group: int
    block: int = 1


@dataclass(frozen=True)
class Structure:
    """The groups of a parent, and which dimension of which tensor belongs to which group.

    Attributes:
        groups: The groups, in the order of the forward pass.
        tensors: For each tensor of the parent's state, one `Axis` or None per dimension. Tensors
            are named as in ``state_dict()``.
        shapes: The parent's shape of each of these tensors.
        positions: How often one sample meets each entry of a weight, by the tensor's name, where
            that is not once: at every position of a convolution's output map.
        left_alone: Layers whose outputs are never cut, by name, and why.
    """

    groups: tuple[Group, ...]
    tensors: Mapping[str, tuple[Axis | None, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    positions: Mapping[str, int] = field(default_factory=dict)
    left_alone: Mapping[str, str] = field(default_factory=dict)

    @property
    def widths(self) -> tuple[int, ...]:
        """The parent's number of units in each group."""
        return tuple(group.n_units for group in self.groups)

    def relative_width(self, widths: Sequence[int]) -> float:
        """Return units kept / the parent's units, over all groups."""
        return sum(widths) / sum(self.widths)

    def child_shapes(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor in a child of the given widths."""
        return {
            name: tuple(
                size if axis is None else widths[axis.group] * axis.block
                for size, axis in zip(self.shapes[name], axes, strict=True)
            )
            for name, axes in self.tensors.items()
        }

    def slice(
        self, arrays: Mapping[str, np.ndarray], kept: Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the child's arrays: those of the parent, cut to the units kept.

        Args:
            arrays: The parent's arrays by name.
            kept: For each group, the kept units' indices in ascending order.
        """
        return {
            name: _take(arrays[name], [_entries(axis, kept) for axis in axes])
            for name, axes in self.tensors.items()
        }

    def overlay(
        self,
        target: np.ndarray,
        target_kept: Sequence[np.ndarray],
        source: np.ndarray,
        source_kept: Sequence[np.ndarray],
        name: str,
    ) -> None:
        """Write into ``target`` the entries whose units ``source`` has as well (in place).

        Both are versions of the tensor ``name``, each cut to its own kept units.
        """
        into, out_of = [], []
        for dim, axis in enumerate(self.tensors[name]):
            if axis is None:
                everything = np.arange(target.shape[dim])
                into.append(everything)
                out_of.append(everything)
                continue
            _, first, second = np.intersect1d(
                target_kept[axis.group],
                source_kept[axis.group],
                assume_unique=True,
                return_indices=True,
            )
            into.append(_spread(first, axis.block))
            out_of.append(_spread(second, axis.block))
        target[np.ix_(*into)] = source[np.ix_(*out_of)]


def _spread(units: np.ndarray, block: int) -> np.ndarray:
    """Return the entries that belong to ``units`` when each owns ``block`` consecutive ones."""
    if block == 1:
        return units
    return (units[:, None] * block + np.arange(block)).ravel()


def _entries(axis: Axis | None, kept: Sequence[np.ndarray]) -> np.ndarray | None:
    return None if axis is None else _spread(kept[axis.group], axis.block)


def _take(array: np.ndarray, entries: Sequence[np.ndarray | None]) -> np.ndarray:
    result = array
    for dim, index in enumerate(entries):
        if index is not None and len(index) != array.shape[dim]:
            result = result.take(index, axis=dim)
    return result
