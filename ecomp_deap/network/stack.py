"""`DenseStack`: what a sequential stack of dense layers computes, with a child's tensors.

The same operations as the modules', without modules: nothing is compiled, hooked or copied, so
that hundreds of small children can be embedded and trained in little more than the time of their
matrix products.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.optim.adam import adam

from ecomp_deap.errors import EcompError
from ecomp_deap.network.groups import ELEMENTWISE, stages

__all__ = ["DenseStack", "Tensors", "Walk", "borrow"]

# A child's tensors by ``state_dict`` name.
Tensors = Mapping[str, torch.Tensor]

_KNOWN = {nn.Linear, nn.BatchNorm1d, nn.Flatten, *ELEMENTWISE}


# Torch warns once that an array is read-only, and that is what the arrays of genomes are.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.from_numpy(np.broadcast_to(np.float32(0), 1))


def borrow(array: np.ndarray) -> torch.Tensor:
    """Return a CPU tensor in the memory of an array, read-only or not; never write into it."""
    # Torch knows no negative strides.
    return torch.from_numpy(array.copy() if min(array.strides, default=0) < 0 else array)


@dataclass(frozen=True)
class Walk:
    """What a forward pass over some of a stack's stages gave.

    Attributes:
        outputs: Of the last stage.
        embeddings: Of the probe layers among the stages, shape ``(n_samples, n_units)``.
    """

    outputs: torch.Tensor
    embeddings: Mapping[str, torch.Tensor]


class DenseStack:
    """The stages of a parent that is a plain stack of dense layers.

    Args:
        parent: A `torch.nn.Sequential` that `find_structure` takes; see `supports`.
        probe_layers: Names of stages whose outputs are recorded.

    Attributes:
        segments: The stages, cut before every `Linear` but the first: as many segments as there
            are `Linear` layers. All that comes before a group's units are mixed by the next
            layer is in one segment.
    """

    def __init__(self, parent: nn.Module, probe_layers: Sequence[str]) -> None:
        self.probe_layers = tuple(probe_layers)
        self.segments: list[list[tuple[str, nn.Module]]] = [[]]
        seen_linear = False
        for name, module in stages(parent):
            if isinstance(module, nn.Linear):
                if seen_linear:
                    self.segments.append([])
                seen_linear = True
            self.segments[-1].append((name, module))
        self._of_log_p: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        # What each stage computes is decided once, and not for every child.
        self._computed = [
            [(name, _in_eval_mode(name, module)) for name, module in segment]
            for segment in self.segments
        ]

    @staticmethod
    def supports(parent: nn.Module, probe_layers: Sequence[str]) -> bool:
        """Return whether the stack computes what the parent's own modules would.

        That needs known modules of the very types, without hooks and parametrisations, and
        probe layers that are stages from the first `Linear` on, whose outputs are units. In front
        of it nothing may work in place, as the inputs are everyone's.
        """
        try:
            found = stages(parent)
        except EcompError:
            return False
        front = list(takewhile(lambda stage: not isinstance(stage[1], nn.Linear), found))
        return (
            set(probe_layers) <= {name for name, _ in found[len(front) :]}
            and not any(getattr(module, "inplace", False) for _, module in front)
            and all(_is_plain(module) for module in parent.modules())
        )

    @property
    def tensor_names(self) -> list[list[str]]:
        """Names of each segment's tensors."""
        return [
            [f"{name}.{key}" for name, stage in segment for key in stage.state_dict()]
            for segment in self.segments
        ]

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers."""
        return any(isinstance(m, nn.Dropout) and m.p > 0 for _, m in self._stages())

    def walk(self, tensors: Tensors, inputs: torch.Tensor, segment: int | None = None) -> Walk:
        """Return what the whole stack, or one segment of it, makes of ``inputs`` in eval mode.

        Args:
            tensors: Of the child.
            inputs: Shape ``(n_samples, n_inputs)``, or what a `Flatten` in front takes.
            segment: Index of the segment; its inputs are the outputs of the one before.
        """
        found = {}
        x = inputs
        for computed in self._computed if segment is None else (self._computed[segment],):
            for name, compute in computed:
                x = compute(tensors, x)
                if name in self.probe_layers:
                    found[name] = x
        return Walk(x, found)

    def train(
        self,
        tensors: Tensors,
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
        *,
        loss_fn: Callable[[Any, torch.Tensor], torch.Tensor],
        learning_rate: float,
    ) -> dict[str, torch.Tensor]:
        """Return a child's tensors after one Adam step per batch, as `network.train` takes them.

        Args:
            tensors: Where training starts; they are not changed.
            batches: ``(inputs, targets)`` on the tensors' device.
            loss_fn: ``(outputs, targets) -> scalar``.
            learning_rate: Of Adam.
        """
        steps = list(self._stages())
        # What a batch norm makes up for has a gradient of 0, of which Adam sees the rounding errors
        # alone: only the very operations of the loop's Adam give what the loop gives.
        exact = any(isinstance(module, nn.BatchNorm1d) for _, module in steps)
        trained = _Trainable(tensors, self._trainable_names(), fused=not exact)
        if not trained.names:
            return trained.tensors
        # No gradient is needed of what comes before.
        first = next(i for i, (_, m) in enumerate(steps) if any(True for _ in m.parameters()))
        for inputs, targets in batches:
            tape = []
            x = inputs
            for name, module in steps:
                x, backward = _forward_training(name, module, trained, x)
                tape.append(backward)
            gradient = self._gradient_of_loss(loss_fn, x, targets)
            for i in reversed(range(first, len(steps))):
                gradient = tape[i](gradient, i > first)
            trained.step(learning_rate)
        return trained.tensors

    def _gradient_of_loss(
        self,
        loss_fn: Callable[[Any, torch.Tensor], torch.Tensor],
        outputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        if loss_fn is functional.cross_entropy:
            of_log_p = self._gradient_of_log_p(outputs, targets)
            if of_log_p is not None:
                # What autograd does, to the last bit, in a third of its time.
                return torch.ops.aten._log_softmax_backward_data(
                    of_log_p, outputs.log_softmax(dim=1), 1, outputs.dtype
                )
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            # A copy: a loss may change what it is given.
            loss = loss_fn(leaf.clone(), targets)
        return torch.autograd.grad(loss, leaf)[0]

    def _gradient_of_log_p(
        self, outputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor | None:
        """Return the gradient of the mean of −log p, None for targets that are no classes.

        It is the same for all children of a batch, and so is made once.
        """
        known = self._of_log_p.get(id(targets))
        if known is None or known[1] is not targets:
            gradient = None
            if _are_classes(outputs, targets):
                gradient = torch.zeros_like(outputs)
                gradient.scatter_(1, targets[:, None], -1.0 / len(targets))
            known = self._of_log_p[id(targets)] = (gradient, targets)
        return known[0]

    def _stages(self) -> Iterator[tuple[str, nn.Module]]:
        for segment in self.segments:
            yield from segment

    def _trainable_names(self) -> list[str]:
        return [
            f"{name}.{key}"
            for name, module in self._stages()
            for key, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        ]


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module does what its class says and nothing else."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    if any(hooks) or parametrize.is_parametrized(module) or "forward" in vars(module):
        return False
    if isinstance(module, nn.BatchNorm1d) and (
        module.running_mean is None or module.momentum is None
    ):
        return False
    return type(module) in _KNOWN or type(module).forward is nn.Sequential.forward


# Takes a child's tensors and a stage's inputs.
_Compute = Callable[[Tensors, torch.Tensor], torch.Tensor]


def _in_eval_mode(name: str, module: nn.Module) -> _Compute:
    """Return the function that a stage is in eval mode."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    if isinstance(module, nn.Linear):
        return lambda tensors, x: functional.linear(x, tensors[weight], tensors.get(bias))
    if isinstance(module, nn.BatchNorm1d):
        mean, variance, eps = f"{name}.running_mean", f"{name}.running_var", module.eps
        return lambda tensors, x: functional.batch_norm(
            x, tensors[mean], tensors[variance], tensors.get(weight), tensors.get(bias), eps=eps
        )
    if isinstance(module, nn.ReLU):
        return lambda tensors, x: torch.relu(x)
    if isinstance(module, (nn.Dropout, nn.Identity)):
        return lambda tensors, x: x
    # The rest holds nothing, and the parent's own modules are in eval mode.
    return lambda tensors, x: module(_safe(module, x))


