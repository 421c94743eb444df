"""Rows on disk, as CSV, JSON, JSON lines and in the original's layout."""

import csv
import io
import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecomp_deap.errors import ArgumentError, DataError, argument_error
from ecomp_deap.files import write_atomically
from ecomp_deap.logbook.rows import Records, Row, logbook_to_rows, plain_value

__all__ = ["export_logbook", "read_logbook"]

ROW_FORMATS = ("csv", "json", "jsonl")
FORMATS = (*ROW_FORMATS, "ecomp")

# The original's name of a quantity, our chapter, and the statistics that are its best and worst.
ECOMP_RESULTS = (
    ("fitness", "fitness", "max", "min"),
    ("accuracy", "accuracy", "max", "min"),
    ("loss", "similarity_loss", "min", "max"),
    ("compression", "relative_width", "min", "max"),
)

# Only what `repr` writes is read as a number, so "007" and "nan" stay strings.
_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+(e[+-][0-9]+)?|e[+-][0-9]+)", re.ASCII)


def export_logbook(
    logbook: Records,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    name: str | None = None,
    configs: Mapping[str, Any] | None = None,
    best_test_accuracy: float | None = None,
) -> Path:
    """Write ``logbook`` (or rows of one) to ``path`` and return the path.

    ``format`` is taken from the suffix if not given:

    - ``csv``: the rows of `logbook_to_rows`, None as an empty field;
    - ``json``: the same as an array of objects, ``jsonl``: one object a line, None as null;
    - ``ecomp``: the results file of the original EComp, an object with ``name``, ``configs``,
      ``results`` and ``best_test_acc``; the keyword arguments fill all but the results. ``loss``
      is the similarity loss and ``compression`` the relative width; the least of each is best.

    Floats are written as `repr` writes them and read back bit-equal. NaN and infinities are
    refused, since strict JSON has none. The file is UTF-8 with "\\n" line ends, and is replaced
    in one step: a reader sees the old file or the new one, never half of it.

    Raises:
        ArgumentError: the format is unknown; a value cannot be written so that it reads back;
            ``ecomp`` lacks a chapter or meets a Pareto fitness; or its keyword arguments come
            with another format.
    """
    path = Path(path)
    format = _format_of(path, format, FORMATS)
    rows = logbook_to_rows(logbook)
    _check_values(rows)
    if format == "ecomp":
        text = _ecomp_text(rows, name, configs, best_test_accuracy)
    else:
        extra = {"name": name, "configs": configs, "best_test_accuracy": best_test_accuracy}
        for argument, value in extra.items():
            if value is not None:
                raise argument_error(argument, "nothing unless format is 'ecomp'", value)
        text = _csv_text(rows) if format == "csv" else _json_text(rows, lines=format == "jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return path


def read_logbook(path: str | os.PathLike[str], *, format: str | None = None) -> list[Row]:
    """Return the rows that `export_logbook` wrote: integers, floats (bit-equal), None and text.

    ``format`` is ``csv``, ``json`` or ``jsonl``, taken from the suffix if not given.

    Raises:
        ArgumentError: the format is unknown.
        DataError: the file is missing, damaged or holds something else.
    """
    path = Path(path)
    format = _format_of(path, format, ROW_FORMATS)
    try:
        text = path.read_bytes().decode("utf-8")
        if format == "csv":
            return _parse_csv(text)
        documents = _parse_json(text) if format == "json" else _parse_json_lines(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected a logbook as {format}, but {error}") from error
    if not isinstance(documents, list) or not all(isinstance(row, dict) for row in documents):
        raise DataError(f"{path}: expected a logbook as {format}, but it does not hold rows")
    return documents


def _format_of(path: Path, format: str | None, known: tuple[str, ...]) -> str:
    if format is None:
        if path.suffix[1:] not in ROW_FORMATS:
            suffixes = ", ".join(f".{name}" for name in ROW_FORMATS)
            raise argument_error("path", f"a suffix of {suffixes}, or a format", str(path))
        return path.suffix[1:]
    if format not in known:
        raise argument_error("format", f"one of {', '.join(known)}", format)
    return format


def _check_values(rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        for column, value in row.items():
            where = f"logbook[{index}] {column}"
            if isinstance(value, float) and not math.isfinite(value):
                raise argument_error(where, "a finite number or None", value)
            if not (value is None or isinstance(value, (bool, int, float, str))):
                raise argument_error(where, "a number, text or None", value)


def _csv_text(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    # `csv` writes None as an empty field, floats with `repr`, everything else with `str`.
    writer.writerows(row.values() for row in rows)
    text = buffer.getvalue()
    # CSV knows no types: text that looks like a number, say, would not come back as text.
    try:
        back = [value for row in _parse_csv(text) for value in row.values()]
    except (ValueError, csv.Error):
        back = []
    values = [value for row in rows for value in row.values()]
    for value, read in itertools.zip_longest(values, back, fillvalue=...):
        if repr(value) != repr(read):
            raise argument_error("logbook", "values that CSV can tell apart (or json)", value)
    return text


def _parse_csv(text: str) -> list[Row]:
    header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    if len(set(header)) != len(header):
        raise ValueError("its header names a column twice")
    for number, fields in enumerate(lines, start=1):
        if len(fields) != len(header):
            raise ValueError(f"row {number} has {len(fields)} fields for {len(header)} columns")
    return [dict(zip(header, map(_parse_field, fields), strict=True)) for fields in lines]


def _parse_field(field: str) -> Any:
    if field == "":
        return None
    if field in ("True", "False"):
        return field == "True"
    if _INTEGER.fullmatch(field):
        return int(field)
    if _FLOAT.fullmatch(field) and math.isfinite(float(field)):
        return float(field)
    return field


def _json_text(rows: Sequence[Row], *, lines: bool) -> str:
    objects = [json.dumps(row, allow_nan=False) for row in rows]
    if lines:
        return "".join(f"{line}\n" for line in objects)
    return "[\n" + ",\n".join(objects) + "\n]\n" if objects else "[]\n"


def _parse_json(text: str) -> Any:
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _parse_json_lines(text: str) -> list[Any]:
    return [_parse_json(line) for line in text.split("\n") if line.strip()]


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{literal} is not a finite number")
    return number


def _ecomp_text(
    rows: Sequence[Row],
    name: str | None,
    configs: Mapping[str, Any] | None,
    best_test_accuracy: float | None,
) -> str:
    columns = rows[0] if rows else {}
    if "fitness_mean_0" in columns:
        raise ArgumentError(
            "logbook: expected a weighted fitness for format 'ecomp', which has one fitness value "
            "per child, got a Pareto fitness"
        )
    results = {}
    for key, chapter, best, worst in ECOMP_RESULTS:
        wanted = {"averages": f"{chapter}_mean", "best": f"{chapter}_{best}"}
        wanted["worst"] = f"{chapter}_{worst}"
        for column in wanted.values():
            if column not in columns:
                raise ArgumentError(
                    f"logbook: expected a chapter {chapter!r} with min, mean and max for format "
                    f"'ecomp', got no column {column!r}"
                )
        results[key] = {kind: [row[column] for row in rows] for kind, column in wanted.items()}
    document = {
        "name": name,
        "configs": dict(configs or {}),
        "results": results,
        "best_test_acc": plain_value(best_test_accuracy),
    }
    try:
        return json.dumps(document, allow_nan=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise argument_error(
            "configs and best_test_accuracy", "values that JSON can carry", str(error)
        ) from error
