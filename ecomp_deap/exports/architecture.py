"""Architectures: stacks of known layers as plain data, and such data as stacks again."""

import inspect
import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import DataError, argument_error, one_line
from ecomp_deap.network import layers

__all__ = ["OWN_LAYERS", "build", "describe"]

#: Layers of ours that a manifest may name, by class name.
OWN_LAYERS: Mapping[str, Any] = {name: getattr(layers, name) for name in layers.__all__}

# Deeper than any network, and not so deep that Python cannot follow.
_MOST_LEVELS = 64
# Of lists such as the sizes of a kernel; tensors have no more dimensions.
_MOST_ENTRIES = 64
_HIGHEST = 2**62
_MESSAGE_LENGTH = 200


def describe(module: nn.Module) -> dict[str, Any] | None:
    """Return what it takes to build a module anew, tensors aside, in JSON's types.

    Only nested `torch.nn.Sequential` of layers that `torch.nn` or ecomp_deap define are described,
    and what derives from it without a ``forward`` of its own; of anything else, also of a container
    that holds a layer twice, it returns None.
    """
    try:
        description = _describe(module)
        rebuilt = build(json.loads(json.dumps(description)))
    except (TypeError, ValueError, RecursionError, DataError):
        return None
    # Some layers do not tell all of their settings, and a layer's second place in a container is
    # not seen.
    return description if _layers(rebuilt) == _layers(module) else None


def build(description: Any) -> nn.Module:
    """Return the module that `describe` described; its tensors hold no values yet.

    Nothing but layers of torch and of ecomp_deap is ever made, with no other arguments than
    `describe` writes, and nothing that takes memory or time.

    Raises:
        DataError: A layer that cannot be built, by name.
    """
    with torch.device("meta"):
        return _build("module", description, _MOST_LEVELS)


def _layers(module: nn.Module) -> dict[str, str]:
    """Return each layer with its settings as torch shows them, by name; containers aside."""
    return {
        name: repr(layer)
        for name, layer in module.named_modules(remove_duplicate=False)
        if not _is_stack(layer)
    }


def _is_stack(module: nn.Module) -> bool:
    return type(module).forward is nn.Sequential.forward


def _describe(module: nn.Module) -> dict[str, Any]:
    cls = type(module)
    if _is_stack(module):
        layers = {name: _describe(layer) for name, layer in module.named_children()}
        return {"class": "Sequential", "layers": layers}
    known = getattr(nn, cls.__name__, None) is cls or OWN_LAYERS.get(cls.__name__) is cls
    if not known or any(module.children()):
        raise argument_error("module", "known layers", cls)
    known_names = _argument_names(cls)
    arguments = {name: getattr(module, name) for name in known_names if name != "bias"}
    has_weight = getattr(module, "weight", None) is not None
    if "bias" in known_names and has_weight and module.bias is None:
        arguments["bias"] = False
    return {"class": cls.__name__, "arguments": arguments}


def _argument_names(cls: type[nn.Module]) -> list[str]:
    """Return the arguments of a layer's class that determine how it behaves, ``bias`` included."""
    # torch lists under __constants__ the attributes that do.
    parameters = inspect.signature(cls).parameters
    constants = getattr(cls, "__constants__", ())
    return [name for name in dict.fromkeys((*constants, "bias")) if name in parameters]


def _build(name: str, description: Any, levels: int) -> nn.Module:
    try:
        kind = description["class"]
        if kind == "Sequential":
            if levels == 0:
                raise ValueError(f"it is nested in more than {_MOST_LEVELS}")
            layers = description["layers"].items()
            return nn.Sequential(OrderedDict((k, _build(k, v, levels - 1)) for k, v in layers))
        cls = OWN_LAYERS[kind] if kind in OWN_LAYERS else getattr(nn, kind)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError(f"{kind!r} is no layer of torch.nn")
        arguments, known = description["arguments"], _argument_names(cls)
        for key, value in arguments.items():
            if key not in known:
                raise TypeError(f"{kind} takes no argument {key!r} here")
            _check_value(key, value)
        # JSON has no tuples, which torch's layers take for sizes.
        layer: nn.Module = cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        )
        if any(layer.children()):
            raise TypeError(f"{kind} is made of others")
        return layer
    except DataError:
        raise
    except Exception as error:  # whatever torch's layers raise
        where = f"manifest: layer {_shortened(repr(name))} cannot be built"
        raise DataError(f"{where}: {_shortened(one_line(error))}") from error


def _check_value(key: str, value: Any) -> None:
    """Check that a layer's argument is of the kind and size that a layer's argument has."""
    if isinstance(value, list):
        if len(value) > _MOST_ENTRIES:
            raise ValueError(f"{key} has {len(value)} entries")
        for entry in value:
            if isinstance(entry, list):
                raise TypeError(f"{key} holds lists")
            _check_value(key, entry)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
    elif isinstance(value, int):
        if abs(value) > (_MOST_LEVELS if key == "num_layers" else _HIGHEST):
            raise ValueError(f"{key} is a number of {value.bit_length()} bits")
    elif value is not None and not isinstance(value, str):
        raise TypeError(f"{key} is a {type(value).__name__}")


def _shortened(text: str) -> str:
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[: _MESSAGE_LENGTH - 1]}…"
