"""`StackTrainer`: gradient steps for several dense children at once.

Children of one stack see the same samples and differ in their widths. Their units stand side by
side as the columns of one matrix, ``(n_samples, units of all children)``, so that an activation,
the gradient of a bias and a step of Adam are one operation for all; a layer is a product for each.
One product of the first layer for all, whose inputs they share, saves no time, and rounds in other
ways than a child's own, which Adam makes a twentieth of a step. The backward pass is written out,
as autograd would take as long as the products do.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from torch.optim.adam import adam

from ecomp_deap.network.stack import DenseStack, Tensors, out_of_place

__all__ = ["StackTrainer"]

# Parameters of the children that train together, as fast as any number measured: fewer leave the
# threads waiting for Python, more fill the caches with Adam's moments.
_TOGETHER = 1_000_000


class StackTrainer:
    """Takes children through one Adam step per batch, as `network.train` takes a module.

    Args:
        stack: What the children are.
        batches: ``(inputs, targets)`` on the children's device, the same for all.
        loss_fn: ``(outputs, targets) -> scalar``.
        learning_rate: Of Adam.
    """

    def __init__(
        self,
        stack: DenseStack,
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
        *,
        loss_fn: Callable[[Any, torch.Tensor], torch.Tensor],
        learning_rate: float,
    ) -> None:
        self._modules = stack.stages
        self._loss_fn, self._learning_rate = loss_fn, learning_rate
        self._batches = [(inputs, targets, _classes(targets)) for inputs, targets in batches]
        # What a batch norm makes up for has a gradient of 0, of which Adam sees the rounding errors
        # alone: only the very operations of the loop give what the loop gives.
        self._exact = any(isinstance(module, nn.BatchNorm1d) for _, module in self._modules)
        self._trainable = {
            f"{name}.{key}"
            for name, module in self._modules
            for key, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        }

    def train(self, children: Iterable[Tensors]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield each child's tensors after training, in order.

        What is yielded may share memory with that of other children.

        Args:
            children: Where training starts; they are not changed. Fetched a few at a time.
        """
        group: list[Tensors] = []
        size = 0
        for tensors in children:
            own = sum(tensor.numel() for tensor in tensors.values())
            if group and (self._exact or size + own > _TOGETHER):
                yield from self._train(group)
                group, size = [], 0
            group.append(tensors)
            size += own
        if group:
            yield from self._train(group)

    def _train(self, children: Sequence[Tensors]) -> list[dict[str, torch.Tensor]]:
        # Places of inputs are no numbers to learn.
        places = [{n: t for n, t in c.items() if not t.is_floating_point()} for c in children]
        numbers = [{n: t for n, t in c.items() if t.is_floating_point()} for c in children]
        joint = _Joint(numbers, self._trainable)
        if joint.n_trainable:
            self._take_steps(joint, places)
        return [{**own, **fixed} for own, fixed in zip(joint.children, places, strict=True)]

    def _take_steps(self, joint: "_Joint", places: Sequence[Tensors]) -> None:
        stages = self._stages(joint, places)
        # No gradient is needed of what comes before.
        first = next(
            i for i, (_, m) in enumerate(self._modules) if any(True for _ in m.parameters())
        )
        adam_step = _Adam(joint, fused=not self._exact)
        for inputs, targets, classes in self._batches:
            x = inputs
            for stage in stages:
                x = stage.forward(x)
            gradient = self._gradient_of_loss(x, targets, classes, len(places))
            for i in reversed(range(first, len(stages))):
                gradient = stages[i].backward(gradient, i > first)
            adam_step(self._learning_rate)

    def _stages(self, joint: "_Joint", places: Sequence[Tensors]) -> list["_Stage"]:
        stages: list[_Stage] = []
        shared = True  # in front of the first layer the inputs are everyone's
        for name, module in self._modules:
            if isinstance(module, nn.Linear):
                read = [own.get(f"{name}.input_indices") for own in places]
                stages.append(_Linear(joint, name, shared=shared, read=read))
                shared = False
            elif isinstance(module, (nn.Dropout, nn.Identity)):
                stages.append(_Identity())
            elif isinstance(module, nn.ReLU):
                stages.append(_ReLU())
            elif isinstance(module, nn.BatchNorm1d):
                stages.append(_BatchNorm(joint, name, module))
            else:
                stages.append(_Elementwise(module))
        return stages

    def _gradient_of_loss(
        self,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        classes: torch.Tensor | None,
        n_children: int,
    ) -> torch.Tensor:
        """Return the gradient of the sum of the children's losses, shaped as their outputs."""
        if self._loss_fn is functional.cross_entropy and classes is not None:
            # What autograd does, to the last bit, in a third of its time.
            each = outputs.view(len(targets), n_children, -1)
            of_log_p = torch.zeros_like(each[:, 0])
            of_log_p.scatter_(1, classes, -1.0 / len(targets))
            gradient = torch.ops.aten._log_softmax_backward_data(
                of_log_p[:, None].expand_as(each), each.log_softmax(dim=2), 2, outputs.dtype
            )
            return gradient.reshape(outputs.shape)
        gradients: list[torch.Tensor] = []
        for own in outputs.tensor_split(n_children, dim=1):
            leaf = own.detach().requires_grad_()
            with torch.enable_grad():
                # A copy: a loss may change what it is given.
                loss = self._loss_fn(leaf.contiguous().clone(), targets)
            gradients += torch.autograd.grad(loss, leaf)
        return torch.cat(gradients, dim=1)


