"""Groups of units, and where they lie in the parent's tensors: plain records."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ecomp_deap.checks import check_count, check_flag, check_type

__all__ = ["Axis", "Group", "MixedAxis", "Structure", "making_dim"]


def making_dim(tensor: str, tables: Collection[str]) -> int:
    """Return the dimension of a tensor whose entries are the units that its layer makes.

    An embedding looks up rows of its weight, so that its units are the columns, and it reads none.
    A layer of any other kind makes its rows, and reads along dimension 1 if there is one.

    Args:
        tensor: Its name.
        tables: The names of embeddings' weights.
    """
    return 1 if tensor in tables else 0


@dataclass(frozen=True)
class Group:
    """Units that can be removed one by one, each from all its layers at once.

    Attributes:
        name: Name of the layer that makes the units; ``"inputs"`` for input features.
        n_units: Number of units in the parent.
        min_units: A child keeps at least so many.
        round_to: A child keeps a multiple of this many, or all.
        is_input: Whether the units are input features.
    """

    name: str
    n_units: int
    min_units: int = 1
    round_to: int = 1
    is_input: bool = False

    def __post_init__(self) -> None:
        check_type("name", self.name, str)
        check_flag("is_input", self.is_input)
        for field_name in ("n_units", "round_to", "min_units"):
            name = f"{field_name} of group {self.name!r}"
            maximum = self.n_units if field_name == "min_units" else None
            count = check_count(name, getattr(self, field_name), minimum=1, maximum=maximum)
            object.__setattr__(self, field_name, count)

    @cached_property
    def allowed(self) -> tuple[int, ...]:
        """The numbers of units that a child may keep, ascending."""
        lowest = -(-self.min_units // self.round_to) * self.round_to
        return (*range(lowest, self.n_units, self.round_to), self.n_units)

    @property
    def is_fixed(self) -> bool:
        """Whether a child has no choice but to keep all units."""
        return len(self.allowed) == 1

    def bounds(self, n: float) -> tuple[int, int]:
        """Return the allowed numbers next to n, below and above; the same one if n is allowed.

        >>> group = Group("layer", 20, min_units=5, round_to=8)
        >>> group.allowed, group.bounds(10), group.bounds(16), group.bounds(0)
        ((8, 16, 20), (8, 16), (16, 16), (8, 8))
        """
        place = bisect_left(self.allowed, n)
        if place == len(self.allowed):
            return self.n_units, self.n_units
        above = self.allowed[place]
        return (above if place == 0 or above == n else self.allowed[place - 1]), above

    def nearest(self, n: float) -> int:
        """Return the allowed number nearest to n, of two the larger."""
        below, above = self.bounds(n)
        return below if n - below < above - n else above


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor that shrinks with a group.

    Attributes:
        group: Index of the group.
        block: Consecutive entries that belong to one unit (more than 1 behind a flatten).
    """

    group: int
    block: int = 1

    @property
    def groups(self) -> tuple[int, ...]:
        """Indices of the groups that own entries."""
        return (self.group,)

    def size(self, widths: Sequence[int]) -> int:
        """Return the number of entries in a child of the given widths."""
        return widths[self.group] * self.block

    def entries(self, kept: Sequence[np.ndarray]) -> np.ndarray:
        """Return the parent's entries that a child has, ascending.

        Args:
            kept: For each group, the kept units' indices in ascending order.
        """
        units = kept[self.group]
        if self.block == 1:
            return units
        return (units[:, None] * self.block + np.arange(self.block)).ravel()

    def units(self, group: int, size: int) -> np.ndarray:
        """Return the unit of a group that each of the parent's ``size`` entries belongs to."""
        assert group == self.group
        return np.arange(size) // self.block


@dataclass(frozen=True)
class MixedAxis:
    """One dimension of a tensor whose entries belong to several groups, to none, or in any order.

    That is what a concatenation makes, and a grouped convolution.

    Attributes:
        owners: For each of the parent's entries the index of its group; −1 if it always stays.
        units_of: For each entry its unit in that group. Every unit of a group owns as many.
    """

    owners: tuple[int, ...]
    units_of: tuple[int, ...]

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Indices of the groups that own entries."""
        return tuple(sorted(set(self.owners) - {-1}))

    @cached_property
    def _each(self) -> tuple[tuple[int, int], ...]:
        """Of each group the number of entries that a unit owns."""
        owned = [
            [u for o, u in zip(self.owners, self.units_of, strict=True) if o == g]
            for g in self.groups
        ]
        return tuple((g, len(o) // len(set(o))) for g, o in zip(self.groups, owned, strict=True))

    @cached_property
    def _n_fixed(self) -> int:
        return self.owners.count(-1)

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.owners), np.array(self.units_of)

    def size(self, widths: Sequence[int]) -> int:
        """Return the number of entries in a child of the given widths."""
        return self._n_fixed + sum(widths[group] * each for group, each in self._each)

    def entries(self, kept: Sequence[np.ndarray]) -> np.ndarray:
        """Return the parent's entries that a child has, see `Axis.entries`."""
        owners, units = self._arrays
        stays = owners == -1
        for group in self.groups:
            stays |= (owners == group) & np.isin(units, kept[group])
        return np.flatnonzero(stays)

    def units(self, group: int, size: int) -> np.ndarray:
        """Return the unit of a group that each entry belongs to, −1 for other entries."""
        owners, units = self._arrays
        assert len(owners) == size
        return np.where(owners == group, units, -1)


