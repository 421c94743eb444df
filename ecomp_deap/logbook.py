"""A logbook is DEAP's record of a run: one record per generation, with chapters of statistics.

`statistics` fills it, `logbook_to_rows` flattens it into plain rows, `export_logbook` and
`read_logbook` carry those rows to a file and back without losing a bit. All are functions over
DEAP's own ``Logbook``: a subclass of it cannot delete records, and ``json.dumps`` forgets chapters.
"""

import csv
import io
import itertools
import json
import math
import numbers
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from deap import tools

from ecomp_deap.errors import ArgumentError, DataError, argument_error
from ecomp_deap.files import write_atomically

__all__ = ["export_logbook", "logbook_to_rows", "read_logbook", "statistics"]

Records = Sequence[Mapping[str, Any]]
Row = dict[str, Any]

SIZE_AND_LOSS_CHAPTERS = ("similarity_loss", "relative_width", "param_count", "mac_count")
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


def statistics(*, metric: str = "accuracy") -> tools.MultiStatistics:
    """Return the statistics of a population, for ``stats`` of any DEAP loop.

    Chapters ``fitness``, ``metric``, ``similarity_loss``, ``relative_width``, ``param_count`` and
    ``mac_count`` hold ``min``, ``mean``, ``max`` and ``std`` (population, ddof 0) over the
    individuals that did not fail; the chapter ``population`` counts those that ``failed``.
    Fitness statistics are numbers for a fitness of one value, else tuples with one number per
    objective. Where everyone failed a statistic is None, never NaN.

    All values are Python numbers. Sums are `math.fsum`'s, exact before one rounding, so they do
    not depend on the order of the population.

    Raises:
        ArgumentError: ``metric`` is empty or the name of another chapter; on ``compile``, an
            individual has not been evaluated.
    """
    taken = ("fitness", "population", *SIZE_AND_LOSS_CHAPTERS)
    if not isinstance(metric, str) or not metric or metric in taken:
        raise argument_error("metric", f"a name other than {', '.join(taken)}", metric)
    result = tools.MultiStatistics(fitness=tools.Statistics(_fitness_of))
    for name in (metric, *SIZE_AND_LOSS_CHAPTERS):
        result[name] = tools.Statistics(partial(_measured, name))
    for name, function in (("min", min), ("mean", _mean), ("max", max), ("std", _std)):
        result.register(name, _over_scored, function)
    result["population"] = tools.Statistics(_has_failed)
    result["population"].register("failed", sum)
    return result


def logbook_to_rows(logbook: Records) -> list[Row]:
    """Return one flat dictionary per record of ``logbook``, which is left as it is.

    A chapter's statistic becomes the column ``chapter_statistic``, in nested chapters likewise;
    a sequence becomes ``column_0``, ``column_1``, … All rows have the same columns in the same
    order: ``gen``, ``nevals``, other values, then the chapters; a value missing from a record is
    None. numpy scalars become Python's, NaN and infinities are kept. Rows pass unchanged.

    Raises:
        ArgumentError: two values of a record want the same column.

    >>> logbook = tools.Logbook()
    >>> logbook.record(gen=0, nevals=4, accuracy={"mean": 0.5}, fitness={"max": (0.75, 3)})
    >>> logbook_to_rows(logbook)
    [{'gen': 0, 'nevals': 4, 'accuracy_mean': 0.5, 'fitness_max_0': 0.75, 'fitness_max_1': 3}]
    """
    scalars: dict[str, list[str]] = {"gen": [], "nevals": []}
    chapters: dict[str, list[str]] = {}
    sequences: set[str] = set()
    flat_records: list[Row] = []
    for record in _with_chapters(logbook):
        flat: Row = {}
        for name, value in record.items():
            columns = (chapters if isinstance(value, dict) else scalars).setdefault(name, [])
            for column, item in _flatten(name, value, sequences):
                if column in flat:
                    raise argument_error("logbook", "one value per column of a record", column)
                flat[column] = item
                if column not in columns:
                    columns.append(column)
        flat_records.append(flat)

    ordered = [name for columns in (*scalars.values(), *chapters.values()) for name in columns]
    # A generation without a value says None where others have a tuple: no column of its own.
    empty = {c for c in sequences if all(flat.get(c) is None for flat in flat_records)}
    kept = [column for column in dict.fromkeys(ordered) if column not in empty]
    return [{column: flat.get(column) for column in kept} for flat in flat_records]


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


