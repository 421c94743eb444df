"""Fitness: how measurements become what DEAP selects by, Pareto or weighted.

Pareto keeps one value per objective with DEAP weights of ±1; weighted is one scalar, because DEAP
compares several values lexicographically and its weights' magnitudes change no ranking.

A child beyond the task's limits gets values that are worse than any child's within them, by as
much as it exceeds them, so that whatever compares values compares by constraint-domination.

Source: Deb (2000), "An efficient constraint handling method for genetic algorithms"; Deb et al.
(2002), "A fast and elitist multiobjective genetic algorithm: NSGA-II", section VI.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecomp_deap.errors import argument_error
from ecomp_deap.measurement import Measurement
from ecomp_deap.task import Metric

__all__ = ["OBJECTIVES", "Fitness", "ParetoFitness", "WeightedFitness"]

#: Objectives beside the task's metric; all are minimised.
OBJECTIVES = (
    *("similarity_loss", "relative_width"),
    *("param_count", "mac_count", "size_bytes", "latency_ms"),
)

# Of a child that failed; the excess of one beyond limits is below 1.
_FAILED_EXCESS = 2.0


class Fitness:
    """How a measurement becomes a tuple of values, and the DEAP weights that go with them."""

    #: One ±1 per value.
    signs: tuple[float, ...]
    #: The worst that a child within the task's limits can be; None if the task has no limits.
    worst: Measurement | None

    @property
    def is_pareto(self) -> bool:
        """Whether there are several values, to be selected by dominance."""
        return len(self.signs) > 1

    def values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the values that DEAP stores in an individual's ``fitness``.

        With limits, a child beyond them gets worse than the worst values, by more the more it
        exceeds them, and a failed one still worse ones; all are finite.
        """
        values = self._values(measurement)
        if self.worst is None:
            return values
        worst = self._values(self.worst)
        if measurement.failed:
            excess = _FAILED_EXCESS
        elif measurement.violation > 0:
            excess = measurement.violation / (1 + measurement.violation)
        else:
            return tuple(
                sign * max(sign * value, sign * least)
                for sign, value, least in zip(self.signs, values, worst, strict=True)
            )
        return tuple(
            least - sign * excess * max(1.0, abs(least))
            for sign, least in zip(self.signs, worst, strict=True)
        )

    def costs(self, measurement: Measurement) -> tuple[float, ...]:
        """Return what the front is made by: everything that counts, to be minimised."""
        raise NotImplementedError

    def _values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the values without regard to limits."""
        raise NotImplementedError


@dataclass(frozen=True)
class ParetoFitness(Fitness):
    """One value per objective, each as measured.

    Args:
        objectives: At least two different names: the metric's, or of `OBJECTIVES`.
        metric: The task's metric.
        worst: The worst that a child within the task's limits can be; None without limits.
        own_costs: Names of the task's own costs, which can be objectives too.

    Raises:
        ArgumentError: An unknown, repeated or lonely objective.
    """

    objectives: tuple[str, ...]
    metric: Metric
    worst: Measurement | None = None
    own_costs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = (self.metric.name, *OBJECTIVES, *self.own_costs)
        for name in self.objectives:
            if name not in known:
                raise argument_error("objectives", f"names among {known}", name)
        if len(set(self.objectives)) != len(self.objectives) or len(self.objectives) < 2:
            raise argument_error("objectives", "at least two different names", self.objectives)

    @property
    def signs(self) -> tuple[float, ...]:  # type: ignore[override]
        """+1 for a metric that is maximised, −1 for all else."""
        return tuple(
            1.0 if name == self.metric.name and self.metric.maximise else -1.0
            for name in self.objectives
        )

    def _values(self, measurement: Measurement) -> tuple[float, ...]:
        return tuple(float(measurement[name]) for name in self.objectives)

    def costs(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the objectives' values, maximised ones negated."""
        values = self._values(measurement)
        return tuple(-sign * value for sign, value in zip(self.signs, values, strict=True))


@dataclass(frozen=True)
class WeightedFitness(Fitness):
    """The original's scalar: wa·metric − ws·similarity_loss + wc·(1 − relative_width).

    Args:
        loss_weights: (wa, ws, wc), finite, at least 0, not all 0.
        metric: The task's metric; one that is minimised enters with a minus.
        worst: The worst that a child within the task's limits can be; None without limits.

    Raises:
        ArgumentError: Weights out of range.
    """

    loss_weights: tuple[float, float, float]
    metric: Metric
    worst: Measurement | None = None

    signs = (1.0,)

    def __post_init__(self) -> None:
        weights = self.loss_weights
        if (
            not isinstance(weights, Sequence)
            or len(weights) != 3
            or not all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights)
            or not any(weights)
        ):
            raise argument_error(
                "loss_weights",
                "three finite numbers of at least 0, not all 0: accuracy, similarity, compression",
                weights,
            )

    def _values(self, measurement: Measurement) -> tuple[float, ...]:
        wa, ws, wc = self.loss_weights
        gain = measurement.metric if self.metric.maximise else -measurement.metric
        size = 1.0 - measurement.relative_width
        return (float(wa * gain - ws * measurement.similarity_loss + wc * size),)

    def costs(self, measurement: Measurement) -> tuple[float, ...]:
        """Return metric, similarity loss and relative width, those with a weight above 0."""
        sign = 1 if self.metric.maximise else -1
        costs = (
            -sign * measurement.metric,
            measurement.similarity_loss,
            measurement.relative_width,
        )
        return tuple(c for c, weight in zip(costs, self.loss_weights, strict=True) if weight > 0)
