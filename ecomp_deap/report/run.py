"""The pictures of a finished run, drawn from its files alone."""

import json
from pathlib import Path
from typing import Any

from ecomp_deap.errors import DataError
from ecomp_deap.logbook import read_logbook
from ecomp_deap.report.plots import write_plots
from ecomp_deap.runs.directory import read_front

__all__ = ["plot_run"]


def plot_run(directory: str | Path) -> list[Path]:
    """Draw a run's pictures into its folder ``plots`` and return their paths.

    Args:
        directory: A run directory with ``front.csv``, ``logbook.csv`` and ``summary.json``.

    Raises:
        DataError: A file is missing or damaged.
    """
    directory = Path(directory)
    parent = _read_parent(directory / "summary.json")
    folder = directory / "plots"
    folder.mkdir(exist_ok=True)
    return write_plots(
        folder,
        front=read_front(directory / "front.csv"),
        parent=parent,
        rows=read_logbook(directory / "logbook.csv"),
    )


def _read_parent(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["parent"]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a run's summary, but {error!r}") from error
