"""The pictures of a finished run, drawn from its files alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import read_logbook
from ecomp_deap.report.attainment import plot_attainment
from ecomp_deap.report.plots import plot_front, write_plots
from ecomp_deap.runs.directory import RunDirectory, metric_of, read_front

__all__ = ["MARKED", "draw_all", "draw_front", "drawing", "plot_baselines", "plot_run"]

#: Of the summary's picks those that the front shows by name.
MARKED = ("best", "knee")


def plot_run(directory: str | Path) -> list[Path]:
    """Draw a run's pictures into its folder ``plots`` and return their paths.

    Args:
        directory: A run directory with ``front.csv``, ``logbook.csv`` and ``summary.json``.

    Raises:
        DataError: A file is missing or damaged, or a picture cannot be written.
    """
    run = RunDirectory(check_path("directory", directory))
    summary = run.summary()
    with drawing(run.path):
        return draw_all(run, summary, run.folder("plots"))


def draw_all(run: RunDirectory, summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw a run's front and generations into a folder, see `write_plots`."""
    return write_plots(
        folder,
        front=run.front(),
        parent=summary["parent"],
        rows=read_logbook(run.path / "logbook.csv"),
        **_looks(summary),
    )


def draw_front(run: RunDirectory, summary: Mapping[str, Any], folder: Path) -> Path:
    """Draw a run's front as ``front.png`` into a folder."""
    return plot_front(run.front(), summary["parent"], folder / "front.png", **_looks(summary))


def _looks(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `plot_front` and `write_plots` take from a summary."""
    metric = metric_of(summary)
    return {
        "metric": metric["name"],
        "maximise": metric["maximise"],
        "picks": {word: summary["picks"].get(word) for word in MARKED},
    }


def plot_baselines(directory: str | Path) -> Path:
    """Draw a run's front beside those of its baselines into ``plots/baselines.png``; return it.

    Args:
        directory: A run directory with ``baselines.csv`` and ``summary.json``.

    Raises:
        DataError: A file is missing or damaged, or a picture cannot be written.
    """
    run = RunDirectory(check_path("directory", directory))
    parent = run.summary()["parent"]
    source = run.path / "baselines.csv"
    fronts: dict[str, list[list[dict[str, Any]]]] = {}
    for row in read_front(source):
        if "method" not in row:
            raise DataError(f"{source}: expected a front of each method, but it has no 'method'")
        fronts.setdefault(row["method"], [[]])[0].append(row)
    with drawing(run.path):
        path = run.folder("plots") / "baselines.png"
        return plot_attainment(fronts, parent, path, title="The same budget for each method")


@contextmanager
def drawing(path: Path) -> Iterator[None]:
    """Give errors the name of a run's folder, whose files hold what cannot be drawn.

    Raises:
        DataError: In place of an `ArgumentError`.
    """
    try:
        yield
    except ArgumentError as error:
        raise DataError(f"{path}: its files hold what cannot be drawn: {error}") from error
