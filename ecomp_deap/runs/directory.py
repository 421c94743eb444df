"""`RunDirectory`: the files that a run leaves behind."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deap import tools

from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.files import check_place, make_folder, read_file, read_json, write_atomically
from ecomp_deap.logbook import export_logbook
from ecomp_deap.logbook.files import guard, is_unicode, parse_table, unguard
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.places import hint, is_run
from ecomp_deap.runs.shapes import is_count, is_number, shown

__all__ = ["RunDirectory", "metric_of", "read_front"]

# Columns of front.csv that are no floats.
_TEXT, _WHOLE = ("id", "widths", "method"), ("param_count", "mac_count", "size_bytes")
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
# What a folder goes by that does not tell its metric.
_ACCURACY, _MEASURED, _POINT = "accuracy", "validation_", 0.01
# What a child's files are named by; nothing that could lead out of the folder.
_ID = re.compile(r"[A-Za-z0-9_-]*")


def read_front(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``front.csv``: numbers as numbers, ids and widths as text.

    An empty field is None. All numbers are finite, and counts at least 0.

    Raises:
        DataError: The file is missing or holds something else.
    """
    content = read_file(path)
    try:
        names, lines = parse_table(content.decode("utf-8"))
        if not names:
            raise ValueError("it is empty")
        return [
            {name: _value(name, field) for name, field in zip(names, fields, strict=True)}
            for fields in lines
        ]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected a front, but {error}") from error


