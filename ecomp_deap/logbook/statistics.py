"""What is recorded of each generation."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from deap import tools

from ecomp_deap.errors import argument_error
from ecomp_deap.logbook.rows import plain_value

if TYPE_CHECKING:  # it takes torch, which those who read logbooks do without
    from ecomp_deap.task import Task

__all__ = ["statistics", "statistics_of"]

SIZE_AND_LOSS_CHAPTERS = (
    "similarity_loss",
    "relative_width",
    "param_count",
    "mac_count",
    "size_bytes",
)


def statistics(*, metric: str = "accuracy", costs: Iterable[str] = ()) -> tools.MultiStatistics:
    """Return the statistics of a population, for ``stats`` of any DEAP loop.

    Chapters ``fitness``, ``metric``, ``similarity_loss``, ``relative_width``, ``param_count``,
    ``mac_count`` and ``size_bytes`` hold ``min``, ``mean``, ``max`` and ``std`` (population,
    ddof 0) over the individuals that did not fail and keep the task's limits; the chapter
    ``population`` counts those that ``failed``, the ``infeasible`` ones beyond the limits, and
    the ``duplicates`` that share the measurement of an equal individual.
    Fitness statistics are numbers for a fitness of one value, else tuples with one number per
    objective. Where no one counts a statistic is None, never NaN.

    All values are Python numbers. Sums are `math.fsum`'s, exact before one rounding, so they do
    not depend on the order of the population.

    Args:
        metric: The name of the task's metric.
        costs: Names of costs of the task's own, each a chapter like the others.

    Raises:
        ArgumentError: ``metric`` is empty or the name of another chapter; on ``compile``, an
            individual has not been evaluated.
    """
    taken = ("fitness", "population", *SIZE_AND_LOSS_CHAPTERS)
    if not isinstance(metric, str) or not metric or metric in taken:
        raise argument_error("metric", f"a name other than {', '.join(taken)}", metric)
    result = tools.MultiStatistics(fitness=tools.Statistics(_fitness_of))
    for name in (metric, *SIZE_AND_LOSS_CHAPTERS, *costs):
        result[name] = tools.Statistics(partial(_measured, name))
    for name, function in (("min", min), ("mean", _mean), ("max", max), ("std", _std)):
        result.register(name, _over_scored, function)
    result["population"] = tools.Statistics(_measurement_of)
    result["population"].register("failed", _count_failed)
    result["population"].register("infeasible", _count_infeasible)
    result["population"].register("duplicates", _count_duplicates)
    return result


def statistics_of(task: "Task") -> tools.MultiStatistics:
    """Return the statistics of a task's individuals, see `statistics`."""
    return statistics(metric=task.metric.name, costs=tuple(task.costs or ()))


def _fitness_of(individual: Any) -> float | tuple[float, ...] | None:
    if not _counts(individual):
        return None
    values = tuple(float(value) for value in individual.fitness.values)
    if not values:
        raise argument_error("population", "individuals with a valid fitness", individual)
    return values[0] if len(values) == 1 else values


def _measured(name: str, individual: Any) -> Any:
    if not _counts(individual):
        return None
    try:
        return plain_value(individual.measurement[name])
    except KeyError:
        known = getattr(individual.measurement, "metric_name", "the name of the task's metric")
        raise argument_error("metric of statistics", repr(known), name) from None


def _measurement_of(individual: Any) -> Any:
    measurement = getattr(individual, "measurement", None)
    if measurement is None:
        raise argument_error("population", "individuals with a measurement", individual)
    return measurement


def _counts(individual: Any) -> bool:
    measurement = _measurement_of(individual)
    return not measurement.failed and measurement.violation == 0


def _count_failed(measurements: Sequence[Any]) -> int:
    return sum(bool(measurement.failed) for measurement in measurements)


def _count_infeasible(measurements: Sequence[Any]) -> int:
    return sum(not m.failed and m.violation > 0 for m in measurements)


def _count_duplicates(measurements: Sequence[Any]) -> int:
    # Equal individuals are measured once and given the very same object.
    return len(measurements) - len({id(measurement) for measurement in measurements})


def _over_scored(function: Callable[[Sequence[Any]], Any], values: Sequence[Any]) -> Any:
    scored = [value for value in values if value is not None]
    if not scored:
        return None
    if isinstance(scored[0], tuple):
        return tuple(function(objective) for objective in zip(*scored, strict=True))
    return function(scored)


def _mean(values: Sequence[float]) -> float:
    scaled, exponent = _scaled(values)
    mean = math.ldexp(math.fsum(scaled) / len(scaled), exponent)
    # The division can round past the extremes; equal values must have themselves as mean.
    return float(min(max(mean, min(values)), max(values)))


def _std(values: Sequence[float]) -> float:
    scaled, exponent = _scaled(values)
    mean = _mean(scaled)
    squares = math.fsum((value - mean) ** 2 for value in scaled)
    return math.ldexp(math.sqrt(squares / len(scaled)), exponent)


def _scaled(values: Sequence[float]) -> tuple[list[float], int]:
    """Return ``values`` over the power of two that keeps their sums and squares from overflow."""
    exponent = math.frexp(max(map(abs, values)))[1]
    return [math.ldexp(value, -exponent) for value in values], exponent
