"""Fitness: how measurements become what DEAP selects by, Pareto or weighted.

Pareto keeps one value per objective with DEAP weights of ±1; weighted is one scalar, because DEAP
compares several values lexicographically and its weights' magnitudes change no ranking.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.cost import widths_cost
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import Metric

__all__ = ["OBJECTIVES", "Fitness", "ParetoFitness", "WeightedFitness", "failed_measurement"]

#: Objectives beside the task's metric; all are minimised.
OBJECTIVES = ("similarity_loss", "relative_width", "param_count", "mac_count")


class Fitness:
    """How a measurement becomes a tuple of values, and the DEAP weights that go with them."""

    #: One ±1 per value.
    signs: tuple[float, ...]

    def values(self, measurement: Measurement) -> tuple[float, ...]:
        """Return the values that DEAP stores in an individual's ``fitness``."""
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


def failed_measurement(
    reason: str, metric: Metric, structure: Structure, n_probes: int
) -> Measurement:
    """Return the finite worst measurement, for a child that could not be measured."""
    assert metric.worst is not None  # Metric has seen to it
    params, macs = widths_cost(structure, structure.widths)
    return Measurement(
        metric=metric.worst,
        similarity_loss=WORST_LOSS * n_probes,
        relative_width=1.0,
        param_count=params,
        mac_count=macs,
        failed=True,
        reason=reason,
        metric_name=metric.name,
    )
