"""Resizing: mutation by whole groups, which grow, shrink, and give each other their parameters."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

import numpy as np

from ecomp_deap.checks import check_callable, check_number
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Group, MaskGenome, Structure, WidthGenome
from ecomp_deap.operators.arguments import (
    check_arrays,
    check_importance,
    check_masked,
    check_widths,
)
from ecomp_deap.operators.mutation import rebind_masks, tilt
from ecomp_deap.seeding import draw_generator

__all__ = ["mutMoveBudget", "mutMoveWidths", "mutResizeGroup"]

# Returns what a child of given widths costs; more units never cost less.
Cost = Callable[[Sequence[int]], float]


def mutResizeGroup(
    individual: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    importance: Sequence[np.ndarray] | None = None,
    fraction: float = 2.0,
) -> tuple[MaskGenome]:
    """Let one group grow or shrink, with the same probability (changes the individual).

    The group is drawn among those that can change, and its number of units is multiplied or
    divided by up to 1 + ``fraction``, to the nearest allowed number, at least the next one. Units
    go and come by lot; with an importance, the less important are the likelier to go and the more
    important to come, linearly in the rank. Units that come take the parent's weights.

    Args:
        individual: The individual.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name.
        importance: One array of shape ``(n_units,)`` per group, more is more important; by default
            all units are alike.
        fraction: How much a group grows at most, above 0.

    Raises:
        ArgumentError: An individual or an importance of other groups, or a fraction that is not
            positive.
    """
    _check_masked(individual, structure, parent_arrays, importance)
    fraction = check_number("fraction", fraction, above=0.0)
    rng = draw_generator()
    widths = list(individual.widths)
    free = [i for i, group in enumerate(structure.groups) if not group.is_fixed]
    if free:
        index = free[rng.integers(len(free))]
        group = structure.groups[index]
        grows = bool(rng.random() < 0.5)
        if widths[index] in (group.allowed[0], group.n_units):
            grows = widths[index] < group.n_units
        widths[index] = _resized(group, widths[index], grows, fraction, rng)
    _fit(individual, widths, structure, parent_arrays, importance, rng)
    return (individual,)


def mutMoveBudget(
    individual: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    cost: Cost,
    importance: Sequence[np.ndarray] | None = None,
    fraction: float = 2.0,
    tolerance: float = 0.05,
) -> tuple[MaskGenome]:
    """Let one group shrink and another grow for about the same cost (changes the individual).

    The widths change as by `mutMoveWidths`, the units as by `mutResizeGroup`.

    Args:
        individual: The individual.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name.
        cost: Returns what a child of given widths costs; more units never cost less.
        importance: See `mutResizeGroup`.
        fraction: See `mutMoveWidths`.
        tolerance: See there.

    Raises:
        ArgumentError: A fraction or tolerance that is not positive.
    """
    _check_masked(individual, structure, parent_arrays, importance)
    fraction, tolerance = _check_move(cost, fraction, tolerance)
    rng = draw_generator()
    widths = _moved(structure, individual.widths, cost, fraction, tolerance, rng)
    _fit(individual, widths, structure, parent_arrays, importance, rng)
    return (individual,)


def mutMoveWidths(
    individual: WidthGenome,
    *,
    structure: Structure,
    cost: Cost,
    fraction: float = 2.0,
    tolerance: float = 0.05,
) -> tuple[WidthGenome]:
    """Let one group shrink and another grow for about the same cost (changes the individual).

    The two are drawn. The first one's number of units is divided by up to 1 + ``fraction``; the
    second one takes as many as cost the same, and the first one's is then fitted to these. Where
    the cost would differ by more than ``tolerance`` of itself, two others are drawn; where it does
    for all, the individual stays as it is.

    Args:
        individual: The individual.
        structure: The parent's groups.
        cost: Returns what a child of given widths costs; more units never cost less.
        fraction: How much a group shrinks, above 0.
        tolerance: How much of the cost may be lost or gained, above 0.

    Raises:
        ArgumentError: A fraction or tolerance that is not positive.
    """
    check_widths("individual", individual, structure)
    fraction, tolerance = _check_move(cost, fraction, tolerance)
    rng = draw_generator()
    individual.rebind(_moved(structure, individual.widths, cost, fraction, tolerance, rng))
    return (individual,)


def _check_masked(
    individual: MaskGenome,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    importance: Sequence[np.ndarray] | None,
) -> None:
    check_masked("individual", individual, structure)
    check_arrays("parent_arrays", parent_arrays)
    if importance is not None:
        check_importance(importance, structure)


def _check_move(cost: Cost, fraction: float, tolerance: float) -> tuple[float, float]:
    check_callable("cost", cost, "a function of widths")
    return (
        check_number("fraction", fraction, above=0.0),
        check_number("tolerance", tolerance, above=0.0),
    )


def _resized(
    group: Group, width: int, grows: bool, fraction: float, rng: np.random.Generator
) -> int:
    """Return a larger or smaller number of units that is allowed; there has to be one."""
    factor = (1 + fraction) ** rng.random()
    if grows:
        return max(group.nearest(width * factor), group.bounds(width + 1)[1])
    return min(group.nearest(width / factor), group.bounds(width - 1)[0])


def _moved(
    structure: Structure,
    widths: Sequence[int],
    cost: Cost,
    fraction: float,
    tolerance: float,
    rng: np.random.Generator,
) -> list[int]:
    """Return other widths of about the same cost, see `mutMoveWidths`."""
    groups, budget = structure.groups, cost(widths)
    if not isinstance(budget, Real) or not math.isfinite(budget):
        raise argument_error("cost", "a function that returns a finite number", budget)
    givers = [i for i, group in enumerate(groups) if widths[i] > group.allowed[0]]
    takers = [i for i, group in enumerate(groups) if widths[i] < group.n_units]
    pairs = [(giver, taker) for giver in givers for taker in takers if giver != taker]
    for place in rng.permutation(len(pairs)):
        giver, taker = pairs[place]
        moved = list(widths)
        moved[giver] = _resized(groups[giver], widths[giver], False, fraction, rng)
        larger = [n for n in groups[taker].allowed if n > widths[taker]]
        moved[taker] = _fitting(cost, moved, taker, larger, budget)
        smaller = [n for n in groups[giver].allowed if n < widths[giver]]
        moved[giver] = _fitting(cost, moved, giver, smaller, budget)
        if abs(cost(moved) - budget) <= tolerance * budget:
            return moved
    return list(widths)


def _fitting(
    cost: Cost, widths: Sequence[int], index: int, numbers: Sequence[int], budget: float
) -> int:
    """Return which of ascending numbers of units of one group brings the cost nearest to a budget.

    Of two at the same distance the smaller.
    """

    def with_units(n: int) -> float:
        return cost([n if i == index else width for i, width in enumerate(widths)])

    above = bisect_left(numbers, budget, key=with_units)
    candidates = numbers[max(above - 1, 0) : above + 1]
    return min(candidates, key=lambda n: abs(with_units(n) - budget))


def _fit(
    individual: MaskGenome,
    widths: Sequence[int],
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    importance: Sequence[np.ndarray] | None,
    rng: np.random.Generator,
) -> None:
    """Remove and add units until the individual has given widths (in place)."""
    masks = []
    for i, (mask, width) in enumerate(zip(individual.masks, widths, strict=True)):
        change = width - int(np.count_nonzero(mask))
        if change:
            units = np.flatnonzero(~mask if change > 0 else mask)
            weights = np.ones(units.size)
            if importance is not None:
                weights += np.sign(change) * tilt(importance[i][units])
            chosen = rng.choice(units, abs(change), replace=False, p=weights / weights.sum())
            mask = mask.copy()
            mask[chosen] ^= True
        masks.append(mask)
    rebind_masks(individual, masks, structure, parent_arrays)
