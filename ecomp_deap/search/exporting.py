"""Exporting the children of finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.exports import load_child
from ecomp_deap.exports.child import Factory
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.samples import make_example
from ecomp_deap.exports.writing import Written, place, write
from ecomp_deap.files import staged
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.search.code import child_in
from ecomp_deap.search.front import knee

__all__ = ["export_from_run"]

# A graph is fixed to no number of samples if it is traced with several.
_N_SAMPLES = 2


def export_from_run(
    run: Path, child: str, *, format: str, out: Path | None = None, factory: Factory | None = None
) -> tuple[str, Written]:
    """Write a child of a finished run to a file of its own.

    Args:
        run: The run's folder.
        child: ``"best"``, as the run's summary has it; ``"knee"``, see
            `ecomp_deap.search.front.knee`; or an id of the front.
        format: See `export`; ``"safetensors"`` copies the run's own files.
        out: The file, by default ``exports/ID.FORMAT`` in the run's folder.
        factory: See `load_child`.

    Returns:
        The child's id, and what was written.

    Raises:
        ArgumentError: An unknown child; otherwise as `export`.
        DataError: No run, or a damaged file.
    """
    directory = RunDirectory.open(run)
    identifier = _find(directory, child)
    source = directory.child(identifier)
    manifest = read_manifest(source.with_suffix(".json"))
    module = child_in(source, factory)
    path, format = place(directory.export(identifier, format) if out is None else out, format)
    if format == "safetensors":
        return identifier, _copy(source, path, factory)
    if manifest["inputs"] is None:
        raise DataError(f"{source}: its manifest does not tell what inputs look like")
    example = make_example(manifest["inputs"], _N_SAMPLES)
    metadata = manifest.get("metadata")
    return identifier, write(
        module, path, format=format, example=example, factory=None, metadata=metadata
    )


def _find(directory: RunDirectory, child: str) -> str:
    """Return the id of the child that is meant."""
    if child == "best":
        return directory.best()
    rows = directory.front()
    if child == "knee":
        return str(rows[_knee(rows)]["id"])
    known = [str(row["id"]) for row in rows]
    if child not in known:
        raise argument_error("--child", f"best, knee or one of {', '.join(known)}", child)
    return child


def _knee(rows: Sequence[Mapping[str, Any]]) -> int:
    if not rows:
        raise DataError("front.csv: it has no rows")
    try:
        errors = [1 - row["validation_accuracy"] for row in rows]
        return knee(errors, [row["param_count"] for row in rows])
    except (KeyError, TypeError) as error:
        raise DataError("front.csv: a knee takes validation_accuracy and param_count") from error


def _copy(source: Path, path: Path, factory: Factory | None) -> Written:
    """Copy a child's two files, and load the child from there."""
    try:
        with staged(path) as staging:
            for suffix in (".safetensors", ".json"):
                content = source.with_suffix(suffix).read_bytes()
                staging.with_suffix(suffix).write_bytes(content)
            load_child(staging, factory)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    return Written(path, "SHA-256 and names of the tensors, by load_child")
