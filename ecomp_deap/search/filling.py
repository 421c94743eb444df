"""Filling: individuals resized, so that their children just keep a wanted number of parameters."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import WeightGenome, WidthGenome, ranked
from ecomp_deap.operators.mutation import rebind_masks
from ecomp_deap.search.pruning import Widths, largest_within
from ecomp_deap.toolbox import Toolbox

__all__ = ["NEAR", "fill"]

#: The part of a wanted number of parameters that a child has to have, to be one for it.
NEAR = 0.9
# Factors that widths are multiplied by: from 4 to a quarter, in steps finer than a unit, 1 among
# them.
_WIDEST, _STEPS = 4.0, 2**14 + 1


def fill(
    individuals: Iterable[Any], param_counts: Sequence[int], toolbox: Toolbox, n: int
) -> list[Any]:
    """Return copies of individuals, resized to each of some numbers of parameters.

    Those whose numbers are nearest, by the logarithm and of different widths, are taken. Their
    groups grow or shrink by the same factor, of at most 4, as far as they may; then single groups
    grow by a step as long as the child has so many parameters at most, the one that changes least
    first. Those that still have less than `NEAR` of it are left out. The least important units go,
    the most important come. Weight genomes are not resized.

    Args:
        individuals: Evaluated ones; of equal widths the first is taken.
        param_counts: The numbers of parameters wanted.
        toolbox: What they were evaluated with.
        n: Individuals for each number, if so many are found.
    """
    evaluator = toolbox.evaluator
    different: dict[Widths, Any] = {}
    for individual in individuals:
        if not isinstance(individual, WeightGenome):
            different.setdefault(tuple(individual.widths), individual)
    sizes = {widths: evaluator.cost_model(widths).param_count for widths in different}
    filled = {}
    for wanted in param_counts:
        found: dict[Widths, Any] = {}
        for old in sorted(different, key=lambda widths: abs(math.log(sizes[widths] / wanted))):
            if len(found) == n:
                break
            widths = _filling(old, wanted, evaluator)
            if widths is not None and widths not in found:
                found[widths] = _resized(different[old], widths, toolbox)
        filled.update(found)
    return list(filled.values())


def _filling(widths: Widths, param_count: int, evaluator: Evaluator) -> Widths | None:
    """Return widths of about the same proportions that just keep a number of parameters, if any."""
    groups = evaluator.structure.groups

    def widths_at(i: int) -> Widths:
        factor = _WIDEST ** (1 - 2 * i / (_STEPS - 1))
        return tuple(g.nearest(w * factor) for g, w in zip(groups, widths, strict=True))

    def size(found: Widths) -> int:
        return evaluator.cost_model(found).param_count

    found = largest_within(param_count, widths_at, _STEPS, evaluator)
    while found is not None:
        grown = [
            (
                group.bounds(width + 1)[1] / width,
                (*found[:i], group.bounds(width + 1)[1], *found[i + 1 :]),
            )
            for i, (group, width) in enumerate(zip(groups, found, strict=True))
            if width < group.n_units
        ]
        fitting = [(step, wider) for step, wider in grown if size(wider) <= param_count]
        if not fitting:
            break
        found = min(fitting)[1]
    return None if found is None or size(found) < NEAR * param_count else found


def _resized(individual: Any, widths: Widths, toolbox: Toolbox) -> Any:
    """Return a copy of an individual that has given widths."""
    evaluator, copy = toolbox.evaluator, toolbox.clone(individual)
    if isinstance(copy, WidthGenome):
        copy.rebind(widths)
        return copy
    rankings = [
        np.concatenate([order[mask[order]], order[~mask[order]]])  # its own units first
        for mask, order in zip(copy.masks, ranked(evaluator.importance), strict=True)
    ]
    masks = WidthGenome(widths).unfold(rankings).masks
    rebind_masks(copy, masks, evaluator.structure, evaluator.arrays)
    return copy
