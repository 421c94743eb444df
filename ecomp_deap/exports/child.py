"""`load_child`: a network from its tensors and its manifest; nothing is unpickled or imported."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ecomp_deap.checks import check_path
from ecomp_deap.copying import copy_network
from ecomp_deap.errors import ArgumentError, DataError, argument_error, named, one_line
from ecomp_deap.exports.architecture import build
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.tensors import first_difference, put_tensors, specification
from ecomp_deap.files import naming, read_file
from ecomp_deap.network.layers import HeadAttention, InputLinear

__all__ = ["Factory", "load_child", "made_by"]

Factory = nn.Module | Callable[[], nn.Module]

_LOADED_BY = {
    ".pt2": "torch.export.load(path).module()",
    ".onnx": "onnxruntime.InferenceSession(path)",
}
# What torch raises for tensors of sizes that a layer cannot have.
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# Layers whose tensors have one entry for each unit along their first dimension.
_ONE_EACH = (nn.Linear, nn.Bilinear, nn.LayerNorm, _BatchNorm, _ConvNd)
_BY_UNIT = ("weight", "bias", "running_mean", "running_var")
_INDEX_TYPES = (torch.int32, torch.int64)
# How a manifest writes the shape of a linear layer's weight.
_WEIGHT = re.compile(r"\w+\[[0-9]{1,18}, ([0-9]{1,18})\]", re.ASCII)


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
        ArgumentError: No path or a file of another kind, or a factory of other networks than the
            parent, with the first tensor that differs.
    """
    path = check_path("path", path)
    if path.suffix != ".safetensors":
        hint = _LOADED_BY.get(path.suffix)
        loaded_by = f"; {hint} loads this one" if hint else ""
        raise ArgumentError(f"path: expected a .safetensors file, got {str(path)!r}{loaded_by}")
    if not os.path.lexists(path.with_suffix(".json")):
        with naming(path, "read"):
            path.stat()  # of two that are missing, this one was asked for
    manifest = read_manifest(path.with_suffix(".json"))
    tensors = _read_tensors(path, manifest)
    if factory is not None:
        network = made_by(factory)
        _check_parent(network, manifest)
        _exchange_layers(path, network, manifest, tensors)
        _check_names(network, _every(tensors, manifest["tied"]), manifest)
    elif "architecture" in manifest:
        network = _build_stack(path, manifest, tensors)
    else:
        raise DataError(
            f"{path}: holds a network of the class {manifest['factory']}: load_child(path, "
            "factory=F), where F makes one like its parent"
        )
    try:
        put_tensors(network, tensors, manifest["tied"])
    except _MISFITS as error:
        raise DataError(f"{path}: does not fit the network: {one_line(error)}") from error
    _check_sizes(path, network)
    _check_places(path, network, manifest)
    return network.eval()


def made_by(factory: Factory, *, name: str = "factory") -> nn.Module:
    """Return a network of its own from a factory, see `load_child`; errors call it ``name``.

    Raises:
        ArgumentError: It is none, it fails, or it makes something else.
    """
    expected = "a torch.nn.Module, or a callable that returns one"
    try:
        made = factory if isinstance(factory, nn.Module) or not callable(factory) else factory()
    except Exception as error:  # whatever a user's code raises
        raise ArgumentError(f"{name}: expected {expected}, but it raised {named(error)}") from error
    if not isinstance(made, nn.Module):
        raise argument_error(name, expected, type(made).__name__)
    return copy_network(made)


