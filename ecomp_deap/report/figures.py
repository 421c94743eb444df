"""The figures of a page as files for papers, PNG and SVG, drawn by matplotlib."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecomp_deap.checks import check_path, check_sequence
from ecomp_deap.errors import argument_error
from ecomp_deap.files import make_folder
from ecomp_deap.report import _figure as fig
from ecomp_deap.report._charts import CLASSES
from ecomp_deap.report._children import axes_of, groups_of, picked_in
from ecomp_deap.report._found import Found, Planes, found_in
from ecomp_deap.report.attainment import plot_attainment
from ecomp_deap.report.comparison import plot_fronts
from ecomp_deap.report.plots import plot_front, write_plots
from ecomp_deap.report.run import MARKED, drawing

__all__ = ["write_figures"]

_SUFFIXES = (".png", ".svg")
_TIMED = (("hypervolume", "Hypervolume"), ("seconds", "Seconds"))


def write_figures(
    runs: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write each figure of the page of these runs as PNG and SVG, and return their paths.

    Args:
        runs: Folders of finished runs.
        folder: Where to; it is made if it is not there.

    Raises:
        ArgumentError: No run.
        DataError: A run is not finished or damaged, or a figure cannot be written.
    """
    if not check_sequence("runs", runs, "folders of runs"):
        raise argument_error("runs", "at least one", runs)
    found = [found_in(run) for run in runs]
    folder = make_folder(check_path("folder", folder))
    draw = _of_one if len(found) == 1 else _of_several
    paths: list[Path] = []
    for suffix in _SUFFIXES:
        with drawing(found[0].path):
            paths += draw(found, folder, suffix)
    return paths


def _of_one(runs: Sequence[Found], folder: Path, suffix: str) -> list[Path]:
    (run,) = runs
    looks: dict[str, Any] = {
        "metric": run.metric.column,
        "maximise": run.metric.maximise,
        "picks": {word: run.picks.get(word) for word in MARKED},
    }
    if run.generations:
        paths = write_plots(
            folder,
            front=run.front,
            parent=run.parent,
            rows=run.generations,
            suffix=suffix,
            **looks,
        )
    else:
        paths = [plot_front(run.front, run.parent, folder / f"front{suffix}", **looks)]
    paths.append(_draw_parallel(run, folder / f"parallel{suffix}"))
    if run.planes is not None:
        paths.append(_draw_planes(run.planes, folder / f"embeddings{suffix}"))
    for column, title in _TIMED:
        if any(row.get(column) is not None for row in run.timings):
            paths.append(_draw_line(run, column, title, folder / f"{column}{suffix}"))
    return paths


def _of_several(runs: Sequence[Found], folder: Path, suffix: str) -> list[Path]:
    first, quantity = runs[0], runs[0].quantity
    return [
        plot_attainment(
            {"runs": [run.front for run in runs]},
            first.parent,
            folder / f"attainment{suffix}",
            quantity=quantity,
            maximise=first.metric.maximise,
            # Of another metric nobody knows what is far from the parent's.
            **({} if first.metric.is_accuracy else {"depth": math.inf}),
            title=f"What half of {len(runs)} runs attain",
        ),
        plot_fronts(
            {f"{i}: {run.name}": [run.front] for i, run in enumerate(runs, start=1)},
            first.parent,
            folder / f"fronts{suffix}",
            quantity=quantity,
        ),
    ]


def _draw_parallel(run: Found, path: Path) -> Path:
    """Draw each child as a line through its figures; those that a word picks stand out."""
    axes_found, columns = axes_of(run)
    groups = groups_of(run, picked_in(run))
    figure = fig.new_figure(width=max(8.0, 1.5 * len(axes_found)))
    axes = figure.subplots()
    fig.dress(axes, title="Children, figure by figure")
    looks: dict[str, dict[str, Any]] = {
        "others": {"color": fig.MUTED, "alpha": 0.35, "linewidth": 0.8},
        "front": {"color": fig.BLUE, "alpha": 0.6, "linewidth": 1.1},
        "picks": {"color": fig.VERMILION, "linewidth": 2.2},
    }
    lines = np.array(columns)
    for name, look in looks.items():
        for place in groups[name]:
            axes.plot(range(len(lines)), lines[:, place], **look)
    axes.set_xticks(range(len(axes_found)), [fig.plain(name) for name, _, _ in axes_found])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.1, 1.1)
    for i, (_, low, high) in enumerate(axes_found):
        for height, text, side in ((1.02, high, "bottom"), (-0.02, low, "top")):
            axes.text(i, height, text, ha="center", va=side, fontsize=fig.TICK_SIZE, color=fig.INK)
    return fig.save_figure(figure, path)


def _draw_planes(planes: Planes, path: Path) -> Path:
    """Draw how networks lay out the same samples, a panel each."""
    n = len(planes.points)
    figure = fig.new_figure(width=max(8.0, 3.2 * n), height=max(8.0, 3.2 * n) / n + 0.4)
    labels = planes.labels
    digits = labels is not None and max(labels, default=0) < len(CLASSES)
    reach = max(
        (abs(v) for points in planes.points.values() for xy in points for v in xy), default=1
    )
    for axes, (name, points) in zip(
        figure.subplots(1, n, squeeze=False)[0], planes.points.items(), strict=True
    ):
        axes.set_title(fig.plain(name), fontsize=fig.LABEL_SIZE, color=fig.INK, loc="left")
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
        xs, ys = zip(*points, strict=True) if points else ((), ())
        if not digits or labels is None:
            axes.scatter(xs, ys, s=6, color=fig.BLUE, alpha=0.7, linewidths=0)
            continue
        for label in sorted(set(labels)):
            own = [i for i, found in enumerate(labels) if found == label]
            axes.scatter(
                [xs[i] for i in own],
                [ys[i] for i in own],
                marker=f"${label}$",
                s=22,
                color=CLASSES[label],
                linewidths=0,
            )
    return fig.save_figure(figure, path)


def _draw_line(run: Found, column: str, title: str, path: Path) -> Path:
    """Draw what was recorded of each generation."""
    rows = [row for row in run.timings if row.get(column) is not None]
    gens = [float(row["generation"]) for row in rows]
    figure = fig.new_figure()
    axes = figure.subplots()
    fig.dress(axes, title=f"{title} by generation")
    fig.label(axes, "Generation", title)
    values = [row[column] for row in rows]
    axes.plot(gens, values, color=fig.BLUE, linewidth=2, marker="o" if len(gens) < 12 else None)
    fig.set_generation_axis(axes.xaxis, min(gens), max(gens))
    return fig.save_figure(figure, path)
