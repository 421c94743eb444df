"""Mutation: one individual changes a little (in place)."""

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.checks import check_number, check_sequence, check_type
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.genomes import (
    Group,
    MaskGenome,
    Structure,
    WeightGenome,
    WidthGenome,
    making_dim,
    realign,
)
from ecomp_deap.operators.arguments import (
    check_arrays,
    check_importance,
    check_layers,
    check_masked,
    check_probability,
    check_weighted,
    check_widths,
)
from ecomp_deap.seeding import draw_generator

__all__ = [
    "mutFlipUnits",
    "mutNoise",
    "mutOneOf",
    "mutScaleWeights",
    "mutStepWidths",
    "rebind_masks",
    "tilt",
]


def mutOneOf(
    individual: Any, *, operators: Sequence[Callable[..., Any]], probabilities: Sequence[float]
) -> tuple[Any]:
    """Mutate by one of several operators (changes the individual).

    Args:
        individual: The individual.
        operators: Mutations, called with the individual alone.
        probabilities: How often each is drawn, in proportion.

    Raises:
        ArgumentError: No functions, not as many of one as of the other, a probability below 0, or
            none above.
    """
    for operator in check_sequence("operators", operators, "mutations"):
        if not callable(operator):
            raise argument_error("operators", "functions of an individual", operator)
    if not _are_odds(probabilities, len(operators)):
        expected = f"{len(operators)} finite numbers of at least 0, not all 0"
        raise argument_error("probabilities", expected, probabilities)
    operator = random.choices(operators, probabilities)[0]
    operator(individual)
    return (individual,)


def _are_odds(values: Any, n: int) -> bool:
    """Whether values are n numbers that `random.choices` can draw by."""
    if not isinstance(values, (Sequence, np.ndarray)) or len(values) != n:
        return False
    try:
        numbers = [check_number("probabilities", value, minimum=0.0) for value in values]
    except ArgumentError:
        return False
    return 0 < sum(numbers) < math.inf


def mutScaleWeights(
    individual: WeightGenome,
    *,
    low: float = 0.9,
    high: float = 1.1,
    layers: Collection[str] | None = None,
) -> tuple[WeightGenome]:
    """Multiply every weight by a factor of its own, uniform in [low, high) (changes it).

    Args:
        individual: The individual; its biases stay as they are.
        low: Smallest factor.
        high: Upper end of the factors.
        layers: Layers to mutate, by default all.

    Raises:
        ArgumentError: ``low`` above ``high``, one that is not finite, or a layer the individual
            does not have.

    Source: the original EComp.
    """
    check_weighted("individual", individual)
    low, high = check_number("low", low), check_number("high", high)
    if not low <= high:
        raise argument_error("low and high", "low at most high", (low, high))
    if high - low == math.inf:
        raise argument_error("low and high", "a finite number between them", (low, high))
    check_layers(layers, individual.layers)
    rng = draw_generator()
    mutated = {}
    for name, (weight, bias) in individual.layers.items():
        if layers is None or name in layers:
            weight = weight * rng.uniform(low, high, weight.shape).astype(weight.dtype)
            weight.flags.writeable = False
        mutated[name] = (weight, bias)
    individual.rebind(mutated)
    return (individual,)


def mutNoise(
    individual: MaskGenome, *, structure: Structure, scale: float = 0.05
) -> tuple[MaskGenome]:
    """Add Gaussian noise to what the child has learnt, scaled to its effect (changes it).

    The noise's standard deviation is ``scale`` times the root mean square of the weights that make
    the same unit in the same tensor. So the sums that units form, which grow with their weights,
    all change by about the same part of themselves. Biases and what norms hold stay as they are,
    and so does an individual that has learnt nothing.

    Args:
        individual: The individual.
        structure: The parent's groups.
        scale: Size of the noise, at least 0.

    Raises:
        ArgumentError: A negative scale.
    """
    check_type("individual", individual, MaskGenome)
    check_type("structure", structure, Structure)
    scale = check_number("scale", scale, minimum=0.0)
    rng = draw_generator()
    if individual.arrays is None:
        return (individual,)
    noisy = {}
    for name, array in individual.arrays.items():
        if array.ndim >= 2:
            made = making_dim(name, structure.tables)
            others = tuple(dim for dim in range(array.ndim) if dim != made)
            squares = np.square(array, dtype=np.float64)
            size = np.sqrt(squares.mean(axis=others, keepdims=True))
            noise = scale * size * rng.standard_normal(array.shape)
            array = (array + noise).astype(array.dtype)
        noisy[name] = array
    individual.rebind(individual.masks, noisy)
    return (individual,)


