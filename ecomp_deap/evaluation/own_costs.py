"""`OwnCosts`: what children cost by functions of the user's own."""

import math
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from ecomp_deap.errors import ArgumentError, named

__all__ = ["OwnCosts"]

# Widths whose costs are remembered.
_MOST_REMEMBERED = 4096


class OwnCosts:
    """Asks functions what a child costs, once for all children of the same widths.

    Args:
        functions: By the name of the cost, see `Task`.
    """

    def __init__(self, functions: Mapping[str, Callable[[nn.Module], float]]) -> None:
        self._functions = functions
        self._known: dict[tuple[int, ...], dict[str, float]] = {}

    def __call__(
        self, widths: Sequence[int], make_child: Callable[[], nn.Module]
    ) -> dict[str, float]:
        """Return the costs of a child by name.

        Args:
            widths: Its units in each group.
            make_child: Makes it, if its costs are not known.

        Raises:
            ArgumentError: A function raises an error, or gives no finite number.
        """
        key = tuple(widths)
        if key not in self._known and self._functions:
            child = make_child()
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = {n: self._asked(n, child, key) for n in self._functions}
        return self._known.get(key, {})

    def _asked(self, name: str, child: nn.Module, widths: tuple[int, ...]) -> float:
        expected = f"costs[{name!r}]: expected a finite number for a child of widths {widths}"
        try:
            value = float(self._functions[name](child))
        except Exception as error:  # whatever a user's function raises
            raise ArgumentError(f"{expected}, got {named(error)}") from error
        if not math.isfinite(value):
            raise ArgumentError(f"{expected}, got {value}")
        return value
