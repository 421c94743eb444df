"""Filling: individuals resized, so that their children just keep a wanted number of parameters."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import WeightGenome, WidthGenome
from ecomp_deap.operators.mutation import rebind_masks
from ecomp_deap.search.pruning import Widths, largest_within
from ecomp_deap.toolbox import Toolbox

__all__ = ["fill"]

# Factors that widths are multiplied by: from 4 to a quarter, in steps finer than a unit.
_WIDEST, _STEPS = 4.0, 2**14


def fill(
    individuals: Iterable[Any], param_counts: Sequence[int], toolbox: Toolbox, n: int
) -> list[Any]:
    """Return copies of individuals, resized to each of some numbers of parameters.

    Those whose numbers are nearest, by the logarithm and of different widths, are taken. All their
    groups grow or shrink by the same factor, the largest by which a child has so many parameters at
    most; the least important units go, the most important come. Individuals are not resized by more
    than a factor of 4, nor weight genomes at all.

    Args:
        individuals: Evaluated ones, the most promising first.
        param_counts: The numbers of parameters wanted.
        toolbox: What they were evaluated with.
        n: Individuals for each number.
    """
    evaluator = toolbox.evaluator
    different: dict[Widths, Any] = {}
    for individual in individuals:
        if not isinstance(individual, WeightGenome):
            different.setdefault(tuple(individual.widths), individual)
    sizes = {widths: evaluator.cost_model(widths).param_count for widths in different}
    filled = {}
    for wanted in param_counts:
        nearest = sorted(different, key=lambda widths: abs(math.log(sizes[widths] / wanted)))
        found: dict[Widths, Any] = {}
        for old in nearest:
            widths = _scaled(old, wanted, evaluator)
            if widths is not None and widths not in found and len(found) < n:
                found[widths] = _resized(different[old], widths, toolbox)
        filled.update(found)
    return list(filled.values())


def _scaled(widths: Widths, param_count: int, evaluator: Evaluator) -> Widths | None:
    """Return the largest multiple of widths with so many parameters at most, None if none has."""
    groups = evaluator.structure.groups

    def widths_at(i: int) -> Widths:
        factor = _WIDEST ** (1 - 2 * i / (_STEPS - 1))
        return tuple(g.nearest(w * factor) for g, w in zip(groups, widths, strict=True))

    return largest_within(param_count, widths_at, _STEPS, evaluator)


def _resized(individual: Any, widths: Widths, toolbox: Toolbox) -> Any:
    """Return a copy of an individual that has given widths."""
    evaluator, copy = toolbox.evaluator, toolbox.clone(individual)
    if isinstance(copy, WidthGenome):
        copy.rebind(widths)
        return copy
    masks = [
        _with_units(mask, width, values)
        for mask, width, values in zip(copy.masks, widths, evaluator.importance, strict=True)
    ]
    rebind_masks(copy, masks, evaluator.structure, evaluator.arrays)
    return copy


def _with_units(mask: np.ndarray, width: int, importance: np.ndarray) -> np.ndarray:
    """Return a mask of ``width`` units: the least important have gone, or the most come."""
    order = np.argsort(importance, kind="stable")[::-1]
    kept, others = order[mask[order]], order[~mask[order]]
    units = np.concatenate([kept, others])[:width]
    filled = np.zeros_like(mask)
    filled[units] = True
    return filled
