"""Initialisation: the first population, by pruning the parent."""

from collections.abc import Mapping, Sequence

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure, WeightGenome

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "initial_rates",
    "prune_masks",
    "pruned_weight_genome",
    "random_masks",
]

#: The range of the initial pruning rates.
LOWEST_RATE, HIGHEST_RATE = 0.1, 0.8


def initial_rates(n: int) -> list[float]:
    """Return ``n`` evenly spaced pruning rates from 0.1 up to but not including 0.8.

    >>> [round(rate, 3) for rate in initial_rates(7)]
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    """
    return [LOWEST_RATE + i * (HIGHEST_RATE - LOWEST_RATE) / n for i in range(n)]


def prune_masks(
    structure: Structure, importance: Sequence[np.ndarray], rate: float
) -> list[np.ndarray]:
    """Return masks without the int(rate × units) least important units of each group.

    Equal importance is broken by index; a group keeps at least its minimum.

    Args:
        structure: The parent's groups.
        importance: One array of shape ``(n_units,)`` per group, more is more important.
        rate: Fraction of units to remove, 0 ≤ rate < 1.
    """
    if not 0 <= rate < 1:
        raise argument_error("rate", "a number in [0, 1)", rate)
    masks = []
    for group, values in zip(structure.groups, importance, strict=True):
        n_removed = min(int(rate * group.n_units), group.n_units - group.min_units)
        mask = np.ones(group.n_units, dtype=bool)
        mask[np.argsort(values, kind="stable")[:n_removed]] = False
        masks.append(mask)
    return masks


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
