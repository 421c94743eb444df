"""Groups of a sequential stack: which units can be removed, and where they lie in its tensors."""

from collections.abc import Mapping

import torch
from torch import nn

from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.genomes import Axis, Group, Structure
from ecomp_deap.network.layers import InputLinear

__all__ = [
    "ELEMENTWISE",
    "NETWORK",
    "OUTPUTS",
    "nothing_to_prune",
    "stack_structure",
    "stages",
    "weighted_layers",
]

#: Modules that act on each unit by itself and hold nothing.
ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Dropout,
    nn.Identity,
)
#: Why a network's last layer stays as it is.
OUTPUTS = "its units are the network's outputs"
#: What a reason that is no single layer's stands under.
NETWORK = "(the network)"
# Likewise, for maps of shape (n, channels, height, width).
_MAPWISE = (nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_FOR_MAPS = (nn.Conv2d, nn.BatchNorm2d, *_MAPWISE)
_FOR_COLUMNS = (nn.Linear, nn.BatchNorm1d)
_SUPPORTED = (
    "Linear, Conv2d, BatchNorm1d, BatchNorm2d, dropout, pooling, an elementwise activation, "
    "Flatten in front or behind maps, or Unflatten in front"
)


def nothing_to_prune(left_alone: Mapping[str, str]) -> ArgumentError:
    """Return the error for a parent none of whose layers can be cut, with the reason of each."""
    reasons = "; ".join(f"{name or NETWORK}: {reason}" for name, reason in left_alone.items())
    got = f"none ({reasons})" if reasons else "none"
    return argument_error("parent", "at least one layer to prune", got)


def stages(parent: nn.Module, *, name: str = "parent") -> list[tuple[str, nn.Module]]:
    """Return the modules of a sequential stack in the order of the forward pass, by name.

    Nested `torch.nn.Sequential` containers are opened.

    Args:
        parent: The stack.
        name: What errors call it.

    Raises:
        ArgumentError: The parent is no `Sequential`, has a ``forward`` of its own, or holds a
            module twice.
    """
    if type(parent).forward is not nn.Sequential.forward:
        raise argument_error(name, "a torch.nn.Sequential of layers", type(parent).__name__)
    found = _flatten(parent)
    names: dict[int, str] = {}
    for layer, module in found:
        first = names.setdefault(id(module), layer)
        if first != layer:
            # Its embedding, and for a Linear its shape, could not be told from the first use's.
            raise argument_error(
                f"{name}: module {layer!r}", "one of its own", f"that of {first!r}"
            )
    return found


def _flatten(stack: nn.Module) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, module in stack._modules.items():  # named_children() skips repeated ones
        if module is not None and type(module).forward is nn.Sequential.forward:
            found += [(f"{name}.{inner}", child) for inner, child in _flatten(module)]
        elif module is not None:
            found.append((name, module))
    return found


def weighted_layers(parent: nn.Module) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """Return the linear and convolutional layers of a sequential stack in order, by name."""
    return [(name, m) for name, m in stages(parent) if isinstance(m, (nn.Linear, nn.Conv2d))]


def stack_structure(parent: nn.Module, *, prune_inputs: bool = False) -> Structure:
    """Return the groups of a sequential stack of dense and convolutional layers.

    Each `Linear` or `Conv2d` layer but the last makes one group, of its features or channels. It
    also covers a batch norm behind the layer and what the next `Linear` or `Conv2d` reads: behind
    a `Flatten` of maps, a block of consecutive columns for each channel. The last layer's units
    are the outputs and stay.

    Args:
        parent: A `torch.nn.Sequential`, possibly nested, of `Linear`, `Conv2d` with ``groups=1`` or
            depthwise, `BatchNorm1d`, `BatchNorm2d`, dropout, `MaxPool2d`, `AvgPool2d`,
            `AdaptiveAvgPool2d` and elementwise activations. `Flatten` stands between maps and a
            `Linear`, and like `Unflatten` it may stand before the first layer with weights.
        prune_inputs: Whether the features that the first layer reads, a `Linear`, are a group too.

    Returns:
        The groups.

    Raises:
        ArgumentError: A module of another kind or out of place, a layer that reads another number
            of units than the one before makes, a tensor that is tied, computed, or neither
            float32 nor float64, by name; or nothing to prune.
    """
    layers = weighted_layers(parent)
    if prune_inputs and not (layers and isinstance(layers[0][1], nn.Linear)):
        first = type(layers[0][1]).__name__ if layers else "none"
        raise argument_error(
            "prune_inputs", "a Linear as the first layer with weights, to read fewer inputs", first
        )
    if prune_inputs and isinstance(layers[0][1], InputLinear):
        got = f"one whose {layers[0][0]!r} reads some of them"
        raise argument_error("prune_inputs", "a parent that reads all of its inputs", got)
    if len(layers) < 2 and not prune_inputs:
        raise argument_error(
            "parent",
            "at least one hidden Linear or Conv2d layer to prune",
            f"{len(layers)} Linear or Conv2d layers",
        )
    finder = _Finder(last=layers[-1][0], inputs_of=layers[0][0] if prune_inputs else None)
    for name, module in stages(parent):
        finder.visit(name, module)
    left_alone = {layers[-1][0]: OUTPUTS}
    return Structure(tuple(finder.groups), finder.tensors, finder.shapes, left_alone=left_alone)


class _Finder:
    """The way through a stack: the groups found so far, and what the next module takes."""

    def __init__(self, last: str, inputs_of: str | None) -> None:
        self.groups: list[Group] = []
        self.tensors: dict[str, tuple[Axis | None, ...]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._last, self._inputs_of = last, inputs_of
        self._owners: dict[int, str] = {}
        # Of the activations that the next module takes: which units they belong to, whether they
        # are "maps" or "columns" (None: not known yet), and whether maps were just flattened.
        self._axis: Axis | None = None
        self._layout: str | None = None
        self._flattened = False

    def visit(self, name: str, module: nn.Module) -> None:
        if getattr(module, "inplace", False) and not self.tensors:
            raise _refusal(name, "nothing in front that overwrites the inputs", "inplace=True")
        self._check_layout(name, module)
        if isinstance(module, nn.Linear):
            self._weights(name, module, module.in_features, module.out_features)
        elif isinstance(module, nn.Conv2d):
            if module.groups == 1:
                self._weights(name, module, module.in_channels, module.out_channels)
            elif _is_depthwise(module) and name != self._last:
                axis = self._read(name, "in_channels", module.in_channels)
                self._add(name, module, "weight", (axis, None, None, None))
                self._add(name, module, "bias", (axis,))
            else:
                expected = "a Conv2d with groups=1, or a depthwise one that is not the last"
                raise _refusal(name, expected, f"groups={module.groups}")
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            axis = self._read(name, "num_features", module.num_features)
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                self._add(name, module, tensor, (axis,))
        elif isinstance(module, nn.Flatten):
            self._flatten_maps(name, module)
        elif isinstance(module, nn.Unflatten) and not self.groups:
            self._layout = "maps"
        elif not isinstance(module, (*ELEMENTWISE, *_MAPWISE)):
            raise _refusal(name, _SUPPORTED, type(module).__name__)
        elif isinstance(module, nn.MaxPool2d) and module.return_indices:
            raise _refusal(name, "a MaxPool2d without indices", "return_indices=True")

    def _check_layout(self, name: str, module: nn.Module) -> None:
        if isinstance(module, _FOR_MAPS):
            if self._layout == "columns":
                raise _refusal(name, "a module for columns", type(module).__name__)
            self._layout = "maps"
        elif isinstance(module, _FOR_COLUMNS):
            if self._layout == "maps":
                raise _refusal(name, "a Flatten between maps and columns", type(module).__name__)
            self._layout = "columns"

    def _weights(self, name: str, module: nn.Module, n_in: int, n_out: int) -> None:
        what = "in_channels" if isinstance(module, nn.Conv2d) else "in_features"
        if name == self._inputs_of:
            self.groups.append(Group("inputs", n_in, is_input=True))
            self._axis = Axis(0)
        columns, self._axis = self._read(name, what, n_in), None
        if name != self._last:
            self.groups.append(Group(name, n_out))
            self._axis = Axis(len(self.groups) - 1)
        kernel = (None, None) if isinstance(module, nn.Conv2d) else ()
        self._add(name, module, "weight", (self._axis, columns, *kernel))
        self._add(name, module, "bias", (self._axis,))

    def _flatten_maps(self, name: str, module: nn.Flatten) -> None:
        if self.groups:
            if self._layout != "maps":
                raise _refusal(name, _SUPPORTED, "Flatten")
            if module.start_dim not in (1, -3) or module.end_dim not in (-1, 3):
                got = f"start_dim={module.start_dim}, end_dim={module.end_dim}"
                raise _refusal(name, "a Flatten of everything but the samples", got)
            self._flattened = True
        self._layout = "columns"

    def _read(self, name: str, what: str, size: int) -> Axis | None:
        """Return the axis of the ``size`` entries that a module reads."""
        if self._axis is None:
            return None
        group = self.groups[self._axis.group]
        if self._flattened:
            # How many positions a map has depends on the input; the next module knows.
            block, rest = divmod(size, group.n_units)
            if rest or not block:
                expected = f"a multiple of the {group.n_units} channels of {group.name!r}"
                raise argument_error(f"parent: {what} of {name!r}", expected, size)
            self._axis, self._flattened = Axis(self._axis.group, block), False
        elif size != group.n_units * self._axis.block:
            expected = f"{group.n_units * self._axis.block}, as {group.name!r} gives"
            raise argument_error(f"parent: {what} of {name!r}", expected, size)
        return self._axis

    def _add(
        self, name: str, module: nn.Module, tensor: str, axes: tuple[Axis | None, ...]
    ) -> None:
        """Note a tensor that is there, and refuse one that cannot be cut by itself."""
        value = getattr(module, tensor)
        if value is None:
            return
        full = f"{name}.{tensor}"
        if tensor not in module._parameters and tensor not in module._buffers:
            raise argument_error(
                f"parent: {full}", "a parameter or buffer", "one computed from others"
            )
        if value.dtype not in (torch.float32, torch.float64):
            raise argument_error(f"parent: {full}", "float32 or float64", str(value.dtype))
        owner = self._owners.setdefault(id(value), full)
        if owner != full:
            raise argument_error(f"parent: {full}", "a tensor of its own", f"that of {owner}")
        self.tensors[full], self.shapes[full] = axes, tuple(value.shape)


def _is_depthwise(module: nn.Conv2d) -> bool:
    return module.groups == module.in_channels == module.out_channels


def _refusal(name: str, expected: str, got: str) -> ArgumentError:
    return argument_error(f"parent: module {name!r}", expected, got)
