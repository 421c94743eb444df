"""Networks that a user's own code makes, named on the command line."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import EcompError, argument_error, one_line
from ecomp_deap.exports.child import made_by

__all__ = ["network_from_code"]


def network_from_code(text: str, *, seed: int = 0) -> nn.Module:
    """Return the network that ``MODULE:NAME`` or ``FILE.py:NAME`` names or makes: code is run.

    Modules are also looked for in the current folder.

    Args:
        text: What names it, as `ecomp_deap.runs.kinds.Code` takes it.
        seed: Of torch's generator for the duration, for initial weights.

    Raises:
        ArgumentError: It names nothing, the code fails, or makes something else.
    """
    source, _, name = text.rpartition(":")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found: Any = _from_file(Path(source)) if source.endswith(".py") else _by_name(source)
            for part in name.split("."):
                found = getattr(found, part)
            return made_by(found)
    except EcompError:
        raise
    except Exception as error:  # whatever the code raises
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise argument_error("--factory", f"code that makes a network ({reason})", text) from error


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # there is one for every .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses, and pickle, look for it
    spec.loader.exec_module(module)
    return module


def _by_name(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove("")
