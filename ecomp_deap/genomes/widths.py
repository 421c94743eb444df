"""`WidthGenome`: how many units of each group a child keeps; importance says which."""

from collections.abc import Iterable, Sequence

import numpy as np

from ecomp_deap.checks import check_count
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes.base import Genome, check_groups
from ecomp_deap.genomes.mask import MaskGenome

__all__ = ["WidthGenome", "ranked"]


def ranked(importance: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return for each group the indices of its units, the most important first.

    Of equally important units the later one comes first.

    Args:
        importance: One array of shape ``(n_units,)`` per group, more is more important.
    """
    return [np.argsort(values, kind="stable")[::-1] for values in importance]


def _is_order(values: object) -> bool:
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu"


class WidthGenome(Genome):
    """One integer for each group.

    Args:
        widths: Units kept in each group.

    Raises:
        ArgumentError: No groups, or a number that is no integer of at least 1.
    """

    _shared = Genome._shared | {"_widths"}

    def __init__(self, widths: Sequence[int]) -> None:
        self.rebind(widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units kept in each group."""
        return self._widths

    def rebind(self, widths: Sequence[int]) -> None:
        """Replace the widths (in place)."""
        check_groups("widths", widths, "one number per group")
        self._widths: tuple[int, ...] = tuple(
            check_count(f"widths[{i}]", width, minimum=1) for i, width in enumerate(widths)
        )
        self._key = None

    def unfold(self, ranking: Sequence[np.ndarray]) -> MaskGenome:
        """Return the genome of the masks that keep the most important units of each group.

        Args:
            ranking: For each group the indices of its units, the most important first, see
                `ranked`.

        Raises:
            ArgumentError: Another number of groups, or a group with fewer units.
        """
        if not isinstance(ranking, Sequence) or not all(map(_is_order, ranking)):
            raise argument_error("ranking", "one array of indices per group", ranking)
        sizes = tuple(len(order) for order in ranking)
        if len(sizes) != len(self._widths) or any(map(int.__gt__, self._widths, sizes)):
            raise argument_error("widths", f"at most {sizes}", self._widths)
        masks = []
        for width, order in zip(self._widths, ranking, strict=True):
            mask = np.zeros(len(order), dtype=bool)
            mask[order[:width]] = True
            mask.flags.writeable = False
            masks.append(mask)
        return MaskGenome(masks)

    def plain(self) -> "WidthGenome":
        """Return the genome without whatever DEAP or a user attached to it."""
        return self if type(self) is WidthGenome else WidthGenome(self._widths)

    def _content(self) -> Iterable[bytes | memoryview]:
        yield np.array(self._widths, dtype=np.int64).data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._widths))})"
