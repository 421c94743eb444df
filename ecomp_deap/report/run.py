"""The pictures of a finished run, drawn from its files alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import read_logbook
from ecomp_deap.report._metric import MetricWords
from ecomp_deap.report.attainment import plot_attainment
from ecomp_deap.report.plots import write_plots
from ecomp_deap.runs.directory import RunDirectory, read_front

__all__ = ["drawing", "plot_baselines", "plot_run"]

# Of the summary's picks those that the front shows by name.
_MARKED = ("best", "knee")


def plot_run(directory: str | Path) -> list[Path]:
    """Draw a run's pictures into its folder ``plots`` and return their paths.

    Args:
        directory: A run directory with ``front.csv``, ``logbook.csv`` and ``summary.json``.

    Raises:
        DataError: A file is missing or damaged, or a picture cannot be written.
    """
    run = RunDirectory(check_path("directory", directory))
    summary = run.summary()
    metric = MetricWords.of(summary)
    with drawing(run.path):
        return write_plots(
            run.folder("plots"),
            front=run.front(),
            parent=summary["parent"],
            rows=read_logbook(run.path / "logbook.csv"),
            metric=metric.column,
            maximise=metric.maximise,
            picks={word: summary["picks"].get(word) for word in _MARKED},
        )


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
