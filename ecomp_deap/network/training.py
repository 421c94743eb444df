"""Training: gradient steps for children, and the longer training of parents and chosen children."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.data import Samples
from ecomp_deap.network.embedding import embed
from ecomp_deap.network.lessons import (
    MIN_COMPARED,
    Lesson,
    Loss,
    Teacher,
    draw_lessons,
    training_loss,
)
from ecomp_deap.network.recalibration import has_statistics, recalibrate
from ecomp_deap.network.schedules import n_averaged, rate
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe

__all__ = ["Course", "fit", "predict", "train"]

# The order of the samples and what is done to them, apart from every other stream of a seed.
_ORDER, _CHANGES = 0xF17, 0xF18
_BATCH_SIZE = 128
# Samples that batch norms take their statistics from after weights were averaged.
_CALIBRATION = 1024

Forward = Callable[[nn.Module, Any], Any]


def train(
    module: nn.Module,
    lessons: Iterable[Lesson],
    *,
    recipe: Recipe,
    n_steps: int,
    loss_fn: Loss,
    forward: Forward,
    seed: int,
) -> None:
    """Take one gradient step per lesson (changes ``module``, which ends in eval mode).

    Args:
        module: The network.
        lessons: What the steps are taken on, on the module's device.
        recipe: How they are taken.
        n_steps: Number of lessons.
        loss_fn: ``(outputs, targets) -> scalar``.
        forward: ``(module, inputs) -> outputs``.
        seed: Of torch's generator for the duration, for dropout.
    """
    optimizer = _make_optimizer(module, recipe)
    average = _Average(module, n_averaged(recipe, n_steps))
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        module.train()
        for step, lesson in enumerate(lessons):
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, step, n_steps)
            optimizer.zero_grad(set_to_none=True)
            outputs, found = embed(module, lesson.inputs, tuple(lesson.measures), forward=forward)
            training_loss(outputs, found, lesson, recipe, loss_fn=loss_fn).backward()
            optimizer.step()
            average.take(n_steps - step)
    average.give()
    module.eval()


def _make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(module.parameters(), momentum=0.9, **options)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(module.parameters(), **options)


class _Average:
    """The mean of a module's parameters and statistics after each of the last ``n`` steps."""

    def __init__(self, module: nn.Module, n: int) -> None:
        self._n = n
        tensors = (*module.parameters(), *module.buffers())
        self._own = [t.detach() for t in tensors if t.is_floating_point()] if n else []
        self._means = [torch.zeros_like(tensor) for tensor in self._own]

    def take(self, n_left: int) -> None:
        """Take in the module as it is, if it is one of the last ``n_left`` that count."""
        if n_left <= self._n:
            for mean, own in zip(self._means, self._own, strict=True):
                mean.lerp_(own, 1 / (self._n - n_left + 1))

    def give(self) -> None:
        """Give the module the means."""
        for mean, own in zip(self._means, self._own, strict=True):
            own.copy_(mean)


@dataclass(frozen=True)
class Course:
    """Whole epochs over samples, of lessons that all children who take it share.

    Attributes:
        samples: What to train on; each epoch sees every sample once, in an order of its own. Only
            a last batch that is too small to learn from is left out.
        recipe: How; batches are of 128 samples unless it says so.
        epochs: Number of epochs.
        seed: Of the order of the samples, and of augmentation and mixup.
        device: Where the children are.
        teacher: The parent, if the recipe's losses need it.
    """

    samples: Samples
    recipe: Recipe
    epochs: int
    seed: int
    device: str = "cpu"
    teacher: Teacher | None = None

    @property
    def n_steps(self) -> int:
        """Number of lessons."""
        return self.epochs * len(self._cuts())

    def lessons(self, on_epoch: Callable[[], None] | None = None) -> Iterator[Lesson]:
        """Yield the lessons, always the same ones.

        Args:
            on_epoch: Called when the lesson that follows an epoch is asked for.
        """
        rng = np.random.default_rng([self.seed, _CHANGES])
        yield from draw_lessons(self._batches(on_epoch), self.recipe, teacher=self.teacher, rng=rng)

    def end(self, module: nn.Module, *, forward: Forward) -> None:
        """Give batch norms statistics that suit averaged weights (changes ``module``)."""
        if self.recipe.averaging and has_statistics(module) and len(self.samples) > 1:
            n = min(len(self.samples), _CALIBRATION)
            inputs, _ = self.samples.batch(np.linspace(0, len(self.samples) - 1, n).astype(int))
            recalibrate(module, to_device(inputs, self.device), forward=forward)

    def _batches(self, on_epoch: Callable[[], None] | None) -> Iterator[tuple[Any, torch.Tensor]]:
        rng = np.random.default_rng([self.seed, _ORDER])
        for _ in range(self.epochs):
            order = rng.permutation(len(self.samples))
            for cut in self._cuts():
                inputs, targets = self.samples.batch(order[cut])
                yield to_device(inputs, self.device), targets.to(self.device)
            if on_epoch is not None:
                on_epoch()

    def _cuts(self) -> list[slice]:
        """Return where each batch of an epoch lies in its order."""
        n, size = len(self.samples), self.recipe.batch_size or _BATCH_SIZE
        cuts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        # Batch norm cannot normalise a lone last sample, nor can few be compared by neighbours.
        least = MIN_COMPARED if "similarity" in self.recipe.loss else 2
        if len(cuts) > 1 and cuts[-1].stop - cuts[-1].start < least:
            cuts.pop()
        return cuts


def fit(
    module: nn.Module,
    samples: Samples,
    *,
    epochs: int,
    loss_fn: Loss,
    forward: Forward,
    seed: int,
    recipe: Recipe = FINALISE_RECIPE,
    device: str = "cpu",
    teacher: Teacher | None = None,
    on_epoch: Callable[[], None] | None = None,
) -> None:
    """Train for whole epochs (changes ``module``, which ends in eval mode).

    A one-cycle schedule, the default, reaches in ten epochs what a constant rate needs twice as
    many for.

    Args:
        module: The network.
        samples: What to train on, see `Course`.
        epochs: Number of epochs.
        loss_fn: ``(outputs, targets) -> scalar``.
        forward: ``(module, inputs) -> outputs``.
        seed: Of the order of the samples and of torch's generator for the duration.
        recipe: How.
        device: Where the module is.
        teacher: The parent, if the recipe's losses need it.
        on_epoch: Called after each epoch.

    Raises:
        ArgumentError: A recipe that needs a teacher, or does not suit it or the samples.
    """
    course = Course(samples, recipe, epochs, seed, device, teacher)
    train(
        module,
        course.lessons(on_epoch),
        recipe=recipe,
        n_steps=course.n_steps,
        loss_fn=loss_fn,
        forward=forward,
        seed=seed,
    )
    course.end(module, forward=forward)


def predict(
    module: nn.Module,
    samples: Samples,
    *,
    metric: Callable[[Any, torch.Tensor], float],
    forward: Forward,
    device: str = "cpu",
    batch_size: int = 1000,
) -> float:
    """Return the metric of a network on all samples, as a mean weighted by batch sizes."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(samples), batch_size):
            indices = np.arange(start, min(start + batch_size, len(samples)))
            inputs, targets = samples.batch(indices)
            outputs = forward(module, to_device(inputs, device))
            total += metric(outputs, targets.to(device)) * len(indices)
    return total / len(samples)


def to_device(inputs: Any, device: str) -> Any:
    """Return a batch of inputs (a tensor, or nested tuples, lists and dicts) on ``device``."""
    return torch.utils._pytree.tree_map(
        lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, inputs
    )
