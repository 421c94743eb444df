"""Children on disk: safetensors and a JSON manifest that rebuilds the module."""

import hashlib
import inspect
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from ecomp_deap._version import __version__
from ecomp_deap.errors import DataError, argument_error, one_line
from ecomp_deap.files import write_atomically
from ecomp_deap.network.groups import stages

__all__ = ["load_child", "save_child"]

_FORMAT = "ecomp_deap.child"
_FORMAT_VERSION = 1


def save_child(
    module: nn.Module, path: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write a child to ``path`` and its manifest beside it, with the suffix ``.json``.

    Args:
        module: A `torch.nn.Sequential` of torch's own layers, possibly nested.
        path: A file ending in ``.safetensors``; its folder exists.
        metadata: What else the manifest should say, in JSON's types.

    Returns:
        The path of the tensors.

    Raises:
        ArgumentError: Another suffix, or a module that is not torch's own, by name.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise argument_error("path", "a name ending in .safetensors", str(path))
    if isinstance(module, nn.Sequential):
        stages(module, name="module")  # refuses a layer that is used twice
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    tensors = save_tensors(state)
    manifest = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "ecomp_deap_version": __version__,
        "architecture": _describe("module", module),
        "sha256": hashlib.sha256(tensors).hexdigest(),
        "metadata": dict(metadata or {}),
    }
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    write_atomically(path, tensors)
    write_atomically(path.with_suffix(".json"), text)
    return path


def load_child(path: str | Path) -> nn.Module:
    """Return the child that `save_child` wrote, in eval mode.

    Using it takes nothing but torch.

    Args:
        path: The ``.safetensors`` file; its manifest lies beside it.

    Raises:
        DataError: A file that is missing, damaged, of a newer format, or that does not fit.
    """
    path = Path(path)
    manifest = _read_manifest(path.with_suffix(".json"))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise DataError(f"{path}: damaged, its SHA-256 is not the one its manifest names")
    module = _build("module", manifest["architecture"])
    try:
        # Assigned, since copying into the new module would convert to its dtype.
        state = {name: tensor.clone() for name, tensor in load_tensors(content).items()}
        module.load_state_dict(state, assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise DataError(f"{path}: does not fit its manifest: {one_line(error)}") from error
    module.eval()
    return module


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: expected the JSON manifest of a child, but {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DataError(f"{path}: expected the manifest of a child, with format {_FORMAT!r}")
    if manifest.get("format_version") != _FORMAT_VERSION:
        raise DataError(
            f"{path}: expected format version {_FORMAT_VERSION}, "
            f"got {manifest.get('format_version')!r}, written by ecomp_deap "
            f"{manifest.get('ecomp_deap_version')}"
        )
    for name in ("sha256", "architecture"):
        if name not in manifest:
            raise DataError(f"{path}: the manifest lacks {name!r}")
    return manifest


def _describe(name: str, module: nn.Module) -> dict[str, Any]:
    """Return what it takes to build a module anew, tensors aside."""
    if isinstance(module, nn.Sequential):
        layers = {child: _describe(child, layer) for child, layer in module.named_children()}
        return {"class": "Sequential", "layers": layers}
    cls = type(module)
    if getattr(nn, cls.__name__, None) is not cls or any(module.children()):
        raise argument_error(f"module: layer {name!r}", "one of torch.nn's own layers", cls)
    # torch lists under __constants__ the attributes that determine a layer's behaviour.
    parameters = inspect.signature(cls).parameters
    constants = getattr(cls, "__constants__", ())
    arguments = {k: getattr(module, k) for k in constants if k in parameters}
    has_weight = getattr(module, "weight", None) is not None
    if "bias" in parameters and has_weight and module.bias is None:
        arguments["bias"] = False
    return {"class": cls.__name__, "arguments": arguments}


def _build(name: str, description: Any) -> nn.Module:
    """Return the module that `_describe` described; only torch's own layers are ever made."""
    try:
        if description["class"] == "Sequential":
            layers = description["layers"].items()
            return nn.Sequential(OrderedDict((k, _build(k, v)) for k, v in layers))
        cls = getattr(nn, description["class"])
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError(f"{description['class']!r} is no layer of torch.nn")
        # JSON has no tuples, which torch's layers take for sizes.
        arguments = description["arguments"].items()
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments})
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(f"manifest: layer {name!r} cannot be built: {error}") from error
