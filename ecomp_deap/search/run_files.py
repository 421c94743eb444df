"""What a search leaves in a run's folder: its result as files."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.exports import export
from ecomp_deap.exports.manifest import describe_parent
from ecomp_deap.exports.writing import write
from ecomp_deap.files import make_folder
from ecomp_deap.runs.choosing import choose, words
from ecomp_deap.runs.description import versions
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.search.compress import Result
from ecomp_deap.search.embeddings import laid_out
from ecomp_deap.search.finish import Child
from ecomp_deap.threads import torch_threads
from ecomp_deap.toolbox import Toolbox
from ecomp_deap.toolbox.births import parse_births

__all__ = ["check_places", "example_of", "picks_of", "save_result", "write_found", "write_result"]

_LOGBOOKS, _FRONT, _TIMINGS = ("logbook.csv", "logbook.json"), "front.csv", "timings.csv"
_SUMMARY, _EMBEDDINGS = "summary.json", "embeddings.json"
_LINEAGE, _SETTINGS = "lineage.json", "settings.json"
# Where the parent of a search in Python comes from.
_GIVEN = "given"
_CHILDREN, _OTHERS = "children", ("checkpoints", "plots")


def check_places(directory: RunDirectory) -> None:
    """Check that what a search will write finds its place in a run's folder.

    Raises:
        DataError: As `RunDirectory.check_places`.
    """
    directory.check_places(
        (*_LOGBOOKS, _FRONT, _TIMINGS, _EMBEDDINGS, _LINEAGE, _SUMMARY),
        (_CHILDREN, *_OTHERS),
    )


def save_result(result: Result, folder: Path) -> Path:
    """Write a run's folder of a search that had none, see `Result.save`."""
    if os.path.isdir(folder) and os.listdir(folder):
        raise DataError(f"{folder}: expected a new folder, but it holds something")
    directory = RunDirectory(make_folder(folder))
    inputs, seed = example_of(result.toolbox), result.toolbox.evaluator.seed
    export(result.parent.module, directory.parent, example=inputs, metadata={"source": _GIVEN})
    directory.write_json(_SETTINGS, result.settings)
    write_result(result, directory, inputs, seed=seed, parent_source=_GIVEN)
    return folder


def example_of(toolbox: Toolbox) -> Any:
    """Return the inputs of two samples, which parent and children take."""
    inputs, _ = toolbox.evaluator.task.splits.search.batch(np.arange(2))
    return inputs


