"""Architectures: stacks of known layers as plain data, and such data as stacks again."""

import inspect
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.network import layers

__all__ = ["OWN_LAYERS", "build", "describe"]

#: Layers of ours that a manifest may name, by class name.
OWN_LAYERS: Mapping[str, Any] = {name: getattr(layers, name) for name in layers.__all__}


def describe(module: nn.Module) -> dict[str, Any] | None:
    """Return what it takes to build a module anew, tensors aside, in JSON's types.

    Only nested `torch.nn.Sequential` of layers that `torch.nn` or ecomp_deap define are described,
    and what derives from it without a ``forward`` of its own; of anything else, also of a container
    that holds a layer twice, it returns None.
    """
    try:
        description = _describe(module)
        rebuilt = build(json.loads(json.dumps(description)))
    except (TypeError, ValueError, DataError):
        return None
    # Some layers do not tell all of their settings, and a layer's second place in a container is
    # not seen.
    return description if _layers(rebuilt) == _layers(module) else None


def build(description: Any) -> nn.Module:
    """Return the module that `describe` described; its tensors hold no values yet.

    Nothing but layers of torch and of ecomp_deap is ever made.

    Raises:
        DataError: A layer that cannot be built, by name.
    """
    with torch.device("meta"):
        return _build("module", description)


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
    # torch lists under __constants__ the attributes that determine a layer's behaviour.
    parameters = inspect.signature(cls).parameters
    constants = getattr(cls, "__constants__", ())
    arguments = {name: getattr(module, name) for name in constants if name in parameters}
    has_weight = getattr(module, "weight", None) is not None
    if "bias" in parameters and has_weight and module.bias is None:
        arguments["bias"] = False
    return {"class": cls.__name__, "arguments": arguments}


def _build(name: str, description: Any) -> nn.Module:
    try:
        kind = description["class"]
        if kind == "Sequential":
            layers = description["layers"].items()
            return nn.Sequential(OrderedDict((k, _build(k, v)) for k, v in layers))
        cls = OWN_LAYERS[kind] if kind in OWN_LAYERS else getattr(nn, kind)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError(f"{kind!r} is no layer of torch.nn")
        # JSON has no tuples, which torch's layers take for sizes.
        arguments = description["arguments"].items()
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments})
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(f"manifest: layer {name!r} cannot be built: {error}") from error