def _classes(targets: torch.Tensor) -> torch.Tensor | None:
    """Return one class per sample as a column; None for other targets, or some to be ignored."""
    if targets.ndim == 1 and targets.dtype == torch.int64 and bool((targets >= 0).all()):
        return targets[:, None]
    return None


class _Joint:
    """Children's tensors in one flat tensor, each name's of all children next to each other.

    Attributes:
        children: Of each child its tensors by name, as views of ``flat``.
        flat: All values, those of trainable tensors first.
        n_trainable: Number of these.
        gradient: Room for theirs; thread-local, as ``moments`` are.
        moments: Adam's two, 0 at first.
        values: By name, all children's values as one vector.
        gradients: Of the trainable ones, the same of the gradient.
        widths: By name, how long each child's tensor is in its first dimension.
    """

    def __init__(self, children: Sequence[Tensors], trainable: set[str]) -> None:
        names = sorted(children[0], key=lambda name: name not in trainable)
        self.flat = torch.cat([child[name].flatten() for name in names for child in children])
        self.children: list[dict[str, torch.Tensor]] = [{} for _ in children]
        self.values: dict[str, torch.Tensor] = {}
        self.widths: dict[str, list[int]] = {}
        spans: dict[str, tuple[int, int]] = {}
        end = 0
        for name in names:
            shapes = [child[name].shape for child in children]
            sizes = [shape.numel() for shape in shapes]
            start, end = end, end + sum(sizes)
            spans[name] = (start, end)
            self.values[name] = self.flat[start:end]
            self.widths[name] = [shape[0] for shape in shapes]
            own = self.values[name].split(sizes)
            for child, tensor, shape in zip(self.children, own, shapes, strict=True):
                child[name] = tensor.view(shape)
        learning = [name for name in names if name in trainable]
        self.n_trainable = spans[learning[-1]][1] if learning else 0
        self.gradient, *self.moments = _scratch(self.flat, self.n_trainable)
        self.gradients = {name: self.gradient[slice(*spans[name])] for name in learning}

    def each(self, name: str) -> list[torch.Tensor]:
        """Return every child's tensor of a name."""
        return [child[name] for child in self.children]


_local = threading.local()


def _scratch(like: torch.Tensor, size: int) -> Sequence[torch.Tensor]:
    """Return three vectors of this thread's own: one with anything in it, and two of 0.

    Fresh memory costs more than to fill what is at hand.
    """
    kept: torch.Tensor | None = getattr(_local, "scratch", None)
    kind = (like.dtype, like.device)
    if kept is None or (kept.dtype, kept.device) != kind or kept.shape[1] < size:
        kept = _local.scratch = like.new_empty(3, size)
    scratch = kept[:, :size]
    scratch[1:].zero_()
    return scratch.unbind()


