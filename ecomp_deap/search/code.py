"""Networks that a user's own code makes, named on the command line."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import DataError, EcompError, argument_error, named
from ecomp_deap.exports import load_child
from ecomp_deap.exports.child import Factory, made_by
from ecomp_deap.exports.manifest import read_manifest

__all__ = ["child_in", "network_from_code"]


def network_from_code(text: str, *, seed: int = 0) -> nn.Module:
    """Return the network that ``MODULE:NAME`` or ``FILE.py:NAME`` names or makes: code is run.

    What the code imports is also looked for beside the file, or in the current folder.

    Args:
        text: What names it, as `ecomp_deap.runs.kinds.Code` takes it.
        seed: Of torch's generator for the duration, for initial weights.

    Raises:
        ArgumentError: It names nothing, the code fails, or makes something else.
    """
    source, _, name = text.rpartition(":")
    path = Path(source)
    try:
        # Where code looks for what it imports, also when it is called.
        folder = str(path.resolve().parent) if path.suffix == ".py" else ""
        with _imports_from(folder), torch.random.fork_rng():
            torch.manual_seed(seed)
            found: Any = (
                _from_file(path) if path.suffix == ".py" else importlib.import_module(source)
            )
            for part in name.split("."):
                found = getattr(found, part)
            return made_by(found, name="--factory")
    except EcompError:
        raise
    except (Exception, SystemExit) as error:  # whatever the code raises
        expected = f"code that makes a network ({named(error)})"
        raise argument_error("--factory", expected, text) from error


@contextmanager
def _imports_from(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def child_in(path: Path, factory: Factory | None) -> nn.Module:
    """Return the child in a file, see `load_child`; errors name ``--factory``.

    Raises:
        DataError: As `load_child`.
    """
    manifest = read_manifest(path.with_suffix(".json"))
    if factory is None and "architecture" not in manifest:
        raise DataError(
            f"{path}: holds a network of the class {manifest['factory']}: name with --factory what "
            "makes one like its parent"
        )
    return load_child(path, factory)


def _from_file(path: Path) -> ModuleType:
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path.resolve()):
        raise argument_error("--factory", "a file of a name that no module in use has", str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None  # there is one for every .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses, and pickle, look for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
