"""`fit_children`: several networks trained for whole epochs, dense stacks together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.data import Samples
from ecomp_deap.errors import argument_error
from ecomp_deap.network.cost import param_count
from ecomp_deap.network.failures import failure
from ecomp_deap.network.groups import stages
from ecomp_deap.network.layers import InputLinear
from ecomp_deap.network.lessons import Lesson, Loss, Teacher
from ecomp_deap.network.stack import DenseStack, Tensors
from ecomp_deap.network.stack_training import StackTrainer, trains_alone
from ecomp_deap.network.training import Course, Forward, fit
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.task import default_forward
from ecomp_deap.threads import thread_map, torch_threads

__all__ = ["fit_children"]

# Children that train together: more save less, and leave fewer groups for threads.
_TOGETHER = 10
# Lessons that are held at once, so that threads seldom wait for each other.
_HELD = 16


def fit_children(
    children: Sequence[nn.Module],
    samples: Samples,
    *,
    epochs: int,
    loss_fn: Loss,
    forward: Forward,
    seed: int,
    recipe: Recipe = FINALISE_RECIPE,
    learning_rates: Sequence[float] | None = None,
    device: str = "cpu",
    teacher: Teacher | None = None,
    threads: int = 1,
    on_each: Callable[[], None] | None = None,
    on_failure: Callable[[int, str], None] | None = None,
) -> None:
    """Train several networks for whole epochs (changes them), as `fit` trains each.

    Dense stacks of one architecture, of any widths, are trained by `StackTrainer`, a few together;
    what they learn does not depend on the number of threads. All else goes through `fit`, one after
    the other. With a batch norm or the similarity loss stacks are trained one by one too, if by
    `StackTrainer`. All see the same samples in the same order, which are drawn once for all stacks.

    Args:
        children: The networks; they end in eval mode.
        samples: What to train on, see `Course`.
        epochs: Number of epochs.
        loss_fn: ``(outputs, targets) -> scalar``.
        forward: ``(module, inputs) -> outputs``.
        seed: Of the order of the samples and of torch's generator for the duration.
        recipe: How.
        learning_rates: The highest rate of each child, by default the recipe's. Small children want
            higher ones than large ones.
        device: Where the children are.
        teacher: The parent, if the recipe's losses need it.
        threads: Threads in which stacks are trained side by side; a loss of a user's own is called
            in one alone.
        on_each: Called after each child.
        on_failure: Called with the place of a child whose training raised an error of a user's own
            code, and with the reason. That child is of no use then; the others train. By default
            the error is raised.

    Raises:
        ArgumentError: Another number of rates than of children, and as for `fit`.
        EvaluationError: See `draw_lessons`.
    """
    rates = [recipe.learning_rate] * len(children)
    if learning_rates is not None:
        if len(learning_rates) != len(children):
            raise argument_error("learning_rates", f"{len(children)} rates", len(learning_rates))
        rates = list(learning_rates)
    recipes = [replace(recipe, learning_rate=rate) for rate in rates]
    course = Course(samples, recipe, epochs, seed, device, teacher)
    groups = _groups(children, course, forward)
    if getattr(loss_fn, "__module__", "") != "torch.nn.functional":
        threads = 1
    errors = _fit_stacks(groups, children, rates, course, loss_fn, threads)
    together = {i for group in groups for i in group}
    for i, child in enumerate(children):
        try:
            if i in errors:
                raise errors[i]
            if i in together:
                course.end(child, forward=forward)
            else:
                fit(
                    *(child, samples),
                    epochs=epochs,
                    loss_fn=loss_fn,
                    forward=forward,
                    seed=seed,
                    recipe=recipes[i],
                    device=device,
                    teacher=teacher,
                )
        except Exception as error:  # whatever a user's network or loss raises
            reason = failure(error)
            if on_failure is None:
                raise
            on_failure(i, reason)
        if on_each is not None:
            on_each()


def _groups(children: Sequence[nn.Module], course: Course, forward: Forward) -> list[list[int]]:
    """Return the places of the children that train together; the others are no dense stacks.

    Those of one architecture, each group with small and large ones, so that threads are done with
    their groups at about the same time.
    """
    if forward is not default_forward:
        return []
    inputs, _ = course.samples.batch(np.arange(min(2, len(course.samples))))
    kinds: dict[Any, list[int]] = {}
    for i, child in enumerate(children):
        if _is_stack(child, inputs, _probes(course)):
            kinds.setdefault(_architecture(child), []).append(i)
    groups = []
    for places in kinds.values():
        places.sort(key=lambda i: param_count(children[i]))
        most = 1 if trains_alone(DenseStack(children[places[0]], ()), course.recipe) else _TOGETHER
        n_groups = -(-len(places) // most)
        groups += [places[first::n_groups] for first in range(n_groups)]
    return groups


def _probes(course: Course) -> tuple[str, ...]:
    """Return the layers whose embeddings the losses compare."""
    if course.teacher is None or "similarity" not in course.recipe.loss:
        return ()
    return tuple(probe.name for probe in course.teacher.probes)


def _is_stack(child: nn.Module, inputs: Any, probes: tuple[str, ...]) -> bool:
    """Return whether `StackTrainer` gives what the child's own modules would."""
    if not isinstance(inputs, torch.Tensor):
        return False
    if not DenseStack.supports(child, probes, others=(InputLinear,)):
        return False
    stack = DenseStack(child, ())
    layers = [module for _, module in stack.stages if isinstance(module, nn.Linear)]
    if stack.draws or any(isinstance(layer, InputLinear) for layer in layers[1:]):
        return False
    with torch.no_grad():
        tensors = child.state_dict()
        units = stack.walk(tensors, inputs.to(next(iter(tensors.values())).device), 0).outputs
    return units.ndim == 2 and any(p.requires_grad for p in child.parameters())


