"""Copies of networks and of batches, whatever they hold."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map_only

from ecomp_deap.errors import ArgumentError, argument_error, one_line

__all__ = ["check_module", "check_network", "copy_batch", "copy_network", "tensors_in"]

# What every module has, of which buffers alone may be results.
_OF_EVERY_MODULE = vars(nn.Module()).keys() - {"_buffers"}
_NO_CONTAINERS = (nn.Module, str, int, float, type(None))


def check_module(name: str, value: Any) -> nn.Module:
    """Return ``value``.

    Raises:
        ArgumentError: It is no network; of a class of networks, or the weights of one, the message
            says what makes one of it.
    """
    if isinstance(value, nn.Module):
        return value
    expected = f"{name}: expected a torch.nn.Module, got"
    if isinstance(value, type) and issubclass(value, nn.Module):
        raise ArgumentError(f"{expected} the class {value.__name__}: give {value.__name__}()")
    if isinstance(value, Mapping) and any(isinstance(v, torch.Tensor) for v in value.values()):
        raise ArgumentError(f"{expected} a state dict: load it into a network first")
    raise ArgumentError(f"{expected} {type(value).__name__!r}")


def check_network(network: nn.Module) -> None:
    """Check that a network's layers are made, and of Python code.

    Raises:
        ArgumentError: A layer that gets its weights with its first batch, or a scripted one, by
            name.
    """
    for name, module in network.named_modules():
        # Of a scripted module, parameters are objects made for the occasion.
        if isinstance(module, torch.jit.ScriptModule):
            raise argument_error(f"module {name!r}", "one of Python code", "a scripted one")
        if any(map(is_lazy, (*module._parameters.values(), *module._buffers.values()))):
            expected = "one that has its weights; run the network on a batch first"
            raise argument_error(f"module {name!r}", expected, type(module).__name__)


def copy_network(network: nn.Module, memo: Mapping[int, Any] | None = None) -> nn.Module:
    """Return a deep copy of a network, in which stored results of a forward pass are detached.

    Args:
        network: The network; it is not changed.
        memo: What stands in the copy for objects of the network, by their ``id``.

    Raises:
        ArgumentError: See `check_network`; or something that cannot be copied.
    """
    check_network(network)
    # Such as activations that a module keeps, which deepcopy refuses.
    own = (
        value
        for module in network.modules()
        for name, value in vars(module).items()
        if name not in _OF_EVERY_MODULE
    )
    kept = (tensor for value in own for tensor in tensors_in(value) if not tensor.is_leaf)
    stored = {id(tensor): tensor.detach() for tensor in kept}
    try:
        return copy.deepcopy(network, {**stored, **(memo or {})})
    except (TypeError, RuntimeError) as error:
        name = type(network).__name__
        raise ArgumentError(
            f"{name}: expected a network that can be copied, but {one_line(error)}"
        ) from error


def copy_batch(inputs: Any) -> Any:
    """Return a batch in the same containers, with tensors of its own memory."""
    return tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), inputs)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in tuples, lists, dicts and dataclasses of any class, nested at will."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from tensors_in(value)
    elif isinstance(tree, _NO_CONTAINERS):
        return
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            yield from tensors_in(getattr(tree, field.name, None))
    else:  # a container of a class that torch was told of
        yield from (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
