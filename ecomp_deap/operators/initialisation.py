"""Initialisation: the first population, by pruning the parent."""

from collections.abc import Mapping, Sequence

import numpy as np

from ecomp_deap.defaults import HIGHEST_RATE
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure, WeightGenome, WidthGenome, ranked

__all__ = [
    "LOWEST_RATE",
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

    >>> [round(rate, 3) for rate in initial_rates(7)]
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    """
    low, high = rate_range() if between is None else between
    return [low + i * (high - low) / n for i in range(n)]


def prune_masks(
    structure: Structure, importance: Sequence[np.ndarray], rate: float
) -> list[np.ndarray]:
    """Return masks without the int(rate × units) least important units of each group.

    A group keeps the nearest number of units that is allowed, see `ranked` for ties.

    Args:
        structure: The parent's groups.
        importance: One array of shape ``(n_units,)`` per group, more is more important.
        rate: Fraction of units to remove, 0 ≤ rate < 1.
    """
    genome = WidthGenome(pruned_widths(structure, rate)).unfold(ranked(importance))
    return list(genome.masks)


def pruned_widths(structure: Structure, rate: float) -> tuple[int, ...]:
    """Return the units that each group keeps where int(rate × units) of it are to go.

    Args:
        structure: The parent's groups.
        rate: Fraction of units to remove, 0 ≤ rate < 1.
    """
    if not 0 <= rate < 1:
        raise argument_error("rate", "a number in [0, 1)", rate)
    return tuple(g.nearest(g.n_units - int(rate * g.n_units)) for g in structure.groups)


def random_masks(
    structure: Structure, rate: float, generator: np.random.Generator
) -> list[np.ndarray]:
    """Return masks without int(rate × units) units of each group, drawn at random."""
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
    cut = structure.slice(arrays, [np.flatnonzero(mask) for mask in masks])
    names = [name.removesuffix(".weight") for name in cut if name.endswith(".weight")]
    return cls({name: (cut[f"{name}.weight"], cut.get(f"{name}.bias")) for name in names})