def mutFlipUnits(
    individual: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    indpb: float,
    importance: Sequence[np.ndarray] | None = None,
) -> tuple[MaskGenome]:
    """Flip each unit's bit with probability ``indpb`` (changes it).

    With an importance, important units are likelier to come and less likely to go: of those that
    a group has, and of those that it lacks, the probability is linear in the unit's rank, from
    nearly 0 to nearly 2 ``indpb`` (of an ``indpb`` above 0.5, up to 1), and ``indpb`` on average.

    A group whose flips leave a number of units that is not allowed is repaired: it goes to the
    next allowed number above or below, drawn so that the expected number is what the flips left.
    Flips that led away from it are undone first, drawn at random, then other units change. Units
    that come back take the parent's weights.

    Args:
        individual: The individual.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name.
        indpb: Probability of a flip, for each unit.
        importance: One array of shape ``(n_units,)`` per group, more is more important; by default
            all units are alike.

    Raises:
        ArgumentError: An individual or an importance of other groups, or a probability outside
            0…1.
    """
    check_masked("individual", individual, structure)
    check_arrays("parent_arrays", parent_arrays)
    indpb = check_probability("indpb", indpb)
    if importance is not None:
        check_importance(importance, structure)
    rng = draw_generator()
    masks = []
    for i, (group, mask) in enumerate(zip(structure.groups, individual.masks, strict=True)):
        probability = np.full(mask.size, indpb)
        if importance is not None:
            lean = min(indpb, 1 - indpb)
            probability[mask] -= lean * tilt(importance[i][mask])
            probability[~mask] += lean * tilt(importance[i][~mask])
        flipped = mask ^ (rng.random(mask.size) < probability)
        masks.append(_repaired(group, flipped, mask, rng))
    rebind_masks(individual, masks, structure, parent_arrays)
    return (individual,)


def tilt(values: np.ndarray) -> np.ndarray:
    """Return evenly spaced numbers between −1 and 1, in the order of the values, of mean 0.

    Of equal values the later one counts as the larger.

    >>> tilt(np.array([5.0, 1.0, 3.0, 9.0])).tolist()
    [0.25, -0.75, -0.25, 0.75]
    """
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return (2 * ranks + 1) / max(len(values), 1) - 1


def rebind_masks(
    individual: MaskGenome,
    masks: Sequence[np.ndarray],
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
) -> None:
    """Give an individual other masks (in place); what it learnt follows its units.

    Args:
        individual: The individual.
        masks: Its new masks; units that it did not have take the parent's weights.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name.
    """
    learnt = None
    if individual.arrays is not None:
        learnt = realign(structure, masks, [individual], parent_arrays)
    individual.rebind(masks, learnt)


def _repaired(
    group: Group, flipped: np.ndarray, before: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return ``flipped`` with an allowed number of units, see `mutFlipUnits`."""
    n = int(np.count_nonzero(flipped))
    below, above = group.bounds(n)
    if below == above == n:
        return flipped
    wanted = above if above == below or rng.random() * (above - below) < n - below else below
    # What is to change: units that are there, or that are not.
    eligible = np.flatnonzero(flipped if wanted < n else ~flipped)
    undo_first = np.lexsort((rng.random(eligible.size), flipped[eligible] == before[eligible]))
    repaired = flipped.copy()
    repaired[eligible[undo_first[: abs(wanted - n)]]] ^= True
    return repaired


def mutStepWidths(
    individual: WidthGenome,
    *,
    structure: Structure,
    indpb: float,
    scale: float = 0.1,
) -> tuple[WidthGenome]:
    """Step each group's number of units up or down with probability ``indpb`` (changes it).

    A step is drawn from a normal distribution whose standard deviation is ``scale`` of the group's
    units, and goes to the nearest allowed number, at least to the next one.

    Args:
        individual: The individual.
        structure: The parent's groups.
        indpb: Probability of a step, for each group.
        scale: Size of the steps, above 0.

    Raises:
        ArgumentError: An individual of other groups, a probability outside 0…1, or a scale that
            is not positive.
    """
    check_widths("individual", individual, structure)
    indpb = check_probability("indpb", indpb)
    scale = check_number("scale", scale, above=0.0)
    rng = draw_generator()
    widths = []
    for group, width in zip(structure.groups, individual.widths, strict=True):
        stepped = width
        if rng.random() < indpb:
            step = scale * group.n_units * rng.standard_normal()
            stepped = group.nearest(width + step)
            if stepped == width:
                below, above = group.bounds(width - 1)[0], group.bounds(width + 1)[1]
                stepped = above if step > 0 else below
        widths.append(stepped)
    individual.rebind(widths)
    return (individual,)
