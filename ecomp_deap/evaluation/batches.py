"""`Batches`: the samples that each generation is scored, trained and calibrated on."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from ecomp_deap.data import BatchSampler, TensorSamples
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.soundness import Soundness, learns_labels
from ecomp_deap.network.lessons import Lesson, Teacher, draw_lessons
from ecomp_deap.network.recalibration import has_statistics
from ecomp_deap.network.training import to_device
from ecomp_deap.task import Task

__all__ = ["Batches"]

# What is done to training samples, apart from every other stream of a seed.
_CHANGES = 0xBA7

Batch = tuple[Any, torch.Tensor]


class Batches:
    """Draws batches of a task's search data, on its device.

    Args:
        task: What is asked.
        seed: The run's seed; the batches of a generation depend on it and the generation alone.

    Attributes:
        calibration: Inputs that batch norms take their statistics from, the same throughout; None
            where they keep the parent's, or there are none.

    Raises:
        ArgumentError: Batches that are larger than the data allow, or cannot be balanced; here and
            later, samples that are unsound.
    """

    def __init__(self, task: Task, *, seed: int) -> None:
        self._task, self._seed, search = task, seed, task.splits.search
        self._soundness, self._numbers = Soundness.of(task), search.numbers
        most = len(search) - min(task.train_steps, 1)
        if task.batch_size > most:
            left = ", so that some are left to train on" if task.train_steps else ""
            expected = f"at most {most} of {len(search)} search samples{left}"
            hint = f"{Task.batch_size} is the default" if task.batch_size == Task.batch_size else ""
            raise argument_error("batch_size", expected, task.batch_size, hint=hint)
        size = task.training.batch_size
        # As samples are drawn again where there are not enough, any number of them could be.
        if task.train_steps and size is not None and size > len(search):
            expected = f"at most {len(search)}, the number of search samples"
            raise argument_error("training.batch_size", expected, size)
        self._sampler = BatchSampler(
            len(search),
            task.batch_size,
            seed=seed,
            labels=search.labels if task.balanced else None,
            balanced=task.balanced,
        )
        self._fixed = self._sampler.fixed(task.batch_size) if task.evaluation == "fixed" else None
        self.calibration: Any = None
        if task.recalibration_samples and has_statistics(task.parent):
            indices = self._sampler.calibration(task.recalibration_samples)
            self.calibration, _ = self._batch(indices)

    @property
    def per_epoch(self) -> int:
        """Generations in which every search sample is scored on once."""
        return self._sampler.batches_per_epoch

    def identity(self, generation: int) -> int:
        """Return what tells this generation's scoring batch from others'."""
        return 0 if self._fixed is not None else generation

    def scoring(self, generation: int) -> Batch:
        """Return the inputs and targets that a generation is scored on."""
        return self._batch(self._scoring(generation))

    def training(self, generation: int, teacher: Teacher) -> list[Lesson]:
        """Return what each gradient step of a generation is taken on.

        Args:
            generation: Whose scoring batch is left out.
            teacher: The parent.
        """
        task, recipe = self._task, self._task.training
        drawn = self._sampler.training(
            generation,
            task.train_steps,
            recipe.batch_size or task.batch_size,
            exclude=self._scoring(generation),
        )
        rng = np.random.default_rng([self._seed, _CHANGES, generation])
        learnt = learns_labels(task.loss_fn, recipe)
        batches = map(partial(self._batch, learnt=learnt), drawn)
        return list(draw_lessons(batches, recipe, teacher=teacher, rng=rng))

    def spread(self, n: int) -> Any:
        """Return the inputs of n samples, or of all if there are fewer, evenly spaced."""
        n_search = len(self._task.splits.search)
        inputs, _ = self._batch(np.linspace(0, n_search - 1, min(n, n_search)).astype(int))
        return inputs

    def spread_batches(self, n: int) -> Iterator[Any]:
        """Yield the inputs of n samples, or of all if there are fewer, a batch after the other."""
        n_search, size = len(self._task.splits.search), self._task.batch_size
        indices = np.linspace(0, n_search - 1, min(n, n_search)).astype(int)
        # Of about one size, as a norm over a batch takes no single sample.
        for part in np.array_split(indices, -(-len(indices) // size)):
            inputs, _ = self._batch(part)
            yield inputs

    def _scoring(self, generation: int) -> np.ndarray:
        return self._sampler.scoring(generation) if self._fixed is None else self._fixed

    def _batch(self, indices: np.ndarray, *, learnt: bool = False) -> Batch:
        search = self._task.splits.search
        inputs, targets = search.batch(indices)
        if not isinstance(search, TensorSamples):
            numbers = self._numbers[indices]
            self._soundness.check("search", inputs, targets, numbers, learnt=learnt)
        return to_device(inputs, self._task.device), targets.to(self._task.device)
