"""From what an evaluation saw to a `Measurement`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.genomes import Genome, Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.cost_model import CostModel, Costs
from ecomp_deap.network.failures import failure
from ecomp_deap.similarity import losses_of_children
from ecomp_deap.task import Metric

__all__ = [
    "NOT_FINITE",
    "failed_measurement",
    "is_broken",
    "is_finite",
    "measure",
    "metric_of",
    "outcomes",
    "similarity_losses",
    "with_losses",
]

#: Why a child has failed whose outputs hold NaN or Inf.
NOT_FINITE = "outputs are not finite"


def measure(
    value: float | str,
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
        value: The metric's, or why there is none.
        similarity_loss: Summed over the probe layers.
        metric: The task's metric.
        structure: The parent's groups.
        cost_model: Tells what children cost.
        widths: The child's units in each group.
        worst_similarity: Similarity loss of a failed child, summed over the probe layers.
    """
    if not isinstance(value, str) and not math.isfinite(value):
        value = f"{metric.name} is not finite"
    if isinstance(value, str):
        return failed_measurement(
            value,
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


def metric_of(outputs: Any, targets: torch.Tensor, metric: Metric) -> float | str:
    """Return the metric of a child's outputs, or why there is none."""
    if not is_finite(outputs):
        return NOT_FINITE
    try:
        return metric(outputs, targets)
    except Exception as error:  # whatever a user's function raises
        return failure(error)


def with_losses(value: float | str, losses: Mapping[str, float]) -> float | str:
    """Return the metric or why there is none: also because a similarity loss is NaN."""
    broken = [name for name, loss in losses.items() if math.isnan(loss)]
    if isinstance(value, str) or not broken:
        return value
    return f"the embedding of layer {broken[0]!r} is not finite"


def similarity_losses(
    context: Context, embeddings: Mapping[str, Sequence[torch.Tensor]]
) -> dict[str, list[float]]:
    """Return the similarity losses of embeddings of the generation's batch, by probe layer.

    They are NaN for embeddings that are not finite, as losses alone take these for dead layers.
    """
    names = list(context.losses)
    found = losses_of_children(
        [context.losses[name] for name in names], [embeddings[name] for name in names]
    )
    return {
        name: [
            math.nan if is_broken(loss, context.losses[name].worst, embedding) else loss
            for loss, embedding in zip(losses.tolist(), embeddings[name], strict=True)
        ]
        for name, losses in zip(names, found, strict=True)
    }


def is_broken(loss: float, worst: float, embedding: torch.Tensor) -> bool:
    """Return whether a loss is the worst because the embedding is not finite."""
    # The worst in single precision, where the loss is; other embeddings need no look.
    return math.isclose(loss, worst, rel_tol=1e-6) and not is_finite(embedding)


def is_finite(outputs: object) -> bool:
    """Return whether all tensors among the outputs are finite."""
    return all(
        bool(torch.isfinite(leaf).all())
        for leaf in torch.utils._pytree.tree_leaves(outputs)
        if isinstance(leaf, torch.Tensor)
    )


def outcomes(
    context: Context,
    genomes: Sequence[Genome],
    values: Sequence[float | str],
    losses: Mapping[str, Sequence[float]],
    learnt: Sequence[Mapping[str, np.ndarray] | None],
) -> list[Outcome]:
    """Return the outcomes of a block, from what an engine found of each child.

    Args:
        context: What the generation shares.
        genomes: Of the children.
        values: Of the metric, or why there is none.
        losses: Similarity losses by probe layer, see `similarity_losses`.
        learnt: What each child has learnt, if it keeps that.
    """
    worst = sum((loss.worst for loss in context.losses.values()), 0.0)
    found = []
    for i, (genome, value, arrays) in enumerate(zip(genomes, values, learnt, strict=True)):
        own = {name: of_layer[i] for name, of_layer in losses.items()}
        measurement = measure(
            with_losses(value, own),
            sum(own.values(), 0.0),
            metric=context.metric,
            structure=context.structure,
            cost_model=context.cost_model,
            widths=genome.widths,
            worst_similarity=worst,
        )
        # What a failed child has learnt is nothing to go on with.
        found.append(Outcome(measurement, None if measurement.failed else arrays))
    return found


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
