"""The interactive figures of a page, by Bokeh. They need no scripts beyond its own core."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.report import _canvas as canvas
from ecomp_deap.report._canvas import BLUE, FONT, GREEN, GREY, VERMILION, bokeh

SEVERAL = (BLUE, VERMILION, GREEN, "#B8860B", "#C2659A", "#858A91")
# Ten classes, drawn as digits, so that colour is not all that tells them apart.
CLASSES = (
    *("#1F7FBF", "#D55E00", "#009E73", "#C2659A", "#B8860B"),
    *("#7A68C9", "#858A91", "#C44E52", "#3F9292", "#94754C"),
)
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex")
# Where Bokeh finds the data of the children, for the page's script.
CHILDREN = "children"


def children_source(columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return the data of the children, which their plots share, and so a selection too."""
    return bokeh("models").ColumnDataSource(dict(columns), name=CHILDREN)


def front_plot(
    source: Any,
    *,
    groups: Mapping[str, Sequence[int]],
    parent: tuple[float, str],
    before: tuple[Sequence[float], Sequence[float], Sequence[float]],
    labels: Sequence[tuple[float, float, str]],
    y_label: str,
    of: str,
    maximise: bool,
) -> Any:
    """Draw accuracy, or another metric, against the share of the parent's parameters.

    Args:
        source: With ``x``, ``y``, ``tip``, ``card``; see `children_source`.
        groups: Places of the children that are ``front`` (the best of their size or smaller),
            ``others`` and ``picks``, each in one of them.
        parent: Its accuracy, and what its line says.
        before: Shares, accuracies before and after the final training of those that had one.
        labels: Of picks: place and text.
        y_label: Of the axis.
        of: The metric.
        maximise: Whether more of it is better.
    """
    xs, ys = source.data["x"], source.data["y"]
    values = [*ys, *before[1]]
    plot = canvas.shares_plot(
        xs, values, height=460, parent=parent, labels=labels, y_label=y_label, of=of
    )
    if before[0]:
        plot.segment(before[0], before[1], before[0], before[2], color=GREY, line_alpha=0.5)
        plot.scatter(before[0], before[1], size=5, fill_color=None, line_color=GREY, alpha=0.8)
    steps = [i for i in np.lexsort((ys, xs)) if i in {*groups["front"], *groups["picks"]}]
    if len(steps) > 1:
        best = (np.maximum if maximise else np.minimum).accumulate([ys[i] for i in steps])
        plot.step(
            [xs[i] for i in steps], best, mode="after", color=BLUE, line_width=1.2, alpha=0.55
        )
    looks: dict[str, dict[str, Any]] = {
        "others": {"size": 7, "fill_color": None, "line_color": GREY, "line_width": 1.3},
        "front": {"size": 9, "fill_color": BLUE, "line_color": None},
        "picks": {"size": 13, "fill_color": VERMILION, "line_color": None},
    }
    drawn = [
        _marks(plot, "scatter", source, groups[name], x="x", y="y", **look)
        for name, look in looks.items()
        if groups[name]
    ]
    _let_choose(plot, drawn)
    return plot


def parallel_plot(
    source: Any,
    *,
    groups: Mapping[str, Sequence[int]],
    axes: Sequence[tuple[str, str, str]],
) -> Any:
    """Draw each child as a line through its figures.

    Args:
        source: As for `front_plot`, with ``px`` and ``py``, each child's points; heights from 0 to
            1.
        groups: As there.
        axes: Name, and texts of the lowest and the highest value, of each.
    """
    plot = canvas.new_plot(height=380, x_range=(-0.5, len(axes) - 0.5), y_range=(-0.12, 1.1))
    models = bokeh("models")
    plot.yaxis.visible = plot.ygrid.visible = False
    plot.xaxis.ticker = models.FixedTicker(ticks=list(range(len(axes))))
    plot.xaxis.major_label_overrides = {
        i: canvas.plain(name) for i, (name, _, _) in enumerate(axes)
    }
    plot.xaxis.major_tick_line_color = plot.xaxis.axis_line_color = None
    for i in range(len(axes)):
        plot.add_layout(
            models.Span(location=i, dimension="height", line_color=GREY, line_alpha=0.45)
        )
    looks: dict[str, dict[str, Any]] = {
        "others": {"line_color": GREY, "line_alpha": 0.35, "line_width": 1},
        "front": {"line_color": BLUE, "line_alpha": 0.5, "line_width": 1.3},
        "picks": {"line_color": VERMILION, "line_alpha": 0.95, "line_width": 2.5},
    }
    drawn = [
        _marks(plot, "multi_line", source, groups[name], xs="px", ys="py", **look)
        for name, look in looks.items()
        if groups[name]
    ]
    for height, place, baseline, offset in ((1, 2, "bottom", 4), (0, 1, "top", -4)):
        ends = [(i, height, axis[place]) for i, axis in enumerate(axes)]
        canvas.write(plot, ends, y_offset=offset, align="center", baseline=baseline)
    _let_choose(plot, drawn, line_policy="nearest")
    return plot


