"""`StackTrainer`: gradient steps for several dense children at once.

The backward pass is written out, as autograd would take as long as the products do.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ecomp_deap.network.lessons import Lesson, Loss, Measure, training_loss
from ecomp_deap.network.schedules import n_averaged
from ecomp_deap.network.stack import DenseStack, Tensors
from ecomp_deap.network.stack_optimizers import StackOptimizer
from ecomp_deap.network.stack_stages import Joint, make_stages
from ecomp_deap.recipe import Recipe

__all__ = ["StackTrainer", "train_stacks", "trains_alone"]

# Parameters of the children that train together, as fast as any number measured: fewer leave the
# threads waiting for Python, more fill the caches with Adam's moments.
_TOGETHER = 1_000_000


def train_stacks(
    stack: DenseStack,
    lessons: Sequence[Lesson],
    children: Iterable[Tensors],
    *,
    recipe: Recipe,
    loss_fn: Loss,
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield each child's tensors after a step per lesson, in order, as `network.train` gives them.

    What is yielded may share memory with that of other children.

    Args:
        stack: What the children are.
        lessons: What the steps are taken on, on the children's device.
        children: Where training starts; they are not changed. Fetched a few at a time.
        recipe: How the steps are taken.
        loss_fn: ``(outputs, targets) -> scalar``.
    """
    for group in _groups(children, 1 if trains_alone(stack, recipe) else None):
        trainer = StackTrainer(
            *(stack, group),
            recipe=recipe,
            n_steps=len(lessons),
            loss_fn=loss_fn,
            exact=True,
            scratch=_kept_scratch,
        )
        for lesson in lessons:
            trainer.take(lesson)
        yield from trainer.finish()


def trains_alone(stack: DenseStack, recipe: Recipe) -> bool:
    """Return whether each child has to be trained by itself, with the very operations of a module.

    What a batch norm makes up for, or leaves the distances of the similarity loss alone, has a
    gradient of 0, of which Adam sees the rounding errors alone: only the operations of the loop
    give what the loop gives.
    """
    norms = any(isinstance(module, nn.BatchNorm1d) for _, module in stack.stages)
    return norms or "similarity" in recipe.loss


def _groups(children: Iterable[Tensors], most: int | None) -> Iterator[list[Tensors]]:
    """Yield children that train together."""
    group: list[Tensors] = []
    size = 0
    for tensors in children:
        own = sum(tensor.numel() for tensor in tensors.values())
        if group and (len(group) == most or size + own > _TOGETHER):
            yield group
            group, size = [], 0
        group.append(tensors)
        size += own
    if group:
        yield group


_local = threading.local()


def _kept_scratch(like: torch.Tensor, size: int) -> Sequence[torch.Tensor]:
    """Return three vectors of this thread's own, for one trainer at a time.

    Fresh memory costs more than to fill what is at hand.
    """
    kept: torch.Tensor | None = getattr(_local, "scratch", None)
    kind = (like.dtype, like.device)
    if kept is None or (kept.dtype, kept.device) != kind or kept.shape[1] < size:
        kept = _local.scratch = like.new_empty(3, size)
    scratch = kept[:, :size]
    scratch[1:].zero_()
    return scratch.unbind()


def _new_scratch(like: torch.Tensor, size: int) -> Sequence[torch.Tensor]:
    return like.new_zeros(3, size).unbind()


def _taught(stack: DenseStack, recipe: Recipe) -> Sequence[tuple[str, nn.Module]]:
    """Return the stages that the losses depend on: the others do not even decay."""
    if recipe.loss.keys() != {"similarity"}:
        return stack.stages
    probed = [i for i, (name, _) in enumerate(stack.stages) if name in stack.probe_layers]
    return stack.stages[: max(probed, default=len(stack.stages)) + 1]


