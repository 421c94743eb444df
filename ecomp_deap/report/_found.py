"""What a run's folder tells to a page."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path
from ecomp_deap.defaults import WEIGHTED_SELECTIONS
from ecomp_deap.errors import DataError
from ecomp_deap.files import read_json
from ecomp_deap.logbook import read_logbook
from ecomp_deap.report._metric import MetricWords
from ecomp_deap.runs.directory import RunDirectory, metric_of, read_front
from ecomp_deap.runs.shapes import check_shape, is_count, is_number, is_object, optional

Row = Mapping[str, Any]

# Generations of a longer search that are drawn, evenly: more are no more to the eye.
_MOST_GENERATIONS = 500


@dataclass(frozen=True)
class Planes:
    """How networks lay out the same samples on a plane.

    Attributes:
        layer: Of which they are the embeddings.
        labels: Of the samples; None where they have none.
        points: By ``parent`` or a child's id, x and y of each sample.
    """

    layer: str
    labels: list[int] | None
    points: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Birth:
    """A generation in which a child, or whom it was copied from, was varied and measured.

    Attributes:
        generation: Its number.
        events: Names of operators; of a crossover with the generation of the mate's birth,
            ``cxUniformUnits@3``.
        param_count: Parameters it then had.
        metric: What was measured then, on the generation's batch.
    """

    generation: int
    events: list[str]
    param_count: int
    metric: float


@dataclass(frozen=True)
class Found:
    """A finished run.

    Attributes:
        name: Of its folder.
        path: Its folder, as it was given.
        front: The rows of its children, from the smallest to the largest.
        parent: The parent's row.
        picks: Ids of children worth a look by their word, None where there is no such child.
        summary: The content of its ``summary.json``.
        config: What it was asked, by option; None where the folder does not tell.
        generations: Rows of the logbook, some of a long one; none where the folder has none.
        timings: What was timed of the same generations, likewise.
        metric: What is said of the task's metric, by default accuracy.
        samples: What its values are of, ``test`` or, where a child has none there, ``validation``.
        groups: Names of the groups of units.
        planes: How parent and picks lay out samples, see `Planes`; None where that is not known.
        births: By id, how each child came about, see `Birth`; empty where that is not known.
        factory: What makes a network of the parent's class, None where that is known.
    """

    name: str
    path: Path
    front: list[dict[str, Any]]
    parent: dict[str, Any]
    picks: dict[str, str | None]
    summary: dict[str, Any]
    config: dict[str, Any] | None
    generations: list[dict[str, Any]]
    timings: list[dict[str, Any]]
    metric: MetricWords
    samples: str
    groups: list[str]
    planes: "Planes | None"
    births: "dict[str, list[Birth | None]]"
    factory: str | None

    @property
    def quantity(self) -> str:
        """The column of the metric that is shown."""
        return f"{self.samples}_{self.metric.column}"

    @property
    def tolerance(self) -> float:
        """How much worse than the parent's the best child's metric may be, see `Metric`."""
        given = metric_of(self.summary)["tolerance"]
        whole = self.parent.get(f"validation_{self.metric.column}") or 0.0
        return float(0.01 * abs(whole) if given is None else given)

    @property
    def is_weighted(self) -> bool:
        """Whether children were selected by a weighted sum."""
        asked = self.config or {}
        fitness = asked.get("fitness")  # of Python; the others are the command's
        return (
            asked.get("loss_weights") is not None
            or asked.get("selection") in WEIGHTED_SELECTIONS
            or (isinstance(fitness, dict) and "loss_weights" in fitness)
        )

    def child(self, identifier: str | None) -> dict[str, Any] | None:
        """Return a child's row, None for one that is not there."""
        return next((row for row in self.front if row["id"] == identifier), None)

    def share(self, row: Row) -> float:
        """Return a row's parameters in units of the parent's."""
        return float(row["param_count"]) / float(self.parent["param_count"])


def found_in(directory: str | os.PathLike[str]) -> Found:
    """Read a finished run.

    Front and summary must be there; what an older version did not write may be missing.

    Raises:
        DataError: It is not finished, or a file is damaged, or holds what cannot be shown.
    """
    path = check_path("run", directory)
    run = RunDirectory(path)
    if not run.is_finished and os.path.isfile(path / "config.json"):
        raise DataError(f"{path}: the run is not finished; to go on: ecomp-deap resume {path}")
    summary = RunDirectory.open(path).summary()
    front, parent = run.front(), summary["parent"]
    metric = MetricWords.of(summary)
    tested = _all_have(f"test_{metric.column}", [*front, parent])
    samples = "test" if tested else "validation"
    _check_shown(path, [*front, parent], f"{samples}_{metric.column}")
    config = run.asked()
    rows = _optional(path / "logbook.csv", read_logbook)
    timings = _optional(path / "timings.csv", read_front)
    front.sort(key=lambda row: row["param_count"])
    return Found(
        name=Path(os.path.abspath(path)).name,
        path=path,
        front=front,
        parent=parent,
        picks=dict(summary["picks"]),
        summary=summary,
        config=config,
        generations=_some(rows),
        timings=_some(timings),
        metric=metric,
        samples=samples,
        groups=run.groups(front[0]),
        planes=_planes(path / "embeddings.json"),
        births=_births(path / "lineage.json"),
        factory=(config or {}).get("factory"),
    )


