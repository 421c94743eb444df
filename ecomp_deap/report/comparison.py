"""Comparisons of many runs: boxes of end results, small multiples of fronts and generations."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ecomp_deap.errors import argument_error
from ecomp_deap.report import _figure as fig

__all__ = ["plot_boxes", "plot_fronts", "plot_trajectories"]

Run = Sequence[Mapping[str, Any]]
Groups = Mapping[str, Sequence[float]]
Series = Mapping[str, Sequence[Run]]
Fronts = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]


def plot_boxes(
    groups: Groups,
    path: str | os.PathLike[str],
    *,
    ylabel: str,
    xlabel: str | None = None,
    title: str | None = None,
    label: str = "ecomp_deap",
    overlay: Groups | None = None,
    overlay_label: str = "original",
    percent: bool = False,
) -> Path:
    """Draw a box with its single points for each group, and return ``path`` (PNG or SVG).

    ``overlay`` holds other values of the same groups (some may be missing), drawn beside them in
    another colour; ``label`` and ``overlay_label`` name the two in the legend. Boxes span the
    quartiles, whiskers reach to the farthest value within 1.5 times their distance.
    ``percent`` shows fractions of one as per cent.

    Raises:
        ArgumentError: there is no group, ``overlay`` has a group that ``groups`` lacks, or a
            value is not finite.
    """
    if not groups:
        raise argument_error("groups", "at least one group", groups)
    _check_overlay(groups, overlay)
    figure = fig.new_figure(width=min(max(8.0, 1.1 * len(groups) + 1.5), 24.0))
    axes = figure.subplots()
    fig.dress(axes, title=title)
    fig.label(axes, xlabel, ylabel)
    axes.grid(False, axis="x")
    shift = 0.0 if overlay is None else 0.19
    width = 0.46 if overlay is None else 0.32
    _draw_boxes(axes, "groups", groups, list(groups), -shift, width, fig.BLUE)
    if overlay is not None:
        _draw_boxes(axes, "overlay", overlay, list(groups), shift, width, fig.VERMILION)
        keys = [Patch(facecolor=f"{c}40", edgecolor=c) for c in (fig.BLUE, fig.VERMILION)]
        figure.legend(
            keys,
            [label, overlay_label],
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=fig.TICK_SIZE,
        )
    axes.set_xticks(range(len(groups)), [fig.plain(name) for name in groups], parse_math=False)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    if percent:
        axes.yaxis.set_major_formatter(fig.percent_formatter())
    return fig.save_figure(figure, path)


def plot_trajectories(
    series: Series,
    path: str | os.PathLike[str],
    *,
    panels: Sequence[str] = ("accuracy_mean", "similarity_loss_mean", "relative_width_mean"),
    title: str | None = None,
    label: str = "ecomp_deap",
    overlay: Series | None = None,
    overlay_label: str = "original",
) -> Path:
    """Draw runs over their generations in a grid, and return ``path`` (PNG or SVG).

    ``series`` maps each name (a weighting, say) to its runs, each a list of rows as
    `read_logbook` gives. The grid has one row of panels per name and one column per entry of
    ``panels``, a column of those rows. Thin lines are runs, the thick line is their median in
    each generation; the dashed line is the median of the runs of ``overlay``. A missing value is
    a gap in its run and left out of the median. Rows without ``gen`` count from 0.

    Raises:
        ArgumentError: there is no series or panel, ``overlay`` has a name that ``series`` lacks,
            or a row lacks a column.
    """
    for argument, entries in (("series", series), ("panels", panels)):
        if not entries:
            raise argument_error(argument, "at least one entry", entries)
    _check_overlay(series, overlay)
    height = 1.35 * len(series) + 1.3
    figure = fig.new_figure(width=max(8.0, 3.4 * len(panels)), height=max(16 / 3, height))
    grid = figure.subplots(len(series), len(panels), sharex=True, sharey="col", squeeze=False)
    last = 0.0
    for axes_row, name in zip(grid, series, strict=True):
        for axes, panel in zip(axes_row, panels, strict=True):
            fig.dress(axes)
            for run in series[name]:
                gens, values = fig.generations(run), fig.column(run, panel, f"series[{name!r}]")
                axes.plot(gens, values, color=fig.BLUE, alpha=0.28, linewidth=0.7)
                last = max(last, float(gens.max(initial=0.0)))
            axes.plot(*_median(series[name], panel), color=fig.BLUE, linewidth=2)
            if overlay is not None and overlay.get(name):
                median = _median(overlay[name], panel)
                axes.plot(*median, color=fig.VERMILION, linewidth=1.8, linestyle=(0, (4, 2)))
                last = max(last, float(median[0].max(initial=0.0)))
            quantity = panel.rpartition("_")[0] or panel
            fig.set_value_axis(axes.yaxis, quantity, ticks=5)
        axes_row[0].set_ylabel(name, fontsize=fig.LABEL_SIZE, color=fig.INK)
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_title(_panel_title(panel), fontsize=fig.LABEL_SIZE, color=fig.INK)
    for axes in grid[-1]:
        fig.label(axes, "Generation", None)
        fig.set_generation_axis(axes.xaxis, 0.0, last, ticks=6)
    if title:
        figure.suptitle(title, fontsize=fig.TITLE_SIZE, color=fig.INK)
    figure.align_ylabels(grid[:, 0])
    keys = [
        Line2D([], [], color=fig.BLUE, linewidth=2),
        Line2D([], [], color=fig.BLUE, alpha=0.4, linewidth=0.9),
    ]
    names = [f"{label}, median", f"{label}, single runs"]
    if overlay is not None:
        keys.append(Line2D([], [], color=fig.VERMILION, linewidth=1.8, linestyle=(0, (4, 2))))
        names.append(f"{overlay_label}, median")
    figure.legend(
        keys, names, loc="outside lower center", ncols=3, frameon=False, fontsize=fig.TICK_SIZE
    )
    return fig.save_figure(figure, path)


def plot_fronts(
    fronts: Fronts,
    parent: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    quantity: str = "test_accuracy",
    columns: int = 4,
    title: str | None = None,
) -> Path:
    """Draw the fronts of several modes, a panel each, and return ``path`` (PNG or SVG).

    ``fronts`` maps each name to its fronts, one a run, of rows with ``param_count`` and
    ``quantity``. A front is a line from its smallest child to its largest; all children of the
    other modes are faint grey behind it. ``parent``, a row of the same kind, is the star.

    Raises:
        ArgumentError: there is no child at all, ``columns`` is below 1, a row lacks a column, or
            a value is missing or not a number.
    """
    if columns < 1:
        raise argument_error("columns", "at least 1", columns)
    curves = {
        name: [_curve(front, quantity, f"fronts[{name!r}]") for front in runs]
        for name, runs in fronts.items()
    }
    clouds = {name: np.hstack([np.empty((2, 0)), *runs]) for name, runs in curves.items()}
    shown = np.hstack([np.empty((2, 0)), *clouds.values()])
    if not shown.size:
        raise argument_error("fronts", "at least one child", fronts)
    star = _curve([parent], quantity, "parent")
    columns = min(columns, len(curves))
    n_rows = -(-len(curves) // columns)
    figure = fig.new_figure(width=max(8.0, 3.4 * columns), height=max(16 / 3, 2.6 * n_rows + 0.6))
    grid = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, (axes, name) in enumerate(zip(grid.flat, curves, strict=False)):
        fig.dress(axes)
        axes.set_title(name, fontsize=fig.LABEL_SIZE, color=fig.INK)
        others = np.hstack([np.empty((2, 0)), *(c for n, c in clouds.items() if n != name)])
        axes.scatter(*others, s=5, color="#D0D0D0", linewidths=0, zorder=2)
        color = fig.PALETTE[index % len(fig.PALETTE)]
        for curve in curves[name]:
            axes.plot(*curve, color=color, linewidth=0.9, marker="o", markersize=2.6, zorder=3)
        axes.scatter(
            *star, marker="*", s=150, color=fig.INK, edgecolors="white", linewidths=0.6, zorder=4
        )
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    fig.set_log_count_axis(grid[0, 0], [*shown[0], *star[0]])
    fig.set_value_axis(grid[0, 0].yaxis, quantity.partition("_")[2])
    # A panel with none below it shows the shared axis itself.
    for axes in grid.flat[max(len(curves) - columns, 0) : len(curves)]:
        axes.tick_params(axis="x", labelbottom=True)
        fig.label(axes, "Parameters (log scale)", None)
    figure.supylabel(
        fig.axis_label(*quantity.split("_", maxsplit=1)), fontsize=fig.LABEL_SIZE, color=fig.INK
    )
    if title:
        figure.suptitle(title, fontsize=fig.TITLE_SIZE, color=fig.INK)
    keys = [
        Line2D([], [], color=fig.BLUE, linewidth=0.9, marker="o", markersize=2.6),
        Line2D([], [], color="#D0D0D0", linewidth=0, marker="o", markersize=3),
        Line2D([], [], color=fig.INK, linewidth=0, marker="*", markersize=11),
    ]
    names = ["front of a run", "children of the other modes", "parent"]
    figure.legend(
        keys, names, loc="outside lower center", ncols=3, frameon=False, fontsize=fig.TICK_SIZE
    )
    return fig.save_figure(figure, path)


def _curve(front: Sequence[Mapping[str, Any]], quantity: str, argument: str) -> np.ndarray:
    """Return parameters and values of shape ``(2, n)``, from the smallest child to the largest."""
    curve = np.stack([fig.column(front, name, argument) for name in ("param_count", quantity)])
    if not np.isfinite(curve).all():
        raise argument_error(argument, "finite numbers", curve.tolist())
    if (curve[0] <= 0).any():
        raise argument_error(f"{argument} param_count", "counts greater than 0", curve[0].min())
    return curve[:, np.lexsort(curve[::-1])]


def _check_overlay(groups: Mapping[str, Any], overlay: Mapping[str, Any] | None) -> None:
    unknown = sorted(set(overlay or {}) - set(groups))
    if unknown:
        raise argument_error("overlay", f"names among {', '.join(groups)}", unknown)


def _draw_boxes(
    axes: Axes,
    argument: str,
    groups: Groups,
    names: Sequence[str],
    shift: float,
    width: float,
    color: str,
) -> None:
    for position, name in enumerate(names):
        values = np.asarray(groups.get(name, ()), dtype=np.float64)
        if not np.isfinite(values).all():
            raise argument_error(f"{argument}[{name!r}]", "finite numbers", values.tolist())
        line = {"color": color, "linewidth": 1.2}
        axes.boxplot(
            [values],
            positions=[position + shift],
            widths=width,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": f"{color}40", "edgecolor": color, "linewidth": 1.2},
            medianprops={"color": color, "linewidth": 2.4, "solid_capstyle": "butt"},
            whiskerprops=line,
            capprops=line,
            zorder=2,
        )
        axes.scatter(
            position + shift + width * 0.36 * _spread(len(values)),
            values,
            s=15,
            color=color,
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
        )


def _spread(n_points: int) -> np.ndarray:
    """Return offsets in [-1, 1] that keep neighbours apart: golden-ratio steps, no randomness."""
    golden = (math.sqrt(5) - 1) / 2
    return 2 * ((np.arange(n_points) * golden + 0.5) % 1) - 1


def _median(runs: Sequence[Run], panel: str) -> tuple[np.ndarray, np.ndarray]:
    """Return generations and the median over the runs that have a value in each, else NaN."""
    by_generation: dict[float, list[float]] = {}
    for run in runs:
        pairs = zip(fig.generations(run), fig.column(run, panel, "runs"), strict=True)
        for generation, value in pairs:
            known = by_generation.setdefault(float(generation), [])
            if math.isfinite(value):
                known.append(float(value))
    gens = sorted(by_generation)
    medians = [float(np.median(by_generation[g])) if by_generation[g] else math.nan for g in gens]
    return np.array(gens), np.array(medians)


def _panel_title(panel: str) -> str:
    quantity, _, statistic = panel.rpartition("_")
    if statistic not in ("min", "mean", "max", "std") or not quantity:
        return fig.words(panel)
    name, bracket, unit = fig.words(quantity).partition(" (")
    return f"{name}, {statistic}{bracket}{unit}"
