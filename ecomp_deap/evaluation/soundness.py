"""`Soundness`: whether samples are such that a network can learn from them, and be measured on."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.copying import copy_batch, copy_network, tensors_in
from ecomp_deap.data import DatasetSamples, Samples, TensorSamples
from ecomp_deap.data.soundness import check_finite
from ecomp_deap.errors import ArgumentError, EcompError
from ecomp_deap.network.training import to_device
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import Task, accuracy

__all__ = ["Soundness", "learns_labels"]

# Samples of others than tensors that are read at once.
_READ = 256
# The class of samples that cross-entropy leaves out, in torch.
_IGNORED = -100


def learns_labels(loss_fn: Any, recipe: Recipe) -> bool:
    """Return whether training takes integer targets for class labels: by torch's cross-entropy."""
    return loss_fn is nn.functional.cross_entropy and "task" in recipe.loss


class Soundness:
    """Checks samples: all that are held in tensors at once, others as they are read.

    Args:
        network: What is to learn from them, on ``device``; it is not changed.
        example: Samples, of which two show what the network makes of one.
        forward: ``(module, inputs) -> outputs``.
        device: Where the network is.
        labelled: Whether integer targets have to be class labels, in every part of the data.
    """

    def __init__(
        self,
        network: nn.Module,
        example: Samples,
        *,
        forward: Callable[[nn.Module, Any], Any],
        device: str = "cpu",
        labelled: bool = False,
    ) -> None:
        self._network, self._example = network, example
        self._forward, self._device, self._labelled = forward, device, labelled

    @classmethod
    def of(cls, task: Task) -> "Soundness":
        """Return what checks a task's samples by its parent; labels if the metric is accuracy."""
        return cls(
            *(task.parent, task.splits.search),
            forward=task.apply,
            device=task.device,
            labelled=task.metric.function is accuracy,
        )

    def check(
        self,
        part: str,
        inputs: Any,
        targets: torch.Tensor,
        numbers: np.ndarray,
        *,
        learnt: bool = False,
    ) -> None:
        """Check samples.

        Args:
            part: Of the data, for errors.
            inputs: Of the samples.
            targets: Likewise.
            numbers: Of the samples, for errors, see `Samples.numbers`.
            learnt: Whether cross-entropy is taken of them, see `learns_labels`.

        Raises:
            ArgumentError: One that holds NaN or Inf, with which the network does not cope, or a
                label that no output stands for.
        """
        check_finite(part, inputs, targets, numbers, copes=self._copes)
        if self._labelled or learnt:
            self._check_labels(part, targets, numbers)

    def check_known(self, part: str, samples: Samples, *, learnt: bool = False) -> None:
        """Check what need not be read: all of tensors, of a data set the labels it has read before.

        Args:
            part: Of the data, for errors.
            samples: The samples.
            learnt: See `check`.

        Raises:
            ArgumentError: See `check`.
        """
        if isinstance(samples, TensorSamples):
            self.check(part, samples.inputs, samples.targets, samples.numbers, learnt=learnt)
        elif isinstance(samples, DatasetSamples) and (self._labelled or learnt):
            labels = samples.known_labels
            if labels is not None:
                self._check_labels(part, torch.from_numpy(labels), samples.numbers)

    def problem(self, part: str, samples: Samples, *, learnt: bool = False) -> str | None:
        """Return what is wrong with samples, all of which are read; None if nothing is."""
        try:
            for numbers, inputs, targets in _batches(samples):
                self.check(part, inputs, targets, numbers, learnt=learnt)
        except EcompError as error:  # also of one that cannot be read
            return str(error)
        return None

    def _copes(self, inputs: Any) -> bool:
        """Return whether outputs are finite, and their gradients: a sigmoid hides an Inf."""
        network = copy_network(self._network).eval()
        trained = [p for p in network.parameters() if p.requires_grad]
        try:
            with torch.random.fork_rng(), torch.enable_grad():
                outputs = self._forward(network, to_device(inputs, self._device))
                found = [t for t in tensors_in(outputs) if t.is_floating_point()]
                sums = [t.sum() for t in found if t.requires_grad]
                gradients = torch.autograd.grad(sums, trained, allow_unused=True) if sums else ()
        except Exception:  # whatever a network raises that is given such inputs
            return False
        found += [gradient for gradient in gradients if gradient is not None]
        return all(bool(tensor.isfinite().all()) for tensor in found)

    @property
    def scored_classes(self) -> int:
        """Classes that the metric counts hits among, 0 where it is no accuracy."""
        return self._n_classes if self._labelled else 0

    @cached_property
    def _n_classes(self) -> int:
        """Classes that outputs tell apart, 0 where they tell none."""
        inputs, _ = self._example.span(0, min(2, len(self._example)))
        with torch.no_grad():
            outputs = self._forward(self._network, to_device(copy_batch(inputs), self._device))
        tells = isinstance(outputs, torch.Tensor) and outputs.ndim > 1
        return outputs.shape[1] if tells else 0

    def _check_labels(self, part: str, targets: torch.Tensor, numbers: np.ndarray) -> None:
        """Check that integer targets are labels of the network's classes."""
        whole = not (targets.is_floating_point() or targets.is_complex())
        if not whole or targets.dtype == torch.bool or not self._n_classes:
            return
        wrong = (targets < 0) | (targets >= self._n_classes)
        if not self._labelled:
            wrong &= targets != _IGNORED
        if wrong.any():
            row = int(wrong.reshape(len(wrong), -1).any(dim=1).nonzero()[0])
            label = int(targets[row][wrong[row]][0])
            raise ArgumentError(
                f"{part} targets: expected labels from 0 to {self._n_classes - 1}, as the parent "
                f"has {self._n_classes} outputs, got {label} (sample {numbers[row]})"
            )


def _batches(samples: Samples) -> Iterator[tuple[np.ndarray, Any, torch.Tensor]]:
    """Yield the numbers, inputs and targets of all samples, some at a time."""
    numbers = samples.numbers
    for first in range(0, len(samples), _READ):
        indices = np.arange(first, min(first + _READ, len(samples)))
        yield numbers[indices], *samples.batch(indices)
