"""Contribution: how unlike the parent a child becomes that lacks one unit alone."""

from collections.abc import Callable, Sequence

import numpy as np

from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.genomes import MaskGenome, Structure

__all__ = ["similarity_contribution"]

# Children that are measured at once, so that the masks of large networks take little memory.
_TOGETHER = 500


def similarity_contribution(
    structure: Structure, measure: Callable[[Sequence[MaskGenome]], Sequence[Outcome]]
) -> list[np.ndarray]:
    """Return, for each group, the similarity loss of the children that lack one of its units.

    It takes as many evaluations as there are units. A unit that no probe layer is behind of
    contributes nothing.

    Args:
        structure: The parent's groups.
        measure: Returns the outcomes of genomes, none of which trains.

    Returns:
        One double array of shape ``(n_units,)`` per group.
    """
    whole = [np.ones(group.n_units, dtype=bool) for group in structure.groups]
    found = []
    for index, group in enumerate(structure.groups):
        losses = np.zeros(group.n_units)
        for start in range(0, group.n_units if not group.is_fixed else 0, _TOGETHER):
            units = range(start, min(start + _TOGETHER, group.n_units))
            genomes = [
                MaskGenome([*whole[:index], np.arange(group.n_units) != unit, *whole[index + 1 :]])
                for unit in units
            ]
            losses[units] = [o.measurement.similarity_loss for o in measure(genomes)]
        found.append(losses)
    return found