def _safe(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what the module may overwrite, as an activation that works in place does."""
    return x.clone() if getattr(module, "inplace", False) else x


# Takes the gradient of a stage's outputs and whether that of its inputs is needed, adds to the
# parameters' gradients, and returns the gradient of the inputs.
_Backward = Callable[[torch.Tensor, bool], Any]


def _forward_training(
    name: str, module: nn.Module, trained: "_Trainable", x: torch.Tensor
) -> tuple[torch.Tensor, _Backward]:
    """Return what a stage makes of ``x`` in training, and the way back."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    if isinstance(module, nn.Linear):
        return _linear(trained, weight, bias, x)
    if isinstance(module, (nn.Dropout, nn.Identity)):
        return x, lambda gradient, needed: gradient
    if isinstance(module, nn.ReLU):
        y = torch.relu(x)
        return y, lambda gradient, needed: torch.ops.aten.threshold_backward(gradient, y, 0)
    leaf = x.detach().requires_grad_()
    tensors = trained.tensors
    leaves = {
        key: tensors[key].detach().requires_grad_() for key in (weight, bias) if key in tensors
    }
    with torch.enable_grad():
        if isinstance(module, nn.BatchNorm1d):
            assert module.momentum is not None  # see `DenseStack.supports`
            y = functional.batch_norm(
                leaf,
                tensors[f"{name}.running_mean"],
                tensors[f"{name}.running_var"],
                leaves.get(weight),
                leaves.get(bias),
                training=True,
                momentum=module.momentum,
                eps=module.eps,
            )
        else:
            y = module(_safe(module, leaf))

    def backward(gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        of_x, *of_leaves = torch.autograd.grad(y, (leaf, *leaves.values()), gradient)
        for key, value in zip(leaves, of_leaves, strict=True):
            if key in trained.gradients:
                trained.gradients[key].copy_(value)
        return of_x

    return y.detach(), backward


def _linear(
    trained: "_Trainable", weight: str, bias: str, x: torch.Tensor
) -> tuple[torch.Tensor, _Backward]:
    tensors, gradients = trained.tensors, trained.gradients
    y = functional.linear(x, tensors[weight], tensors.get(bias))

    def backward(gradient: torch.Tensor, needed: bool) -> torch.Tensor | None:
        if weight in gradients:
            torch.mm(gradient.T, x, out=gradients[weight])
        if bias in gradients:
            torch.sum(gradient, dim=0, out=gradients[bias])
        return gradient @ tensors[weight] if needed else None

    return y, backward


def _are_classes(outputs: torch.Tensor, targets: torch.Tensor) -> bool:
    """Return whether targets are one class per row of outputs, none of them to be ignored."""
    return (
        outputs.ndim == 2
        and targets.shape == outputs.shape[:1]
        and targets.dtype == torch.int64
        and bool((targets >= 0).all())
    )


class _Trainable:
    """A child's tensors, the trainable ones among them in one flat tensor with one gradient.

    Attributes:
        names: Of the trainable tensors.
        flat: Their values.
        tensors: All tensors by name, the trainable ones, as views of ``flat``.
        gradients: Theirs by name, as views of one flat tensor too.
    """

    def __init__(self, tensors: Tensors, names: Sequence[str], *, fused: bool) -> None:
        self.names = [name for name in names if name in tensors]
        self.tensors = {n: t if n in self.names else t.clone() for n, t in tensors.items()}
        self.gradients: dict[str, torch.Tensor] = {}
        self.flat = torch.cat([tensors[name].flatten() for name in self.names] or [torch.empty(0)])
        self._gradient, self._mean, self._square = self.flat.new_zeros(3, self.flat.numel())
        self._fused = fused
        # Where Adam wants it.
        device = self.flat.device if fused else "cpu"
        self._n_steps = torch.zeros((), dtype=torch.float32, device=device)
        start = 0
        for name in self.names:
            shape = tensors[name].shape
            end = start + shape.numel()
            self.tensors[name] = self.flat[start:end].view(shape)
            self.gradients[name] = self._gradient[start:end].view(shape)
            start = end

    def step(self, learning_rate: float) -> None:
        """Take an Adam step (in place), with the defaults of `torch.optim.Adam`."""
        if self._fused:
            # What `adam` does with fused=True, without its preparations for many tensors.
            torch.ops.aten._fused_adam_(
                [self.flat],
                [self._gradient],
                [self._mean],
                [self._square],
                [],
                [self._n_steps.add_(1.0)],
                lr=learning_rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )
            return
        adam(
            [self.flat],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._n_steps],
            foreach=False,
            fused=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