def names_of(runs: Sequence[Found]) -> list[str]:
    """Return a name for each run, its path where the folder's is another's too."""
    own = [run.name for run in runs]
    return [str(run.path) if own.count(run.name) > 1 else run.name for run in runs]


def samples_of(runs: Sequence[Found]) -> str:
    """Return what the values of the runs' metric are of.

    Raises:
        DataError: Some have test data and others have none, or they have other metrics.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.metric != first.metric:
            expected = f"expected the metric {first.metric.full_name!r}, as of {first.path}"
            raise DataError(f"{run.path}: {expected}, got {run.metric.full_name!r}")
        if run.samples != first.samples:
            values = "accuracies" if first.metric.is_accuracy else f"values of {first.metric.name}"
            raise DataError(f"{run.path}: expected {first.samples} {values}, as of {first.path}")
    return first.samples


def widths(row: Row) -> list[int]:
    """Return the units that a row keeps in each group, none where it does not tell.

    >>> widths({"widths": "122-230"})
    [122, 230]
    """
    parts = str(row.get("widths") or "").split("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        return []
    return [int(part) for part in parts]


def _check_shown(path: Path, rows: Sequence[Row], quantity: str) -> None:
    """Check that there are children, each with what no page goes without."""
    if len(rows) < 2:
        raise DataError(f"{path}: expected children in front.csv, but it has none")
    for row in rows:
        of = f"{path}: {row.get('id') or 'a row'!r}"
        if not row.get("param_count"):
            raise DataError(f"{of}: expected a number of parameters, got {row.get('param_count')}")
        if row.get(quantity) is None:
            raise DataError(f"{of}: expected a {quantity}, got none")
    names = [row["id"] for row in rows[:-1]]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: expected an id of its own for each child in front.csv")


def _all_have(name: str, rows: Sequence[Row]) -> bool:
    return all(row.get(name) is not None for row in rows)


def _optional(path: Path, read: Any) -> list[dict[str, Any]]:
    """Return the rows of a table, none where the file is missing."""
    if not os.path.lexists(path):
        return []
    try:
        return list(read(path))
    except csv.Error as error:
        raise DataError(f"{path}: expected a table, but {error}") from error


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows at even distances, both ends among them, each with its generation."""
    found = [{**row, "generation": i} for i, row in enumerate(rows)]
    if len(found) <= _MOST_GENERATIONS:
        return found
    step = (len(found) - 1) / (_MOST_GENERATIONS - 1)
    return [found[round(i * step)] for i in range(_MOST_GENERATIONS)]


def _planes(path: Path) -> Planes | None:
    """Return what is in ``embeddings.json``, None where there is none."""
    if not os.path.lexists(path):
        return None
    content = read_json(path, what="embeddings")
    try:
        check_shape(
            content, {"layer": _is_text, "labels": optional([is_count]), "points": is_object}
        )
        check_shape(list(content["points"].values()), [[[is_number]]])
        found = Planes(**content)
        lengths = {len(points) for points in found.points.values()}
        if found.labels is not None:
            lengths.add(len(found.labels))
        if len(lengths) != 1 or "parent" not in found.points:
            raise ValueError("its points are not of the same samples, or none are the parent's")
        if any(len(point) != 2 for points in found.points.values() for point in points):
            raise ValueError("it has a point that has not x and y")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: expected embeddings, but {error}") from error
    return found


def _births(path: Path) -> dict[str, list[Birth | None]]:
    """Return what is in ``lineage.json``, None in place of births that are left out."""
    if not os.path.lexists(path):
        return {}
    content = read_json(path, what="a lineage")
    try:
        check_shape(content, is_object)
        return {
            name: [Birth(*_birth(part)) if part else None for part in parts]
            for name, parts in content.items()
        }
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a lineage, but {error}") from error


def _birth(part: Any) -> list[Any]:
    generation, events, param_count, metric = part
    check_shape([generation, param_count], [is_count])
    check_shape(metric, is_number)
    check_shape(events, [_is_text])
    return list(part)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def finite(value: Any) -> bool:
    """Return whether a value is a number that can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)
