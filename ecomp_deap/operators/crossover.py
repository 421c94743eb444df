"""Crossover: two mates become two children (in place)."""

import random
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import MaskGenome, Structure, WeightGenome, realign
from ecomp_deap.seeding import draw_generator

__all__ = ["cxCutoff", "cxKPointUnits", "cxUniformUnits"]


def cxCutoff(
    ind1: WeightGenome, ind2: WeightGenome, *, layers: Collection[str] | None = None
) -> tuple[WeightGenome, WeightGenome]:
    """Cross blocks of weights at one cut-off per layer (changes both individuals).

    For each layer a cut-off k is drawn from 1 to the smallest of the four dimensions of the two
    matrices. The first child has the second mate's shape, with the rows and columns below k (of
    the bias, the first k entries) taken from the first mate; the second child the reverse. Every
    child is consistent, whatever the widths.

    Args:
        ind1: First mate.
        ind2: Second mate, with the same layer names.
        layers: Layers to cross, by default all; the others come whole from the mate that gives
            the shape.

    Raises:
        ArgumentError: Mates of different layers, or a name they do not have.

    Source: the original EComp.
    """
    if list(ind1.layers) != list(ind2.layers):
        raise argument_error("ind2", f"layers {list(ind1.layers)}", list(ind2.layers))
    for name in layers or ():
        if name not in ind1.layers:
            raise argument_error("layers", f"names among {list(ind1.layers)}", name)
    child1: dict[str, tuple[Any, Any]] = {}
    child2: dict[str, tuple[Any, Any]] = {}
    for name, (weight1, bias1) in ind1.layers.items():
        weight2, bias2 = ind2.layers[name]
        if layers is not None and name not in layers:
            child1[name], child2[name] = (weight2, bias2), (weight1, bias1)
            continue
        k = random.randint(1, min(*weight1.shape, *weight2.shape))
        child1[name] = (_graft(weight2, weight1, k), _graft(bias2, bias1, k))
        child2[name] = (_graft(weight1, weight2, k), _graft(bias1, bias2, k))
    ind1.rebind(child1)
    ind2.rebind(child2)
    return ind1, ind2


def _graft(onto: np.ndarray | None, scion: np.ndarray | None, k: int) -> np.ndarray | None:
    """Return a read-only copy of ``onto`` with the leading k entries of each dimension swapped."""
    if onto is None or scion is None:
        return onto
    result = onto.copy()
    block = (slice(0, k),) * onto.ndim
    result[block] = scion[block]
    result.flags.writeable = False
    return result


def cxUniformUnits(
    ind1: MaskGenome,
    ind2: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    indpb: float = 0.5,
) -> tuple[MaskGenome, MaskGenome]:
    """Swap each unit's bit between the mates with probability ``indpb`` (changes both).

    Bits are aligned by the parent's unit by construction. Where both mates have learnt, the
    children's weights follow their units, see `ecomp_deap.genomes.realign`.

    Args:
        ind1: First mate.
        ind2: Second mate.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name, for connections that neither mate has.
        indpb: Probability of a swap, for each unit.
    """
    rng = draw_generator()
    swaps = [rng.random(mask.size) < indpb for mask in ind1.masks]
    return _swap_units(ind1, ind2, swaps, structure, parent_arrays)


def cxKPointUnits(
    ind1: MaskGenome,
    ind2: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    k: int = 2,
) -> tuple[MaskGenome, MaskGenome]:
    """Swap every second stretch between k cut points in each group (changes both).

    Args:
        ind1: First mate.
        ind2: Second mate.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name, for connections that neither mate has.
        k: Number of cut points per group, at least 1; small groups have fewer.
    """
    if k < 1:
        raise argument_error("k", "at least 1", k)
    rng = draw_generator()
    swaps = []
    for mask in ind1.masks:
        swap = np.zeros(mask.size, dtype=bool)
        # A cut before unit 0 would only rename the mates.
        candidates = np.arange(1, mask.size)
        cuts = rng.choice(candidates, size=min(k, candidates.size), replace=False)
        for cut in cuts:
            swap[cut:] ^= True
        swaps.append(swap)
    return _swap_units(ind1, ind2, swaps, structure, parent_arrays)


def _swap_units(
    ind1: MaskGenome,
    ind2: MaskGenome,
    swaps: list[np.ndarray],
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
) -> tuple[MaskGenome, MaskGenome]:
    masks1, masks2 = [], []
    for group, mask1, mask2, swap in zip(
        structure.groups, ind1.masks, ind2.masks, swaps, strict=True
    ):
        new1, new2 = np.where(swap, mask2, mask1), np.where(swap, mask1, mask2)
        if min(np.count_nonzero(new1), np.count_nonzero(new2)) < group.min_units:
            # The mates' own masks are valid, so a group that would fall short is not crossed.
            new1, new2 = mask1, mask2
        masks1.append(new1)
        masks2.append(new2)
    learnt1 = learnt2 = None
    if ind1.arrays is not None and ind2.arrays is not None:
        learnt1 = realign(structure, masks1, [ind1, ind2], parent_arrays)
        learnt2 = realign(structure, masks2, [ind2, ind1], parent_arrays)
    ind1.rebind(masks1, learnt1)
    ind2.rebind(masks2, learnt2)
    return ind1, ind2
