"""Exporting the children of finished runs."""

from pathlib import Path

from ecomp_deap.errors import DataError
from ecomp_deap.exports import load_child
from ecomp_deap.exports.child import Factory
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.samples import make_example
from ecomp_deap.exports.writing import Written, place, write
from ecomp_deap.files import staged
from ecomp_deap.runs.choosing import find_child
from ecomp_deap.runs.directory import RunDirectory
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
        child: See `find_child`.
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
    identifier = find_child(directory, child)
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


def _copy(source: Path, path: Path, factory: Factory | None) -> Written:
    """Copy a child's two files, and load the child from there."""
    with staged(path) as staging:
        for suffix in (".safetensors", ".json"):
            content = source.with_suffix(suffix).read_bytes()
            staging.with_suffix(suffix).write_bytes(content)
        load_child(staging, factory)
    return Written(path, "SHA-256 and names of the tensors, by load_child")
