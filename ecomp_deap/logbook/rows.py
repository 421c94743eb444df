"""From chapters to flat rows."""

import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.errors import ArgumentError, argument_error

__all__ = ["Records", "Row", "logbook_to_rows", "plain_value"]

Records = Sequence[Mapping[str, Any]]
Row = dict[str, Any]


def logbook_to_rows(logbook: Records) -> list[Row]:
    """Return one flat dictionary per record of ``logbook``, which is left as it is.

    A chapter's statistic becomes the column ``chapter_statistic``, in nested chapters likewise;
    a sequence becomes ``column_0``, ``column_1``, … All rows have the same columns in the same
    order: ``gen``, ``nevals``, other values, then the chapters; a value missing from a record is
    None. numpy scalars become Python's, NaN and infinities are kept. Rows pass unchanged.

    Raises:
        ArgumentError: two values of a record want the same column; a record is no mapping, is
            nested without end, or has a number that is too large for a float.

    >>> from deap import tools
    >>> logbook = tools.Logbook()
    >>> logbook.record(gen=0, nevals=4, accuracy={"mean": 0.5}, fitness={"max": (0.75, 3)})
    >>> logbook_to_rows(logbook)
    [{'gen': 0, 'nevals': 4, 'accuracy_mean': 0.5, 'fitness_max_0': 0.75, 'fitness_max_1': 3}]
    """
    try:
        return _rows(logbook)
    except RecursionError as error:
        raise ArgumentError("logbook: expected records that end, but one is nested") from error


def _rows(logbook: Records) -> list[Row]:
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


def _with_chapters(logbook: Records) -> list[Row]:
    """Return the records with each chapter's entry under the chapter's name."""
    for index, record in enumerate(logbook):
        if not isinstance(record, Mapping):
            raise argument_error(f"logbook[{index}]", "a record", type(record).__name__)
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
        yield name, plain_value(value)


def plain_value(value: Any) -> Any:
    """Return Python's own number for ``value`` (numpy scalars, subclasses), else ``value``."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    try:
        return float(value) if isinstance(value, numbers.Real) else value
    except OverflowError as error:
        got = type(value).__name__  # which may have too many digits to show
        raise argument_error("logbook", "numbers that a float can hold", got) from error
