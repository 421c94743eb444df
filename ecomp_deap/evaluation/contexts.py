"""`ContextMaker`: makes what the children of a generation share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.evaluation.batches import Batches
from ecomp_deap.evaluation.context import Context
from ecomp_deap.evaluation.trial import check_metric
from ecomp_deap.genomes import Structure
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.failures import blaming
from ecomp_deap.network.lessons import Teacher
from ecomp_deap.network.stack import DenseStack, Walk
from ecomp_deap.similarity import SimilarityLoss, make_similarity
from ecomp_deap.task import Task

__all__ = ["ContextMaker"]


@dataclass(frozen=True)
class ContextMaker:
    """Makes contexts, each from the generation's batches and what the parent makes of them.

    Attributes:
        task: What is asked.
        structure: The parent's groups.
        arrays: The parent's arrays by name.
        cost_model: Tells what children cost.
        probes: The probe layers.
        batches: Of each generation.
        perplexity: Of the similarity loss, None for measures other than t-SNE.
        memory: Bytes that what an engine holds of several children at once may take.
    """

    task: Task
    structure: Structure
    arrays: Mapping[str, np.ndarray]
    cost_model: CostModel
    probes: tuple[Probe, ...]
    batches: Batches
    perplexity: float | None
    memory: int

    @property
    def teacher(self) -> Teacher:
        """The parent, as children learn from it."""
        return Teacher(
            *(self.task.parent, self.task.apply, self.probes),
            lambda name, embedding: self._loss(name, embedding, len(embedding)),
        )

    def make(self, generation: int, *, engine: str, threads: int) -> Context:
        """Return the context of a generation for an engine that takes so many torch threads."""
        task = self.task
        inputs, targets = self.batches.scoring(generation)
        with torch.no_grad():
            with blaming("parent: expected outputs for every batch of the search data"):
                outputs, found, shared = self._embed_parent(inputs, engine)
            losses = {n: self._loss(n, found[n], len(targets)) for n in self._names}
            training = self.batches.training(generation, self.teacher)
        check_metric(task, outputs, targets)
        return Context(
            parent=task.parent,
            structure=self.structure,
            arrays=self.arrays,
            cost_model=self.cost_model,
            probes=self.probes,
            losses=losses,
            inputs=inputs,
            targets=targets,
            training=training,
            recipe=task.training,
            inherit=task.inherit,
            metric=task.metric,
            loss_fn=task.loss_fn,
            forward=task.apply,
            threads=threads,
            engine=engine,
            memory=self.memory,
            calibration=self.batches.calibration,
            shared=shared,
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(probe.name for probe in self.probes)

    def _embed_parent(
        self, inputs: Any, engine: str
    ) -> tuple[Any, Mapping[str, torch.Tensor], Walk | None]:
        """Return the parent's outputs, its embeddings, and what the batched engine shares."""
        parent = self.task.parent
        if engine != "batched":
            return *embed(parent, inputs, self.probes, forward=self.task.apply), None
        stack, tensors = DenseStack(parent, self._names), parent.state_dict()
        walks = [stack.walk(tensors, inputs, 0)]
        for segment in range(1, len(stack.segments)):
            walks.append(stack.walk(tensors, walks[-1].outputs, segment))
        found = {name: e for walk in walks for name, e in walk.embeddings.items()}
        return walks[-1].outputs, found, walks[0]

    def _loss(self, name: str, embedding: torch.Tensor, n_samples: int) -> SimilarityLoss:
        if len(embedding) != n_samples:
            expected = f"a row of units for each of {n_samples} samples"
            raise argument_error(f"probe layer {name!r} of the parent", expected, len(embedding))
        try:
            return make_similarity(
                *(self.task.similarity, embedding),
                perplexity=self.perplexity and min(self.perplexity, (n_samples - 1) / 3),
                kernel=self.task.kernel,
            )
        except ArgumentError as error:
            raise ArgumentError(f"probe layer {name!r} of the parent: {error}") from error