def band_plot(
    generations: Sequence[int],
    bands: Mapping[str, Sequence[float]],
    *,
    tips: Sequence[str],
    of: str,
) -> Any:
    """Draw a quantity over the generations: a line, and a band about it where there is one.

    Args:
        generations: Of each row.
        bands: ``mean`` alone, or with ``min`` and ``max``; NaN where there is none.
        tips: HTML for each row.
        of: A metric, ``counts`` or ``numbers``.
    """
    models = bokeh("models")
    source = models.ColumnDataSource({"gen": generations, "tip": tips, **bands})
    plot = canvas.new_plot(height=210)
    canvas.generation_axis(plot, generations)
    canvas.value_axis(plot, [v for values in bands.values() for v in values], of)
    if "min" in bands:
        plot.varea("gen", "min", "max", source=source, fill_color=BLUE, fill_alpha=0.2)
    line = plot.line("gen", "mean", source=source, color=BLUE, line_width=2.2)
    # A line of one generation, or between two gaps, would not be seen.
    dots = plot.scatter("gen", "mean", source=source, size=4, color=BLUE)
    dots.visible = len(generations) < 12
    plot.add_tools(
        models.HoverTool(
            renderers=[line], tooltips="@tip{safe}", mode="vline", point_policy="snap_to_data"
        )
    )
    return plot


def plane_plot(
    points: Sequence[Sequence[float]], labels: Sequence[int] | None, *, reach: float
) -> Any:
    """Draw where a network puts samples; each is the digit of its label where ten are enough.

    Args:
        points: x and y of each.
        labels: Of each; None where they have none.
        reach: How far from the centre the plane is shown.
    """
    models = bokeh("models")
    xs, ys = ([point[i] for point in points] for i in (0, 1))
    plot = canvas.new_plot(height=260, aspect_ratio=1)
    plot.xaxis.visible = plot.yaxis.visible = plot.ygrid.visible = False
    plot.x_range, plot.y_range = (models.Range1d(-reach, reach) for _ in range(2))
    if labels is None or max(labels, default=0) >= len(CLASSES):
        plot.scatter(xs, ys, size=4, color=BLUE, alpha=0.7)
        return plot
    source = models.ColumnDataSource(
        {"x": xs, "y": ys, "text": list(map(str, labels)), "color": [CLASSES[i] for i in labels]}
    )
    plot.text(
        "x",
        "y",
        "text",
        source=source,
        text_color="color",
        text_font={"value": FONT},
        text_font_size="11px",
        text_align="center",
        text_baseline="middle",
    )
    return plot


def fronts_plot(
    source: Any,
    *,
    runs: Sequence[Sequence[int]],
    parent: tuple[float, str],
    y_label: str,
    of: str,
) -> Any:
    """Draw the fronts of several runs, a colour and a shape each.

    Args:
        source: As for `front_plot`.
        runs: Places of the children of each.
        parent: As there.
        y_label: Of the axis.
        of: The metric.
    """
    xs, ys = source.data["x"], source.data["y"]
    plot = canvas.shares_plot(xs, ys, height=460, parent=parent, y_label=y_label, of=of)
    drawn = []
    for i, places in enumerate(runs):
        color = SEVERAL[i % len(SEVERAL)]
        look = {"marker": MARKERS[i % len(MARKERS)], "size": 8, "color": color, "alpha": 0.75}
        drawn.append(_marks(plot, "scatter", source, places, x="x", y="y", **look))
    _let_choose(plot, drawn)
    return plot


def attainment_plot(
    shares: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    parent: tuple[float, str],
    tips: Sequence[str],
    y_label: str,
    of: str,
    maximise: bool,
) -> Any:
    """Draw what half of the runs attain at each size, between what all do and what any does.

    Args:
        shares: Ends of the steps.
        lines: What ``all``, ``half`` and ``any`` of the runs attain at each; NaN for nothing.
        parent: See `front_plot`.
        tips: HTML for each share.
        y_label: Of the axis.
        of: The metric.
        maximise: Whether more of it is better.
    """
    models = bokeh("models")
    attained = [v for values in lines.values() for v in values]
    plot = canvas.shares_plot(shares, attained, height=400, parent=parent, y_label=y_label, of=of)
    known = [i for i, best in enumerate(lines["any"]) if math.isfinite(best)]
    if known:
        edge = plot.yaxis[0].bounds[0 if maximise else 1]
        plot.varea_step(
            x=[shares[i] for i in known],
            # Where some attain nothing, the band has no end on that side.
            y1=[worst if math.isfinite(worst := lines["all"][i]) else edge for i in known],
            y2=[lines["any"][i] for i in known],
            step_mode="after",
            fill_color=BLUE,
            fill_alpha=0.2,
        )
    source = models.ColumnDataSource({"x": shares, "y": lines["half"], "tip": tips})
    plot.step("x", "y", source=source, mode="after", color=BLUE, line_width=2.4)
    dots = plot.scatter("x", "y", source=source, size=5, color=BLUE)
    plot.add_tools(models.HoverTool(renderers=[dots], tooltips="@tip{safe}", mode="vline"))
    return plot


def _marks(plot: Any, kind: str, source: Any, places: Sequence[int], **look: Any) -> Any:
    """Draw some of the children; the one whose card is open is larger, the others do not fade."""
    models = bokeh("models")
    view = models.CDSView(filter=models.IndexFilter(indices=list(places)))
    drawn = getattr(plot, kind)(source=source, view=view, **look)
    drawn.nonselection_glyph = None
    selected = drawn.glyph.clone()
    if kind == "scatter":
        selected.size, selected.line_width, selected.line_color = 17, 4, VERMILION
    else:
        selected.line_width, selected.line_alpha, selected.line_color = 5, 1, VERMILION
    drawn.selection_glyph = selected
    return drawn


def _let_choose(plot: Any, drawn: Sequence[Any], **options: Any) -> None:
    """Show a child's figures where the pointer is, and open its card by a click."""
    models = bokeh("models")
    plot.add_tools(models.HoverTool(renderers=list(drawn), tooltips="@tip{safe}", **options))
    opens = models.OpenURL(url="#@card", same_tab=True)
    plot.add_tools(models.TapTool(renderers=list(drawn), callback=opens))