class StackTrainer:
    """Takes several children through gradient steps, as `network.train` takes a module.

    Args:
        stack: What the children are; only one of them where it `trains_alone`.
        children: Where training starts; they are not changed.
        recipe: How the steps are taken.
        n_steps: Number of steps that will be taken.
        loss_fn: ``(outputs, targets) -> scalar``.
        learning_rates: The highest rate of each child, by default the recipe's.
        exact: Whether steps by cross-entropy are to be those of a module to the last bit, however
            many children train together; that takes a fifth longer.
        scratch: See `Joint`.
    """

    def __init__(
        self,
        stack: DenseStack,
        children: Sequence[Tensors],
        *,
        recipe: Recipe,
        n_steps: int,
        loss_fn: Loss,
        learning_rates: Sequence[float] | None = None,
        exact: bool = False,
        scratch: Callable[[torch.Tensor, int], Sequence[torch.Tensor]] = _new_scratch,
    ) -> None:
        self._recipe, self._loss_fn, self._n_children = recipe, loss_fn, len(children)
        alone = trains_alone(stack, recipe)
        self._alone, self._exact = alone, exact or alone
        # Places of inputs are no numbers to learn.
        self._places = [{n: t for n, t in c.items() if not t.is_floating_point()} for c in children]
        numbers = [{n: t for n, t in c.items() if t.is_floating_point()} for c in children]
        trainable = {
            f"{name}.{key}"
            for name, module in _taught(stack, recipe)
            for key, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        }
        self._joint = Joint(numbers, trainable, scratch)
        self._names = [name for name, _ in stack.stages]
        # The children's units behind each stage from the first layer on.
        self._widths: list[list[int]] = []
        for name, module in stack.stages:
            if isinstance(module, nn.Linear):
                self._widths.append(self._joint.widths[f"{name}.weight"])
            else:
                self._widths.append(self._widths[-1] if self._widths else [])
        self._stages = make_stages(stack, self._joint, self._places, exact=self._exact)
        # No gradient is needed of what comes before.
        self._first = next(
            i for i, (_, m) in enumerate(stack.stages) if any(True for _ in m.parameters())
        )
        rates = [recipe.learning_rate] * len(children) if learning_rates is None else learning_rates
        self._optimizer = StackOptimizer(
            *(self._joint, recipe),
            n_steps=n_steps,
            learning_rates=rates,
            fused=not alone,
        )
        self._n_left, self._n_averaged = n_steps, n_averaged(recipe, n_steps)
        self._mean = torch.zeros_like(self._joint.flat) if self._n_averaged else None

    def take(self, lesson: Lesson) -> None:
        """Take the next step of every child."""
        if not self._joint.n_trainable:
            return
        measures = {probe.name: measure for probe, measure in lesson.measures.items()}
        compared: dict[int, torch.Tensor] = {}
        x = lesson.inputs
        for i, (name, stage) in enumerate(zip(self._names, self._stages, strict=True)):
            x = stage.forward(x)
            if name in measures:
                compared[i] = x
        gradient = self._of_outputs(x, lesson)
        for i in reversed(range(self._first, len(self._stages))):
            if i in compared:
                gradient = gradient + self._of_embeddings(i, compared[i], measures[self._names[i]])
            gradient = self._stages[i].backward(gradient, i > self._first)
        self._optimizer.step()
        if self._mean is not None and self._n_left <= self._n_averaged:
            self._mean.lerp_(self._joint.flat, 1 / (self._n_averaged - self._n_left + 1))
        self._n_left -= 1

    def finish(self) -> list[dict[str, torch.Tensor]]:
        """Return each child's tensors, which may share memory, after the last step."""
        if self._mean is not None and self._joint.n_trainable:
            self._joint.flat.copy_(self._mean)
        return [
            {**own, **places}
            for own, places in zip(self._joint.children, self._places, strict=True)
        ]

    def _of_outputs(self, outputs: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        """Return the gradient of what the children's losses make of their outputs."""
        losses = self._recipe.loss
        if losses.keys() == {"similarity"}:
            return torch.zeros_like(outputs)
        known = "task" not in losses or (
            self._loss_fn is functional.cross_entropy and _are_classes(lesson.targets)
        )
        # With more terms than one the order of their sum shows in last bits.
        plain = losses == {"task": 1.0} and lesson.mixed_in is None
        if known and plain and self._exact:
            return self._of_cross_entropy(outputs, lesson.targets)
        if known and not self._alone:
            return self._written_out(outputs, lesson)
        gradients: list[torch.Tensor] = []
        alone = replace(lesson, measures={})
        for own in outputs.tensor_split(self._n_children, dim=1):
            leaf = own.detach().requires_grad_()
            with torch.enable_grad():
                # A copy: a loss may change what it is given.
                loss = training_loss(
                    *(leaf.contiguous().clone(), {}, alone, self._recipe), loss_fn=self._loss_fn
                )
            gradients += torch.autograd.grad(loss, leaf)
        return torch.cat(gradients, dim=1)

    def _of_cross_entropy(self, outputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the mean cross-entropy, autograd's own to the last bit."""
        each = outputs.view(len(outputs), self._n_children, -1)
        of_log_p = torch.zeros_like(each[:, 0])
        of_log_p.scatter_(1, classes[:, None], -1.0 / len(classes))
        gradient = torch.ops.aten._log_softmax_backward_data(
            of_log_p[:, None].expand_as(each), each.log_softmax(dim=2), 2, outputs.dtype
        )
        found: torch.Tensor = gradient.reshape(outputs.shape)
        return found

    def _written_out(self, outputs: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        """Return the gradient of cross-entropy and distillation, in a fraction of autograd's time.

        Classes come first: torch is slow at a softmax over a short last dimension.
        """
        n, losses, temperature = len(outputs), self._recipe.loss, self._recipe.temperature
        # Shape (n_classes, n_samples, n_children).
        logits = outputs.view(n, self._n_children, -1).permute(2, 0, 1).contiguous()
        gradient = torch.zeros_like(logits)
        if "task" in losses:
            weight = losses["task"] / n
            torch.softmax(logits, dim=0, out=gradient).mul_(weight)
            for classes, share in (
                (lesson.targets, lesson.share),
                (lesson.mixed_in, 1 - lesson.share),
            ):
                if classes is not None:
                    places = classes[None, :, None].expand(1, n, self._n_children)
                    lessened = gradient.gather(0, places) - weight * share
                    gradient.scatter_(0, places, lessened)
        if "distillation" in losses:
            assert lesson.logits is not None
            wanted = (lesson.logits.T / temperature).softmax(dim=0)
            apart = (logits / temperature).softmax(dim=0) - wanted[:, :, None]
            gradient.add_(apart, alpha=losses["distillation"] * temperature / n)
        return gradient.permute(1, 2, 0).reshape(outputs.shape)

    def _of_embeddings(self, stage: int, embeddings: torch.Tensor, measure: Measure) -> Any:
        """Return the gradient of the children's similarity losses at one probe layer."""
        gradients: list[torch.Tensor] = []
        for own in embeddings.split(self._widths[stage], dim=1):
            leaf = own.contiguous().detach().requires_grad_()
            with torch.enable_grad():
                loss = self._recipe.loss["similarity"] * measure(leaf)
            gradients += torch.autograd.grad(loss, leaf)
        return torch.cat(gradients, dim=1)


def _are_classes(targets: torch.Tensor) -> bool:
    """Return whether targets are one class per sample, none of them to be ignored."""
    return targets.ndim == 1 and targets.dtype == torch.int64 and bool((targets >= 0).all())
