"""Tables of plain text, and how figures are put there."""

import textwrap
from collections.abc import Sequence
from typing import Any

from ecomp_deap.report import _words as words
from ecomp_deap.report._metric import MetricWords

NOTHING = "-"


def aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Return rows as lines with their columns aligned, those of ``left`` to the left.

    >>> aligned([("run", "seconds"), ("first_1", "3")])
    ['run      seconds', 'first_1        3']
    """
    sizes = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(size) if i in left else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in rows
    ]


def fitting(
    rows: Sequence[Sequence[str]], width: int | None, *, spare: Sequence[str]
) -> tuple[list[list[str]], str]:
    """Return rows without the columns for which lines have no room, and a line that names those.

    Args:
        rows: The headings first.
        width: Of a line; None for any.
        spare: Headings of columns that may go, in this order.

    >>> rows = [("run", "seconds", "date"), ("first_1", "3", "2026-11-28")]
    >>> fitting(rows, 20, spare=["date", "seconds"])
    ([['run', 'seconds'], ['first_1', '3']], 'no room for: date')
    """
    kept, gone = [list(row) for row in rows], []
    for heading in spare:
        if width is None or max(map(len, aligned(kept))) <= width:
            break
        if heading in kept[0]:
            column = kept[0].index(heading)
            kept = [row[:column] + row[column + 1 :] for row in kept]
            gone.append(heading)
    return kept, f"no room for: {', '.join(gone)}" if gone else ""


def filled(name: str, text: str, *, width: int | None = None) -> str:
    """Return a text behind its name, in lines that are indented under it."""
    start = f"{name}  "
    return wrapped(start + text, 80 if width is None else width, indent=" " * len(start))


def wrapped(text: str, width: int, *, indent: str = "") -> str:
    """Return a text in lines of a width, in which words and paths stay whole."""
    return textwrap.fill(
        text,
        max(width, len(indent) + 1),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def of_metric(metric: MetricWords, value: Any) -> str:
    """Return a metric's value with four digits behind the point, or four where those say little.

    >>> [of_metric(MetricWords("error"), value) for value in (0.25, 1.234e-5, 98765.4)]
    ['0.2500', '1.234e-05', '9.877e+04']
    """
    if value is None:
        return NOTHING
    plain = metric.is_accuracy or value == 0 or 1e-3 <= abs(value) < 1e4
    return f"{value:.4f}" if plain else f"{value:.4g}"


def count(value: Any) -> str:
    """Return a count with separators."""
    return NOTHING if value is None else f"{value:,.0f}"


def number(value: Any) -> str:
    """Return a number with three digits behind the point."""
    return NOTHING if value is None else f"{value:,.3f}"


def seconds(value: Any) -> str:
    """Return seconds with one digit behind the point."""
    return NOTHING if value is None else f"{value:,.1f}"


def spaced(text: str) -> str:
    """Return a text of a page with spaces that a terminal knows."""
    return text.replace("\u202f", " ")


def share(value: Any) -> str:
    """Return a share of the parent's as per cent.

    >>> share(0.0308), share(None)
    ('3.1 %', '-')
    """
    return NOTHING if value is None else spaced(words.share(value))
