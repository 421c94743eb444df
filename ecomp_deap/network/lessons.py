"""`Lesson`: what a gradient step is taken on, the same for all children that train together.

Whatever a recipe does to samples, and all that the parent has to say of them, is done once and
not for every child.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from ecomp_deap.errors import argument_error
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.failures import blaming
from ecomp_deap.recipe import Recipe

__all__ = ["Lesson", "Teacher", "check_recipe", "draw_lessons", "training_loss"]

# Of a child's embedding, shape ``(n_samples, n_units)``: a scalar.
Measure = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[Any, torch.Tensor], torch.Tensor]

# What the similarity loss needs at least.
MIN_COMPARED = 5


@dataclass(frozen=True)
class Lesson:
    """A batch of samples as a gradient step sees it.

    Attributes:
        inputs: Of the batch, augmented and mixed.
        targets: Of the batch.
        mixed_in: Targets of the samples that are mixed in; None without mixup.
        share: Of ``targets``; ``mixed_in`` have the rest.
        logits: The parent's, shape ``(n_samples, n_classes)``, for distillation.
        measures: By probe layer the similarity loss against the parent's embedding.
    """

    inputs: Any
    targets: torch.Tensor
    mixed_in: torch.Tensor | None = None
    share: float = 1.0
    logits: torch.Tensor | None = None
    measures: Mapping[Probe, Measure] = field(default_factory=dict)


@dataclass(frozen=True)
class Teacher:
    """The parent, as children learn from it.

    Attributes:
        parent: The network, in eval mode.
        forward: ``(module, inputs) -> outputs``.
        probes: The probe layers, for the similarity loss.
        measure: Makes that of a probe layer from its name and the parent's embedding.
    """

    parent: nn.Module
    forward: Callable[[nn.Module, Any], Any]
    probes: Sequence[Probe] = ()
    measure: Callable[[str, torch.Tensor], Measure] | None = None

    def teach(self, lesson: Lesson, losses: Mapping[str, float]) -> Lesson:
        """Return the lesson with what the losses need of the parent.

        Raises:
            ArgumentError: Distillation from outputs that are no logits of one sample each, a
                parent's embedding that has no similarity loss.
        """
        wanted = self.probes if "similarity" in losses else ()
        with torch.no_grad():
            outputs, found = embed(self.parent, lesson.inputs, wanted, forward=self.forward)
        logits, measures = None, {}
        if "distillation" in losses:
            logits = check_logits(outputs)
        if wanted:
            assert self.measure is not None
            measures = {probe: self.measure(probe.name, found[probe.name]) for probe in wanted}
        return Lesson(
            lesson.inputs, lesson.targets, lesson.mixed_in, lesson.share, logits, measures
        )


def check_recipe(recipe: Recipe, teacher: Teacher, inputs: Any, *, name: str) -> None:
    """Check that a recipe suits a parent and its data.

    Args:
        recipe: How children are to train.
        teacher: The parent.
        inputs: Of at least five samples that make the parent's layers differ.
        name: Of the recipe, for errors.

    Raises:
        ArgumentError: Mixup of anything but one tensor of floating-point numbers, distillation
            from outputs that are no logits, a similarity loss without a probe layer, a gradient or
            enough samples in a batch.
    """
    if recipe.mixup:
        _check_mixed(inputs, f"{name}.mixup")
    if "similarity" in recipe.loss:
        if not teacher.probes:
            expected = "other losses than the similarity loss, as no probe layer was found"
            raise argument_error(f"{name}.loss", expected, dict(recipe.loss))
        if recipe.batch_size is not None and recipe.batch_size < MIN_COMPARED:
            expected = f"at least {MIN_COMPARED} for the similarity loss"
            raise argument_error(f"{name}.batch_size", expected, recipe.batch_size)
    taught = teacher.teach(Lesson(inputs, torch.empty(0)), recipe.loss)
    for measure in taught.measures.values():
        if not getattr(measure, "differentiable", True):
            expected = "a similarity measure that has a gradient, to train by it"
            raise argument_error(f"{name}.loss", expected, type(measure).__name__)


def check_logits(outputs: Any) -> torch.Tensor:
    """Return outputs that are logits of shape ``(n_samples, n_classes)``.

    Raises:
        ArgumentError: They are not.
    """
    if not isinstance(outputs, torch.Tensor):
        got: Any = type(outputs).__name__
    elif outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.is_floating_point():
        return outputs
    else:
        got = f"{outputs.dtype} of shape {tuple(outputs.shape)}"
    expected = "a parent whose outputs are logits of shape (n_samples, n_classes)"
    raise argument_error("distillation", expected, got)


def draw_lessons(
    batches: Iterable[tuple[Any, torch.Tensor]],
    recipe: Recipe,
    *,
    teacher: Teacher | None,
    rng: np.random.Generator,
) -> Iterator[Lesson]:
    """Yield a lesson for each batch.

    Args:
        batches: ``(inputs, targets)``, the caller's own: a recipe's ``augment`` may change them.
        recipe: What is done to them.
        teacher: The parent, where the recipe's losses need it.
        rng: For ``augment`` and mixup.

    Raises:
        ArgumentError: Losses that need a parent where there is none; see `Teacher.teach`.
        EvaluationError: ``augment`` or the parent raises an error, which is no child's fault.
    """
    if recipe.needs_teacher and teacher is None:
        raise argument_error("teacher", f"a parent for the losses {recipe.loss}", None)
    for inputs, targets in batches:
        if recipe.augment is not None:
            with blaming("augment: expected a function that changes inputs of a batch"):
                inputs = recipe.augment(inputs, rng)
        lesson = Lesson(inputs, targets)
        if recipe.mixup:
            lesson = _mixed(inputs, targets, recipe.mixup, rng)
        if teacher is not None and recipe.needs_teacher:
            with blaming("parent: expected a network to learn from"):
                lesson = teacher.teach(lesson, recipe.loss)
        yield lesson


def _mixed(
    inputs: torch.Tensor, targets: torch.Tensor, alpha: float, rng: np.random.Generator
) -> Lesson:
    _check_mixed(inputs, "mixup")
    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(targets))).to(inputs.device)
    mixed = share * inputs + (1 - share) * inputs.index_select(0, other)
    return Lesson(mixed, targets, targets.index_select(0, other.to(targets.device)), share)


def _check_mixed(inputs: Any, name: str) -> None:
    if not isinstance(inputs, torch.Tensor):
        raise argument_error(name, "0 for inputs that are no tensor", type(inputs).__name__)
    if not inputs.is_floating_point():
        raise argument_error(name, "0 for inputs that are no floating-point numbers", inputs.dtype)


def training_loss(
    outputs: Any,
    embeddings: Mapping[str, torch.Tensor],
    lesson: Lesson,
    recipe: Recipe,
    *,
    loss_fn: Loss,
) -> torch.Tensor:
    """Return what training minimises: the recipe's losses, weighted and summed.

    Args:
        outputs: The child's, of the lesson's inputs.
        embeddings: Its embeddings of the lesson's probe layers, by name.
        lesson: What the step is taken on.
        recipe: The weights.
        loss_fn: ``(outputs, targets) -> scalar``.
    """
    total: Any = 0.0
    if "distillation" in recipe.loss:
        assert lesson.logits is not None
        found = distillation_loss(check_logits(outputs), lesson.logits, recipe.temperature)
        total = total + recipe.loss["distillation"] * found
    for probe, measure in lesson.measures.items():
        total = total + recipe.loss["similarity"] * measure(embeddings[probe.name])
    if "task" in recipe.loss:
        total = total + recipe.loss["task"] * _task_loss(outputs, lesson, recipe, loss_fn)
    loss: torch.Tensor = total
    return loss


def _task_loss(outputs: Any, lesson: Lesson, recipe: Recipe, loss_fn: Loss) -> torch.Tensor:
    # Copies where outputs are used again: a loss may change what it is given.
    copied = partial(tree_map_only, torch.Tensor, torch.clone)
    own = outputs if len(recipe.loss) == 1 and lesson.mixed_in is None else copied(outputs)
    if lesson.mixed_in is None:
        return loss_fn(own, lesson.targets)
    mixed_in = loss_fn(copied(outputs), lesson.mixed_in)
    return lesson.share * loss_fn(own, lesson.targets) + (1 - lesson.share) * mixed_in


def distillation_loss(
    outputs: torch.Tensor, logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return temperature² · KL(softmax(logits / temperature) ‖ softmax(outputs / temperature)).

    Args:
        outputs: The child's logits, shape ``(n_samples, n_classes)``.
        logits: The parent's.
        temperature: Higher ones let small probabilities count for more.

    Returns:
        The mean over samples.

    Source: Hinton et al. (2015), "Distilling the Knowledge in a Neural Network", section 2.
    """
    divergence = functional.kl_div(
        (outputs / temperature).log_softmax(dim=1),
        (logits / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
