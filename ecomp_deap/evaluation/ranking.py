"""Ranking: how much each unit matters to the parent, by any name of `IMPORTANCES`."""

from dataclasses import replace

import numpy as np

from ecomp_deap.evaluation.batches import Batches
from ecomp_deap.evaluation.context import Context
from ecomp_deap.evaluation.contribution import similarity_contribution
from ecomp_deap.evaluation.engines import evaluate
from ecomp_deap.network.importance import unit_importance
from ecomp_deap.network.reconstruction import reconstruction_importance
from ecomp_deap.seeding import RANKING_STREAM, generator

__all__ = ["importance_of_units"]

# Samples that units are reconstructed on: several times as many as most groups have units.
_RECONSTRUCTED = 4000


def importance_of_units(
    name: str, context: Context, batches: Batches, *, seed: int
) -> list[np.ndarray]:
    """Return the importance of every unit; more is more important.

    Args:
        name: One of `ecomp_deap.defaults.IMPORTANCES`.
        context: Of generation 0, with an engine that is the same in every run.
        batches: Draws what units are reconstructed on.
        seed: The run's, of random importances.

    Returns:
        One double array of shape ``(n_units,)`` per group.
    """
    if name == "random":
        rng = generator(seed, RANKING_STREAM)
        return [rng.random(group.n_units) for group in context.structure.groups]
    if name == "similarity":
        untrained = replace(context, training=[])
        return similarity_contribution(
            context.structure, lambda found: evaluate(untrained, (found, [0] * len(found)))
        )
    if name == "reconstruction":
        return reconstruction_importance(
            *(context.parent, context.structure, context.arrays),
            batches.spread_batches(_RECONSTRUCTED),
            forward=context.forward,
        )
    return unit_importance(
        *(name, context.parent, context.structure, context.arrays),
        inputs=context.inputs,
        targets=context.targets,
        loss_fn=context.loss_fn,
        forward=context.forward,
    )
