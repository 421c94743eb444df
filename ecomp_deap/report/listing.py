"""The runs in a folder, finished or not, as rows and as a table for the terminal."""

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path
from ecomp_deap.errors import DataError
from ecomp_deap.files import naming
from ecomp_deap.report import _aligned as put
from ecomp_deap.report._metric import ACCURACY, MetricWords
from ecomp_deap.runs.directory import RunDirectory, metric_of, read_front
from ecomp_deap.runs.lock import is_locked
from ecomp_deap.runs.places import is_run

__all__ = ["listing", "listing_text"]

_SAVE = re.compile(r"[0-9]{6,12}")
_HEADINGS = ("share", "generations", "seconds", "date")


def listing(out: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return what is known of each run in a folder, by name.

    Each has ``run`` (its path), ``name``, ``state`` (``"finished"``, ``"running"``,
    ``"unfinished"``, or ``"damaged"`` with the reason as ``problem``), the name of the ``metric``
    and its ``value`` of the best child (on test data, where there are any), ``share`` of the
    parent's parameters that the child has, ``generations`` (after the first) and
    ``generations_asked``, ``seconds`` of search and final training, and ``date``, when it was last
    written. What is not known is None.

    Raises:
        DataError: No folder, one that cannot be read, or the folder of a run itself.
    """
    folder = check_path("out", out)
    if is_run(folder):
        raise DataError(f"{folder}: is a run itself; to see it: ecomp-deap show {folder}")
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: expected a folder of runs, but there is none")
    with naming(folder, "read"):
        names = sorted(os.listdir(folder), key=_in_order)
    return [_row(folder / name) for name in names if is_run(folder / name)]


def listing_text(
    rows: Sequence[dict[str, Any]], out: str | os.PathLike[str], *, width: int | None = None
) -> str:
    """Return rows of `listing` as a table; of lines that are no longer than ``width``, if given."""
    if not rows:
        return f"{out}: no runs"
    known = [row["metric"] for row in rows if row["metric"] is not None]
    metrics = [MetricWords(name) for name in dict.fromkeys(known or [ACCURACY])]
    headings = ("run", "state", *(metric.name for metric in metrics), *_HEADINGS)
    cells = [headings, *(_cells(row, metrics) for row in rows)]
    fitting, note = put.fitting(cells, width, spare=("seconds", "date", "generations"))
    lines = put.aligned(fitting, left=(0, 1))
    lines += [f"{row['name']}: {row['problem']}" for row in rows if row["problem"] is not None]
    return "\n".join([*lines, note] if note else lines)


def _in_order(name: str) -> tuple[str, int, str]:
    """Return a key by which ``first_10`` comes behind ``first_9``."""
    stem, _, number = name.rpartition("_")
    if stem and number.isascii() and number.isdigit() and len(number) < 16:
        return stem, int(number), name
    return name, -1, name


def _row(path: Path) -> dict[str, Any]:
    """Return what is known of a run."""
    row: dict[str, Any] = {
        "run": str(path),
        "name": path.name,
        "state": _state(path),
        "problem": None,
        **dict.fromkeys(
            ("metric", "value", "share", "generations", "generations_asked", "seconds")
        ),
        "date": None,
    }
    try:
        row |= {"date": _date(path), "generations_asked": _asked(path)}
        row |= _found(path) if row["state"] == "finished" else {"generations": _saved(path)}
    except DataError as error:
        row |= {"state": "damaged", "problem": str(error)}
    return row


def _state(path: Path) -> str:
    run = RunDirectory(path)
    if run.is_finished:
        return "finished"
    return "running" if is_locked(run.checkpoints) else "unfinished"


def _found(path: Path) -> dict[str, Any]:
    """Return what a finished run found."""
    summary = RunDirectory(path).summary()
    metric = metric_of(summary)["name"]
    best, whole = summary["best"], summary["parent"].get("param_count")
    found = [best.get(f"{samples}_{metric}") for samples in ("test", "validation")]
    timings = path / "timings.csv"
    return {
        "metric": metric,
        "value": next((value for value in found if value is not None), None),
        "share": best["param_count"] / whole if whole and best.get("param_count") else None,
        "generations": len(read_front(timings)) - 1 if os.path.lexists(timings) else None,
        "seconds": sum(summary["seconds"].values()) if summary.get("seconds") else None,
    }


def _asked(path: Path) -> int | None:
    """Return how many generations a run was asked for."""
    options = RunDirectory(path).asked() or {}
    asked = options.get("generations", options.get("evolve.generations"))
    return asked if type(asked) is int and 0 <= asked < 10**12 else None


def _saved(path: Path) -> int | None:
    """Return the generation of an unfinished run that was saved last."""
    checkpoints = path / "checkpoints"
    if not os.path.isdir(checkpoints):
        return None
    with naming(checkpoints, "read"):
        saves = [int(name) for name in os.listdir(checkpoints) if _SAVE.fullmatch(name)]
    return max(saves, default=None)


def _date(path: Path) -> str | None:
    """Return when a run was last written, as ISO 8601 has it."""
    for name in ("summary.json", "checkpoints", "config.json", "front.csv"):
        try:
            seconds = os.stat(path / name).st_mtime
            return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
        except (OSError, ValueError, OverflowError):  # nothing there, or a time that is no date
            continue
    return None


def _cells(row: dict[str, Any], metrics: Sequence[MetricWords]) -> tuple[str, ...]:
    generations, asked = row["generations"], row["generations_asked"]
    done = put.count(generations)
    if asked is not None and generations != asked:
        done += f" of {put.count(asked)}"
    return (
        row["name"],
        row["state"],
        *(put.of_metric(m, row["value"] if m.column == row["metric"] else None) for m in metrics),
        put.share(row["share"]),
        done,
        put.seconds(row["seconds"]),
        put.NOTHING if row["date"] is None else row["date"][:16].replace("T", " "),
    )
