"""The loop engine: children of any module, one after the other.

Only the similarity loss is computed for the whole block at once, since its tables have the same
shape for every child.
"""

from collections.abc import Sequence

import torch

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.measuring import outcomes, similarity_losses
from ecomp_deap.genomes import Genome
from ecomp_deap.network.compile import compile_child, learnt_arrays
from ecomp_deap.network.embedding import embed
from ecomp_deap.network.recalibration import recalibrate
from ecomp_deap.network.training import train
from ecomp_deap.threads import torch_threads

__all__ = ["evaluate_block", "is_finite"]


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
    embeddings: dict[str, list[torch.Tensor]] = {name: [] for name in context.losses}
    metrics: list[float | None] = []
    learnt = []
    for genome, seed in zip(genomes, seeds, strict=True):
        child = compile_child(context.parent, context.structure, genome, arrays=context.arrays)
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
        learnt.append(learnt_arrays(child, context.structure) if keeps else None)
        if context.recalibrates(genome):
            recalibrate(child, context.calibration, forward=context.forward)
        with torch.no_grad():
            output, found = embed(child, context.inputs, context.probes, forward=context.forward)
        for name, embedding in found.items():
            embeddings[name].append(embedding)
        sound = is_finite(output)
        metrics.append(context.metric.function(output, context.targets) if sound else None)
    losses = similarity_losses(context, embeddings)
    return outcomes(context, genomes, metrics, losses, learnt)


def is_finite(outputs: object) -> bool:
    """Return whether all tensors among the outputs are finite."""
    return all(
        bool(torch.isfinite(leaf).all())
        for leaf in torch.utils._pytree.tree_leaves(outputs)
        if isinstance(leaf, torch.Tensor)
    )
