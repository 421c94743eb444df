"""Graphs: networks that need no code of their own to run, by `torch.export` and as ONNX."""

import contextlib
import importlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecomp_deap.checks import installed
from ecomp_deap.errors import DataError, one_line

__all__ = ["check_packages", "read_onnx", "read_pt2", "trace", "write_onnx", "write_pt2"]

_METADATA = "ecomp_deap"
_MOST_SAMPLES = 2**31 - 1
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Check that the packages are there which ONNX takes.

    Raises:
        ArgumentError: One is missing, with the command that installs it.
    """
    for name in _ONNX_PACKAGES:
        installed(name, extra="onnx", what="format onnx")


def trace(module: nn.Module, example: Any, *, any_size: bool) -> Any:
    """Return a network as a graph, a `torch.export.ExportedProgram`.

    Args:
        module: The network, in eval mode.
        example: A batch of inputs, see `default_forward`.
        any_size: Whether the graph must take any number of samples; else as many as the example.
    """
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if isinstance(example, Mapping):
        keywords = dict(example)
    else:
        arguments = tuple(example) if isinstance(example, Sequence) else (example,)
    shapes: Any = None
    if any_size:
        # Without an upper bound torch 2.7 asks of some networks that it be no 2 ** 63 - 1.
        batch = {0: torch.export.Dim("batch", max=_MOST_SAMPLES)}
        shapes = dict.fromkeys(keywords, batch) or tuple(batch for _ in arguments)
    with _quietly(), torch.no_grad():
        # Strict is the default of torch 2.7, and traces less.
        return torch.export.export(module, arguments, keywords, dynamic_shapes=shapes, strict=False)


def write_pt2(program: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a graph as `torch.export.save` does, with an extra file ``ecomp_deap``."""
    buffer = io.BytesIO()  # as torch tells of no reason for which a file cannot be written
    with _quietly():
        torch.export.save(program, buffer, extra_files={_METADATA: json.dumps(metadata)})
    path.write_bytes(buffer.getvalue())


def read_pt2(path: Path) -> Callable[..., Any]:
    """Return what runs the graph in a ``.pt2`` file; it is called like the network.

    Raises:
        DataError: The file is none.
    """
    with _reading(path, "a graph of torch.export"), _quietly():
        module: nn.Module = torch.export.load(path).module()
    return module


def write_onnx(program: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a graph as ONNX, with an entry ``ecomp_deap`` of its metadata."""
    with _quietly():
        exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    model = exported.model_proto
    model.metadata_props.add(key=_METADATA, value=json.dumps(metadata))
    path.write_bytes(model.SerializeToString())


def read_onnx(path: Path) -> Callable[..., Any]:
    """Return what runs the graph in a ``.onnx`` file; it is called like the network.

    Raises:
        ArgumentError: A package is missing, see `check_packages`.
        DataError: The file is none.
    """
    check_packages()
    with _reading(path, "a graph as ONNX"):
        session = importlib.import_module("onnxruntime").InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
    names = [entry.name for entry in session.get_inputs()]

    def run(*arguments: torch.Tensor, **keywords: torch.Tensor) -> list[torch.Tensor]:
        feed = dict(zip(names, arguments, strict=False)) | keywords
        outputs = session.run(None, {name: feed[name].numpy() for name in names})
        return [torch.from_numpy(array) for array in outputs]

    return run


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Give errors the name of the file, which must be one and no pipe that never ends."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: cannot be read (expected a file, but it is missing or none)")
    try:
        yield
    except Exception as error:  # whatever torch's exporters and ONNX Runtime raise
        raise DataError(f"{path}: expected {what}, but {one_line(error)[:200]}") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what torch's exporters tell of their own work off the terminal; errors still come."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
