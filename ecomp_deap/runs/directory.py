"""`RunDirectory`: the files that a run leaves behind."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deap import tools

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.files import write_atomically
from ecomp_deap.logbook import export_logbook
from ecomp_deap.runs.config import RunConfig

__all__ = ["RunDirectory", "read_front"]

# Columns of front.csv that are no floats.
_TEXT, _WHOLE = ("id", "widths", "method"), ("param_count", "mac_count", "size_bytes")


def read_front(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``front.csv``: numbers as numbers, ids and widths as text.

    An empty field is None.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if reader.fieldnames is None:
            raise ValueError("it is empty")
        return [{name: _value(name, text) for name, text in row.items()} for row in rows]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: expected a front, but {error}") from error


def _value(name: str, text: str | None) -> Any:
    if text is None:
        raise ValueError(f"a row lacks {name!r}")
    if name in _TEXT:
        return text
    if not text:
        return None
    return int(text) if name in _WHOLE else float(text)


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
        if not (path / "front.csv").is_file():
            raise DataError(f"{path}: expected the folder of a finished run, with front.csv")
        return cls(path)

    @property
    def is_finished(self) -> bool:
        """Whether its summary is there, which is written last."""
        return (self.path / "summary.json").is_file()

    @property
    def parent(self) -> Path:
        """Where the parent's tensors lie; its manifest is beside them."""
        return self.path / "parent.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The folder that the search is saved in while it runs."""
        return self.path / "checkpoints"

    def child(self, identifier: str) -> Path:
        """Where a child's tensors lie; its manifest is beside them."""
        return self.path / "children" / f"{identifier}.safetensors"

    def export(self, identifier: str, ending: str) -> Path:
        """Where a child lies that was exported from here; makes the folder.

        Raises:
            DataError: The folder cannot be made.
        """
        folder = self.path / "exports"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be made ({error.strerror})") from error
        return folder / f"{identifier}.{ending}"

    def front(self) -> list[dict[str, Any]]:
        """Return the rows of ``front.csv``, see `read_front`."""
        return read_front(self.path / "front.csv")

    def summary(self) -> dict[str, Any]:
        """Return the content of ``summary.json``: ``parent``, ``best``, ``picks`` and more.

        A run of an older version has no picks but the best child.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.path / "summary.json"
        try:
            summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if "picks" not in summary:
                summary["picks"] = {"best": summary["best"]["id"]}
            for name in ("parent", "best", "picks"):
                dict(summary[name])
            return summary
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: expected a run's summary, but {error!r}") from error

    def config(self) -> RunConfig:
        """Return the configuration of the run, from ``config.json``.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.path / "config.json"
        try:
            return RunConfig.from_json_dict(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        except (ArgumentError, ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: expected a run's configuration, but {error}") from error

    def write_text(self, name: str, content: str) -> None:
        """Write a text such as ``baselines.md``."""
        write_atomically(self.path / name, content)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``config.json`` or ``summary.json``."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / name, text)

    def write_rows(
        self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
    ) -> None:
        """Write a table such as ``front.csv``; floats read back bit-equal, None is empty."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path / name, buffer.getvalue())

    def write_logbook(self, logbook: tools.Logbook) -> None:
        """Write ``logbook.csv`` and ``logbook.json``."""
        for name in ("logbook.csv", "logbook.json"):
            export_logbook(logbook, self.path / name)
