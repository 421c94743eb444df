"""`MaskGenome`: one bit per unit, and possibly what the child has learnt."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes.base import Genome, check_groups, describe, freeze, frozen_array
from ecomp_deap.genomes.structure import Structure

__all__ = ["MaskGenome", "realign"]


class MaskGenome(Genome):
    """Which units of each group a child keeps.

    Args:
        masks: For each group a boolean array of shape ``(n_units,)``, True where the unit stays.
        arrays: The child's own weights in the child's own shapes, by ``state_dict`` name, where
            children keep what they learnt; None where a child takes the parent's weights.

    Raises:
        ArgumentError: A mask that is not one-dimensional and boolean, or that keeps no unit;
            something else than arrays by name.
    """

    _shared = Genome._shared | {"_masks", "_arrays"}

    def __init__(
        self, masks: Sequence[Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.rebind(masks, arrays)

    @property
    def masks(self) -> tuple[np.ndarray, ...]:
        """For each group a read-only boolean array of shape ``(n_units,)``."""
        return self._masks

    @property
    def arrays(self) -> Mapping[str, np.ndarray] | None:
        """The child's own weights, read-only, or None."""
        return self._arrays

    @property
    def widths(self) -> tuple[int, ...]:
        """Units kept in each group."""
        return tuple(int(np.count_nonzero(mask)) for mask in self._masks)

    @property
    def kept(self) -> list[np.ndarray]:
        """For each group the kept units' indices, ascending."""
        return [np.flatnonzero(mask) for mask in self._masks]

    def rebind(self, masks: Sequence[Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Replace masks and learnt arrays (in place); read-only arrays are shared."""
        if arrays is not None and not isinstance(arrays, Mapping):
            raise argument_error("arrays", "a mapping from names to arrays, or None", arrays)
        check_groups("masks", masks, "one mask per group")
        frozen = []
        for i, mask in enumerate(masks):
            try:
                mask = freeze(mask)
            except Exception:  # whatever an object's own conversion raises
                expected = "a boolean array of shape (n_units,)"
                raise argument_error(f"masks[{i}]", expected, mask) from None
            if mask.dtype != np.bool_ or mask.ndim != 1:
                raise argument_error(
                    f"masks[{i}]", "a boolean array of shape (n_units,)", (mask.dtype, mask.shape)
                )
            if not mask.any():
                raise argument_error(f"masks[{i}]", "at least one unit kept", "none")
            frozen.append(mask)
        self._masks: tuple[np.ndarray, ...] = tuple(frozen)
        self._arrays: Mapping[str, np.ndarray] | None = (
            None
            if arrays is None
            else MappingProxyType({n: frozen_array(f"arrays[{n!r}]", a) for n, a in arrays.items()})
        )
        self._key = None

    def plain(self) -> "MaskGenome":
        """Return the genome without whatever DEAP or a user attached to it; arrays are shared."""
        if type(self) is MaskGenome and self.__dict__.keys() == {"_masks", "_arrays", "_key"}:
            return self
        plain = MaskGenome.__new__(MaskGenome)
        plain._masks, plain._arrays, plain._key = self._masks, self._arrays, self._key
        return plain

    def _content(self) -> Iterable[bytes | memoryview]:
        for mask in self._masks:
            yield describe("mask", mask)
            yield np.packbits(mask).data
        # By name: the order in which arrays were given makes no other child.
        for name, array in sorted((self._arrays or {}).items()):
            yield describe(name, array)
            yield np.ascontiguousarray(array).data

    def __getstate__(self) -> dict[str, Any]:
        arrays = None if self._arrays is None else dict(self._arrays)
        return {**self.__dict__, "_arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.rebind(state["_masks"], state["_arrays"])

    def __repr__(self) -> str:
        kept = ", ".join(f"{mask.sum()}/{mask.size}" for mask in self._masks)
        learnt = "" if self._arrays is None else ", learnt"
        return f"{type(self).__name__}({kept}{learnt})"


def realign(
    structure: Structure,
    masks: Sequence[np.ndarray],
    sources: Sequence[MaskGenome],
    parent_arrays: Mapping[str, np.ndarray],
    *,
    mean: bool = False,
) -> dict[str, np.ndarray]:
    """Return learnt arrays for a child with ``masks``, taken from ``sources`` unit by unit.

    Units keep their identity as units of the parent, so genomes of different widths align exactly.
    Each entry comes from the first source that has all its units, or is the mean over the sources
    that do; an entry whose units never met in any source takes the parent's weight.

    Args:
        structure: Where the groups lie in the tensors.
        masks: The child's masks, each of shape ``(n_units,)``.
        sources: Genomes with learnt arrays, the preferred one first.
        parent_arrays: The parent's arrays by name.
        mean: Whether entries that several sources have are averaged.

    Raises:
        ArgumentError: A source that has not learnt; arrays of the parent that are missing, or of
            other shapes than the structure's.
    """
    for source in sources:
        if not isinstance(source, MaskGenome) or source.arrays is None:
            raise argument_error("sources", "genomes with learnt arrays", source)
    for name, shape in structure.shapes.items():
        found = getattr(parent_arrays.get(name), "shape", None)
        if found != tuple(shape):
            raise argument_error("parent_arrays", f"{name!r} of shape {tuple(shape)}", found)
    kept = [np.flatnonzero(mask) for mask in masks]
    child = {}
    for name, cut in structure.slice(parent_arrays, kept).items():
        array = child[name] = np.array(cut)
        if mean:
            _write_means(structure, array, kept, sources, name)
            continue
        for source in reversed(sources):
            assert source.arrays is not None
            structure.overlay(array, kept, source.arrays[name], source.kept, name)
    return child


def _write_means(
    structure: Structure,
    target: np.ndarray,
    kept: Sequence[np.ndarray],
    sources: Sequence[MaskGenome],
    name: str,
) -> None:
    """Write into ``target`` the mean of each entry over the sources that have it (in place)."""
    total, count = np.zeros_like(target), np.zeros_like(target)
    for source in sources:
        assert source.arrays is not None
        into, out_of = structure.overlap(name, kept, source.kept)
        total[into] += source.arrays[name][out_of]
        count[into] += 1
    np.divide(total, count, out=target, where=count > 0)
