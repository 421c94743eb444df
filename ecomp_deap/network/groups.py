"""Groups: which units of a parent can be removed, and where they lie in its tensors."""

import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Axis, Group, Structure

__all__ = ["dense_layers", "find_structure", "stages"]

# Modules that act on each unit by itself and hold nothing.
_ELEMENTWISE = (
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
        raise argument_error(name, "a torch.nn.Sequential of dense layers", type(parent).__name__)
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


def dense_layers(parent: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return the linear layers of a sequential stack in order, by name."""
    return [(name, m) for name, m in stages(parent) if isinstance(m, nn.Linear)]


def find_structure(parent: nn.Module) -> Structure:
    """Return the groups of a sequential stack of dense layers.

    Each hidden `Linear` layer makes one group, which also covers a `BatchNorm1d` behind it and the
    columns of the next `Linear`. The last layer's units are the outputs and stay.

    Args:
        parent: A `torch.nn.Sequential`, possibly nested, of `Linear`, `BatchNorm1d`, dropout and
            elementwise activations; `Flatten` may stand before the first `Linear`.

    Raises:
        ArgumentError: A module of another kind, a tied tensor or one that is neither float32 nor
            float64, by name; or no hidden layer.
    """
    layers = dense_layers(parent)
    if len(layers) < 2:
        raise argument_error(
            "parent", "at least one hidden Linear layer to prune", f"{len(layers)} Linear layers"
        )
    output_name = layers[-1][0]
    groups: list[Group] = []
    tensors: dict[str, tuple[Axis | None, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    owners: dict[int, str] = {}
    current: Axis | None = None
    for name, module in stages(parent):
        if isinstance(module, nn.Linear):
            columns, current = current, None
            if name != output_name:
                groups.append(Group(name, module.out_features))
                current = Axis(len(groups) - 1)
            axes = {"weight": (current, columns), "bias": (current,)}
        elif isinstance(module, nn.BatchNorm1d):
            axes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (current,))
        elif isinstance(module, _ELEMENTWISE) or (isinstance(module, nn.Flatten) and not groups):
            axes = {}
        else:
            raise argument_error(
                f"parent: module {name!r}",
                "Linear, BatchNorm1d, dropout, an elementwise activation, or Flatten in front",
                type(module).__name__,
            )
        for tensor, dims in axes.items():
            value = getattr(module, tensor)
            if value is not None:
                _check_tensor(f"{name}.{tensor}", value, owners)
                tensors[f"{name}.{tensor}"] = dims
                shapes[f"{name}.{tensor}"] = tuple(value.shape)
    return Structure(tuple(groups), tensors, shapes)


def _check_tensor(name: str, value: torch.Tensor, owners: dict[int, str]) -> None:
    """Refuse a tensor that cannot be cut by itself, and note its owner (in ``owners``)."""
    if value.dtype not in (torch.float32, torch.float64):
        raise argument_error(f"parent: {name}", "float32 or float64", str(value.dtype))
    owner = owners.setdefault(id(value), name)
    if owner != name:
        raise argument_error(f"parent: {name}", "a tensor of its own", f"that of {owner}")
