"""`DenseStack`: what a sequential stack of dense layers computes, with a child's tensors.

The same operations as the modules', without modules: nothing is compiled, hooked or copied, so
that hundreds of small children can be embedded in little more than the time of their matrix
products. `stack_training` trains them.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from ecomp_deap.errors import EcompError
from ecomp_deap.network.groups import ELEMENTWISE, stages

__all__ = ["DenseStack", "Tensors", "Walk", "borrow", "out_of_place"]

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
        # What each stage computes is decided once, and not for every child.
        self._computed = [
            [(name, _in_eval_mode(name, module)) for name, module in segment]
            for segment in self.segments
        ]

    @staticmethod
    def supports(
        parent: nn.Module, probe_layers: Sequence[str], *, others: Collection[type] = ()
    ) -> bool:
        """Return whether the stack computes what the parent's own modules would.

        That needs known modules of the very types, without hooks and parametrisations, and
        probe layers that are stages from the first `Linear` on, whose outputs are units. In front
        of it nothing may work in place, as the inputs are everyone's.

        Args:
            parent: The network.
            probe_layers: Names of the probe layers.
            others: Types that are known too.
        """
        try:
            found = stages(parent)
        except EcompError:
            return False
        front = list(takewhile(lambda stage: not isinstance(stage[1], nn.Linear), found))
        return (
            set(probe_layers) <= {name for name, _ in found[len(front) :]}
            and not any(getattr(module, "inplace", False) for _, module in front)
            and all(_is_plain(module) or type(module) in others for module in parent.modules())
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
        return any(isinstance(m, nn.Dropout) and m.p > 0 for _, m in self.stages)

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

    def recalibrated(self, tensors: Tensors, inputs: torch.Tensor) -> Tensors:
        """Return a child's tensors with statistics of batch norms that are those of ``inputs``.

        As `network.recalibrate` gives them to a module.
        """
        found = dict(tensors)
        x = inputs
        for (name, module), (_, compute) in zip(self.stages, self._all_computed, strict=True):
            if not isinstance(module, nn.BatchNorm1d):
                x = compute(found, x)
                continue
            mean = torch.zeros_like(tensors[f"{name}.running_mean"])
            variance = torch.ones_like(mean)
            x = functional.batch_norm(
                x,
                mean,
                variance,
                tensors.get(f"{name}.weight"),
                tensors.get(f"{name}.bias"),
                training=True,
                momentum=1.0,
                eps=module.eps,
            )
            found[f"{name}.running_mean"], found[f"{name}.running_var"] = mean, variance
        return found

    @property
    def _all_computed(self) -> list[tuple[str, "_Compute"]]:
        return [stage for computed in self._computed for stage in computed]

    @property
    def stages(self) -> list[tuple[str, nn.Module]]:
        """All stages with their names, in order."""
        return [stage for segment in self.segments for stage in segment]


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


def select_inputs(name: str, tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Return what a linear layer reads of its input, see `InputLinear`."""
    indices = tensors.get(f"{name}.input_indices")
    return x if indices is None else x.index_select(-1, indices)


# Takes a child's tensors and a stage's inputs.
_Compute = Callable[[Tensors, torch.Tensor], torch.Tensor]


def _in_eval_mode(name: str, module: nn.Module) -> _Compute:
    """Return the function that a stage is in eval mode."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    if isinstance(module, nn.Linear):
        return lambda tensors, x: functional.linear(
            select_inputs(name, tensors, x), tensors[weight], tensors.get(bias)
        )
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
    return lambda tensors, x: module(out_of_place(module, x))


def out_of_place(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return ``x``, as a copy if it is what the module would overwrite."""
    return x.clone() if getattr(module, "inplace", False) else x
