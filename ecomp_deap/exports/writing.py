"""`export`: a child as a file, which is read back and compared with the child before it counts."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from ecomp_deap._version import __version__
from ecomp_deap.checks import check_callable, check_path
from ecomp_deap.copying import copy_network
from ecomp_deap.errors import ArgumentError, DataError, argument_error, one_line
from ecomp_deap.exports import graphs
from ecomp_deap.exports.child import Factory, load_child, made_by
from ecomp_deap.exports.manifest import describe_parent, make_manifest, manifest_text
from ecomp_deap.exports.samples import describe_inputs, n_samples, with_samples
from ecomp_deap.exports.tensors import first_difference, specification, take_tensors
from ecomp_deap.files import staged
from ecomp_deap.task import default_forward

__all__ = ["Written", "export", "place", "write"]

_FORMATS = ("safetensors", "pt2", "onnx")
# How far outputs may be off, as a fraction of the largest: kernels differ in their last bits.
_TOLERANCES = {"pt2": 1e-5, "onnx": 1e-4}
_READERS = {"pt2": "torch.export.load", "onnx": "ONNX Runtime on the CPU"}


@dataclass(frozen=True)
class Written:
    """A file that was written and found good.

    Attributes:
        path: The file.
        checked: What was compared with the child.
        only_samples: The one number of samples that a graph takes; None where any will do.
    """

    path: Path
    checked: str
    only_samples: int | None = None


def export(
    child: Any,
    path: str | Path,
    *,
    format: str | None = None,
    example: Any = None,
    factory: Factory | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a child to a file, after checking that what is read back gives the child's outputs.

    ======================  =================================================================
    ``.safetensors``        The tensors; a manifest beside it, ``.json``, says how `load_child`
                            makes the network of them, which units were kept, and SHA-256 sums.
                            Compared bit by bit: tensors, and outputs if there is an example.
    ``.pt2``                A graph that `torch.export.load` reads, without the network's code.
                            Outputs agree to 1e-5 of the largest.
    ``.onnx``               A graph for ONNX Runtime and others. Outputs agree to 1e-4 of the
                            largest. Takes ``pip install 'ecomp-deap[onnx]'``.
    ======================  =================================================================

    Graphs take any number of samples if the network can be traced so, which is tried with 1, 2 and
    3 or more; else as many as the example has, with a warning. They compute what the network does
    in eval mode, on the CPU. The child is not changed, nor its mode.

    Args:
        child: A child that a search found, or any network.
        path: The file; its folder exists. What is there already is replaced if all went well.
        format: ``"safetensors"``, ``"pt2"`` or ``"onnx"``, by default what the path ends in; where
            that is something else, the format's own ending is added.
        example: A batch of inputs, needed for graphs: a tensor, a tuple or list of tensors for
            several positions, or a dict of them for keywords.
        factory: For ``.safetensors`` what `load_child` will be given for a network of another
            class than torch's own stacks. With it, the file is checked as it will be loaded, and a
            bare network's manifest tells of the parent; children of a search know their parent.
        metadata: What else the file should say, in JSON's types.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: An argument out of range, a network that a format cannot hold or that does
            not take the example, a factory of other networks, or a package that is missing.
        DataError: What was read back differs from the child, or the file cannot be written; in
            either case nothing is left of it.
    """
    written = write(child, path, format=format, example=example, factory=factory, metadata=metadata)
    if written.only_samples is not None:
        warnings.warn(
            f"{written.path}: takes batches of {written.only_samples} samples alone, "
            "as the network cannot be traced for any number",
            stacklevel=2,
        )
    return written.path


def write(
    child: Any,
    path: str | Path,
    *,
    format: str | None,
    example: Any,
    factory: Factory | None,
    metadata: Mapping[str, Any] | None,
    described: Mapping[str, Any] | None = None,
) -> Written:
    """Do the work of `export`, and tell what was checked.

    Args:
        child: See `export`, like the rest.
        path: See there.
        format: See there.
        example: See there.
        factory: See there.
        metadata: See there.
        described: What `describe_parent` gives for the child's parent, which takes as long for one
            child as for many.
    """
    path, format = place(check_path("path", path), format)
    module, kept, parent = _parts(child)
    _check_values(module)
    if factory is not None:
        check_callable("factory", factory, "a function that makes networks, or a network")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise argument_error("metadata", "a mapping of names, or None", metadata)
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise argument_error("metadata", f"JSON's types ({error})", metadata) from error
    if example is not None:
        n_samples(example)  # refuses what is no batch
        if any(tensor.is_meta for tensor in tree_leaves(example)):
            raise argument_error("example", "a batch of inputs with values", "a meta tensor")
        example = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().cpu(), example)
    elif format != "safetensors":
        raise argument_error("example", f"a batch of inputs, which .{format} takes", None)
    if format == "onnx":
        graphs.check_packages()
    module = copy_network(module).cpu().eval()
    _check_takes(module, example)
    with staged(path) as staging:
        if format == "safetensors":
            content = save_tensors(take_tensors(module)[0])
            if described is None and parent is not None:
                described = describe_parent(parent, trained=True)
            elif described is None and factory is not None:
                described = describe_parent(made_by(factory), trained=False)
            manifest = make_manifest(
                module,
                content,
                parent=described,
                kept=kept,
                inputs=None if example is None else describe_inputs(example),
                metadata=metadata,
            )
            staging.write_bytes(content)
            text = manifest_text(manifest)
            staging.with_suffix(".json").write_text(text, encoding="utf-8")
            if factory is None and "architecture" not in manifest:
                factory = module if parent is None else parent
            return _check_tensors(path, staging, module, factory, example)
        return _write_graph(path, staging, format, module, example, metadata)


