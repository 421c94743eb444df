"""Mutation: one individual changes a little (in place)."""

from collections.abc import Collection, Mapping

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Group, MaskGenome, Structure, WeightGenome, WidthGenome, realign
from ecomp_deap.seeding import draw_generator

__all__ = ["mutFlipUnits", "mutScaleWeights", "mutStepWidths"]


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
        ArgumentError: ``low`` above ``high``, or a layer the individual does not have.

    Source: the original EComp.
    """
    if not low <= high:
        raise argument_error("low and high", "low at most high", (low, high))
    for name in layers or ():
        if name not in individual.layers:
            raise argument_error("layers", f"names among {list(individual.layers)}", name)
    rng = draw_generator()
    mutated = {}
    for name, (weight, bias) in individual.layers.items():
        if layers is None or name in layers:
            weight = weight * rng.uniform(low, high, weight.shape).astype(weight.dtype)
            weight.flags.writeable = False
        mutated[name] = (weight, bias)
    individual.rebind(mutated)
    return (individual,)


def mutFlipUnits(
    individual: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    indpb: float,
) -> tuple[MaskGenome]:
    """Flip each unit's bit with probability ``indpb`` (changes it).

    A group whose flips leave a number of units that is not allowed is repaired: it goes to the
    next allowed number above or below, drawn so that the expected number is what the flips left.
    Flips that led away from it are undone first, drawn at random, then other units change. Units
    that come back take the parent's weights.

    Args:
        individual: The individual.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name.
        indpb: Probability of a flip, for each unit.
    """
    rng = draw_generator()
    masks = []
    for group, mask in zip(structure.groups, individual.masks, strict=True):
        flipped = mask ^ (rng.random(mask.size) < indpb)
        masks.append(_repaired(group, flipped, mask, rng))
    learnt = None
    if individual.arrays is not None:
        learnt = realign(structure, masks, [individual], parent_arrays)
    individual.rebind(masks, learnt)
    return (individual,)


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
        ArgumentError: A scale that is not positive.
    """
    if not scale > 0:
        raise argument_error("scale", "a number greater than 0", scale)
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
