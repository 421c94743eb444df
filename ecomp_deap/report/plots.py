"""The plots of one run: its front of children, and its generations."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ecomp_deap.errors import argument_error
from ecomp_deap.report import _figure as fig

__all__ = ["plot_front", "plot_history", "write_plots"]

Row = Mapping[str, Any]

# Points: from a child to its name and to the edge of its ring, and of a line of text.
_ABOVE, _RING, _LINE = 11, 7, 15
# Where a name can stand: from the child, and which of its edges.
_BESIDE = (
    (0, _ABOVE, "center", "bottom"),
    (-_ABOVE, 0, "right", "center_baseline"),
    (_ABOVE, 0, "left", "center_baseline"),
    (0, -_ABOVE, "center", "top"),
)
QUANTITIES = ("accuracy", "size", "similarity_loss")


def plot_front(
    front: Sequence[Row],
    parent: Row | None,
    path: str | os.PathLike[str],
    *,
    metric: str = "accuracy",
    maximise: bool = True,
    title: str | None = None,
    picks: Mapping[str, str | None] | None = None,
) -> Path:
    """Draw the children of a front, accuracy against parameters, and return ``path`` (PNG or SVG).

    ``front`` holds rows of front.csv: ``param_count``, ``similarity_loss`` (the colour) and
    ``test_METRIC``, or ``validation_METRIC`` where some child has no test value. ``parent``, a
    row of the same kind, is the star. ``test_METRIC_before`` shows how finalising moved a child.
    Without those, grey steps show the best value of all children of that size or smaller, the
    least one unless the metric is to ``maximise``.
    ``picks`` are words, ``best`` say, for the ``id`` of a child each, which is marked by them.

    Raises:
        ArgumentError: a row lacks a column, or a value is missing or not a number.
    """
    rows = list(front)
    samples = "test" if _is_complete(rows, f"test_{metric}") else "validation"
    quantity = f"{samples}_{metric}"
    values = _complete_column(rows, quantity)
    counts = _complete_column(rows, "param_count")
    losses = _complete_column(rows, "similarity_loss")
    if (counts <= 0).any():
        raise argument_error("front param_count", "counts greater than 0", counts.min())

    figure = fig.new_figure()
    axes = figure.subplots()
    fig.dress(axes, title=title or "Front of children")
    fig.label(axes, "Parameters (log scale)", fig.axis_label(samples, metric))
    shown, labels = [*counts], []
    if rows:
        if not (samples == "test" and _draw_before(axes, rows, counts, values, metric)):
            _draw_best_by_size(axes, counts, values, maximise=maximise)
        points = _draw_children(axes, rows, counts, values, losses, metric)
        labels = _draw_picks(axes, rows, counts, values, picks or {})
        bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=30)
        bar.set_label(fig.words("similarity_loss"), fontsize=fig.LABEL_SIZE, color=fig.INK)
        bar.ax.tick_params(labelsize=fig.TICK_SIZE, color=fig.MUTED, labelcolor=fig.INK)
        bar.outline.set_visible(False)
        if losses.min() == losses.max():
            bar.set_ticks([losses[0]], labels=[f"{losses[0]:.3g}"])
    if parent is not None and _is_complete([parent], quantity):
        shown.append(_draw_parent(axes, parent, quantity))
    if shown:
        fig.set_log_count_axis(axes, shown)
        fig.set_value_axis(axes.yaxis, metric)
        axes.margins(y=0.08)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=fig.TICK_SIZE)
        _set_apart(figure, axes, labels)
    else:
        _say_empty(axes, "no children")
    return fig.save_figure(figure, path)


def _draw_children(
    axes: Axes,
    rows: Sequence[Row],
    counts: np.ndarray,
    values: np.ndarray,
    losses: np.ndarray,
    metric: str,
) -> PathCollection:
    """Draw the children, small those that were not finalised where others were."""
    finalised = np.array([row.get(f"test_{metric}_before") is not None for row in rows])
    if not finalised.any():
        finalised[:] = True
    kind = "child" if finalised.all() else "child, finalised"
    for chosen, size, text in ((~finalised, 22, "child, not finalised"), (finalised, 64, kind)):
        if chosen.any():
            points = axes.scatter(
                counts[chosen],
                values[chosen],
                c=losses[chosen],
                cmap="viridis",
                vmin=losses.min(),
                vmax=losses.max(),
                s=size,
                edgecolors="white",
                linewidths=0.8,
                zorder=4,
                label=text,
            )
    return points


def _draw_picks(
    axes: Axes,
    rows: Sequence[Row],
    counts: np.ndarray,
    values: np.ndarray,
    picks: Mapping[str, str | None],
) -> list[Annotation]:
    """Draw a ring around each picked child, and its words above it, which are returned."""
    found = []
    for row, count, value in zip(rows, counts, values, strict=True):
        text = ", ".join(word for word, name in picks.items() if name == row.get("id") is not None)
        if not text:
            continue
        axes.scatter(
            [count], [value], s=170, facecolors="none", edgecolors=fig.INK, linewidths=1.3, zorder=5
        )
        words = axes.annotate(
            text,
            (count, value),
            xytext=(0, _ABOVE),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=fig.LABEL_SIZE,
            color=fig.INK,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=6,
        )
        words.set_in_layout(False)  # the axes stay as large as they are
        found.append(words)
    return found


def _set_apart(figure: Figure, axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move labels that would cover another, or another's ring: to a side, or up line by line."""
    fig.take_literally(figure)
    figure.draw_without_rendering()  # now it is known where they are
    reach = _RING * figure.dpi / 72
    rings = [
        Bbox([place - reach, place + reach])
        for place in (axes.transData.transform(label.xy) for label in labels)
    ]
    raised = [
        (0, _ABOVE + _LINE * level, side, "bottom")
        for level in range(len(labels))
        for side in ("center", "left", "right")
    ]
    taken: list[Bbox] = []
    for i, label in enumerate(labels):
        for x, y, ha, va in (*_BESIDE, *raised):
            label.set(position=(x, y), ha=ha, va=va)
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not box.count_overlaps([*taken, *rings[:i], *rings[i + 1 :]]):
                break
        taken.append(box)


