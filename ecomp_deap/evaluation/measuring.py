"""From what an evaluation saw to a `Measurement`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.genomes import Genome, Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.cost_model import CostModel, Costs
from ecomp_deap.similarity import losses_of_children
from ecomp_deap.task import Metric

__all__ = ["failed_measurement", "measure", "outcomes", "similarity_losses"]


def measure(
    value: float | None,
    similarity_loss: float,
    *,
    metric: Metric,
    structure: Structure,
    cost_model: CostModel,
    widths: Sequence[int],
    worst_similarity: float,
) -> Measurement:
    """Return the measurement of a child, a failed one where its figures are not finite.

    Args:
        value: The metric's, or None where the outputs are not finite.
        similarity_loss: Summed over the probe layers.
        metric: The task's metric.
        structure: The parent's groups.
        cost_model: Tells what children cost.
        widths: The child's units in each group.
        worst_similarity: Similarity loss of a failed child, summed over the probe layers.
    """
    if value is None or not math.isfinite(value):
        what = "outputs are" if value is None else f"{metric.name} is"
        return failed_measurement(
            f"{what} not finite",
            metric=metric,
            costs=cost_model(structure.widths),
            worst_similarity=worst_similarity,
        )
    costs = cost_model(widths)
    return Measurement(
        metric=value,
        similarity_loss=similarity_loss,
        relative_width=structure.relative_width(widths),
        param_count=costs.param_count,
        mac_count=costs.mac_count,
        size_bytes=costs.size_bytes,
        metric_name=metric.name,
    )


def similarity_losses(
    context: Context, embeddings: Mapping[str, Sequence[torch.Tensor]]
) -> dict[str, list[float]]:
    """Return the similarity losses of embeddings of the generation's batch, by probe layer."""
    names = list(context.losses)
    found = losses_of_children(
        [context.losses[name] for name in names], [embeddings[name] for name in names]
    )
    return {name: losses.tolist() for name, losses in zip(names, found, strict=True)}


def outcomes(
    context: Context,
    genomes: Sequence[Genome],
    values: Sequence[float | None],
    losses: Mapping[str, Sequence[float]],
    learnt: Sequence[Mapping[str, np.ndarray] | None],
) -> list[Outcome]:
    """Return the outcomes of a block, from what an engine found of each child.

    Args:
        context: What the generation shares.
        genomes: Of the children.
        values: Of the metric, None where outputs are not finite.
        losses: Similarity losses by probe layer.
        learnt: What each child has learnt, if it keeps that.
    """
    worst = sum((loss.worst for loss in context.losses.values()), 0.0)
    return [
        Outcome(
            measure(
                value,
                sum((loss[i] for loss in losses.values()), 0.0),
                metric=context.metric,
                structure=context.structure,
                cost_model=context.cost_model,
                widths=genome.widths,
                worst_similarity=worst,
            ),
            arrays,
        )
        for i, (genome, value, arrays) in enumerate(zip(genomes, values, learnt, strict=True))
    ]


def failed_measurement(
    reason: str, *, metric: Metric, costs: Costs, worst_similarity: float
) -> Measurement:
    """Return the finite worst measurement, for a child that could not be measured.

    Args:
        reason: Why.
        metric: The task's metric.
        costs: The parent's.
        worst_similarity: Similarity loss of such a child, summed over the probe layers.
    """
    assert metric.worst is not None  # Metric has seen to it
    return Measurement(
        metric=metric.worst,
        similarity_loss=worst_similarity,
        relative_width=1.0,
        param_count=costs.param_count,
        mac_count=costs.mac_count,
        size_bytes=costs.size_bytes,
        failed=True,
        reason=reason,
        metric_name=metric.name,
    )
