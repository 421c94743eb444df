"""Fitness: how measurements become what DEAP selects by, Pareto or weighted.

Pareto keeps one value per objective with DEAP weights of ±1; weighted is one scalar, because DEAP
compares several values lexicographically and its weights' magnitudes change no ranking.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecomp_deap.errors import argument_error
from ecomp_deap.measurement import Measurement
from ecomp_deap.task import Metric

__all__ = ["OBJECTIVES", "Fitness", "ParetoFitness", "WeightedFitness"]

#: Objectives beside the task's metric; all are minimised.
OBJECTIVES = ("similarity_loss", "relative_width", "param_count", "mac_count")


class Fitness:
    """How a measurement becomes a tuple of values, and the DEAP weights that go with them."""

    #: One ±1 per value.
    signs: tuple[float, ...]

    @property
    def is_pareto(self) -> bool:
        """Whether there are several values, to be selected by dominance."""
        return len(self.signs) > 1

    def values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the values that DEAP stores in an individual's ``fitness``."""
        raise NotImplementedError

    def costs(self, measurement: Measurement) -> tuple[float, ...]:
        """Return what the front is made by: everything that counts, to be minimised."""
        raise NotImplementedError


@dataclass(frozen=True)
class ParetoFitness(Fitness):
    """One value per objective, each as measured.

    Args:
        objectives: At least two different names: the metric's, or of `OBJECTIVES`.
        metric: The task's metric.

    Raises:
        ArgumentError: An unknown, repeated or lonely objective.
    """

    objectives: tuple[str, ...]
    metric: Metric

    def __post_init__(self) -> None:
        known = (self.metric.name, *OBJECTIVES)
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

    def values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the objectives' values, in order."""
        return tuple(float(measurement[name]) for name in self.objectives)

    def costs(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the objectives' values, maximised ones negated."""
        values = self.values(measurement)
        return tuple(-sign * value for sign, value in zip(self.signs, values, strict=True))


@dataclass(frozen=True)
class WeightedFitness(Fitness):
    """The original's scalar: wa·metric − ws·similarity_loss + wc·(1 − relative_width).

    Args:
        loss_weights: (wa, ws, wc), finite, at least 0, not all 0.
        metric: The task's metric; one that is minimised enters with a minus.

    Raises:
        ArgumentError: Weights out of range.
    """

    loss_weights: tuple[float, float, float]
    metric: Metric

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

    def values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the one value."""
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
