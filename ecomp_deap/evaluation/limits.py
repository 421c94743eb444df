"""Limits: what children may cost at most, and what becomes of those that cost more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from ecomp_deap.errors import EcompError, argument_error
from ecomp_deap.evaluation.own_costs import OwnCosts
from ecomp_deap.genomes import Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.cost_model import CostModel, leading_units
from ecomp_deap.network.latency import LatencyMeter
from ecomp_deap.network.training import to_device
from ecomp_deap.operators.initialisation import pruned_widths
from ecomp_deap.task import Task

__all__ = ["Limits"]

# How exactly the rate is found at which children keep the limits, and the highest one.
_RATE_STEP, _HIGHEST_RATE = 1e-3, 1 - 1e-9
# The latency of children that failed, in the parent's: more than any child will take.
_WORST_SLOWDOWN = 1000.0


class Limits:
    """Tells by how much a child exceeds a task's limits, and how long it takes if that counts.

    Args:
        task: Whose limits they are.
        structure: The parent's groups.
        cost_model: Tells what children cost.
        arrays: The parent's arrays by name.
        timed: Whether children are timed, even if their latency has no limit.

    Attributes:
        matter: Whether `judge` changes anything.
        times: Whether children are timed.

    Raises:
        ArgumentError: A limit that even the smallest child exceeds, with what that costs.
    """

    def __init__(
        self,
        task: Task,
        structure: Structure,
        cost_model: CostModel,
        arrays: Mapping[str, np.ndarray],
        *,
        timed: bool = False,
    ) -> None:
        self._task, self._limits = task, task.limits
        self._structure, self._cost_model, self._arrays = structure, cost_model, arrays
        self._meter = self._make_meter() if timed or "latency_ms" in self._limits else None
        self.times = self._meter is not None
        self._own = OwnCosts(task.costs or {})
        self.matter = bool(self._limits or task.costs) or self.times
        self._parents = self._own(structure.widths, lambda: task.parent)
        for cost, limit in self._limits.items():
            if self._smallest[cost] > limit:
                least = f"at least {_shown(self._smallest[cost])}, what the smallest child takes"
                raise argument_error(task.limit_name(cost), least, limit)

    def judge(
        self, found: Measurement, widths: Sequence[int], make_child: Callable[[], nn.Module]
    ) -> Measurement:
        """Return a measurement with its violation of the limits, its latency and the task's costs.

        A child is timed here, so no other work should go on meanwhile. A failed one is given a
        latency beyond all others: a child may be slower than its parent.

        Args:
            found: What was measured.
            widths: The child's units in each group.
            make_child: Makes it, if it has to be timed.
        """
        if self._meter is not None:
            worst = _WORST_SLOWDOWN * self._meter.parent_ms
            latency = worst if found.failed else min(self._meter(widths, make_child), worst)
            found = replace(found, latency_ms=latency)
        if self._parents:
            costs = self._parents if found.failed else self._own(widths, make_child)
            found = replace(found, costs=tuple(costs.items()))
        if found.failed or not self._limits:
            return found
        return replace(found, violation=self._violation(found))

    @cached_property
    def feasible_rate(self) -> float:
        """The least rate, in [0, 1), at which a child pruned so in all groups keeps the limits."""
        low, high = 0.0, _HIGHEST_RATE
        if not self._limits or self._keeps(low):
            return low
        # At the highest rate it is the smallest child, which does.
        while high - low > _RATE_STEP:
            middle = (low + high) / 2
            low, high = (low, middle) if self._keeps(middle) else (middle, high)
        return high

    def unreached(self, found: Sequence[Measurement]) -> EcompError:
        """Return the error for a search in which no child kept the limits.

        Args:
            found: Of the children, at least one.
        """
        closest = min(found, key=lambda measurement: measurement.violation)
        broken = [
            f"{self._task.limit_name(cost)}={_shown(limit)}: the closest has "
            f"{_shown(closest[cost])}, the smallest possible child {_shown(self._smallest[cost])}"
            for cost, limit in self._limits.items()
            if closest[cost] > limit
        ]
        return EcompError(
            f"no child keeps the limits ({'; '.join(broken)}): search longer or with more "
            "individuals, or allow more"
        )

    def _make_meter(self) -> LatencyMeter:
        task, samples = self._task, self._task.splits.search
        n = task.latency_batch_size
        if n > len(samples):
            most = f"at most {len(samples)}, the number of search samples"
            raise argument_error("latency_batch_size", most, n)
        inputs, _ = samples.batch(np.arange(n))
        inputs = to_device(inputs, task.device)
        return LatencyMeter(task.parent, self._structure.widths, inputs, forward=task.apply)

    def _make_child(self, widths: Sequence[int]) -> nn.Module:
        genome = leading_units(self._structure, widths)
        return compile_child(self._task.parent, self._structure, genome, arrays=self._arrays)

    def _violation(self, costs: Mapping[str, float]) -> float:
        return sum(max(0.0, costs[cost] / limit - 1) for cost, limit in self._limits.items())

    def _keeps(self, rate: float) -> bool:
        costs = self._costs(pruned_widths(self._structure, rate))
        return all(costs[cost] <= limit for cost, limit in self._limits.items())

    @cached_property
    def _smallest(self) -> dict[str, float]:
        return self._costs(self._cost_model.smallest)

    def _costs(self, widths: Sequence[int]) -> dict[str, float]:
        costs: dict[str, Any] = vars(self._cost_model(widths)).copy()
        if "latency_ms" in self._limits:
            assert self._meter is not None  # it is there where latency is limited
            costs["latency_ms"] = self._meter(widths, lambda: self._make_child(widths))
        return costs | self._own(widths, lambda: self._make_child(widths))


def _shown(figure: float) -> str:
    """Return a cost as errors show it.

    >>> _shown(1234567), _shown(0.123456)
    ('1,234,567', '0.123')
    """
    return f"{figure:,d}" if isinstance(figure, int) else f"{figure:.3g}"
