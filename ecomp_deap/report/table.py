"""The children that a run recommends, as a table for the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path
from ecomp_deap.errors import DataError
from ecomp_deap.report._aligned import aligned, fitting, of_metric, share, wrapped
from ecomp_deap.report._metric import MetricWords
from ecomp_deap.report._words import end_of
from ecomp_deap.runs.directory import RunDirectory

__all__ = ["run_table"]

Row = Mapping[str, Any]

# Heading, field of a row of the front, format; the metric's columns come between.
_NAMES = (("", "pick", ""), ("child", "id", ""))
_SIZES = (("width", "relative_width", ".3f"), ("parameters", "param_count", ",d"))
_SAMPLES = ("validation", "test")
_SPARE = ("width",)
_INDENT = "  "


def run_table(directory: str | Path, *, width: int | None = None) -> str:
    """Return a table of a run's parent and picks, and where and how fast they came about.

    Args:
        directory: A run directory with ``front.csv`` and ``summary.json``.
        width: Of a line; for that, the column ``width`` goes, then picks take several lines. None
            for any.

    Raises:
        DataError: A file is missing or damaged.
    """
    run = RunDirectory(check_path("directory", directory))
    summary, front = run.summary(), run.front()
    try:
        return _table(str(directory), summary, front, width)
    except KeyError as error:
        raise DataError(f"{run.path / 'summary.json'}: the summary lacks {error}") from error


def _table(
    directory: str, summary: Mapping[str, Any], front: Sequence[Row], width: int | None = None
) -> str:
    """Return the table of one run.

    >>> row = {"id": "7", "test_accuracy": 0.8805, "relative_width": 0.31, "param_count": 91_200}
    >>> summary = {
    ...     "seconds": {"search": 61.04, "finalise": 8.5},
    ...     "evaluations": 6100,
    ...     "parent": {"test_accuracy": 0.8912, "relative_width": 1.0, "param_count": 269_322},
    ...     "picks": {"best": "7", "knee": "7", "under:26932": None},
    ... }
    >>> print(_table("results/first_1", summary, [row]))
    results/first_1: 6,100 evaluations, 61.0 s of search, 8.5 s of final training
                   child  validation    test  width  parameters   share
           parent      -           -  0.8912  1.000     269,322   100 %
       best, knee      7           -  0.8805  0.310      91,200  33.9 %
      under:26932      -           -       -      -           -       -
    """
    parent, metric = summary["parent"], MetricWords.of(summary)
    of = "" if metric.is_accuracy else f" {metric.name}"
    found = {str(row["id"]): row for row in front}
    picks: dict[str, str] = {}
    for word, name in summary["picks"].items():
        # What is not there is a line of its own.
        key = word if name is None else name
        picks[key] = f"{picks[key]}, {word}" if key in picks else word
    shown: list[Row] = [{**parent, "id": None, "pick": "parent"}]
    shown += [{**found.get(name, {}), "pick": word} for name, word in picks.items()]
    rows = [
        [
            *(heading for heading, _, _ in _NAMES),
            *(f"{samples}{of}" for samples in _SAMPLES),
            *(heading for heading, _, _ in _SIZES),
            "share",
        ]
    ]
    for row in shown:
        names, sizes = (
            [_cell(row, column, form) for _, column, form in part] for part in (_NAMES, _SIZES)
        )
        values = [of_metric(metric, row.get(f"{s}_{metric.column}")) for s in _SAMPLES]
        rows.append([*names, *values, *sizes, _share(row, parent)])
    seconds = summary["seconds"]
    title = (
        f"{directory}: {summary['evaluations']:,d} evaluations, "
        f"{seconds['search']:.1f} s of search, {seconds['finalise']:.1f} s of {end_of(summary)}"
    )
    if width is None:
        return "\n".join([title, *_lines(rows)])
    rows, note = fitting(rows, width - len(_INDENT), spare=_SPARE)
    rest = len(_lines([["", *cells] for _, *cells in rows])[0])
    rows = [line for row in rows for line in _broken(row, width - rest)]
    return "\n".join([wrapped(title, width), *_lines(rows), *([_INDENT + note] if note else [])])


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, their cells to the right."""
    return [_INDENT + line for line in aligned(rows, left=())]


def _broken(row: Sequence[str], room: int) -> list[list[str]]:
    """Return a row as several, where its picks have no room in one."""
    picks, *cells = row
    first, *others = textwrap.wrap(
        picks, max(room, 1), break_long_words=False, break_on_hyphens=False
    ) or [""]
    return [[first, *cells], *([other, *[""] * len(cells)] for other in others)]


def _share(row: Row, parent: Row) -> str:
    count, whole = row.get("param_count"), parent.get("param_count")
    return share(count / whole if count is not None and whole else None)


def _cell(row: Row, column: str, form: str) -> str:
    value = row.get(column)
    return "-" if value is None else format(value, form)
