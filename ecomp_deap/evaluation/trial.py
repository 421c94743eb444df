"""Trials: data, metric and training on a few samples, before a search is begun with them.

What would only show after hours, in the final training or on the test data, shows here.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ecomp_deap.copying import copy_batch, copy_network, tensors_in
from ecomp_deap.errors import ArgumentError, EcompError, argument_error, named
from ecomp_deap.evaluation.soundness import Soundness, learns_labels
from ecomp_deap.network.failures import failure, other_type
from ecomp_deap.network.lessons import Teacher, draw_lessons
from ecomp_deap.network.training import to_device, train
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import Task, accuracy

__all__ = ["check_data", "check_metric", "check_step"]

_TRIED = 16
_STEP_SAMPLES = 64
# Of what an error says.
_LONGEST = 300


def check_data(task: Task, soundness: Soundness) -> None:
    """Check that the parent takes samples of each part of the data, and that these are sound.

    Args:
        task: What is asked.
        soundness: Of its samples.

    Raises:
        ArgumentError: A part that it does not take, naming that; samples that are not finite, see
            `Soundness`; with accuracy as the metric, targets that are no class labels of its
            outputs.
    """
    parts = {"search": task.splits.search, "validation": task.splits.validation}
    if task.splits.test is not None:
        parts["test"] = task.splits.test
    for name, samples in parts.items():
        inputs, targets = samples.span(0, min(_TRIED, len(samples)))
        moved = to_device(copy_batch(inputs), task.device)
        try:
            with torch.no_grad():
                outputs = task.apply(task.parent, moved)
        except Exception as error:  # whatever the network's own code raises
            expected = f"{name} data: expected samples that the parent takes"
            why = other_type(task.parent, moved, task.apply) or named(error)[:_LONGEST]
            raise ArgumentError(f"{expected}, but {why}") from error
        if task.metric.function is accuracy:
            _check_labels(name, targets, outputs)
        soundness.check(name, inputs, targets, samples.numbers)
        soundness.check_known(name, samples)


def check_metric(task: Task, outputs: Any, targets: torch.Tensor) -> None:
    """Check that the parent has a finite metric on a batch.

    Args:
        task: What is asked.
        outputs: The parent's.
        targets: Of the batch.

    Raises:
        ArgumentError: It has none.
    """
    try:
        value = task.metric(outputs, targets)
    except Exception as error:  # whatever a user's function raises
        expected = "a function of outputs and targets that gives a number"
        raise argument_error("metric", expected, failure(error)) from error
    if not math.isfinite(value):
        raise argument_error("parent", "a finite metric on the data", value)


def _check_labels(name: str, targets: torch.Tensor, outputs: Any) -> None:
    """Check that targets have the shape and type of class labels of the outputs."""
    if not isinstance(outputs, torch.Tensor) or outputs.ndim < 2:
        got, hint = type(outputs).__name__, "forward= can take one of several outputs"
        if isinstance(outputs, torch.Tensor):
            got, hint = f"shape {tuple(outputs.shape)}", ""
        expected = "outputs of shape (n_samples, n_classes), or a metric of your own"
        raise argument_error("parent", expected, got, hint=hint)
    shape = (len(outputs), *outputs.shape[2:])
    if _whole(targets) and targets.shape == shape:
        return
    expected = f"integers of shape {_per_sample(shape, len(targets))}"
    each = "one class a sample" if outputs.ndim == 2 else "one class each"
    dtype, found = str(targets.dtype).removeprefix("torch."), tuple(targets.shape)
    raise ArgumentError(
        f"{name} targets: expected {expected}, {each}, as the metric is accuracy, got {dtype} of "
        f"shape {_per_sample(found, len(targets))}; {_remedy(targets, outputs)}"
    )


def _whole(targets: torch.Tensor) -> bool:
    """Return whether targets are of a type of integers."""
    return not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)


def _per_sample(shape: tuple[int, ...], n_samples: int) -> str:
    """Return a shape for n samples, as their number is that of a trial."""
    return str(shape).replace(f"({n_samples},", "(n,")


def _remedy(targets: torch.Tensor, outputs: torch.Tensor) -> str:
    """Return what makes class labels of targets, as far as that shows."""
    other = "another task takes a metric and a loss_fn of your own"
    if targets.is_complex() or outputs.shape[1] == 1:
        return other
    numbers = targets.double()
    if not torch.equal(numbers, numbers.round()):
        return other
    if targets.shape == outputs.shape:
        one_each = (numbers >= 0) & (numbers.sum(dim=1, keepdim=True) == 1)
        return "use targets.argmax(dim=1)" if one_each.all() else other
    made = "targets"
    if targets.ndim == outputs.ndim and targets.shape[1] == 1:
        targets, made = targets.squeeze(1), "targets.squeeze(1)"
    if targets.shape != (len(outputs), *outputs.shape[2:]):
        return other
    return f"use {made}" if _whole(targets) else f"use {made}.long()"


def check_step(
    task: Task, recipe: Recipe, teacher: Teacher, soundness: Soundness, *, name: str
) -> None:
    """Check that a copy of the parent can take a gradient step.

    Args:
        task: What is asked.
        recipe: How the step is taken.
        teacher: The parent.
        soundness: Of the task's samples.
        name: Of the recipe, for errors.

    Raises:
        ArgumentError: It cannot: a loss that is no finite scalar with a gradient, labels that
            cross-entropy does not take, an ``augment`` that changes what inputs are, a network that
            has no outputs in training.
    """
    samples = task.splits.search
    soundness.check_known("search", samples, learnt=learns_labels(task.loss_fn, recipe))
    inputs, targets = samples.span(0, min(_STEP_SAMPLES, len(samples)))
    inputs, targets = to_device(copy_batch(inputs), task.device), targets.to(task.device)
    if recipe.augment is not None:
        _check_augment(recipe, copy_batch(inputs), name)
    child = copy_network(task.parent)
    if "task" in recipe.loss:
        _check_loss(task, child.train(), copy_batch(inputs), targets)
    lessons: Iterable[Any] = draw_lessons(
        [(copy_batch(inputs), targets)], recipe, teacher=teacher, rng=np.random.default_rng(0)
    )
    try:
        train(
            child,
            lessons,
            recipe=recipe,
            n_steps=1,
            loss_fn=task.loss_fn,
            forward=task.apply,
            seed=0,
        )
    except EcompError:
        raise
    except Exception as error:  # whatever a user's functions raise
        raise argument_error(
            name, "a recipe that the parent can train by", named(error)[:_LONGEST]
        ) from error


def _check_augment(recipe: Recipe, inputs: Any, name: str) -> None:
    assert recipe.augment is not None
    expected = f"{name}.augment: expected a function (inputs, rng) that gives inputs of their shape"
    before = [(tensor.shape, tensor.dtype) for tensor in tensors_in(inputs)]
    try:
        found = recipe.augment(inputs, np.random.default_rng(0))
        after = [(tensor.shape, tensor.dtype) for tensor in tensors_in(found)]
    except Exception as error:  # whatever a user's function raises
        raise ArgumentError(f"{expected}, got {named(error)[:_LONGEST]}") from error
    if type(found) is not type(inputs) or len(after) != len(before):
        raise ArgumentError(f"{expected}, got {type(found).__name__}")
    for (shape, dtype), (own_shape, own_dtype) in zip(before, after, strict=True):
        if shape[0] != own_shape[0] or dtype != own_dtype:
            raise ArgumentError(f"{expected}, got {own_dtype} of shape {tuple(own_shape)}")


def _check_loss(task: Task, child: torch.nn.Module, inputs: Any, targets: torch.Tensor) -> None:
    expected = "a function of outputs and targets that gives a finite scalar with a gradient"
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            loss: Any = task.loss_fn(task.apply(child, inputs), targets)
        scalar = isinstance(loss, torch.Tensor) and loss.ndim == 0 and loss.requires_grad
    except Exception as error:  # whatever a user's functions raise
        raise argument_error("loss_fn", expected, named(error)[:_LONGEST]) from error
    if not scalar or not torch.isfinite(loss):
        raise argument_error("loss_fn", expected, loss)
