"""Description: what a search was asked, in plain values, to tell whether a save is of the same.

A resumed search is given its parent, data and configuration anew. If any of it differs from what
was saved, it would be another search; the difference is named field by field.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from ecomp_deap._version import __version__
from ecomp_deap.data import fingerprint
from ecomp_deap.errors import DataError
from ecomp_deap.exports.tensors import tensors_sha256
from ecomp_deap.runs.shapes import is_count
from ecomp_deap.task import Task
from ecomp_deap.toolbox import Toolbox

__all__ = ["adopt", "describe", "describe_settings", "differences", "identify", "versions"]

# Registered operators that decide how a search goes.
_OPERATORS = ("select", "mate", "mutate", "evaluate", "compile")
# Fields of a task that are no settings, or come apart.
_APART = ("parent", "data", "validation", "test", "splits")


def describe(toolbox: Toolbox, **settings: Any) -> dict[str, Any]:
    """Return what a search is asked, by field: plain values and fingerprints.

    Args:
        toolbox: From `make_toolbox`.
        settings: Of `evolve`.
    """
    task, splits = toolbox.evaluator.task, toolbox.evaluator.task.splits
    found: dict[str, Any] = {"parent": _parent(task)}
    for name in ("search", "validation", "test"):
        samples = getattr(splits, name)
        found[f"data.{name}"] = None if samples is None else fingerprint(samples)
    return {**found, **describe_settings(toolbox, **settings)}


def describe_settings(toolbox: Toolbox, **settings: Any) -> dict[str, Any]:
    """Return what `describe` does, but for the parent and the data."""
    evaluator = toolbox.evaluator
    task = evaluator.task
    found: dict[str, Any] = {f"evolve.{name}": value for name, value in settings.items()}
    for field in fields(task):
        if field.name not in _APART and field.name != "_":
            found[f"task.{field.name}"] = getattr(task, field.name)
    # As they are used, which may have been left open.
    found["task.perplexity"] = evaluator.perplexity
    found["task.probe_layers"] = evaluator.probe_layers
    found["genome"] = toolbox.individual_class.__name__
    fitness = toolbox.fitness
    # What failed children get may have a latency in it, which is measured anew, and costs are the
    # task's.
    aside = ("worst", "own_costs")
    names = [f.name for f in fields(type(fitness)) if f.name not in aside]  # type: ignore[arg-type]
    found["fitness"] = {name: getattr(fitness, name) for name in names}
    for alias in _OPERATORS:
        if hasattr(toolbox, alias):
            found[f"toolbox.{alias}"] = getattr(toolbox, alias)
    found["seed"] = evaluator.seed
    found["block_size"] = evaluator.block_size
    found["importance"] = evaluator.importance_name
    return {name: _plain(value) for name, value in found.items()}


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return what differs, a sentence for each field.

    >>> differences({"seed": 1, "genome": "mask"}, {"seed": 2, "genome": "mask"})
    ['seed: saved with 1, given 2']
    """
    return [
        f"{name}: saved with {saved.get(name)!r}, given {given.get(name)!r}"
        for name in dict.fromkeys([*saved, *given])
        if saved.get(name) != given.get(name)
    ]


def identify(toolbox: Toolbox, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a save or a journal says of its search, for `adopt`.

    Args:
        toolbox: Whose engine and threads are settled.
        description: See `describe`.
    """
    return {
        "search": dict(description),
        "versions": versions(),
        "engine": toolbox.evaluator.engine,
        "threads": toolbox.evaluator.threads,
    }


def adopt(identity: Any, toolbox: Toolbox, description: Mapping[str, Any], path: Path) -> list[str]:
    """Check that a save or a journal is of this search, and take the engine and threads it had.

    Args:
        identity: What `identify` gave when it was written.
        toolbox: Of this search.
        description: Of this search, see `describe`.
        path: What errors name.

    Returns:
        What a user should know, a sentence for each version that is another now.

    Raises:
        DataError: It is of another search, with every field that differs; or it is damaged.
    """
    try:
        saved, before = dict(identity["search"]), dict(identity["versions"])
        engine, threads = identity["engine"], identity["threads"]
        if not isinstance(engine, str) or not is_count(threads) or threads < 1:
            raise ValueError(f"its engine is {engine!r}, with {threads!r} threads"[:100])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a saved search, but {error!r}") from error
    found = differences(saved, description)
    if found:
        raise DataError(f"{path}: is of another search: {'; '.join(found)}")
    toolbox.evaluator.adopt(engine=engine, threads=threads)
    return [
        f"saved with {name} {before.get(name)}, going on with {now}: figures may differ in their "
        "last bits"
        for name, now in versions().items()
        if before.get(name) != now
    ]


def versions() -> dict[str, str]:
    """Return the versions of what figures depend on to the last bit."""
    return {
        "ecomp_deap": __version__,
        "deap": version("deap"),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def _parent(task: Task) -> str:
    """Return the SHA-256 of the parent's layers and tensors."""
    content = f"{task.parent!r} {tensors_sha256(task.parent)}"
    return hashlib.sha256(content.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return a value in JSON's types that tells it from others; of functions their names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        return {"class": type(value).__qualname__, **own}
    if isinstance(value, partial):
        inner = getattr(value.func, "function", value.func)  # behind the generation boundary
        arguments = [_plain(argument) for argument in value.args if _is_setting(argument)]
        options = {n: _plain(v) for n, v in value.keywords.items() if _is_setting(v)}
        return {"function": _plain(inner), "arguments": arguments, **options}
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _is_setting(value: Any) -> bool:
    """Return whether an option of an operator is a setting, and not an object it works with."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, (bool, int, float, str, partial, FunctionType))
