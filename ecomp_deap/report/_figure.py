"""What all figures share: canvas, colours, number formats and how a file is written."""

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from ecomp_deap.errors import argument_error
from ecomp_deap.files import make_folder, write_atomically

# Okabe and Ito's palette, distinct for all common kinds of colour blindness.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9")
INK, MUTED, FAINT = "#222222", "#767676", "#E4E4E4"

DPI = 150
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 13, 11, 10

_LONGEST_TEXT = 500
_HIGHEST_COUNT = 1e18
# Beyond it matplotlib's own sums overflow.
_HIGHEST = 1e100

# Quantities that are fractions of one, and so read best as per cent.
FRACTIONS = ("accuracy", "relative_width")


def new_figure(width: float = 8.0, height: float = 16 / 3) -> Figure:
    """Return a figure of ``width`` by ``height`` inches (1200 by 800 pixels), without pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write ``figure`` as PNG or SVG in one step, byte for byte the same each time.

    Raises:
        ArgumentError: The path has another suffix.
        DataError: It cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise argument_error("path", "a file name that ends in .png or .svg", str(path))
    make_folder(path.parent)
    buffer = io.BytesIO()
    take_literally(figure)
    png = path.suffix == ".png"
    with rc_context({"svg.hashsalt": "ecomp_deap"}):  # else names in it are drawn by chance
        figure.savefig(
            buffer,
            format=path.suffix[1:],
            dpi=DPI,
            metadata={"Software": None} if png else {"Date": None, "Creator": None},
        )
    write_atomically(path, buffer.getvalue())
    return path


def take_literally(figure: Figure) -> None:
    """Let the texts of a figure be drawn as they are: names are no TeX, whatever they hold."""
    for text in figure.findobj(Text):
        text.set_text(plain(text.get_text()))
        text.set_parse_math(False)


def plain(text: str) -> str:
    r"""Return a text that can be drawn: not endless, and with what is no letter as a sign for it.

    >>> plain("half a letter: \ud800")
    'half a letter: �'
    """
    short = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return "".join("�" if "\ud800" <= letter <= "\udfff" else letter for letter in short)


def dress(axes: Axes, *, title: str | None = None) -> None:
    """Give ``axes`` the common look: two spines, a faint grid behind the data, readable ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.grid(True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=TICK_SIZE, color=MUTED, labelcolor=INK)
    if title:
        axes.set_title(title, fontsize=TITLE_SIZE, color=INK, loc="left", pad=10)


def label(axes: Axes, x: str | None, y: str | None) -> None:
    """Name the axes that are given."""
    if x is not None:
        axes.set_xlabel(x, fontsize=LABEL_SIZE, color=INK)
    if y is not None:
        axes.set_ylabel(y, fontsize=LABEL_SIZE, color=INK)


def words(quantity: str) -> str:
    """Return ``size_bytes`` as ``Size (bytes)``, and so with the unit where there is one."""
    named = {
        "accuracy": "Accuracy (%)",
        "relative_width": "Relative width (%)",
        "param_count": "Parameters",
        "mac_count": "Multiply-accumulates",
        "size_bytes": "Size (bytes)",
        "latency_ms": "Latency (ms)",
    }
    text = quantity.replace("_", " ")
    return named.get(quantity, text[:1].upper() + text[1:])


def axis_label(samples: str, metric: str) -> str:
    """Return what an axis of a metric on test or validation samples is called."""
    text = words(metric)
    return f"{samples.capitalize()} {text[:1].lower()}{text[1:]}"


def set_value_axis(axis: Axis, quantity: str, *, ticks: int = 6) -> None:
    """Format ``axis`` for ``quantity``: per cent, counts with k and M, or plain numbers."""
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    if quantity in FRACTIONS:
        axis.set_major_formatter(percent_formatter())
    elif quantity.endswith(("_count", "_bytes")):
        axis.set_major_formatter(FuncFormatter(lambda value, _: count_text(value)))


def percent_formatter() -> FuncFormatter:
    """Return a formatter that writes fractions of one as per cent, without idle decimals."""
    return FuncFormatter(lambda value, _: f"{round(100 * value, 6) + 0.0:g}")


def set_log_count_axis(axes: Axes, counts: Sequence[float]) -> None:
    """Make the x axis logarithmic over ``counts`` with few, plain, evenly readable labels.

    Raises:
        ArgumentError: A count is 0 or less, or no number that a network could have.
    """
    low, high = min(counts), max(counts)
    if not 0 < low <= high <= _HIGHEST_COUNT:
        outside = low if not low > 0 else high
        raise argument_error("param_count", "counts greater than 0, up to 10^18", float(outside))
    axes.set_xscale("log")
    decades = math.log10(high / low)
    margin = 10 ** max(0.06 * decades, 0.02)
    axes.set_xlim(low / margin, high * margin)
    # A log locator has too few ticks where the counts span less than a decade.
    if decades > 2:
        axes.xaxis.set_major_locator(LogLocator(10))
    elif decades > 0.7:
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(value)))


def count_text(count: float) -> str:
    """Return a short text for a count.

    >>> [count_text(n) for n in (0, 950, 1500, 269322, 11_700_000, 2e9)]
    ['0', '950', '1.5k', '269.3k', '11.7M', '2G']
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= unit:
            return f"{count / unit:.4g}{letter}"
    return f"{count:.4g}"


def column(rows: Iterable[Mapping[str, Any]], name: str, argument: str) -> np.ndarray:
    """Return column ``name`` as floats of shape ``(n_rows,)``, None and NaN as NaN.

    Raises:
        ArgumentError: a row lacks the column, or a value is not a number.
    """
    values = []
    for index, row in enumerate(rows):
        if name not in row:
            raise argument_error(f"{argument}[{index}]", f"a column {name!r}", sorted(row))
        value = row[name]
        try:
            values.append(math.nan if value is None else float(value))
        except (TypeError, ValueError):
            raise argument_error(f"{argument}[{index}] {name}", "a number", value) from None
        except OverflowError:
            got = "one with too many digits"
            raise argument_error(f"{argument}[{index}] {name}", "a number", got) from None
        if _HIGHEST < abs(values[-1]) < math.inf:
            expected = f"a number of at most {_HIGHEST:g}"
            raise argument_error(f"{argument}[{index}] {name}", expected, values[-1])
    return np.array(values, dtype=np.float64)


def generations(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the generation of each row, shape ``(n_rows,)``: its ``gen``, or else its index."""
    if all("gen" in row for row in rows):
        found = column(rows, "gen", "rows")
        if not np.isfinite(found).all():
            index = int(np.flatnonzero(~np.isfinite(found))[0])
            raise argument_error(f"rows[{index}] gen", "a finite number", rows[index]["gen"])
        return found
    return np.arange(len(rows), dtype=np.float64)


def set_generation_axis(axis: Axis, first: float, last: float, *, ticks: int = 8) -> None:
    """Give ``axis`` whole generations from ``first`` to ``last``, with room for a single one."""
    axis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    margin = 0.02 * (last - first) if last > first else 0.5
    axis.axes.set_xlim(first - margin, last + margin)


def mark_parent(axes: Axes, count: float, value: float, color: str) -> None:
    """Draw the parent as a star."""
    axes.scatter(
        [count],
        [value],
        marker="*",
        s=280,
        color=color,
        edgecolors="white",
        linewidths=0.8,
        zorder=5,
        label="parent",
    )