class _Adam:
    """A step of Adam (in place) with the defaults of `torch.optim.Adam`."""

    def __init__(self, joint: _Joint, *, fused: bool) -> None:
        mean, square = joint.moments
        # Where Adam wants it.
        device = joint.flat.device if fused else "cpu"
        self._n_steps = torch.zeros((), dtype=torch.float32, device=device)
        self._state: Any = ([joint.flat[: joint.n_trainable]], [joint.gradient], [mean], [square])
        self._fused = fused

    def __call__(self, learning_rate: float) -> None:
        options = {"lr": learning_rate, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        options |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        if self._fused:
            # What `adam` does with fused=True, without its preparations for many tensors.
            step: Any = torch.ops.aten._fused_adam_
            self._n_steps.add_(1.0)
        else:
            step = partial(adam, foreach=False, fused=False)
        step(*self._state, [], [self._n_steps], **options)


class _Stage(Protocol):
    """A stage of all children; what it needs on the way back it keeps on the way forth."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""

    def backward(self, gradient: torch.Tensor, needed: bool) -> Any:
        """Write the parameters' gradients; return that of the inputs, if it is needed."""


class _Linear:
    """A linear layer: a product for each child, the loop's own, to the last bit."""

    def __init__(
        self, joint: _Joint, name: str, *, shared: bool, read: Sequence[torch.Tensor | None]
    ) -> None:
        weight, bias = f"{name}.weight", f"{name}.bias"
        self._weights = joint.each(weight)
        self._transposed = [w.T for w in self._weights]
        # In front of the first layer the inputs are everyone's, who may each read others of them.
        self._read = read
        self._n_inputs = None if shared else [w.shape[1] for w in self._weights]
        self._n_outputs = joint.widths[weight]
        self._biases = joint.each(bias) if bias in joint.values else None
        self._of_weights = None
        if weight in joint.gradients:
            own = joint.gradients[weight].split([w.numel() for w in self._weights])
            self._of_weights = [g.view_as(w) for g, w in zip(own, self._weights, strict=True)]
        self._of_bias = joint.gradients.get(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.new_empty(len(x), sum(self._n_outputs))
        self._xs = self._columns(x)
        ys = y.split(self._n_outputs, dim=1)
        if self._biases is None:
            for own, weight, out in zip(self._xs, self._transposed, ys, strict=True):
                torch.mm(own, weight, out=out)
        else:
            for own, weight, bias, out in zip(
                self._xs, self._transposed, self._biases, ys, strict=True
            ):
                torch.addmm(bias, own, weight, out=out)
        return y

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor | None:
        own = gradient.split(self._n_outputs, dim=1)
        if self._of_bias is not None:
            torch.sum(gradient, dim=0, out=self._of_bias)
        if self._of_weights is not None:
            for of_y, x, of_weight in zip(own, self._xs, self._of_weights, strict=True):
                torch.mm(of_y.T, x, out=of_weight)
        if not needed:
            return None
        if self._n_inputs is None:
            # Of a norm in front, which lets no children train together.
            (of_y,), (weight,), (read,) = own, self._weights, self._read
            of_x = of_y @ weight
            if read is None:
                return of_x
            return of_x.new_zeros(self._of_all).index_copy_(1, read, of_x)
        of_inputs = gradient.new_empty(len(gradient), sum(self._n_inputs))
        outs = of_inputs.split(self._n_inputs, dim=1)
        for of_y, weight, out in zip(own, self._weights, outs, strict=True):
            torch.mm(of_y, weight, out=out)
        return of_inputs

    def _columns(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return each child's inputs."""
        if self._n_inputs is None:
            self._of_all = x.shape
            return [x if read is None else x.index_select(1, read) for read in self._read]
        return x.split(self._n_inputs, dim=1)


class _Identity:
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        return gradient


class _ReLU:
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._y = torch.relu(x)
        return self._y

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        found: torch.Tensor = torch.ops.aten.threshold_backward(gradient, self._y, 0)
        return found


class _Elementwise:
    """A stage without parameters, by autograd."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._x = x.detach().requires_grad_()
        with torch.enable_grad():
            self._y: torch.Tensor = self._module(out_of_place(self._module, self._x))
        return self._y.detach()

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        return torch.autograd.grad(self._y, self._x, gradient)[0]


class _BatchNorm:
    """A batch norm, by autograd: it normalises every column by itself."""

    def __init__(self, joint: _Joint, name: str, module: nn.BatchNorm1d) -> None:
        assert module.momentum is not None  # see `DenseStack.supports`
        self._momentum, self._eps = module.momentum, module.eps
        self._tensors = {
            key: joint.values[f"{name}.{key}"]
            for key in ("weight", "bias", "running_mean", "running_var")
            if f"{name}.{key}" in joint.values
        }
        self._gradients = {
            key: joint.gradients[f"{name}.{key}"]
            for key in ("weight", "bias")
            if f"{name}.{key}" in joint.gradients
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._x = x.detach().requires_grad_()
        self._leaves = {
            key: self._tensors[key].detach().requires_grad_() for key in self._gradients
        }
        with torch.enable_grad():
            self._y = functional.batch_norm(
                self._x,
                **{**self._tensors, **self._leaves},
                training=True,
                momentum=self._momentum,
                eps=self._eps,
            )
        return self._y.detach()

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        leaves = (self._x, *self._leaves.values())
        of_x, *of_leaves = torch.autograd.grad(self._y, leaves, gradient)
        for out, found in zip(self._gradients.values(), of_leaves, strict=True):
            out.copy_(found)
        return of_x
