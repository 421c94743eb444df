"""Attainment surfaces: what each method reaches in half of its runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from matplotlib.axes import Axes

from ecomp_deap.errors import argument_error
from ecomp_deap.report import _figure as fig

__all__ = ["attainment_surface", "plot_attainment"]

Row = Mapping[str, Any]

# Of numbers of fronts, for rounding.
_SLACK = 1e-9

# As many as there are methods that a search is compared with, and its own.
_COLORS = (*fig.PALETTE, fig.MUTED)
# Methods whose names differ by this share a colour.
_DASHED = "_inputs"


def attainment_surface(
    fronts: Sequence[Sequence[Row]],
    *,
    quantity: str = "test_accuracy",
    percentile: float = 50,
    maximise: bool = True,
) -> np.ndarray:
    """Return the corners of what at least a part of the fronts attain, by size.

    A front attains a pair of parameters and accuracy if it has a child with no more parameters and
    no less accuracy.

    Args:
        fronts: One a run, of rows with ``param_count`` and ``quantity``.
        quantity: The column that is drawn.
        percentile: The part, in per cent: 50 is the median attainment surface, the least possible
            what any front attains, 100 what all do.
        maximise: Whether more of the quantity is better.

    Returns:
        Parameters and values, shape ``(2, n)``; n is 0 where so many fronts attain nothing.

    Source: Fonseca et al. (2011), "On the Computation of the Empirical Attainment Function".
    """
    sign = 1 if maximise else -1
    points: list[tuple[float, float]] = []
    sets: list[int] = []
    for index, front in enumerate(fronts):
        counts = fig.column(front, "param_count", f"fronts[{index}]")
        values = fig.column(front, quantity, f"fronts[{index}]")
        if not (np.isfinite(counts).all() and np.isfinite(values).all()):
            raise argument_error(f"fronts[{index}]", "finite numbers", values.tolist())
        points += zip(counts, -sign * values, strict=True)
        sets += [index] * len(counts)
    # A front without children attains nothing, but counts.
    wanted = percentile / 100 * len(fronts)
    n_sets = len(set(sets))
    if not points or wanted > n_sets + _SLACK:
        return np.empty((2, 0))
    surface = moocore.eaf(
        np.array(points), np.array(sets), percentiles=[min(100 * wanted / n_sets, 100)]
    )
    corners = surface[np.argsort(surface[:, 0], kind="stable"), :2].T
    return corners * [[1], [-sign]]


def plot_attainment(
    fronts: Mapping[str, Sequence[Sequence[Row]]],
    parent: Row,
    path: str | os.PathLike[str],
    *,
    quantity: str = "test_accuracy",
    maximise: bool = True,
    depth: float = 0.15,
    title: str | None = None,
) -> Path:
    """Draw each method's median attainment surface and return ``path`` (PNG or SVG).

    The first method is drawn as a thick line, with a band from what any of its runs attains to what
    all do, where there are several. Methods whose names differ by ``_inputs`` alone have one
    colour, and the longer one is dashed.

    Args:
        fronts: By method, one a run, of rows with ``param_count`` and ``quantity``.
        parent: A row of the same kind, drawn as a star.
        path: The file.
        quantity: What is drawn against the parameters.
        maximise: Whether more of it is better.
        depth: Values that are worse than the parent's by more are not shown.
        title: Above the picture.

    Raises:
        ArgumentError: No child at all, a row that lacks a column, or a value that is no number.
    """
    surfaces = {
        name: attainment_surface(runs, quantity=quantity, maximise=maximise)
        for name, runs in fronts.items()
    }
    if not any(surface.size for surface in surfaces.values()):
        raise argument_error("fronts", "at least one child", fronts)
    count, value = (float(fig.column([parent], n, "parent")[0]) for n in ("param_count", quantity))
    first = next(iter(fronts))
    figure = fig.new_figure()
    axes = figure.subplots()
    fig.dress(axes, title=title)
    fig.label(axes, "Parameters (log scale)", fig.axis_label(*quantity.split("_", maxsplit=1)))
    colors: dict[str, str] = {}
    for name, surface in surfaces.items():
        base = name.removesuffix(_DASHED)
        color = colors.setdefault(base, _COLORS[len(colors) % len(_COLORS)])
        if name == first and len(fronts[name]) > 1:
            _draw_band(axes, fronts[name], quantity, count, color, maximise=maximise)
        axes.step(
            *_to_the_right(surface, count),
            where="post",
            color=color,
            linewidth=2.6 if name == first else 1.4,
            linestyle="-" if name == base else (0, (4, 2)),
            zorder=4 if name == first else 3,
            label=name.replace("_", " "),
        )
    fig.mark_parent(axes, count, value, fig.INK)
    shown = np.hstack(list(surfaces.values()))
    losses = value - shown[1] if maximise else shown[1] - value
    visible = shown[:, losses <= depth]
    shown = visible if visible.size else shown
    fig.set_log_count_axis(axes, [*shown[0], count])
    fig.set_value_axis(axes.yaxis, quantity.partition("_")[2])
    lowest, highest = min(shown[1].min(), value), max(shown[1].max(), value)
    margin = 0.06 * max(highest - lowest, 1e-3)
    axes.set_ylim(lowest - margin, highest + margin)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=fig.TICK_SIZE)
    return fig.save_figure(figure, path)


def _draw_band(
    axes: Axes,
    fronts: Sequence[Sequence[Row]],
    quantity: str,
    count: float,
    color: str,
    *,
    maximise: bool,
) -> None:
    """Draw the band between what any front attains and what all do."""
    any_of, all_of = (
        attainment_surface(fronts, quantity=quantity, percentile=percentile, maximise=maximise)
        for percentile in (100 / len(fronts), 100)
    )
    counts = np.union1d(any_of[0], [*all_of[0], count])
    high, low = (_at(surface, counts) for surface in (any_of, all_of))
    axes.fill_between(
        counts, low, high, step="post", color=color, alpha=0.16, linewidth=0, zorder=2
    )


def _at(surface: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the surface's value at each number of parameters, NaN where it has none yet."""
    places = np.searchsorted(surface[0], counts, side="right")
    return np.concatenate([[np.nan], surface[1]])[places]


def _to_the_right(surface: np.ndarray, count: float) -> np.ndarray:
    """Return the surface with its last value up to ``count`` parameters."""
    if not surface.size or surface[0, -1] >= count:
        return surface
    return np.hstack([surface, [[count], [surface[1, -1]]]])