def _read_tensors(path: Path, manifest: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors in a file, after checking that they are the ones of its manifest."""
    try:
        content = read_file(path, at_most=_size(path))
    except MemoryError as error:
        raise DataError(f"{path}: it has more bytes than memory can hold") from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise DataError(f"{path}: damaged, its SHA-256 is not the one its manifest names")
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(content)
        found = specification(tensors, manifest["tied"])
    except (SafetensorError, MemoryError, *_MISFITS) as error:
        raise DataError(f"{path}: does not fit its manifest: {one_line(error)[:200]}") from error
    _check_fit(path, manifest.get("tensors", found), found)
    return tensors


def _size(path: Path) -> int:
    """Return the bytes of a file, and 0 of what is none, which is refused when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _every(tensors: Mapping[str, torch.Tensor], tied: Mapping[str, str]) -> dict[str, torch.Tensor]:
    return {**tensors, **{name: tensors[source] for name, source in tied.items()}}


def _build_stack(
    path: Path, manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> nn.Module:
    """Return the stack that a manifest describes; its tensors hold no values yet."""
    network, found = build(manifest["architecture"]), _every(tensors, manifest["tied"])
    # Built in torch's default types; the file's are the right ones, unless weights are integers.
    built = {
        name: tensor.to(found[name].dtype)
        if name in found and _kind(found[name]) == _kind(tensor)
        else tensor
        for name, tensor in network.state_dict().items()
    }
    _check_fit(path, specification(built, {}), specification(found, {}))
    return network


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _check_fit(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    difference = first_difference(expected, found)
    if difference is not None:
        raise DataError(f"{path}: does not fit its manifest: {difference}")


def _specification_of(network: nn.Module) -> dict[str, str]:
    return specification(_state(network), {})


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's tensors; other state is never in a file."""
    return {k: v for k, v in network.state_dict().items() if isinstance(v, torch.Tensor)}


def _check_parent(network: nn.Module, manifest: Mapping[str, Any]) -> None:
    """Check that a network is like the parent, where the manifest tells of it."""
    if manifest["parent"] is not None:
        expected = manifest["parent"]["tensors"]
        difference = first_difference(expected, _specification_of(network))
        if difference is not None:
            raise _refusal(manifest, difference)


def _exchange_layers(
    path: Path,
    network: nn.Module,
    manifest: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
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
        _check_indices(path, f"{name}.input_indices", indices, layer.in_features)
        InputLinear.adopt(layer, indices.numpy())


def _check_sizes(path: Path, network: nn.Module) -> None:
    """Check that the tensors of each layer agree on its number of units."""
    for name, layer in network.named_modules():
        sound = True
        if isinstance(layer, _ONE_EACH) and not isinstance(layer, _ConvTransposeNd):
            own = {**layer._parameters, **layer._buffers}
            sizes = {len(tensor) for k in _BY_UNIT if (tensor := own.get(k)) is not None}
            sound = len(sizes) < 2
        if isinstance(layer, _ConvNd):
            sound = sound and layer.groups > 0 and layer.out_channels % layer.groups == 0
        if isinstance(layer, HeadAttention):
            rows = len(layer.in_proj_weight)
            bias = layer.in_proj_bias
            sound = rows == 3 * layer.num_heads * layer.head_dim > 0
            sound = sound and (bias is None or len(bias) == rows)
        if not sound:
            raise DataError(f"{path}: the tensors of {name!r} do not fit each other")


def _check_places(path: Path, network: nn.Module, manifest: Mapping[str, Any]) -> None:
    """Check that each layer of a child reads as many inputs as it has weights, which there are."""
    parent = {} if manifest["parent"] is None else manifest["parent"]["tensors"]
    for name, layer in network.named_modules():
        if isinstance(layer, InputLinear):
            weight = f"{name}.weight" if name else "weight"
            shape = parent.get(weight)
            wide = _WEIGHT.fullmatch(shape) if isinstance(shape, str) else None
            indices = weight.removesuffix("weight") + "input_indices"
            n_inputs = int(wide[1]) if wide else None
            _check_indices(path, indices, layer.input_indices, n_inputs, layer.weight.shape[-1])


def _check_indices(
    path: Path,
    name: str,
    indices: torch.Tensor,
    n_inputs: int | None,
    n_weights: int | None = None,
) -> None:
    """Check what a layer reads: distinct places among the parent's inputs, one for each weight."""
    what = None
    if indices.ndim != 1 or indices.dtype not in _INDEX_TYPES:
        what = f"a list of indices, but it is {specification({'': indices}, {})['']}"
    elif n_weights is not None and len(indices) != n_weights:
        what = f"{n_weights} indices, but it has {len(indices)}"
    elif len(indices) and int(indices.min()) < 0:
        what = f"indices of at least 0, but it has {int(indices.min())}"
    elif n_inputs is not None and len(indices) and int(indices.max()) >= n_inputs:
        what = f"indices below {n_inputs}, but it has {int(indices.max())}"
    elif len(indices.unique()) != len(indices):
        what = "distinct indices, but it has one twice"
    if what is not None:
        raise DataError(f"{path}: {name!r}: expected {what}")


def _check_names(
    network: nn.Module, child: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]
) -> None:
    """Check that a network has tensors of the child's names, dimensions and kinds of numbers.

    Their shapes will be the child's, and so will their types.
    """
    given = _state(network)
    # In the manifest's order, which is that of the layers.
    names = manifest.get("tensors", child)
    alike = {
        name: given[name] if name in given and _is_alike(given[name], child[name]) else child[name]
        for name in names
    }
    difference = first_difference(specification(alike, {}), specification(given, {}))
    if difference is not None:
        raise _refusal(manifest, difference)


def _is_alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.ndim == b.ndim and _kind(a) == _kind(b)


def _refusal(manifest: Mapping[str, Any], difference: str) -> ArgumentError:
    expected = f"a network like the parent of the {manifest['factory']} in the file"
    return ArgumentError(f"factory: expected {expected}, but {difference}")
