"""Operators: how a population begins, varies and is selected, with DEAP's signatures.

``cx*`` take two individuals and return two, ``mut*`` take one and return a tuple of one, ``sel*``
take a population and a number; all change their individuals in place and draw from the `random`
module, arrays from a generator seeded by one draw of it.
"""

from ecomp_deap.operators.alignment import align_units
from ecomp_deap.operators.crossover import cxBlendWidths, cxCutoff, cxKPointUnits, cxUniformUnits
from ecomp_deap.operators.initialisation import (
    initial_rates,
    prune_masks,
    pruned_weight_genome,
    pruned_widths,
    random_masks,
)
from ecomp_deap.operators.mutation import (
    mutFlipUnits,
    mutNoise,
    mutOneOf,
    mutScaleWeights,
    mutStepWidths,
)
from ecomp_deap.operators.nsga2 import selNSGA2
from ecomp_deap.operators.resizing import mutMoveBudget, mutMoveWidths, mutResizeGroup
from ecomp_deap.operators.selection import check_pairing, selSoftmaxRoulette

__all__ = [
    "align_units",
    "check_pairing",
    "cxBlendWidths",
    "cxCutoff",
    "cxKPointUnits",
    "cxUniformUnits",
    "initial_rates",
    "mutFlipUnits",
    "mutMoveBudget",
    "mutMoveWidths",
    "mutNoise",
    "mutOneOf",
    "mutResizeGroup",
    "mutScaleWeights",
    "mutStepWidths",
    "prune_masks",
    "pruned_weight_genome",
    "pruned_widths",
    "random_masks",
    "selNSGA2",
    "selSoftmaxRoulette",
]
