"""Scoring on whole data sets: what decides which children are reported."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ecomp_deap.data import Samples, TensorSamples
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.limits import Limits
from ecomp_deap.evaluation.measuring import is_broken, measure, metric_of, with_losses
from ecomp_deap.evaluation.soundness import Soundness
from ecomp_deap.genomes import Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.failures import failure
from ecomp_deap.network.stack import DenseStack
from ecomp_deap.network.training import to_device
from ecomp_deap.similarity import (
    SimilarityLoss,
    default_perplexity,
    losses_of_children,
    make_similarity,
    similarity_class,
)
from ecomp_deap.similarity.tables import table_capacity
from ecomp_deap.task import Task
from ecomp_deap.threads import thread_map

__all__ = ["Scorer"]

# Samples that are embedded at once, at most.
_CHUNK = 10_000
# Samples that are tested at once.
_TESTED = 1000


class Scorer:
    """Measures children on all samples of a data set.

    The metric is taken over all samples. The similarity loss is the mean over tables of
    ``batch_size`` samples (of all samples where there are fewer), in order; a rest that makes no
    whole table does not enter it.

    Args:
        task: What is asked.
        structure: The parent's groups.
        cost_model: Tells what children cost.
        limits: Tells by how much they exceed the task's limits.
        probes: Where representations are compared.
        samples: The data set; the parent's tables for it are computed once, here.
        dense: Whether children are plain stacks of dense layers, see `DenseStack.supports`.

    Raises:
        ArgumentError: Fewer samples than a table needs; samples that are read one by one, and are
            unsound, see `Soundness`.
    """

    def __init__(
        self,
        task: Task,
        structure: Structure,
        cost_model: CostModel,
        limits: Limits,
        probes: tuple[Probe, ...],
        samples: Samples,
        *,
        dense: bool = False,
    ) -> None:
        self._stack = DenseStack(task.parent, [p.name for p in probes]) if dense else None
        self.task, self.structure, self.cost_model = task, structure, cost_model
        self.limits, self.probes = limits, probes
        self.samples, self._soundness = samples, Soundness.of(task)
        self._table = min(task.batch_size, len(samples))
        highest = default_perplexity(self._table)
        if highest <= 1:
            raise argument_error("validation", "at least 5 samples to score on", self._table)
        perplexity = min(task.perplexity or highest, (self._table - 1) / 3)
        self._perplexity = perplexity if task.similarity == "tsne" else None
        self._losses: list[Mapping[str, SimilarityLoss]] = []
        with torch.no_grad():
            for inputs in self._sound_inputs():
                _, found = self._embed(task.parent, inputs)
                self._losses.append(
                    {
                        name: make_similarity(
                            *(task.similarity, self._tables(embedding)),
                            perplexity=self._perplexity,
                            kernel=task.kernel,
                        )
                        for name, embedding in found.items()
                    }
                )

    def _sound_inputs(self) -> Iterator[Any]:
        """Yield the inputs of whole numbers of tables; check samples that were not before."""
        known, numbers = isinstance(self.samples, TensorSamples), self.samples.numbers
        for inputs, targets in self._chunks():
            if not known:
                self._soundness.check("validation", inputs, targets, numbers)
                numbers = numbers[len(targets) :]
            yield inputs
        for inputs, targets in () if known else self._rest():
            self._soundness.check("validation", inputs, targets, numbers)

    def score(self, child: torch.nn.Module, widths: tuple[int, ...]) -> Measurement:
        """Return the measurement of a child on the whole data set.

        Args:
            child: The child, in eval mode; it is not changed.
            widths: Its units kept in each group.
        """
        return self._judged(self._score(child, widths), child, widths)

    def _score(self, child: torch.nn.Module, widths: tuple[int, ...]) -> Measurement:
        losses = {probe.name: 0.0 for probe in self.probes}
        try:
            with torch.no_grad():
                value = self._add_up(child, losses)
        except Exception as error:  # whatever a user's network raises
            value = failure(error)
        return measure(
            with_losses(value, losses),
            sum(losses.values(), 0.0) / (len(self.samples) // self._table),
            metric=self.task.metric,
            structure=self.structure,
            cost_model=self.cost_model,
            widths=widths,
            worst_similarity=similarity_class(self.task.similarity).worst * len(losses),
        )

    def _add_up(self, child: torch.nn.Module, losses: dict[str, float]) -> float | str:
        """Return the metric over all samples, or why there is none; sum up the losses."""
        total = 0.0
        for (inputs, targets), references in zip(self._chunks(), self._losses, strict=True):
            outputs, found = self._embed(child, inputs)
            value = metric_of(outputs, targets, self.task.metric)
            if isinstance(value, str):
                return value
            total += value * len(targets)
            similarity = losses_of_children(
                [references[name] for name in found],
                [[self._tables(embedding)] for embedding in found.values()],
            )
            for name, of_tables in zip(found, similarity, strict=True):
                broken = is_broken(float(of_tables.max()), references[name].worst, found[name])
                losses[name] += math.nan if broken else float(of_tables.sum())
        for inputs, targets in self._rest():
            value = metric_of(self.task.apply(child, inputs), targets, self.task.metric)
            if isinstance(value, str):
                return value
            total += value * len(targets)
        return total / len(self.samples)

    def score_all(
        self,
        children: Sequence[tuple[torch.nn.Module, tuple[int, ...]]],
        *,
        threads: int = 1,
        on_each: Callable[[], None] | None = None,
    ) -> list[Measurement]:
        """Return the measurements of children with their widths, in order.

        Args:
            children: ``(child, widths)``, see `score`.
            threads: Children that are scored side by side, if the samples are tensors: what else
                reads them may not be safe to call from several threads. See
                `Evaluator.scoring_threads`.
            on_each: Called after each child.
        """
        threads = threads if type(self.samples) is TensorSamples else 1
        measurements = thread_map(
            lambda child: self._score(*child), children, threads=threads, on_each=on_each
        )
        return [
            self._judged(found, child, widths)
            for found, (child, widths) in zip(measurements, children, strict=True)
        ]

    def _judged(
        self, found: Measurement, child: torch.nn.Module, widths: tuple[int, ...]
    ) -> Measurement:
        return self.limits.judge(found, widths, lambda: child)

    def _embed(self, child: torch.nn.Module, inputs: Any) -> tuple[Any, Mapping[str, torch.Tensor]]:
        """Return a child's outputs and embeddings."""
        if self._stack is None:
            return embed(child, inputs, self.probes, forward=self.task.apply)
        walk = self._stack.walk(child.state_dict(), inputs)
        return walk.outputs, walk.embeddings

    def test(self, child: torch.nn.Module, samples: Samples) -> float | str:
        """Return the metric alone, on any samples, or why there is none.

        Raises:
            ArgumentError: Samples that are read one by one, and are unsound, see `Soundness`.
        """
        total, numbers = 0.0, samples.numbers
        with torch.no_grad():
            for first in range(0, len(samples), _TESTED):
                indices = np.arange(first, min(first + _TESTED, len(samples)))
                inputs, targets = samples.batch(indices)
                if not isinstance(samples, TensorSamples):
                    self._soundness.check("test", inputs, targets, numbers[indices])
                value = self._tested(child, inputs, targets.to(self.task.device))
                if isinstance(value, str):
                    return value
                total += value * len(indices)
        total /= len(samples)
        return total if math.isfinite(total) else f"{self.task.metric.name} is not finite"

    def _tested(self, child: torch.nn.Module, inputs: Any, targets: torch.Tensor) -> float | str:
        """Return the metric of a child's outputs of a batch, or why there is none."""
        try:
            outputs = self.task.apply(child, to_device(inputs, self.task.device))
        except Exception as error:  # whatever a user's network raises
            return failure(error)
        return metric_of(outputs, targets, self.task.metric)

    def _chunks(self) -> Iterator[tuple[Any, torch.Tensor]]:
        """Yield ``(inputs, targets)`` of whole numbers of tables."""
        n_tables = len(self.samples) // self._table
        per_chunk = max(1, min(table_capacity(self._table), _CHUNK // self._table))
        for first in range(0, n_tables, per_chunk):
            last = min(first + per_chunk, n_tables)
            yield self._batch(first * self._table, last * self._table)

    def _rest(self) -> Iterator[tuple[Any, torch.Tensor]]:
        """Yield the samples that make no whole table, if there are any."""
        first = len(self.samples) // self._table * self._table
        if first < len(self.samples):
            yield self._batch(first, len(self.samples))

    def _batch(self, first: int, last: int) -> tuple[Any, torch.Tensor]:
        inputs, targets = self.samples.span(first, last)
        return to_device(inputs, self.task.device), targets.to(self.task.device)

    def _tables(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding.unflatten(0, (-1, self._table))
