"""The loop engine: children of any module, one after the other.

Only the similarity loss is computed for the whole block at once, since its tables have the same
shape for every child.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.measuring import metric_of, outcomes, similarity_losses
from ecomp_deap.genomes import Genome
from ecomp_deap.network.compile import compile_child, learnt_arrays
from ecomp_deap.network.embedding import embed
from ecomp_deap.network.failures import failure
from ecomp_deap.network.recalibration import recalibrate
from ecomp_deap.network.training import train
from ecomp_deap.threads import torch_threads

__all__ = ["evaluate_block"]


def evaluate_block(
    context: Context, genomes: Sequence[Genome], seeds: Sequence[int]
) -> list[Outcome]:
    """Return the outcome of each genome: compiled, trained, embedded and measured.

    Args:
        context: What the generation shares.
        genomes: Plain genomes; they are not changed.
        seeds: Torch seed of each child's training.
    """
    with torch_threads(context.threads):
        return _evaluate(context, genomes, seeds)


def _evaluate(context: Context, genomes: Sequence[Genome], seeds: Sequence[int]) -> list[Outcome]:
    found = [_child(context, genome, seed) for genome, seed in zip(genomes, seeds, strict=True)]
    # A child that raised an error has no embedding, and the others' stay where they are.
    embedded = [i for i, (_, embeddings, _) in enumerate(found) if embeddings is not None]
    of_embedded = similarity_losses(
        context, {name: [found[i][1][name] for i in embedded] for name in context.losses}
    )
    losses = {name: [loss.worst] * len(found) for name, loss in context.losses.items()}
    for name, of_layer in of_embedded.items():
        for i, loss in zip(embedded, of_layer, strict=True):
            losses[name][i] = loss
    values, _, learnt = zip(*found, strict=True) if found else ((), (), ())
    return outcomes(context, genomes, values, losses, learnt)


def _child(context: Context, genome: Genome, seed: int) -> tuple[float | str, Any, Any]:
    """Return a child's metric or why there is none, its embeddings, and what it has learnt."""
    child = compile_child(context.parent, context.structure, genome, arrays=context.arrays)
    try:
        if context.training:
            train(
                child,
                context.training,
                recipe=context.recipe,
                n_steps=len(context.training),
                loss_fn=context.loss_fn,
                forward=context.forward,
                seed=seed,
            )
        keeps = context.inherit and context.training
        learnt = learnt_arrays(child, context.structure) if keeps else None
        if context.recalibrates(genome):
            recalibrate(child, context.calibration, forward=context.forward)
        with torch.no_grad():
            output, found = embed(child, context.inputs, context.probes, forward=context.forward)
    except Exception as error:  # whatever a user's network or loss raises
        return failure(error), None, None
    return metric_of(output, context.targets, context.metric), found, learnt