def metric_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's summary tells of the task's metric.

    That is its ``name``, whether more of it is better (``maximise``), and the ``tolerance`` of
    `ecomp_deap.Metric`. An older summary does not tell: the name is that of the parent's figures,
    and more is better.

    >>> metric_of({"parent": {"id": "parent", "validation_r2": 0.8, "param_count": 7}})
    {'name': 'r2', 'maximise': True, 'tolerance': None}
    """
    if "metric" in summary:
        return {"tolerance": None, **summary["metric"]}
    found = (name for name in summary["parent"] if name.startswith(_MEASURED))
    name = next(found, _ACCURACY).removeprefix(_MEASURED)
    return {"name": name, "maximise": True, "tolerance": _POINT if name == _ACCURACY else None}


def _value(name: str, field: str) -> Any:
    if name in _TEXT:
        return unguard(field)
    if not field:
        return None
    if name in _WHOLE:
        if not _COUNT.fullmatch(field):
            raise ValueError(f"{name!r} is {shown(field)}, expected a count")
        return int(field)
    if not _NUMBER.fullmatch(field) or not math.isfinite(float(field)):
        raise ValueError(f"{name!r} is {shown(field)}, expected a finite number")
    return float(field)


def _check_summary(summary: Any) -> dict[str, Any]:
    """Return a run's summary; what is read of it, and is there, has the type that it should have.

    Raises:
        ValueError: It has another, with its name.
        KeyError: Parent, best child or picks are missing.
    """
    summary = dict(_mapping("a summary", summary))
    if "picks" not in summary:
        summary["picks"] = {"best": _mapping("best", summary["best"])["id"]}
    for name in ("parent", "best"):
        for column, value in _mapping(name, summary[name]).items():
            _check_entry(f"{name}.{column}", column, value)
    for word, identifier in _mapping("picks", summary["picks"]).items():
        if identifier is not None and not isinstance(identifier, str):
            raise ValueError(f"'picks.{word}' is {shown(identifier)}, expected an id or null")
    if "metric" in summary:
        _check_metric(_mapping("metric", summary["metric"]))
    for name in ("seconds", "training_samples"):
        for part, value in _mapping(name, summary.get(name, {})).items():
            if not is_number(value) or value < 0:
                raise ValueError(f"'{name}.{part}' is {shown(value)}, expected a number")
    if "evaluations" in summary and not is_count(summary["evaluations"]):
        raise ValueError(f"'evaluations' is {shown(summary['evaluations'])}, expected a count")
    return summary


def _check_metric(metric: Mapping[str, Any]) -> None:
    name, maximise, tolerance = metric["name"], metric["maximise"], metric.get("tolerance")
    for key, value, expected, sound in (
        ("name", name, "a name", isinstance(name, str) and name),
        ("maximise", maximise, "true or false", isinstance(maximise, bool)),
        ("tolerance", tolerance, "a number", tolerance is None or is_number(tolerance)),
    ):
        if not sound:
            raise ValueError(f"'metric.{key}' is {shown(value)}, expected {expected}")


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is {shown(value)}, expected an object")
    return value


def _check_entry(where: str, column: str, value: Any) -> None:
    """Check a value as it stands in a row of a front, there as text."""
    kinds = {
        **dict.fromkeys(_TEXT, ("text", isinstance(value, str))),
        **dict.fromkeys(_WHOLE, ("a count", is_count(value))),
    }
    expected, sound = kinds.get(column, ("a finite number", is_number(value)))
    if value is not None and not sound:
        raise ValueError(f"{where!r} is {shown(value)}, expected {expected}")


class RunDirectory:
    """A folder ``OUT/NAME_K``.

    Args:
        path: The folder; see `RunDirectory.create` for making a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, out: Path, name: str) -> "RunDirectory":
        """Make the folder for the next run called ``name``: K is the first number not in use.

        Raises:
            DataError: The folder cannot be made.
        """
        k = 1
        while True:
            path = out / f"{name}_{k}"
            try:
                path.mkdir(parents=True)
                (path / "children").mkdir()
                return cls(path)
            except FileExistsError as error:
                if out.exists() and not out.is_dir():
                    raise DataError(f"out: {out} is a file, expected a folder") from error
                k += 1
            except OSError as error:
                raise DataError(f"out: cannot make {path} ({error.strerror})") from error

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Return the folder that a run left behind.

        Raises:
            DataError: It holds no front.
        """
        if not os.path.isfile(path / "front.csv"):  # unlike Path's own, False for every name
            expected = f"{path}: expected the folder of a finished run, with front.csv"
            raise DataError(expected + hint(path))
        return cls(path)

    @property
    def is_finished(self) -> bool:
        """Whether its summary is there, which is written last."""
        return os.path.isfile(self.path / "summary.json")  # as in `open`

    @property
    def parent(self) -> Path:
        """Where the parent's tensors lie; its manifest is beside them."""
        return self.path / "parent.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The folder that the search is saved in while it runs."""
        return self.path / "checkpoints"

    def child(self, identifier: str) -> Path:
        """Where a child's tensors lie; its manifest is beside them.

        Raises:
            DataError: The id has other characters than letters, digits, ``_`` and ``-``.
        """
        return self.path / "children" / f"{_safe(self.path, identifier)}.safetensors"

    def export(self, identifier: str, ending: str) -> Path:
        """Where a child lies that was exported from here; makes the folder.

        Raises:
            DataError: The folder cannot be made, or as for `child`.
        """
        name = f"{_safe(self.path, identifier)}.{ending}"
        return self.folder("exports") / name

    def folder(self, name: str) -> Path:
        """Return a folder in it, which is made if it is not there.

        Raises:
            DataError: It cannot be made; or a link is in its place, which would lead elsewhere.
        """
        return make_folder(self.path / name, links=False)

    def check_places(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Check that what will be written here finds its place, before what it takes hours to find.

        Raises:
            DataError: Something else than a file, or than a folder, is in the place of one.
        """
        for name in files:
            check_place(self.path / name)
        for name in folders:
            check_place(self.path / name, folder=True)

    def front(self) -> list[dict[str, Any]]:
        """Return the rows of ``front.csv``, see `read_front`.

        Raises:
            DataError: As there, or its rows have no ids.
        """
        path = self.path / "front.csv"
        rows = read_front(path)
        if rows and "id" not in rows[0]:
            raise DataError(f"{path}: expected a front, but it has no column 'id'")
        return rows

    def groups(self, row: Mapping[str, Any]) -> list[str]:
        """Return the names of the groups of units whose widths a row of the front has.

        The child's manifest tells them. Where there is none, or weights evolved, they have numbers.

        Raises:
            DataError: The manifest is damaged.
        """
        n = str(row["widths"]).count("-") + 1 if row.get("widths") else 0
        if _ID.fullmatch(str(row["id"])):
            path = self.child(row["id"]).with_suffix(".json")
            manifest = read_json(path, what="a child's manifest") if os.path.isfile(path) else None
            kept = manifest.get("kept") if isinstance(manifest, dict) else None
            if isinstance(kept, dict) and len(kept) == n:
                return list(kept)
        return [f"group {i}" for i in range(1, n + 1)]

    def summary(self) -> dict[str, Any]:
        """Return the content of ``summary.json``: ``parent``, ``best``, ``picks`` and more.

        A run of an older version has no picks but the best child.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.path / "summary.json"
        summary = read_json(path, what="a run's summary")
        try:
            return _check_summary(summary)
        except KeyError as error:
            raise DataError(f"{path}: expected a run's summary, but {error!r}") from error
        except ValueError as error:
            raise DataError(f"{path}: expected a run's summary, but {error}") from error

    def asked(self) -> dict[str, Any] | None:
        """Return what a run was asked, as it stands in its file, which may be an older version's.

        Of the command that is ``config.json``, its options, and of Python ``settings.json``; None
        where there is neither.

        Raises:
            DataError: The file is damaged.
        """
        paths = [self.path / name for name in ("config.json", "settings.json")]
        path = next((path for path in paths if os.path.lexists(path)), None)
        if path is None:
            return None
        content = read_json(path, what="a run's configuration")
        if not isinstance(content, dict):
            raise DataError(f"{path}: expected a run's configuration, but it is no object")
        return content

    def config(self) -> RunConfig:
        """Return the configuration of the run, from ``config.json``.

        Raises:
            DataError: The folder is none of a run, or the file is missing or damaged.
        """
        path = self.path / "config.json"
        if _is_missing(path) and not is_run(self.path):
            none = "it is none" if os.path.lexists(self.path) else "there is none"
            raise DataError(
                f"{self.path}: expected the folder of a run, but {none}{hint(self.path)}"
            )
        content = read_json(path, what="a run's configuration")
        try:
            return RunConfig.from_json_dict(_mapping("the configuration", content))
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise DataError(f"{path}: expected a run's configuration, but {error}") from error

    def write_text(self, name: str, content: str) -> None:
        """Write a text such as ``baselines.md``, as `write_atomically`."""
        write_atomically(self.path / name, content)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``config.json`` or ``summary.json``, as `write_atomically`."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / name, text)

    def write_compact_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write what is read by programs alone, in one line, as `write_atomically`."""
        text = json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
        write_atomically(self.path / name, text)

    def write_rows(
        self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
    ) -> None:
        """Write a table such as ``front.csv``; floats read back bit-equal, None is empty.

        Text is written as `ecomp_deap.logbook.files.guard` has it.

        Raises:
            ArgumentError: A row has another column, or text that would not come back.
            DataError: The file cannot be written.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([_cell(name) for name in columns])
        for row in rows:
            if not row.keys() <= set(columns):
                unknown = sorted(row.keys() - set(columns))
                raise argument_error("rows", f"columns among {', '.join(columns)}", unknown)
            writer.writerow([_cell(row.get(name, "")) for name in columns])
        write_atomically(self.path / name, buffer.getvalue())

    def write_logbook(self, logbook: tools.Logbook) -> None:
        """Write ``logbook.csv`` and ``logbook.json``."""
        for name in ("logbook.csv", "logbook.json"):
            export_logbook(logbook, self.path / name)


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # CSV breaks a line at the one, and UTF-8 has not the others.
    if "\r" in value or not is_unicode(value):
        raise argument_error("rows", "text that CSV and UTF-8 can hold", value)
    return guard(value)


def _is_missing(path: Path) -> bool:
    """Return whether nothing is at a path, and not something that cannot be looked at."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


def _safe(folder: Path, identifier: Any) -> str:
    """Return an id that is safe as the name of a file."""
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        expected = "expected ids of letters, digits, '_' and '-'"
        raise DataError(f"{folder}: {expected}, but one is {shown(identifier)}")
    return identifier
