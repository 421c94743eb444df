"""Exporting the children of finished runs."""

from pathlib import Path

from ecomp_deap.errors import DataError
from ecomp_deap.exports import load_child
from ecomp_deap.exports.child import Factory
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.samples import make_example
from ecomp_deap.exports.writing import Written, place, write
from ecomp_deap.files import staged
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.search.choosing import choose
from ecomp_deap.search.code import child_in

__all__ = ["export_from_run"]

# A graph is fixed to no number of samples if it is traced with several.
_N_SAMPLES = 2


def export_from_run(
    run: Path, child: str, *, format: str, out: Path | None = None, factory: Factory | None = None
) -> tuple[str, Written]:
    """Write a child of a finished run to a file of its own.

    Args:
        run: The run's folder.
        child: ``"best"``, as the run's summary has it, or a word of
            `ecomp_deap.search.choosing.choose`.
        format: See `export`; ``"safetensors"`` copies the run's own files.
        out: The file, by default ``exports/ID.FORMAT`` in the run's folder.
        factory: See `load_child`.

    Returns:
        The child's id, and what was written.

    Raises:
        ArgumentError: No such child; otherwise as `export`.
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
    path, rows = directory.path / "front.csv", directory.front()
    if not rows:
        raise DataError(f"{path}: it has no rows")
    ids = [str(row["id"]) for row in rows]
    if child in ids:  # the rest of the files has no say in it
        return child
    summary = directory.summary()
    try:
        if child == "best":
            best = str(summary["best"]["id"])
            if best not in ids:
                raise DataError(f"{path}: it lacks {best!r}, which the summary calls the best")
            return best
        index = choose(
            child,
            [row["validation_accuracy"] for row in rows],
            [row["param_count"] for row in rows],
            ids=ids,
            parent_value=summary["parent"]["validation_accuracy"],
        )
    except (KeyError, TypeError) as error:
        expected = "id, validation_accuracy and param_count of children and parent"
        raise DataError(f"{path}: choosing takes {expected}") from error
    return ids[index]


def _copy(source: Path, path: Path, factory: Factory | None) -> Written:
    """Copy a child's two files, and load the child from there."""
    with staged(path) as staging:
        for suffix in (".safetensors", ".json"):
            content = source.with_suffix(suffix).read_bytes()
            staging.with_suffix(suffix).write_bytes(content)
        load_child(staging, factory)
    return Written(path, "SHA-256 and names of the tensors, by load_child")
