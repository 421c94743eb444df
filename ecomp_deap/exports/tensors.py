"""Tensors of a network: taken out for a file, compared by name, and put into another network."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.network.compile import fit_to_tensors

__all__ = ["first_difference", "put_tensors", "specification", "take_tensors", "tensors_sha256"]


def take_tensors(
    module: nn.Module, *, copy: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return a network's tensors by ``state_dict`` name, each once, and its tied ones.

    The tensors are on the CPU and contiguous. The second mapping gives for each further name of a
    tensor the name that it stands under in the first.

    Args:
        module: The network.
        copy: Whether each is a copy of its own; else they may be the network's, to be looked at.

    Raises:
        ArgumentError: Its state holds something else than tensors.
    """
    tensors: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    # keep_vars gives the tensors themselves: without it, each name has an object of its own.
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            got = f"{name!r} of type {type(value).__name__}"
            raise argument_error("child", "nothing but tensors in its state_dict", got)
        if id(value) in first:
            tied[name] = first[id(value)]
        else:
            first[id(value)] = name
            tensor = value.detach().cpu()
            # A copy of its own, since a file must not hold memory twice.
            tensors[name] = (
                tensor.clone(memory_format=torch.contiguous_format) if copy else tensor.contiguous()
            )
    return tensors, tied


def tensors_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of a network's tensors, which is that of its file of ``.safetensors``."""
    tensors, _ = take_tensors(module)
    return hashlib.sha256(save_tensors(tensors)).hexdigest()


def specification(tensors: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, str]:
    """Return type and shape of each tensor by name, tied ones included.

    >>> specification({"weight": torch.zeros(2, 3)}, {"again": "weight"})
    {'weight': 'float32[2, 3]', 'again': 'float32[2, 3]'}
    """
    every = {**tensors, **{name: tensors[source] for name, source in tied.items()}}
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for name, tensor in every.items()
    }


def first_difference(expected: Mapping[str, str], got: Mapping[str, str]) -> str | None:
    """Return what tells two specifications apart first, as the end of a sentence; else None.

    >>> first_difference({"weight": "float32[2]"}, {"weight": "float32[3]"})
    "'weight' is float32[3], not float32[2]"
    """
    for name, wanted in expected.items():
        if name not in got:
            return f"{name!r} is missing"
        if got[name] != wanted:
            return f"{name!r} is {got[name]}, not {wanted}"
    for name in got:
        if name not in expected:
            return f"{name!r} is one too many"
    return None


def put_tensors(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], tied: Mapping[str, str]
) -> None:
    """Give a network other tensors, of any shapes, in place of its own (in place).

    Args:
        module: The network; its layers' sizes are made to agree.
        tensors: By ``state_dict`` name; each is copied to where the one before it was.
        tied: Further names, see `take_tensors`.
    """
    made: dict[str, torch.Tensor] = {}
    for prefix, layer in module.named_modules(remove_duplicate=False):
        for kind in (layer._parameters, layer._buffers):
            for key, old in list(kind.items()):
                name = f"{prefix}.{key}" if prefix else key
                name = tied.get(name, name)
                if old is None or name not in tensors:
                    continue  # a buffer that no file holds
                if name not in made:
                    new = tensors[name].clone().to("cpu" if old.is_meta else old.device)
                    made[name] = (
                        nn.Parameter(new, old.requires_grad)
                        if isinstance(old, nn.Parameter)
                        else new
                    )
                # Not into the dict, as recurrent layers keep count of their weights.
                setattr(layer, key, made[name])
        fit_to_tensors(layer)