@dataclass(frozen=True)
class Structure:
    """The groups of a parent, and which dimension of which tensor belongs to which group.

    Attributes:
        groups: The groups, in the order of the forward pass.
        tensors: For each tensor of the parent's state, one axis or None per dimension. Tensors are
            named as in ``state_dict()``.
        shapes: The parent's shape of each of these tensors.
        positions: How often one sample meets each entry of a weight, by the tensor's name, where
            that is not once: at every position of a convolution's output map.
        left_alone: Layers whose outputs are never cut, by name, and why.
        is_stack: Whether the parent is a plain sequential stack, so that a unit is known by
            where its layer stands.
        tables: Names of the weights of embeddings, whose columns are units, see `making_dim`.
    """

    groups: tuple[Group, ...]
    tensors: Mapping[str, tuple[Axis | MixedAxis | None, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    positions: Mapping[str, int] = field(default_factory=dict)
    left_alone: Mapping[str, str] = field(default_factory=dict)
    is_stack: bool = True
    tables: frozenset[str] = frozenset()

    @property
    def widths(self) -> tuple[int, ...]:
        """The parent's number of units in each group."""
        return tuple(group.n_units for group in self.groups)

    def relative_width(self, widths: Sequence[int]) -> float:
        """Return units kept / the parent's units, over all groups that can lose units.

        Input features do not count; 1 if nothing else can go.
        """
        counted = self._counted
        n_units = sum(self.groups[i].n_units for i in counted)
        return sum(widths[i] for i in counted) / n_units if n_units else 1.0

    @cached_property
    def _counted(self) -> tuple[int, ...]:
        free = (i for i, g in enumerate(self.groups) if not (g.is_input or g.is_fixed))
        return tuple(free)

    def made_along(self, tensor: str) -> Axis | MixedAxis | None:
        """Return the axis of the units that a tensor's layer makes, None if all of them stay."""
        axes = self.tensors[tensor]
        return axes[making_dim(tensor, self.tables)] if axes else None

    def read_along(self, tensor: str) -> Axis | MixedAxis | None:
        """Return the axis of the units that a tensor's layer reads, None if none of them can go."""
        axes = self.tensors[tensor]
        return axes[1] if len(axes) > 1 and making_dim(tensor, self.tables) == 0 else None

    @cached_property
    def _input_readers(self) -> Mapping[str, Axis | MixedAxis]:
        """The axes along which layers read input features that can be removed, by layer."""
        axes = {name.removesuffix(".weight"): self.read_along(name) for name in self.tensors}
        return {
            layer: axis
            for layer, axis in axes.items()
            if axis is not None and self.groups[axis.groups[0]].is_input
        }

    @property
    def prunes_inputs(self) -> bool:
        """Whether input features can be removed."""
        return bool(self._input_readers)

    def input_indices(self, kept: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the places of the input features that a child reads, named like its tensors.

        Args:
            kept: For each group, the kept units' indices in ascending order.
        """
        readers = self._input_readers.items()
        return {f"{layer}.input_indices": axis.entries(kept) for layer, axis in readers}

    def child_shapes(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor in a child of the given widths."""
        return {
            name: tuple(
                size if axis is None else axis.size(widths)
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
            name: _take(
                arrays[name], [None if axis is None else axis.entries(kept) for axis in axes]
            )
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
        into, out_of = self.overlap(name, target_kept, source_kept)
        target[into] = source[out_of]

    def overlap(
        self, name: str, kept: Sequence[np.ndarray], other_kept: Sequence[np.ndarray]
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return where two children's versions of a tensor hold what both have, as indices of each.

        Args:
            name: Of the tensor.
            kept: For each group, the units' indices that one of them keeps, in ascending order.
            other_kept: Likewise of the other one.
        """
        own, others = [], []
        for axis, size in zip(self.tensors[name], self.shapes[name], strict=True):
            if axis is None:
                own.append(np.arange(size))
                others.append(own[-1])
                continue
            _, first, second = np.intersect1d(
                axis.entries(kept),
                axis.entries(other_kept),
                assume_unique=True,
                return_indices=True,
            )
            own.append(first)
            others.append(second)
        return np.ix_(*own), np.ix_(*others)


def _take(array: np.ndarray, entries: Sequence[np.ndarray | None]) -> np.ndarray:
    result = array
    for dim, index in enumerate(entries):
        if index is not None and len(index) != array.shape[dim]:
            result = result.take(index, axis=dim)
    return result
