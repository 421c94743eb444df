"""What the interactive figures of a page share: the look, the axes, and texts in them.

Text, axes and grids take their colours from the page's style sheet (``--bk-…``), so that they
follow its light and dark schemes; marks have tones that are legible in both.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ecomp_deap.checks import installed
from ecomp_deap.report._flags import flags

# Okabe and Ito's, at least 3 : 1 against the page's light and dark grounds.
BLUE, VERMILION, GREEN, GREY = "#1F7FBF", "#D55E00", "#009E73", "#858A91"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Pixels: of a line of text, of a flag's pole above the highest point, of what is below a figure's
# frame, and of the frame's width on the narrowest phone.
_LINE, _POLE, _BELOW, _NARROWEST = 18, 6, 57, 240
_NEEDS = "the page of a run"


def bokeh(module: str) -> Any:
    """Return a module of Bokeh's.

    Raises:
        ArgumentError: Bokeh is not installed.
    """
    return installed(f"bokeh.{module}", extra="report", what=_NEEDS)


def embedded(plots: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Return Bokeh's own script, and as HTML the one that draws plots and an element for each."""
    resources = bokeh("resources").Resources(mode="inline", components=["bokeh"])
    # Setting the level by its own function writes to the console that it has done so.
    scripts = [s for s in resources.js_raw if not s.startswith("Bokeh.set_log_level")]
    script, divs = bokeh("embed").components(dict(plots))
    library = "\n".join([*scripts, 'Bokeh.logger.set_level("error");'])
    return library, script, divs


def new_plot(*, height: int, x_log: bool = False, **options: Any) -> Any:
    """Return an empty plot in the common look: faint horizontal lines, no frame, no tools."""
    plot = bokeh("plotting").figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_axis_type="log" if x_log else "linear",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_left=4,
        min_border_right=10,
        **options,
    )
    plot.toolbar.visible = plot.xgrid.visible = False
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
        axis.axis_label_text_font_style = "normal"
    plot.yaxis.axis_line_color = plot.yaxis.major_tick_line_color = None
    return plot


def plain(text: str) -> Any:
    """Return a text that is no formula, whatever it looks like."""
    return bokeh("models").PlainText(text)


def shares_plot(
    shares: Sequence[float],
    values: Sequence[float],
    *,
    height: int,
    parent: tuple[float, str],
    labels: Sequence[tuple[float, float, str]] = (),
    y_label: str,
    of: str,
) -> Any:
    """Return a plot of a metric against size with room for such points, the parent and labels."""
    plot = new_plot(height=height, x_log=True, y_axis_label=plain(y_label))
    plot.xaxis.axis_label = "Parameters, share of the parent’s"
    _share_axis(plot, [*shares, 1.0])
    value, text = parent
    value_axis(plot, [*values, value], of)
    _write_flags(plot, [*((*label, True) for label in labels), (1.0, value, text, False)])
    plot.line([plot.x_range.start, 1], [value, value], color=GREY, line_dash=[5, 4], line_width=1.5)
    star = plot.scatter([1.0], [value], marker="star", size=20, color=GREY, line_color=None)
    star.level = "annotation"  # above the children
    return plot


def _write_flags(plot: Any, labels: Sequence[tuple[float, float, str, bool]]) -> None:
    """Write texts above all that is shown, each at a line from its point; the plot gets higher."""
    left, right = math.log(plot.x_range.start), math.log(plot.x_range.end)
    places = [_NARROWEST * (math.log(x) - left) / (right - left) for x, _, _, _ in labels]
    texts = [text for _, _, text, _ in labels]
    found = flags(list(zip(places, texts, strict=True)), width=_NARROWEST)
    low, high = plot.y_range.start, plot.y_range.end
    # Axis and grid end where the points do.
    plot.yaxis.bounds = plot.ygrid.bounds = (low, high)
    pixel = (high - low) / (plot.height - _BELOW)
    room = _POLE + _LINE * max(flag.top for flag in found)
    plot.height += room
    plot.y_range.end = high + room * pixel
    for flag, (x, y, _, bold) in zip(found, labels, strict=True):
        heights = [high + (_POLE + _LINE * lane) * pixel for lane in range(flag.lane, flag.top + 1)]
        end = heights[0] if flag.is_over else heights[-1]
        plot.segment([x], [y], [x], [end], color=VERMILION if bold else GREY, line_alpha=0.6)
        rows = zip(reversed(flag.rows), heights, strict=False)
        align, offset = flag.anchor
        write(
            plot,
            [(x, height, row) for row, height in rows],
            align=align,
            x_offset=offset,
            bold=bold,
        )


def write(
    plot: Any,
    labels: Sequence[tuple[float, float, str]],
    *,
    align: str,
    bold: bool = False,
    x_offset: float = 0,
    y_offset: int = 0,
    baseline: str = "bottom",
) -> None:
    """Write into a plot; annotations, unlike glyphs, take their colour from the style sheet."""
    models = bokeh("models")
    for x, y, text in labels:
        plot.add_layout(
            models.Label(
                x=x,
                y=y,
                text=plain(text),
                x_offset=x_offset,
                y_offset=y_offset,
                text_align=align,
                text_baseline=baseline,
                text_font=FONT,
                text_font_size="13px",
                text_font_style="bold" if bold else "normal",
            )
        )


def _share_axis(plot: Any, shares: Sequence[float]) -> None:
    low, high = min(shares), max(shares)
    margin = (high / low) ** 0.04 if high > low else 1.5
    plot.x_range = bokeh("models").Range1d(low / margin, high * margin)
    steps = (1, 3) if high / low > 8 else (1, 2, 3, 5, 7)
    first, last = math.floor(math.log10(low / margin)), math.ceil(math.log10(high * margin))
    ticks = [s * 10.0**e for e in range(first, last + 1) for s in steps]
    ticks = [t for t in ticks if low / margin <= t <= high * margin]
    if len(ticks) > 9:  # more would overlap on a phone
        ticks = [10.0**e for e in range(first, last + 1)]
    plot.xaxis.ticker = bokeh("models").FixedTicker(ticks=ticks)
    plot.xaxis.major_label_overrides = {t: f"{float(f'{100 * t:.3g}'):g} %" for t in ticks}


def value_axis(plot: Any, values: Sequence[float], of: str) -> None:
    found = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    from_zero = of in ("counts", "numbers") and 0 <= low < 0.25 * high
    start = 0.0 if from_zero else low - margin
    plot.y_range = bokeh("models").Range1d(start, high + margin)
    models = bokeh("models")
    plot.yaxis.ticker = models.BasicTicker(desired_num_ticks=5)
    if of == "accuracy":
        wide = high - low > 0.05
        plot.yaxis.formatter = models.NumeralTickFormatter(format="0 %" if wide else "0.0 %")
    elif of == "counts":
        plot.yaxis.formatter = models.NumeralTickFormatter(format="0.[0]a")


def generation_axis(plot: Any, generations: Sequence[int]) -> None:
    first, last = generations[0], generations[-1]
    margin = 0.02 * (last - first) or 0.5
    plot.x_range = bokeh("models").Range1d(first - margin, last + margin)
    plot.xaxis.ticker = bokeh("models").BasicTicker(
        desired_num_ticks=5, mantissas=[1, 2, 5], min_interval=1
    )
    plot.xaxis.formatter = bokeh("models").NumeralTickFormatter(format="0")
