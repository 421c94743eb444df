"""The stages of a dense stack for several children at once, forth and back.

Children of one stack see the same samples and differ in their widths. Their units stand side by
side as the columns of one matrix, ``(n_samples, units of all children)``, so that an activation,
the gradient of a bias and a step of the optimiser are one operation for all; a layer is a product
for each. One product of the first layer for all, whose inputs they share, saves no time, and rounds
in other ways than a child's own, which Adam makes a twentieth of a step.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from ecomp_deap.network.stack import DenseStack, Tensors, out_of_place

__all__ = ["Joint", "Stage", "make_stages"]


class Joint:
    """Children's tensors in one flat tensor, each name's of all children next to each other.

    Args:
        children: Their tensors by name, which are copied.
        trainable: Names of those that learn.
        scratch: ``(like, size) -> three vectors``, the last two of 0: makes room for what the
            optimiser needs.

    Attributes:
        children: Of each child its tensors by name, as views of ``flat``.
        flat: All values, those of trainable tensors first.
        n_trainable: Number of these.
        gradient: Room for theirs.
        moments: Room for the optimiser's two.
        values: By name, all children's values as one vector.
        gradients: Of the trainable ones, the same of the gradient.
        widths: By name, how long each child's tensor is in its first dimension.
    """

    def __init__(
        self,
        children: Sequence[Tensors],
        trainable: Collection[str],
        scratch: Callable[[torch.Tensor, int], Sequence[torch.Tensor]],
    ) -> None:
        names = sorted(children[0], key=lambda name: name not in trainable)
        self.flat = torch.cat([child[name].flatten() for name in names for child in children])
        self.children: list[dict[str, torch.Tensor]] = [{} for _ in children]
        self.values: dict[str, torch.Tensor] = {}
        self.widths: dict[str, list[int]] = {}
        # Of each trainable tensor where all children's are, and the size of each child's.
        self._spans: dict[str, tuple[slice, list[int]]] = {}
        end = self.n_trainable = 0
        for name in names:
            shapes = [child[name].shape for child in children]
            sizes = [shape.numel() for shape in shapes]
            start, end = end, end + sum(sizes)
            self.values[name] = self.flat[start:end]
            self.widths[name] = [shape[0] for shape in shapes]
            own = self.values[name].split(sizes)
            for child, tensor, shape in zip(self.children, own, shapes, strict=True):
                child[name] = tensor.view(shape)
            if name in trainable:
                self._spans[name] = (slice(start, end), sizes)
                self.n_trainable = end
        self.gradient, *self.moments = scratch(self.flat, self.n_trainable)
        self.gradients = {name: self.gradient[span] for name, (span, _) in self._spans.items()}

    def each(self, name: str) -> list[torch.Tensor]:
        """Return every child's tensor of a name."""
        return [child[name] for child in self.children]

    def parts(self, vector: torch.Tensor, chosen: Sequence[int]) -> list[torch.Tensor]:
        """Return the parts of a vector, such as ``gradient``, that belong to some children."""
        parts = []
        for span, sizes in self._spans.values():
            own = vector[span].split(sizes)
            parts += [own[i] for i in chosen]
        return parts


def make_stages(
    stack: DenseStack, joint: Joint, places: Sequence[Tensors], *, exact: bool
) -> "list[Stage]":
    """Return the stages of a stack, which read the children's tensors and write their gradients.

    Args:
        stack: What the children are.
        joint: Their tensors.
        places: Of each child the places of the inputs that a layer reads, if not all.
        exact: Whether children's products are to be those of modules to the last bit.
    """
    made: list[Stage] = []
    shared = True  # in front of the first layer the inputs are everyone's
    for name, module in stack.stages:
        if isinstance(module, nn.Linear):
            read = [own.get(f"{name}.input_indices") for own in places]
            made.append(LinearStage(joint, name, shared=shared, read=read, exact=exact))
            shared = False
        elif isinstance(module, (nn.Dropout, nn.Identity)):
            made.append(IdentityStage())
        elif isinstance(module, nn.ReLU):
            made.append(ReLUStage())
        elif isinstance(module, nn.BatchNorm1d):
            made.append(BatchNormStage(joint, name, module))
        else:
            made.append(ElementwiseStage(module))
    return made


class Stage(Protocol):
    """A stage of all children; what it needs on the way back it keeps on the way forth."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""

    def backward(self, gradient: torch.Tensor, needed: bool) -> Any:
        """Write the parameters' gradients; return that of the inputs, if it is needed."""


class LinearStage:
    """A linear layer: a product for each child, the loop's own, to the last bit."""

    def __init__(
        self,
        joint: Joint,
        name: str,
        *,
        shared: bool,
        read: Sequence[torch.Tensor | None],
        exact: bool,
    ) -> None:
        weight, bias = f"{name}.weight", f"{name}.bias"
        self._weights = joint.each(weight)
        self._transposed = [w.T for w in self._weights]
        # In front of the first layer the inputs are everyone's, who may each read others of them.
        self._read, self._exact = read, exact
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
            if self._exact:
                return [x if read is None else x.index_select(1, read) for read in self._read]
            # Rows are gathered in a fifth of the time of columns.
            rows = None if all(read is None for read in self._read) else x.T.contiguous()
            return [
                x if read is None or rows is None else rows.index_select(0, read).T
                for read in self._read
            ]
        return x.split(self._n_inputs, dim=1)


class IdentityStage:
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        return gradient


class ReLUStage:
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._y = torch.relu(x)
        return self._y

    def backward(self, gradient: torch.Tensor, needed: bool) -> torch.Tensor:
        found: torch.Tensor = torch.ops.aten.threshold_backward(gradient, self._y, 0)
        return found


class ElementwiseStage:
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


class BatchNormStage:
    """A batch norm, by autograd: it normalises every column by itself."""

    def __init__(self, joint: Joint, name: str, module: nn.BatchNorm1d) -> None:
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
