"""Births: how individuals came about, told by themselves.

An individual's ``births`` is a text, which copies and saves carry along as any other attribute: one
part for each generation in which it, or whom it was copied from, was varied and measured. It
decides nothing.
"""

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ecomp_deap.genomes import Genome

__all__ = ["Births", "Varying", "parse_births"]

# Of a long line, its beginning and as many of its last parts.
_KEPT = 58
_GAP = "~"
_PART = re.compile(r"([0-9]{1,12}):([\w@+<>.-]*):([0-9]{1,18}):(\S{1,30})")


class Births:
    """What has happened to individuals since they were measured, and what then is written down."""

    def __init__(self) -> None:
        self._events: dict[int, list[str]] = {}

    def begin(self, individual: Any) -> None:
        """Forget what happened to another at the same place in memory."""
        self._events.pop(id(individual), None)

    def happened(self, individual: Any, event: str) -> None:
        """Keep what happened to an individual."""
        self._events.setdefault(id(individual), []).append(event)

    def write(self, individual: Any, generation: int) -> None:
        """Write to an individual, which was measured, what has happened to it (in place)."""
        found = individual.measurement
        events = "+".join(self._events.pop(id(individual), []))
        parts = _parts(individual)
        if len(parts) > _KEPT + 1:
            parts = [parts[0], _GAP, *parts[-_KEPT:]]
        parts.append(f"{generation}:{events}:{found.param_count}:{found.metric:.5g}")
        individual.births = ";".join(parts)


class Varying:
    """A registered ``mate`` or ``mutate`` that tells of what it is done to.

    Args:
        function: What was registered.
        births: What is told.
        n: Individuals that it varies.
    """

    def __init__(self, function: Callable[..., Any], births: Births, n: int) -> None:
        self.function, self._births, self._n = function, births, n
        self.__wrapped__ = function
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **options: Any) -> Any:
        given = args[-self._n :]
        generations = [_last_generation(individual) for individual in given]
        result = self.function(*args, **options)
        # An operator of others', such as the one of those that is drawn by, is known by its own.
        own = [a for a in args[: -self._n] if isinstance(a, FunctionType)]
        name = getattr(own[-1] if own else self.function, "__name__", "varied")
        for individual, mate in zip(result, reversed(generations), strict=False):
            if isinstance(individual, Genome):
                crossed = self._n > 1 and mate is not None
                self._births.happened(individual, f"{name}@{mate}" if crossed else name)
        return result


def parse_births(text: Any) -> list[list[Any]]:
    """Return the parts of an individual's ``births``: generation, events, parameters and metric.

    An event is the name of an operator, of a crossover with the generation of the mate's birth,
    ``cxUniformUnits@3``. Where parts of a long line are left out, there is an empty list. What is
    no such text has no parts.

    >>> parse_births("0::900:0.5;3:cxUniformUnits@1+mutResizeGroup:700:0.25")
    [[0, [], 900, 0.5], [3, ['cxUniformUnits@1', 'mutResizeGroup'], 700, 0.25]]
    """
    found: list[list[Any]] = []
    for part in text.split(";") if isinstance(text, str) else ():
        match = _PART.fullmatch(part)
        if part == _GAP:
            found.append([])
        elif match is not None:
            generation, events, param_count, metric = match.groups()
            names = events.split("+") if events else []
            found.append([int(generation), names, int(param_count), float(metric)])
    return found


def _parts(individual: Any) -> list[str]:
    text = getattr(individual, "births", "")
    return (
        [part for part in text.split(";") if part != _GAP] if isinstance(text, str) and text else []
    )


def _last_generation(individual: Any) -> int | None:
    text = getattr(individual, "births", None)
    match = _PART.fullmatch(text.rpartition(";")[2]) if isinstance(text, str) else None
    return None if match is None else int(match[1])
