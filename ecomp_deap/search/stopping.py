"""Stopping early: rules that end a search when more generations are not worth their time.

A rule is called after each generation with a `Progress` and returns why to stop, or None. Any
function will do; these are the usual ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from ecomp_deap.checks import check_count, check_number

__all__ = ["Progress", "Stalled", "TargetMet", "TimeBudget", "objective_hypervolume"]


@dataclass(frozen=True)
class Progress:
    """Where a search is after a generation.

    Attributes:
        generation: Its number, from 0.
        seconds: Of the search so far, over all its pieces if it was resumed.
        individuals: The non-dominated ones so far that did not fail and keep the limits, with their
            ``measurement`` and ``fitness``, or of a weighted fitness the population's.
        hypervolumes: One a generation so far, see `objective_hypervolume`.
        maximise: Whether more of the task's metric is better.
    """

    generation: int
    seconds: float
    individuals: Sequence[Any]
    hypervolumes: Sequence[float]
    maximise: bool


#: What ends a search: it returns why, or None to go on.
StopRule = Callable[[Progress], str | None]


@dataclass(frozen=True)
class TimeBudget:
    """Stops when the search has taken so many seconds. Where it stops depends on the machine.

    Raises:
        ArgumentError: No finite number above 0.
    """

    seconds: float

    def __post_init__(self) -> None:
        check_number("seconds", self.seconds, above=0.0)

    def __call__(self, progress: Progress) -> str | None:
        if progress.seconds < self.seconds:
            return None
        return f"{progress.seconds:.0f} s have passed, of {self.seconds:g}"


@dataclass(frozen=True)
class TargetMet:
    """Stops when a child reaches a metric with few enough parameters, on its generation's batch.

    Args:
        metric: The least value of the task's metric that will do (the most, if less is better).
        max_params: The most parameters.

    Raises:
        ArgumentError: A number out of range.
    """

    metric: float
    max_params: int

    def __post_init__(self) -> None:
        check_number("metric", self.metric)
        object.__setattr__(
            self, "max_params", check_count("max_params", self.max_params, minimum=1)
        )

    def __call__(self, progress: Progress) -> str | None:
        sign = 1 if progress.maximise else -1
        for individual in progress.individuals:
            found = individual.measurement
            good = sign * found.metric >= sign * self.metric
            if good and found.param_count <= self.max_params:
                return f"a child has {found.metric:.4g} with {found.param_count:,d} parameters"
        return None


@dataclass(frozen=True)
class Stalled:
    """Stops when the hypervolume has grown by too little for some generations.

    Args:
        generations: As many.
        by: What it has to grow by in them, relative to what it was before.

    Raises:
        ArgumentError: A number out of range.
    """

    generations: int = 10
    by: float = 0.001

    def __post_init__(self) -> None:
        count = check_count("generations", self.generations, minimum=1)
        object.__setattr__(self, "generations", count)
        check_number("by", self.by, minimum=0.0)

    def __call__(self, progress: Progress) -> str | None:
        found = progress.hypervolumes
        if len(found) <= self.generations:
            return None
        before, now = found[-1 - self.generations], found[-1]
        if now - before > self.by * before:
            return None
        return f"the hypervolume has stalled for {self.generations} generations"


def objective_hypervolume(costs: np.ndarray, worst: Sequence[float]) -> float:
    """Return the hypervolume of points below a reference, each objective in units of the reference.

    Args:
        costs: Shape ``(n, k)``, less is better; points beyond the reference add nothing.
        worst: The reference, k numbers.

    >>> objective_hypervolume(np.array([[1.0, 2.0]]), [2.0, 4.0])
    0.25
    """
    if len(costs) == 0:
        return 0.0
    reference = np.array(worst)
    scale = np.where(reference == 0, 1.0, np.abs(reference))
    return float(moocore.hypervolume(costs / scale, ref=reference / scale))
