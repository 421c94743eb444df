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

from ecomp_deap.checks import check_path
from ecomp_deap.errors import ArgumentError, DataError, argument_error
from ecomp_deap.files import make_folder, read_file, write_atomically
from ecomp_deap.logbook.rows import Records, Row, logbook_to_rows, plain_value

__all__ = ["export_logbook", "guard", "is_unicode", "parse_table", "read_logbook", "unguard"]

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

# Text that spreadsheets take for a formula, and the sign that says that it is none.
_FORMULA, _GUARD = "=+-@\t\r", "'"
# Python writes and reads whole numbers of up to some thousand digits.
_MOST_BITS = 2**13


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

    - ``csv``: the rows of `logbook_to_rows`, None as an empty field, text as `guard` has it;
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
        DataError: the file cannot be written.
    """
    path = check_path("path", path)
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
    make_folder(path.parent)
    write_atomically(path, text)
    return path


def read_logbook(path: str | os.PathLike[str], *, format: str | None = None) -> list[Row]:
    """Return the rows that `export_logbook` wrote: integers, floats (bit-equal), None and text.

    ``format`` is ``csv``, ``json`` or ``jsonl``, taken from the suffix if not given.

    Raises:
        ArgumentError: the format is unknown.
        DataError: the file is missing, damaged or holds something else.
    """
    path = check_path("path", path)
    format = _format_of(path, format, ROW_FORMATS)
    content = read_file(path)
    try:
        text = content.decode("utf-8")
        if format == "csv":
            return _parse_csv(text)
        documents = _parse_json(text) if format == "json" else _parse_json_lines(text)
        _check_documents(documents)
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected a logbook as {format}, but {error}") from error
    except RecursionError as error:
        reason = "it is nested too deeply"
        raise DataError(f"{path}: expected a logbook as {format}, but {reason}") from error
    rows: list[Row] = documents
    return rows


def guard(text: str) -> str:
    """Return a text as it stands in a CSV file: no spreadsheet takes it for a formula.

    What begins with ``=``, ``+``, ``-``, ``@``, a tab, a carriage return or ``'`` is given a ``'``
    in front, which `unguard` takes away.

    >>> guard("=1+1"), guard("'=1"), guard("plain")
    ("'=1+1", "''=1", 'plain')
    """
    return _GUARD + text if text[:1] and text[0] in _FORMULA + _GUARD else text


def unguard(field: str) -> str:
    """Return the text that `guard` was given.

    >>> unguard("'=1+1"), unguard("''=1"), unguard("'plain'")
    ('=1+1', "'=1", "'plain'")
    """
    return field[1:] if _is_guarded(field) else field


def _is_guarded(field: str) -> bool:
    return field[:1] == _GUARD and field[1:2] != "" and field[1] in _FORMULA + _GUARD


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
            if not is_unicode(column):
                raise argument_error("logbook", "names that UTF-8 can write", column)
            if isinstance(value, float) and not math.isfinite(value):
                raise argument_error(where, "a finite number or None", value)
            if not (value is None or isinstance(value, (bool, int, float, str))):
                raise argument_error(where, "a number, text or None", value)
            if isinstance(value, int) and value.bit_length() > _MOST_BITS:
                got = f"one of {value.bit_length()}"  # which Python refuses to print
                raise ArgumentError(f"{where}: expected a number of {_MOST_BITS} bits, got {got}")
            if isinstance(value, str) and not is_unicode(value):
                raise argument_error(where, "text that UTF-8 can write", value)


def is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _csv_text(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if rows:
        writer.writerow(map(guard, rows[0]))
    # `csv` writes None as an empty field, floats with `repr`, everything else with `str`.
    writer.writerows(
        [guard(value) if isinstance(value, str) else value for value in row.values()]
        for row in rows
    )
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
    header, lines = parse_table(text)
    return [dict(zip(header, map(_parse_field, fields), strict=True)) for fields in lines]


def parse_table(text: str) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns of a CSV file, and the fields of each row.

    Raises:
        ValueError: Two columns have one name, or a row has more or fewer fields.
        csv.Error: It is no CSV.
    """
    header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    names = [unguard(name) for name in header]
    if len(set(names)) != len(names):
        raise ValueError("its header names a column twice")
    lines = [fields for fields in lines if fields or not names]  # an empty line is no row
    for number, fields in enumerate(lines, start=1):
        if len(fields) != len(names):
            raise ValueError(f"row {number} has {len(fields)} fields for {len(names)} columns")
    return names, lines


def _parse_field(field: str) -> Any:
    if _is_guarded(field):
        return unguard(field)
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
    return json.loads(
        text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_distinct
    )


def _parse_json_lines(text: str) -> list[Any]:
    return [_parse_json(line) for line in text.split("\n") if line.strip()]


def _check_documents(documents: Any) -> None:
    """Check that what JSON holds is rows, as `export_logbook` writes them."""
    if not isinstance(documents, list) or not all(isinstance(row, dict) for row in documents):
        raise ValueError("it does not hold rows")
    for row in documents:
        for name, value in row.items():
            if isinstance(value, (list, dict)):
                raise ValueError(f"it has something else than numbers and text under {name!r}")
            if not is_unicode(name) or (isinstance(value, str) and not is_unicode(value)):
                raise ValueError(f"it has text that is none under {name!r}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a name twice in one row")
    return found


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
            "logbook: expected a weighted fitness for format 'ecomp', got a Pareto fitness"
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
    except (TypeError, ValueError, RecursionError) as error:
        raise argument_error(
            "configs and best_test_accuracy", "values that JSON can carry", str(error)
        ) from error
