"""`load_child`: a network from its tensors and its manifest; nothing is unpickled or imported."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from ecomp_deap.copying import copy_network
from ecomp_deap.errors import ArgumentError, DataError, argument_error, one_line
from ecomp_deap.exports.architecture import build
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.tensors import first_difference, put_tensors, specification
from ecomp_deap.network.layers import InputLinear

__all__ = ["Factory", "load_child", "made_by"]

Factory = nn.Module | Callable[[], nn.Module]

_LOADED_BY = {
    ".pt2": "torch.export.load(path).module()",
    ".onnx": "onnxruntime.InferenceSession(path)",
}


def load_child(path: str | Path, factory: Factory | None = None) -> nn.Module:
    """Return the child that `export` wrote as ``.safetensors``, in eval mode.

    A stack of torch's own layers is built as its manifest says. A network of another class needs
    its code, which a file cannot hold: a ``factory`` makes a network like the parent, which then
    receives the child's tensors.

    Args:
        path: The ``.safetensors`` file; its manifest lies beside it.
        factory: A network of the parent's architecture, which need not be trained and is not
            changed, or a callable that returns one, such as its class.

    Raises:
        DataError: A file that is missing, damaged, of a newer format, or that does not fit; a
            child of another class and no factory.
        ArgumentError: A file of another kind, or a factory of other networks than the parent, with
            the first tensor that differs.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        hint = _LOADED_BY.get(path.suffix)
        loaded_by = f"; {hint} loads this one" if hint else ""
        raise ArgumentError(f"path: expected a .safetensors file, got {str(path)!r}{loaded_by}")
    manifest = read_manifest(path.with_suffix(".json"))
    tensors = _read_tensors(path, manifest)
    if factory is not None:
        network = made_by(factory)
        _check_parent(network, manifest)
        _exchange_layers(network, manifest, tensors)
        _check_names(network, specification(tensors, manifest["tied"]), manifest)
    elif "architecture" in manifest:
        network = _build_stack(path, manifest, tensors)
    else:
        raise DataError(
            f"{path}: holds a network of the class {manifest['factory']}, whose code it takes: "
            "load_child(path, factory=F), where F makes a network like its parent"
        )
    put_tensors(network, tensors, manifest["tied"])
    return network.eval()


def made_by(factory: Factory) -> nn.Module:
    """Return a network of its own from a factory, see `load_child`.

    Raises:
        ArgumentError: It is none, or makes something else.
    """
    made = factory if isinstance(factory, nn.Module) or not callable(factory) else factory()
    if not isinstance(made, nn.Module):
        raise argument_error(
            "factory", "a torch.nn.Module, or a callable that returns one", type(made).__name__
        )
    return copy_network(made)


def _read_tensors(path: Path, manifest: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors in a file, after checking that they are the ones of its manifest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise DataError(f"{path}: damaged, its SHA-256 is not the one its manifest names")
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(content)
        found = specification(tensors, manifest["tied"])
    except (SafetensorError, KeyError, TypeError) as error:
        raise DataError(f"{path}: does not fit its manifest: {one_line(error)}") from error
    _check_fit(path, manifest.get("tensors", found), found)
    return tensors


def _build_stack(
    path: Path, manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> nn.Module:
    """Return the stack that a manifest describes; its tensors hold no values yet."""
    network, tied = build(manifest["architecture"]), manifest["tied"]
    # Built in torch's default types; the file's are the right ones.
    built = {
        name: tensor.to(tensors.get(tied.get(name, name), tensor).dtype)
        for name, tensor in network.state_dict().items()
    }
    _check_fit(path, specification(built, {}), specification(tensors, tied))
    return network


def _check_fit(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    difference = first_difference(expected, found)
    if difference is not None:
        raise DataError(f"{path}: does not fit its manifest: {difference}")


def _specification_of(network: nn.Module) -> dict[str, str]:
    return specification(network.state_dict(), {})


def _check_parent(network: nn.Module, manifest: Mapping[str, Any]) -> None:
    """Check that a network is like the parent, where the manifest tells of it."""
    if manifest["parent"] is not None:
        expected = manifest["parent"]["tensors"]
        difference = first_difference(expected, _specification_of(network))
        if difference is not None:
            raise _refusal(manifest, difference)


def _exchange_layers(
    network: nn.Module, manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Let linear layers read some of their inputs where the child's do (in place).

    What else only children have, attention with fewer heads, follows from the tensors' shapes.
    """
    modules = dict(network.named_modules())
    for name, kind in manifest["layers"].items():
        layer, indices = modules.get(name), tensors.get(f"{name}.input_indices")
        if kind != InputLinear.__name__ or isinstance(layer, InputLinear):
            continue
        if not isinstance(layer, nn.Linear) or indices is None:
            raise _refusal(manifest, f"{name!r} is no Linear but a {type(layer).__name__}")
        InputLinear.adopt(layer, indices.numpy())


def _check_names(network: nn.Module, child: Mapping[str, str], manifest: Mapping[str, Any]) -> None:
    """Check that a network has tensors of the child's names; their shapes will be the child's."""
    given = _specification_of(network)
    # In the manifest's order, which is that of the layers.
    names = manifest.get("tensors", child)
    of_any_shape = {name: given.get(name, child[name]) for name in names}
    difference = first_difference(of_any_shape, given)
    if difference is not None:
        raise _refusal(manifest, difference)


def _refusal(manifest: Mapping[str, Any], difference: str) -> ArgumentError:
    expected = f"a network like the parent of the {manifest['factory']} in the file"
    return ArgumentError(f"factory: expected {expected}, but {difference}")
