"""Manifests: what a child's tensors are, and how to make the child of them, as JSON."""

import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ecomp_deap._version import __version__
from ecomp_deap.errors import DataError
from ecomp_deap.exports.architecture import OWN_LAYERS, describe
from ecomp_deap.exports.tensors import specification, take_tensors, tensors_sha256
from ecomp_deap.files import read_json

__all__ = ["class_name", "describe_parent", "make_manifest", "manifest_text", "read_manifest"]

_FORMAT = "ecomp_deap.child"
_FORMAT_VERSION = 2
_NEEDED = {1: ("architecture",), 2: ("factory", "tensors", "tied", "layers")}
# What version 1 did not tell.
_DEFAULTS: Mapping[str, Any] = {
    "factory": "torch.nn.modules.container:Sequential",
    "tied": {},
    "layers": {},
    "inputs": None,
    "kept": None,
    "parent": None,
    "metadata": {},
}


def make_manifest(
    module: nn.Module,
    content: bytes,
    *,
    parent: Mapping[str, Any] | None,
    kept: Mapping[str, Any] | None,
    inputs: Any,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest of a child.

    Args:
        module: The child.
        content: The file of its tensors.
        parent: See `describe_parent`; None where no parent is at hand.
        kept: For each group of units the indices of those kept, if they are known.
        inputs: What `describe_inputs` gives, if that is known.
        metadata: What else to say, in JSON's types.
    """
    tensors, tied = take_tensors(module, copy=False)
    architecture = describe(module)
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "ecomp_deap_version": __version__,
        "sha256": hashlib.sha256(content).hexdigest(),
        "factory": class_name(module),
    }
    if architecture is not None:
        manifest["architecture"] = architecture
    manifest["tensors"] = specification(tensors, tied)
    manifest["tied"] = tied
    # What took the place of the parent's layers.
    manifest["layers"] = {
        name: type(layer).__name__
        for name, layer in module.named_modules()
        if OWN_LAYERS.get(type(layer).__name__) is type(layer)
    }
    manifest["kept"] = (
        None if kept is None else {group: [int(unit) for unit in kept[group]] for group in kept}
    )
    manifest["parent"] = parent
    manifest["inputs"] = inputs
    manifest["metadata"] = dict(metadata or {})
    return manifest


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as the text of its file, with lists of numbers in one line.

    Raises:
        ValueError: It holds a number that JSON does not have.
    """
    text = json.dumps(manifest, indent=2, allow_nan=False)
    # A text in JSON has no line breaks of its own, so no text is changed.
    return re.sub(r'\[\n\s*([^\[\]{}"]*?)\s*\]', _in_one_line, text) + "\n"


def _in_one_line(match: re.Match[str]) -> str:
    return f"[{', '.join(number.strip() for number in match[1].split(','))}]"


def class_name(module: nn.Module) -> str:
    """Return a module's class as ``package.module:QualName``."""
    return f"{type(module).__module__}:{type(module).__qualname__}"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest in a file, also of an older version of the format.

    Raises:
        DataError: The file is missing, none, of a newer version or incomplete.
    """
    manifest = read_json(path, what="the JSON manifest of a child")
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DataError(f"{path}: expected the manifest of a child, with format {_FORMAT!r}")
    version: Any = manifest.get("format_version")
    if type(version) is not int or version not in range(1, _FORMAT_VERSION + 1):
        by = manifest.get("ecomp_deap_version")
        raise DataError(
            f"{path}: expected format version 1 to {_FORMAT_VERSION}, got {reprlib.repr(version)}, "
            f"written by ecomp_deap {by if isinstance(by, str) else 'of no version'}"
        )
    for name in ("sha256", *_NEEDED[version]):
        if name not in manifest:
            raise DataError(f"{path}: the manifest lacks {name!r}")
    manifest = {**_DEFAULTS, **manifest}
    parent = {"tensors": {}} if manifest["parent"] is None else manifest["parent"]
    mappings = {
        "tensors": manifest.get("tensors", {}),
        "tied": manifest["tied"],
        "layers": manifest["layers"],
        "parent": parent,
        "metadata": manifest["metadata"],
    }
    for name, value in mappings.items():
        if not isinstance(value, dict):
            raise DataError(f"{path}: the manifest's {name!r} is no mapping")
    if not isinstance(parent.get("tensors"), dict):
        raise DataError(f"{path}: the manifest's 'parent' has no 'tensors'")
    for name in ("sha256", "factory"):
        if not isinstance(manifest[name], str):
            raise DataError(f"{path}: the manifest's {name!r} is no text")
    return manifest


def describe_parent(parent: nn.Module, *, trained: bool) -> dict[str, Any]:
    """Return what the manifests of a parent's children say of it.

    Args:
        parent: A network of the parent's architecture.
        trained: Whether its tensors are those that the children were cut from.
    """
    tensors, tied = take_tensors(parent, copy=False)
    # What the file of the parent's own export would have.
    sha256 = tensors_sha256(parent) if trained else None
    return {"tensors": specification(tensors, tied), "sha256": sha256}
