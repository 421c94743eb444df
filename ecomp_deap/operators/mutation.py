"""Mutation: one individual changes a little (in place)."""

from collections.abc import Collection, Mapping

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import MaskGenome, Structure, WeightGenome, realign
from ecomp_deap.seeding import draw_generator

__all__ = ["mutFlipUnits", "mutScaleWeights"]


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

    A group that would fall below its minimum keeps, of the units it had, as many as it lacks,
    drawn at random. Units that come back take the parent's weights.

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
        n_missing = group.min_units - int(np.count_nonzero(flipped))
        if n_missing > 0:
            flipped[rng.choice(np.flatnonzero(mask & ~flipped), n_missing, replace=False)] = True
        masks.append(flipped)
    learnt = None
    if individual.arrays is not None:
        learnt = realign(structure, masks, [individual], parent_arrays)
    individual.rebind(masks, learnt)
    return (individual,)