def plot_history(
    rows: Sequence[Row],
    path: str | os.PathLike[str],
    *,
    quantity: str = "accuracy",
    metric: str = "accuracy",
    title: str | None = None,
) -> Path:
    """Draw one quantity over the generations and return ``path`` (PNG or SVG).

    ``rows`` are those of `logbook_to_rows`. ``quantity`` is ``accuracy`` (drawn from the columns
    of ``metric``), ``size`` (relative width above parameters) or ``similarity_loss``. The line is
    the mean, the dark band one standard deviation about it, the light band minimum to maximum.
    A generation without values is a gap.

    Raises:
        ArgumentError: ``quantity`` is unknown, or a row lacks a column.
    """
    if quantity not in QUANTITIES:
        raise argument_error("quantity", f"one of {', '.join(QUANTITIES)}", quantity)
    chapters = {
        "accuracy": [metric],
        "size": ["relative_width", "param_count"],
        "similarity_loss": ["similarity_loss"],
    }[quantity]
    figure = fig.new_figure()
    panels = figure.subplots(len(chapters), 1, sharex=True, squeeze=False)[:, 0]
    heading = "Size" if quantity == "size" else fig.words(chapters[0]).split(" (")[0]
    gens = fig.generations(rows)
    for axes, chapter in zip(panels, chapters, strict=True):
        fig.dress(axes)
        fig.label(axes, None, fig.words(chapter))
        _draw_chapter(axes, rows, gens, chapter)
        fig.set_value_axis(axes.yaxis, chapter)
    fig.dress(panels[0], title=title or f"{heading} by generation")
    fig.label(panels[-1], "Generation", None)
    figure.align_ylabels(panels)
    if len(gens):
        fig.set_generation_axis(panels[-1].xaxis, gens.min(), gens.max())
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=fig.TICK_SIZE,
        )
    return fig.save_figure(figure, path)


