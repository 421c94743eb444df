"""`Evaluator`: measures populations for a task, generation by generation."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.data import BatchSampler, Samples
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.loop import evaluate_block, torch_threads
from ecomp_deap.evaluation.scoring import Scorer
from ecomp_deap.genomes import Genome
from ecomp_deap.network.compile import compile_child, parent_arrays
from ecomp_deap.network.embedding import embed, find_probe_layers
from ecomp_deap.network.groups import find_structure
from ecomp_deap.network.training import to_device
from ecomp_deap.similarity import TSNELoss, check_perplexity, default_perplexity
from ecomp_deap.task import Task

__all__ = ["Evaluator"]


class Evaluator:
    """Measures populations: knows the task, the parent's groups and every generation's batch.

    Args:
        task: What is asked.
        seed: The run's seed; the batches of a generation depend on it and the generation alone.
        block_size: Children measured together, by index, wherever that is.
        threads: Torch threads to measure with.

    Raises:
        ArgumentError: A parent that cannot be pruned or has a dead probe layer, unknown probe
            layers, a perplexity or batch size that the data do not allow.
    """

    def __init__(
        self, task: Task, *, seed: int = 0, block_size: int = 50, threads: int = 1
    ) -> None:
        if block_size < 1:
            raise argument_error("block_size", "at least 1", block_size)
        if threads < 1:
            raise argument_error("threads", "at least 1", threads)
        self.task, self.seed, self.block_size = task, seed, block_size
        self.threads = threads
        self.perplexity = (
            default_perplexity(task.batch_size)
            if task.perplexity is None
            else check_perplexity(task.perplexity, task.batch_size)
        )
        self.structure = find_structure(task.parent)
        self.probe_layers = find_probe_layers(task.parent, task.probe_layers)
        self.arrays = parent_arrays(task.parent, self.structure)
        search = task.splits.search
        self._sampler = BatchSampler(
            len(search),
            task.batch_size,
            seed=seed,
            labels=search.labels if task.balanced else None,
            balanced=task.balanced,
        )
        self._fixed = self._sampler.fixed(task.batch_size) if task.evaluation == "fixed" else None
        self._context: tuple[int, Context] | None = None
        self.context(0)

    def batch_id(self, generation: int) -> int:
        """Return what tells this generation's scoring batch from others'."""
        return 0 if self._fixed is not None else generation

    @property
    def batches_per_epoch(self) -> int:
        """Generations in which every search sample is scored on once."""
        return self._sampler.batches_per_epoch

    def context(self, generation: int) -> Context:
        """Return what the children of ``generation`` share; the latest is kept."""
        if self._context is None or self._context[0] != generation:
            self._context = (generation, self._make_context(generation))
        return self._context[1]

    def measure(
        self,
        genomes: Sequence[Genome],
        generation: int,
        seeds: Sequence[int],
        *,
        train: bool = True,
        map_function: Callable[..., Iterable[Any]] = map,
    ) -> list[Outcome]:
        """Return the outcome of each genome on the generation's batch, in order.

        Args:
            genomes: Plain genomes.
            generation: Whose batches are used.
            seeds: Torch seed of each child's training.
            train: Whether the children take their gradient steps.
            map_function: What spreads blocks over workers, called as ``map(function, blocks)``.
        """
        context = self.context(generation)
        if not train and context.training:
            context = _without_training(context)
        size = self.block_size
        blocks = [
            (list(genomes[i : i + size]), list(seeds[i : i + size]))
            for i in range(0, len(genomes), size)
        ]
        results = map_function(partial(_evaluate_pair, context), blocks)
        return [outcome for block in results for outcome in block]

    def compile(self, genome: Genome) -> nn.Module:
        """Return the child that ``genome`` describes, see `compile_child`."""
        return compile_child(self.task.parent, self.structure, genome, arrays=self.arrays)

    def scorer(self, samples: Samples) -> Scorer:
        """Return a `Scorer` for whole data sets."""
        with torch_threads(self.threads):
            return Scorer(self.task, self.structure, self.probe_layers, samples)

    def _make_context(self, generation: int) -> Context:
        task = self.task
        if self._fixed is None:
            scoring = self._sampler.scoring(generation)
            training = self._sampler.training(generation, task.train_steps, task.batch_size)
        else:
            scoring = self._fixed
            training = self._sampler.training(
                generation, task.train_steps, task.batch_size, exclude=scoring
            )
        inputs, targets = self._batch(scoring)
        with torch_threads(self.threads), torch.no_grad():
            outputs, found = embed(task.parent, inputs, self.probe_layers, forward=task.apply)
            losses = {name: self._loss(name, embedding) for name, embedding in found.items()}
        if not np.isfinite(task.metric.function(outputs, targets)):
            raise argument_error("parent", "a finite metric on the data", "NaN or Inf")
        return Context(
            parent=task.parent,
            structure=self.structure,
            arrays=self.arrays,
            losses=losses,
            inputs=inputs,
            targets=targets,
            training=[self._batch(indices) for indices in training],
            learning_rate=task.learning_rate,
            inherit=task.inherit,
            metric=task.metric,
            loss_fn=task.loss_fn,
            forward=task.apply,
            threads=self.threads,
        )

    def _batch(self, indices: np.ndarray) -> tuple[Any, torch.Tensor]:
        inputs, targets = self.task.splits.search.batch(indices)
        return to_device(inputs, self.task.device), targets.to(self.task.device)

    def _loss(self, name: str, embedding: torch.Tensor) -> TSNELoss:
        try:
            return TSNELoss(embedding, perplexity=self.perplexity, kernel=self.task.kernel)
        except ArgumentError as error:
            raise ArgumentError(f"probe layer {name!r} of the parent: {error}") from error


def _evaluate_pair(
    context: Context, block: tuple[Sequence[Genome], Sequence[int]]
) -> list[Outcome]:
    return evaluate_block(context, *block)


def _without_training(context: Context) -> Context:
    return Context(**{**context.__dict__, "training": []})