def _architecture(child: nn.Module) -> tuple[Any, ...]:
    """Return what children have in common that train together: all but their widths."""
    described: list[Any] = []
    for name, module in stages(child):
        if isinstance(module, nn.BatchNorm1d):
            kind: Any = (nn.BatchNorm1d, module.eps, module.momentum)
        else:
            kind = nn.Linear if isinstance(module, nn.Linear) else repr(module)
        described.append((name, kind))
    for name, parameter in child.named_parameters():
        described.append((name, parameter.requires_grad, parameter.dtype, parameter.device))
    return tuple(described)


def _fit_stacks(
    groups: Sequence[Sequence[int]],
    children: Sequence[nn.Module],
    rates: Sequence[float],
    course: Course,
    loss_fn: Loss,
    threads: int,
) -> dict[int, Exception]:
    """Train groups of stacks (changes the children); return what was raised, by the child's place.

    A child whose training raised an error stays as it was.
    """
    if not groups:
        return {}
    classes = [
        _Class(
            group,
            StackTrainer(
                DenseStack(children[group[0]], _probes(course)),
                [_tensors(children[i]) for i in group],
                recipe=course.recipe,
                n_steps=course.n_steps,
                loss_fn=loss_fn,
                learning_rates=[rates[i] for i in group],
            ),
        )
        for group in groups
    ]
    lessons = course.lessons()
    with torch_threads(1):
        while any(own.error is None for own in classes) and (held := list(islice(lessons, _HELD))):
            thread_map(partial(_Class.take, lessons=held), classes, threads=threads)
    errors: dict[int, Exception] = {}
    alone: list[list[int]] = []
    for own in classes:
        if own.error is None:
            for i, tensors in zip(own.places, own.trainer.finish(), strict=True):
                _give(children[i], tensors, course.n_steps)
        elif len(own.places) == 1:
            errors[own.places[0]] = own.error
        else:
            alone += [[i] for i in own.places]
    # Whose error it was shows when each trains by itself.
    return errors | _fit_stacks(alone, children, rates, course, loss_fn, threads)


@dataclass
class _Class:
    """Children that are taught together.

    Attributes:
        places: Of the children.
        trainer: Their trainer.
        error: What a step of theirs has raised; they take no more then.
    """

    places: Sequence[int]
    trainer: StackTrainer
    error: Exception | None = None

    def take(self, lessons: Sequence[Lesson]) -> None:
        """Take a step for each lesson."""
        if self.error is not None:
            return
        try:
            with torch.no_grad():
                for lesson in lessons:
                    self.trainer.take(lesson)
        except Exception as error:  # whatever a user's loss raises
            failure(error)
            self.error = error


def _tensors(child: nn.Module) -> dict[str, torch.Tensor]:
    state = child.state_dict()
    return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}


def _give(child: nn.Module, tensors: Tensors, n_steps: int) -> None:
    """Give a child what it has learnt (in place)."""
    for name, own in child.state_dict().items():
        if name in tensors:
            own.copy_(tensors[name])
        else:
            own.add_(n_steps)  # batches that a norm has tracked
    child.eval()