def write_plots(
    folder: str | os.PathLike[str],
    *,
    front: Sequence[Row],
    parent: Row | None,
    rows: Sequence[Row],
    metric: str = "accuracy",
    maximise: bool = True,
    picks: Mapping[str, str | None] | None = None,
    suffix: str = ".png",
) -> list[Path]:
    """Write ``front.png``, ``METRIC.png``, ``size.png`` and ``similarity_loss.png``.

    Arguments are those of `plot_front` and `plot_history`, and ``suffix``, which may be ``.svg``;
    returns the paths in that order.
    """
    folder = Path(folder)
    names = {"accuracy": metric, "size": "size", "similarity_loss": "similarity_loss"}
    return [
        plot_front(
            *(front, parent, folder / f"front{suffix}"),
            metric=metric,
            maximise=maximise,
            picks=picks,
        ),
        *(
            plot_history(rows, folder / f"{name}{suffix}", quantity=quantity, metric=metric)
            for quantity, name in names.items()
        ),
    ]


def _is_complete(rows: Sequence[Row], name: str) -> bool:
    return all(row.get(name) is not None for row in rows)


def _complete_column(rows: Sequence[Row], name: str) -> np.ndarray:
    values = fig.column(rows, name, "front")
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise argument_error(f"front[{index}] {name}", "a finite number", rows[index][name])
    return values


def _draw_parent(axes: Axes, parent: Row, quantity: str) -> float:
    """Draw the parent's star and level, and return its parameter count."""
    count = float(fig.column([parent], "param_count", "parent")[0])
    value = float(fig.column([parent], quantity, "parent")[0])
    axes.axhline(value, color=fig.VERMILION, linewidth=1.2, linestyle=(0, (5, 4)), zorder=2)
    fig.mark_parent(axes, count, value, fig.VERMILION)
    return count


def _draw_best_by_size(
    axes: Axes, counts: np.ndarray, values: np.ndarray, *, maximise: bool
) -> None:
    if len(counts) < 2:
        return
    order = np.lexsort((values, counts))
    axes.step(
        counts[order],
        (np.maximum if maximise else np.minimum).accumulate(values[order]),
        where="post",
        color="#B5B5B5",
        linewidth=1.1,
        zorder=2,
        label="best of this size or smaller",
    )


def _draw_before(
    axes: Axes, rows: Sequence[Row], counts: np.ndarray, values: np.ndarray, metric: str
) -> bool:
    """Draw where the children stood before they were finalised, and return whether any was."""
    name = f"test_{metric}_before"
    present = [i for i, row in enumerate(rows) if row.get(name) is not None]
    if not present:
        return False
    before = fig.column([rows[i] for i in present], name, "front")
    axes.vlines(counts[present], before, values[present], color="#A6A6A6", linewidth=1, zorder=3)
    axes.scatter(
        counts[present],
        before,
        s=22,
        facecolors="white",
        edgecolors=fig.MUTED,
        linewidths=1.0,
        zorder=3,
        label="before finalising",
    )
    return True


def _draw_chapter(axes: Axes, rows: Sequence[Row], gens: np.ndarray, chapter: str) -> None:
    low, mean, high, std = (
        fig.column(rows, f"{chapter}_{name}", "rows") for name in ("min", "mean", "max", "std")
    )
    if not np.isfinite(mean).any():
        _say_empty(axes, "no values")
        return
    axes.plot(gens, mean, color=fig.BLUE, linewidth=2, zorder=4, label="mean")
    # Deviations can reach past the extremes, where no child is.
    inner = np.fmax(mean - std, low), np.fmin(mean + std, high)
    axes.fill_between(
        gens, *inner, color=fig.BLUE, alpha=0.28, linewidth=0, zorder=3, label="± 1 std"
    )
    axes.fill_between(
        gens, low, high, color=fig.BLUE, alpha=0.13, linewidth=0, zorder=2, label="min to max"
    )
    # Lines and bands need two neighbours: a generation between gaps would vanish.
    known = np.concatenate([[False], np.isfinite(mean), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if alone.any():
        at = gens[alone]
        axes.vlines(at, low[alone], high[alone], color=fig.BLUE, alpha=0.25, linewidth=5, zorder=2)
        axes.vlines(
            at, inner[0][alone], inner[1][alone], color=fig.BLUE, alpha=0.4, linewidth=5, zorder=3
        )
        axes.scatter(at, mean[alone], color=fig.BLUE, s=40, zorder=5)


def _say_empty(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=fig.LABEL_SIZE,
        color=fig.MUTED,
    )