def write_result(
    result: Result,
    directory: RunDirectory,
    inputs: Any,
    *,
    seed: int,
    parent_source: str,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Write logbook, front, timings, children and more, at last the summary, and return that.

    Args:
        result: Of the search.
        directory: The run's folder.
        inputs: Some that parent and children take.
        seed: Of the run.
        parent_source: Where the parent comes from.
        callback: Told of each child that is written.

    Raises:
        DataError: A file cannot be written.
    """
    callback = Callback() if callback is None else callback
    rows = _write_tables(result, directory)
    directory.folder(_CHILDREN)
    callback.on_phase("writing", len(result.front))
    described = describe_parent(result.parent.module, trained=True)
    # Children of a front are small, and several threads take longer to agree than to work.
    with torch_threads(1):
        for child, row in zip(result.front, rows, strict=True):
            write(
                *(child, directory.child(child.id)),
                format=None,
                example=inputs,
                factory=None,
                metadata=row,
                described=described,
            )
            callback.on_phase_step()
    summary = _summary(result, seed, parent_source)
    picked = {name for name in summary["picks"].values() if name is not None}
    with torch_threads(result.toolbox.evaluator.torch_threads):
        laid = laid_out(
            result.toolbox.evaluator, {c.id: c.module for c in result.front if c.id in picked}
        )
    lineage = {child.id: parse_births(child.births) for child in result.front}
    directory.write_compact_json(_LINEAGE, lineage)
    if laid is not None:
        directory.write_compact_json(_EMBEDDINGS, laid)
    directory.write_json(_SUMMARY, summary)
    return summary


def write_found(result: Result, directory: RunDirectory) -> dict[str, Any]:
    """Write logbook, front, timings, the best child and the summary, which is returned.

    This is what loggers take of a search that leaves no run's folder behind.

    Raises:
        DataError: A file cannot be written.
    """
    rows = _write_tables(result, directory)
    directory.folder(_CHILDREN)
    row = next(row for row in rows if row["id"] == result.best.id)
    export(result.best, directory.child(result.best.id), metadata=row)
    summary = _summary(result, result.toolbox.evaluator.seed, _GIVEN)
    directory.write_json(_SUMMARY, summary)
    return summary


def _write_tables(result: Result, directory: RunDirectory) -> list[dict[str, Any]]:
    """Write logbook, front and timings, and return the front's rows."""
    directory.write_logbook(result.logbook)
    rows = _rows(result, result.front)
    directory.write_rows(_FRONT, list(rows[0]), rows)
    timings = _timings(result)
    directory.write_rows(_TIMINGS, list(timings[0]), timings)
    return rows


def _timings(result: Result) -> list[dict[str, Any]]:
    """Return what was recorded of each generation beside the logbook."""
    rows: list[dict[str, Any]] = [
        {"generation": i, "seconds": seconds} for i, seconds in enumerate(result.generation_seconds)
    ]
    for row, volume in zip(rows, result.generation_hypervolumes, strict=False):
        row["hypervolume"] = volume
    if result.generation_latency_ms:
        for row, latency in zip(rows, result.generation_latency_ms, strict=True):
            row |= {f"latency_ms_{name}": figure for name, figure in latency.items()}
    for row, counts in zip(rows, result.generation_incidents, strict=False):
        row |= {f"workers_{name}": (counts or {}).get(name) for name in result.incidents}
    return rows


def _rows(result: Result, children: Sequence[Child]) -> list[dict[str, Any]]:
    """Return children as rows of the front, without the columns ``…_before`` if none has them."""
    name = result.toolbox.evaluator.task.metric.name
    before = {f"validation_{name}_before", f"test_{name}_before"}
    rows = [child.as_row() for child in children]
    if all(child.validation_before is None for child in result.front):
        rows = [{k: v for k, v in row.items() if k not in before} for row in rows]
    return rows


def picks_of(result: Result) -> dict[str, str | None]:
    """Return the ids of children worth a look, by their word; None where there is no such child."""
    ids = [child.id for child in result.front]
    picks: dict[str, str | None] = {"best": result.best.id}
    for word in words(result.parent.validation.param_count):
        try:
            index = choose(
                word,
                [child.validation.metric for child in result.front],
                [child.validation.param_count for child in result.front],
                ids=ids,
                parent_value=result.parent.validation.metric,
                maximise=result.toolbox.evaluator.task.metric.maximise,
            )
        except ArgumentError:
            picks[word] = None
        else:
            picks[word] = ids[index]
    return picks


def _summary(result: Result, seed: int, parent_source: str) -> dict[str, Any]:
    counters, metric = result.toolbox.counters, result.toolbox.evaluator.task.metric
    parent_row, best_row = _rows(result, [result.parent, result.best])
    return {
        "seconds": dict(result.seconds),
        "evaluations": counters.evaluations,
        "rescored": counters.rescored,
        "duplicates": counters.duplicates,
        "failed": counters.failed,
        "training_samples": dict(result.training_samples),
        "metric": {name: getattr(metric, name) for name in ("name", "maximise", "tolerance")},
        "parent": parent_row,
        "parent_source": parent_source,
        "best": best_row,
        "picks": picks_of(result),
        "front_size": len(result.front),
        "stopped": result.stopped,
        **({"workers": dict(result.incidents)} if result.incidents else {}),
        "digest": result.digest(),
        "data": {
            "name": result.toolbox.evaluator.task.splits.name,
            "source": result.toolbox.evaluator.task.splits.source,
        },
        "seed": seed,
        "versions": {**versions(), "python": platform.python_version()},
    }