# --- statistics -----------------------------------------------------------------------------


def _fitness_of(individual: Any) -> float | tuple[float, ...] | None:
    if _has_failed(individual):
        return None
    values = tuple(float(value) for value in individual.fitness.values)
    if not values:
        raise argument_error("population", "individuals with a valid fitness", individual)
    return values[0] if len(values) == 1 else values


def _measured(name: str, individual: Any) -> Any:
    return None if _has_failed(individual) else _plain(individual.measurement[name])


def _has_failed(individual: Any) -> bool:
    measurement = getattr(individual, "measurement", None)
    if measurement is None:
        raise argument_error("population", "individuals with a measurement", individual)
    return bool(measurement.failed)


def _over_scored(function: Callable[[Sequence[Any]], Any], values: Sequence[Any]) -> Any:
    scored = [value for value in values if value is not None]
    if not scored:
        return None
    if isinstance(scored[0], tuple):
        return tuple(function(objective) for objective in zip(*scored, strict=True))
    return function(scored)


def _mean(values: Sequence[float]) -> float:
    scaled, exponent = _scaled(values)
    mean = math.ldexp(math.fsum(scaled) / len(scaled), exponent)
    # The division can round past the extremes; equal values must have themselves as mean.
    return float(min(max(mean, min(values)), max(values)))


def _std(values: Sequence[float]) -> float:
    scaled, exponent = _scaled(values)
    mean = _mean(scaled)
    squares = math.fsum((value - mean) ** 2 for value in scaled)
    return math.ldexp(math.sqrt(squares / len(scaled)), exponent)


def _scaled(values: Sequence[float]) -> tuple[list[float], int]:
    """Return ``values`` over the power of two that keeps their sums and squares from overflow."""
    exponent = math.frexp(max(map(abs, values)))[1]
    return [math.ldexp(value, -exponent) for value in values], exponent


# --- flattening -----------------------------------------------------------------------------


def _with_chapters(logbook: Records) -> list[Row]:
    """Return the records with each chapter's entry under the chapter's name."""
    records = [{str(name): value for name, value in record.items()} for record in logbook]
    merged = [dict(record) for record in records]
    for name, chapter in getattr(logbook, "chapters", {}).items():
        for index, entry in enumerate(_entries_of(records, _with_chapters(chapter))):
            if entry is not None:
                # DEAP copies the record's own values into every chapter; they are not statistics.
                own = {key: value for key, value in entry.items() if key not in records[index]}
                merged[index][name] = own
    return merged


def _entries_of(records: Sequence[Row], entries: Sequence[Row]) -> list[Row | None]:
    """Return the entry of each record, None where the chapter was not recorded."""
    found: list[Row | None] = []
    start = 0
    for record in records:
        matches = (i for i in range(start, len(entries)) if _agree(record, entries[i]))
        match = next(matches, None)
        found.append(None if match is None else entries[match])
        start = start if match is None else match + 1
    return found


def _agree(record: Row, entry: Row) -> bool:
    common = {"gen"} if "gen" in record and "gen" in entry else record.keys() & entry.keys()
    return all(record[k] is entry[k] or np.array_equal(record[k], entry[k]) for k in common)


def _flatten(name: str, value: Any, sequences: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield the columns of one value, and add to ``sequences`` the names that were expanded."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{name}_{key}", item, sequences)
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0):
        sequences.add(name)
        for index, item in enumerate(value):
            yield from _flatten(f"{name}_{index}", item, sequences)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Return Python's own number for ``value`` (numpy scalars, subclasses), else ``value``."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


# --- files ----------------------------------------------------------------------------------


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
        "best_test_acc": _plain(best_test_accuracy),
    }
    try:
        return json.dumps(document, allow_nan=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise argument_error(
            "configs and best_test_accuracy", "values that JSON can carry", str(error)
        ) from error
