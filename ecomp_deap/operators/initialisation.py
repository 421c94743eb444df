"""Initialisation: the first population, by pruning the parent."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.checks import check_count, check_number, check_type
from ecomp_deap.defaults import HIGHEST_RATE
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure, WeightGenome, WidthGenome, ranked
from ecomp_deap.operators.arguments import check_arrays, check_importance

__all__ = [
    "LOWEST_RATE",
    "check_rate",
    "initial_rates",
    "prune_masks",
    "pruned_weight_genome",
    "pruned_widths",
    "random_masks",
    "rate_range",
]

#: The lowest initial pruning rate.
LOWEST_RATE = 0.1


def rate_range(feasible: float = 0.0, highest: float = HIGHEST_RATE) -> tuple[float, float]:
    """Return the lowest and highest initial rate: 0.1 and ``highest``, or where limits are kept.

    Args:
        feasible: The rate from which on children keep the task's limits. It lies at the middle of
            the range, or below it.
        highest: The highest rate without limits, above 0.1 and below 1.

    >>> rate_range(), [round(rate, 3) for rate in rate_range(0.9)]
    ((0.1, 0.8), [0.85, 0.95])
    """
    highest = max(highest, (1 + feasible) / 2)
    return max(LOWEST_RATE, 2 * feasible - highest), highest


def initial_rates(n: int, between: tuple[float, float] | None = None) -> list[float]:
    """Return ``n`` evenly spaced pruning rates of a range, its highest not included.

    Args:
        n: Number of rates.
        between: The range, by default that of `rate_range`.

    Raises:
        ArgumentError: A negative number, or a range that does not lie within 0…1.

    >>> [round(rate, 3) for rate in initial_rates(7)]
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    """
    n = check_count("n", n, minimum=0)
    low, high = rate_range() if between is None else _check_range(between)
    return [low + i * (high - low) / n for i in range(n)]


def _check_range(between: Any) -> tuple[float, float]:
    expected = "two numbers from 0 to 1, the lower one first"
    try:
        low, high = (check_number("between", rate, minimum=0.0, maximum=1.0) for rate in between)
    except (TypeError, ValueError):
        raise argument_error("between", expected, between) from None
    if low > high:
        raise argument_error("between", expected, between)
    return low, high


def prune_masks(
    structure: Structure, importance: Sequence[np.ndarray], rate: float
) -> list[np.ndarray]:
    """Return masks without the int(rate × units) least important units of each group.

    A group keeps the nearest number of units that is allowed, see `ranked` for ties.

    Args:
        structure: The parent's groups.
        importance: One array of shape ``(n_units,)`` per group, more is more important.
        rate: Fraction of units to remove, 0 ≤ rate < 1.

    Raises:
        ArgumentError: A rate out of range, or an importance of other groups.
    """
    check_importance(importance, structure)
    genome = WidthGenome(pruned_widths(structure, rate)).unfold(ranked(importance))
    return list(genome.masks)


def pruned_widths(structure: Structure, rate: float) -> tuple[int, ...]:
    """Return the units that each group keeps where int(rate × units) of it are to go.

    Args:
        structure: The parent's groups.
        rate: Fraction of units to remove, 0 ≤ rate < 1.

    Raises:
        ArgumentError: A rate out of range.
    """
    check_type("structure", structure, Structure)
    rate = check_rate(rate)
    return tuple(g.nearest(g.n_units - int(rate * g.n_units)) for g in structure.groups)


def check_rate(rate: Any) -> float:
    """Return a pruning rate as a float.

    Raises:
        ArgumentError: It is no number in [0, 1).
    """
    return check_number("rate", rate, minimum=0.0, below=1.0, expected="a number in [0, 1)")


def random_masks(
    structure: Structure, rate: float, generator: np.random.Generator
) -> list[np.ndarray]:
    """Return masks without int(rate × units) units of each group, drawn at random."""
    check_type("structure", structure, Structure)
    check_type("generator", generator, np.random.Generator)
    importance = [generator.permutation(group.n_units) for group in structure.groups]
    return prune_masks(structure, importance, rate)


def pruned_weight_genome(
    cls: type[WeightGenome],
    masks: Sequence[np.ndarray],
    *,
    structure: Structure,
    arrays: Mapping[str, np.ndarray],
) -> WeightGenome:
    """Return a genome of ``cls`` with the parent's weights, cut to the units that masks keep."""
    if not isinstance(cls, type) or not issubclass(cls, WeightGenome):
        raise argument_error("cls", "a class of WeightGenome", cls)
    check_type("structure", structure, Structure)
    check_arrays("arrays", arrays)
    cut = structure.slice(arrays, [np.flatnonzero(mask) for mask in masks])
    names = [name.removesuffix(".weight") for name in cut if name.endswith(".weight")]
    return cls({name: (cut[f"{name}.weight"], cut.get(f"{name}.bias")) for name in names})