def place(path: Path, format: str | None) -> tuple[Path, str]:
    """Return the file and the format that are meant, see `export`.

    Raises:
        ArgumentError: An unknown format, or a path that ends in another one, or in no name.
    """
    if path.name in ("", ".."):
        raise argument_error("path", "the name of a file", str(path))
    ending = path.suffix.removeprefix(".")
    if format is None:
        if ending not in _FORMATS:
            expected = f"a name ending in {', '.join(f'.{name}' for name in _FORMATS)}, or a format"
            raise argument_error("path", expected, str(path))
        return path, ending
    if not isinstance(format, str) or format not in _FORMATS:
        raise argument_error("format", f"one of {', '.join(_FORMATS)}", format)
    if ending == format:
        return path, format
    if ending in _FORMATS:
        raise argument_error("path", f"a name ending in .{format}, as is the format", str(path))
    return path.with_name(f"{path.name}.{format}"), format


def _parts(child: Any) -> tuple[nn.Module, Mapping[str, Any] | None, nn.Module | None]:
    """Return the network, the units kept and the parent, as far as they are known."""
    if isinstance(child, nn.Module):
        return child, None, None
    module = getattr(child, "module", None)
    if not isinstance(module, nn.Module):
        raise argument_error("child", "a child of a search, or a torch.nn.Module", child)
    return module, getattr(child, "kept", None), getattr(child, "parent", None)


def _check_values(module: nn.Module) -> None:
    """Check that all tensors of a network have values, which those on the meta device have not."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            got = f"{name!r} on the meta device"
            raise ArgumentError(f"child: expected tensors with values, got {got}")


def _check_takes(module: nn.Module, example: Any) -> None:
    """Check that a network takes an example, if there is one."""
    try:
        if example is not None:
            _run(module, example, n_samples(example))
    except Exception as error:  # whatever a network raises
        expected = "a batch that the network takes"
        raise ArgumentError(f"example: expected {expected}, but {one_line(error)}") from error


def _check_tensors(
    path: Path, staging: Path, module: nn.Module, factory: Factory | None, example: Any
) -> Written:
    """Compare what the staged file gives with the child, bit by bit."""
    loaded = load_child(staging, factory).cpu()
    expected, got = (take_tensors(network, copy=False) for network in (module, loaded))
    difference = first_difference(specification(*expected), specification(*got))
    for name, tensor in expected[0].items():
        if difference is None and save_tensors({"": got[0][name]}) != save_tensors({"": tensor}):
            difference = f"{name!r} has other values"
    checked = f"{len(expected[0])} tensors"
    if example is not None and difference is None:
        n = n_samples(example)
        difference = _difference(_run(module, example, n), _run(loaded, example, n), 0.0)
        checked += f" and the outputs of {n} samples"
    if difference is not None:
        raise DataError(f"{path}: what load_child gives is not the child: {difference}")
    return Written(path, f"{checked} bit by bit, by load_child")


def _write_graph(
    path: Path,
    staging: Path,
    format: str,
    module: nn.Module,
    example: Any,
    metadata: Mapping[str, Any] | None,
) -> Written:
    """Write a graph of any number of samples, or of the example's, and compare its outputs."""
    write_file, read_file = {
        "pt2": (graphs.write_pt2, graphs.read_pt2),
        "onnx": (graphs.write_onnx, graphs.read_onnx),
    }[format]
    about = {"ecomp_deap_version": __version__, "metadata": dict(metadata or {})}
    n = n_samples(example)
    several = max(n, 2)  # torch takes a size of 1 for one that never changes
    attempts: list[tuple[bool, list[int]]] = [(True, [several, 1, several + 1]), (False, [n])]
    for any_size, sizes in attempts:
        try:
            traced = with_samples(example, sizes[0])
            write_file(graphs.trace(module, traced, any_size=any_size), staging, about)
            run = read_file(staging)
            expected = [_run(module, example, size) for size in sizes]
            found = [_run(run, example, size) for size in sizes]
        except Exception as error:  # whatever torch's exporters and ONNX Runtime raise
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk; torch's have no number
            if any_size:
                continue
            raise ArgumentError(
                f"child: it cannot be exported as .{format}: {one_line(error)}"
            ) from error
        for size, a, b in zip(sizes, expected, found, strict=True):
            difference = _difference(a, b, _TOLERANCES[format])
            if difference is not None:
                raise DataError(
                    f"{path}: what {_READERS[format]} gives for {size} samples is not what the "
                    f"child gives: {difference}"
                )
        break
    counts = ", ".join(map(str, sorted(sizes)))
    checked = f"outputs of {counts} samples to {_TOLERANCES[format]:g} of the largest"
    return Written(path, f"{checked}, by {_READERS[format]}", None if any_size else n)


def _run(function: Any, example: Any, n: int) -> list[torch.Tensor]:
    """Return the tensors that a network or graph gives for n of the example's samples."""
    with torch.no_grad():
        # A copy of the samples, as some networks write into their inputs.
        outputs = default_forward(function, with_samples(example, n))
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _difference(
    expected: list[torch.Tensor], got: list[torch.Tensor], tolerance: float
) -> str | None:
    """Return what tells outputs apart, if they differ by more than a fraction of the largest."""
    if len(expected) != len(got):
        return f"{len(got)} outputs, not {len(expected)}"
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            specifications = [specification({"": t}, {})[""] for t in (b, a)]
            return f"output {i} is {specifications[0]}, not {specifications[1]}"
        wide = torch.complex128 if a.is_complex() else torch.float64
        a, b = a.to(wide), b.to(wide)
        finite = a[a.isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        if not torch.allclose(b, a, rtol=0, atol=tolerance * largest, equal_nan=True):
            return f"output {i} is off by up to {float((a - b).abs().max()):.1e}"
    return None
