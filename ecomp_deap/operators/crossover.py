"""Crossover: two mates become two children (in place)."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecomp_deap.checks import check_choice, check_count, check_number
from ecomp_deap.defaults import LEARNT
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Group, MaskGenome, Structure, WeightGenome, WidthGenome, realign
from ecomp_deap.operators.alignment import Activations, align_units
from ecomp_deap.operators.arguments import (
    check_arrays,
    check_layers,
    check_masked,
    check_probability,
    check_weighted,
    check_widths,
)
from ecomp_deap.seeding import draw_generator

__all__ = ["cxBlendWidths", "cxCutoff", "cxKPointUnits", "cxUniformUnits"]


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
    check_weighted("ind1", ind1)
    check_weighted("ind2", ind2)
    if list(ind1.layers) != list(ind2.layers):
        raise argument_error("ind2", f"layers {list(ind1.layers)}", list(ind2.layers))
    check_layers(layers, ind1.layers)
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
    learnt: str = "either",
    activations: Activations | None = None,
) -> tuple[MaskGenome, MaskGenome]:
    """Swap each unit's bit between the mates with probability ``indpb`` (changes both).

    Bits are aligned by the parent's unit by construction. A group in which a child would keep too
    few units is not crossed. Where units are kept in multiples, a group is repaired: as few units
    as possible, drawn at random, change hands between the children, or it is not crossed if none
    would do. Where both mates have learnt, the children's weights follow their units, see
    `ecomp_deap.genomes.realign`; of one mate that has learnt and one that has not, the children
    have learnt nothing.

    Args:
        ind1: First mate.
        ind2: Second mate.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name, for connections that neither mate has.
        indpb: Probability of a swap, for each unit.
        learnt: Where weights come from that both mates have learnt: ``"either"``, the first child's
            from the first mate and the second one's from the second; ``"mean"``, their mean; or
            ``"aligned"``, the mean after the second mate's units were renamed after those of the
            first that act alike, see `align_units`: for mates whose weights are unrelated, as they
            trained apart from different starts.
        activations: See `align_units`; with ``"aligned"`` alone.

    Raises:
        ArgumentError: Mates of other groups; a probability outside 0…1, another ``learnt``, or
            ``"aligned"`` without activations.
    """
    indpb = check_probability("indpb", indpb)
    crossing = _Crossing(structure, parent_arrays, learnt, activations)
    crossing.check(ind1, ind2)
    rng = draw_generator()
    swaps = [rng.random(mask.size) < indpb for mask in ind1.masks]
    return crossing.swap(ind1, ind2, swaps, rng)


def cxKPointUnits(
    ind1: MaskGenome,
    ind2: MaskGenome,
    *,
    structure: Structure,
    parent_arrays: Mapping[str, np.ndarray],
    k: int = 2,
    learnt: str = "either",
    activations: Activations | None = None,
) -> tuple[MaskGenome, MaskGenome]:
    """Swap every second stretch between k cut points in each group (changes both).

    Groups are repaired, and weights follow their units, as `cxUniformUnits` does it.

    Args:
        ind1: First mate.
        ind2: Second mate.
        structure: The parent's groups.
        parent_arrays: The parent's arrays by name, for connections that neither mate has.
        k: Number of cut points per group, at least 1; small groups have fewer.
        learnt: See `cxUniformUnits`.
        activations: See there.

    Raises:
        ArgumentError: A ``k`` below 1; or as `cxUniformUnits`.
    """
    k = check_count("k", k, minimum=1)
    crossing = _Crossing(structure, parent_arrays, learnt, activations)
    crossing.check(ind1, ind2)
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
    return crossing.swap(ind1, ind2, swaps, rng)


def cxBlendWidths(
    ind1: WidthGenome, ind2: WidthGenome, *, structure: Structure, alpha: float = 0.5
) -> tuple[WidthGenome, WidthGenome]:
    """Blend the mates' numbers of units, group by group (changes both).

    In each group the children come to lie symmetrically about the mates' mean, up to ``alpha`` of
    the mates' distance beyond them, and then at the nearest allowed numbers.

    Args:
        ind1: First mate.
        ind2: Second mate.
        structure: The parent's groups.
        alpha: How far beyond the mates, at least 0.

    Raises:
        ArgumentError: Mates of other groups, or a negative alpha.

    Source: Eshelman and Schaffer (1993), "Real-Coded Genetic Algorithms and Interval-Schemata",
    as in `deap.tools.cxBlend`.
    """
    check_widths("ind1", ind1, structure)
    check_widths("ind2", ind2, structure)
    alpha = check_number("alpha", alpha, minimum=0.0)
    rng = draw_generator()
    widths1, widths2 = [], []
    for group, a, b in zip(structure.groups, ind1.widths, ind2.widths, strict=True):
        share = (1 + 2 * alpha) * rng.random() - alpha
        widths1.append(group.nearest((1 - share) * a + share * b))
        widths2.append(group.nearest(share * a + (1 - share) * b))
    ind1.rebind(widths1)
    ind2.rebind(widths2)
    return ind1, ind2


@dataclass(frozen=True)
class _Crossing:
    """What all crossovers of masks have in common, see `cxUniformUnits`."""

    structure: Structure
    parent_arrays: Mapping[str, np.ndarray]
    learnt: str
    activations: Activations | None

    def __post_init__(self) -> None:
        check_arrays("parent_arrays", self.parent_arrays)
        check_choice("learnt", self.learnt, LEARNT)
        if self.activations is None and self.learnt == "aligned":
            raise argument_error("activations", "a function to go with learnt='aligned'", None)
        if self.activations is not None and not callable(self.activations):
            raise argument_error("activations", "a function, or None", self.activations)

    def check(self, ind1: MaskGenome, ind2: MaskGenome) -> None:
        """Check that the mates are of the structure's groups."""
        check_masked("ind1", ind1, self.structure)
        check_masked("ind2", ind2, self.structure)

    def swap(
        self,
        ind1: MaskGenome,
        ind2: MaskGenome,
        swaps: Sequence[np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[MaskGenome, MaskGenome]:
        """Swap the bits that ``swaps`` says, as far as they are allowed (changes both)."""
        both = ind1.arrays is not None and ind2.arrays is not None
        mate1, mate2 = ind1, ind2
        if both and self.learnt == "aligned":
            assert self.activations is not None
            mate2 = align_units(self.structure, ind1, ind2, self.activations)
        masks1, masks2 = [], []
        for group, mask1, mask2, swap in zip(
            self.structure.groups, mate1.masks, mate2.masks, swaps, strict=True
        ):
            new1, new2 = np.where(swap, mask2, mask1), np.where(swap, mask1, mask2)
            # The mates' own masks are valid.
            new1, new2 = _repaired(group, new1, new2, rng) or (mask1, mask2)
            masks1.append(new1)
            masks2.append(new2)
        learnt1 = learnt2 = None
        if both:
            learnt1 = self._realigned(masks1, mate1, mate2)
            learnt2 = self._realigned(masks2, mate2, mate1)
        ind1.rebind(masks1, learnt1)
        ind2.rebind(masks2, learnt2)
        return ind1, ind2

    def _realigned(
        self, masks: Sequence[np.ndarray], preferred: MaskGenome, other: MaskGenome
    ) -> dict[str, np.ndarray]:
        return realign(
            *(self.structure, masks, [preferred, other], self.parent_arrays),
            mean=self.learnt != "either",
        )


def _repaired(
    group: Group, mask1: np.ndarray, mask2: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the masks with allowed numbers of units, see `cxUniformUnits`; None if none do."""
    n1, n2 = int(np.count_nonzero(mask1)), int(np.count_nonzero(mask2))
    if min(n1, n2) < group.allowed[0]:
        return None
    if group.round_to == 1:
        return mask1, mask2
    only1, only2 = mask1 & ~mask2, mask2 & ~mask1
    # How many units the first one may give away, or take if negative.
    gifts = [
        gift
        for gift in (n1 - wanted for wanted in group.allowed)
        if -np.count_nonzero(only2) <= gift <= np.count_nonzero(only1)
        and n2 + gift in group.allowed
    ]
    if not gifts:
        return None
    gift = min(gifts, key=abs)
    if gift:
        owned = np.flatnonzero(only1 if gift > 0 else only2)
        moved = rng.choice(owned, abs(gift), replace=False)
        mask1[moved] ^= True
        mask2[moved] ^= True
    return mask1, mask2
