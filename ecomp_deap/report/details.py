"""What a finished run found, or one of its children, for the terminal and for other programs."""

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.files import read_json
from ecomp_deap.report import _aligned as put
from ecomp_deap.report import _words as words
from ecomp_deap.report._children import picked_in
from ecomp_deap.report._found import Found, Row, found_in, widths
from ecomp_deap.report._metric import MetricWords
from ecomp_deap.runs.choosing import find_child, picked, smallest_within, unbeaten
from ecomp_deap.runs.directory import RunDirectory

__all__ = ["child_details", "child_text", "run_details", "run_text"]

# Children of a front that are shown, beside the picks.
_MOST_ROWS = 16
# Tensors whose shapes are shown have so many dimensions at least: no biases.
_LEAST_DIMENSIONS = 2
_LONGEST_SPECIFICATION = 200
# How the best child of a metric is called that no one needs to be told.
_AS_A_RULE = ("accuracy", "smallest within 0.01")


def run_details(run: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a run found: its ``parent``, ``front`` (by size), ``picks``, and more.

    Among it is what ``best`` is: ``"smallest within 0.01"``, the metric's ``tolerance``, of the
    parent's validation accuracy, ``"most accurate"``, or ``"best error"`` say of another metric, as
    none is within that, or ``"highest fitness"``, which is weighted.

    Raises:
        DataError: It is not finished, or a file is damaged.
    """
    found = found_in(run)
    return {
        "run": str(found.path),
        "name": found.name,
        "samples": found.samples,
        **_of_task(found),
        "parent": found.parent,
        "picks": found.picks,
        "best_is": _best_is(found),
        "front": [_with_share(found, row) for row in found.front],
        "generations": found.generations[-1]["generation"] if found.generations else None,
        "summary": found.summary,
        "config": found.config,
    }


def run_text(details: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return what `run_details` has as a table; with the columns that ``width`` has room for."""
    front, parent = details["front"], details["parent"]
    metric = MetricWords(details["metric"], details["maximise"])
    quantity = f"{details['samples']}_{metric.column}"
    by_child = picked(details["picks"], (row["id"] for row in front))
    best = next((row for row in front if "best" in by_child.get(row["id"], ())), None)
    lines = [f"{details['name']}: {len(front)} children"]
    if best is not None:
        value = put.spaced(metric.phrase(best[quantity], details["samples"]))
        lines = [
            f"{details['name']}: {value} with {put.share(best['share'])} of the parameters, "
            f"child {best['id']}"
        ]
        lines += _why_best(metric, details)
    lines.append(_facts(details))
    if width is not None:
        lines = [put.wrapped(line, width) for line in lines]
    shown, which = _chosen(front, by_child, metric, quantity)
    headings = ["child", "test", "validation", "parameters", "share", "similarity", "picks"]
    cells = [headings, _cells(metric, "parent", {**parent, "share": 1.0}, ())]
    cells += [_cells(metric, row["id"], row, by_child.get(row["id"], ())) for row in shown]
    if details["samples"] != "test":
        cells = [[row[0], *row[2:]] for row in cells]
    spare = ["similarity", "share"]
    spare += ["validation"] if details["samples"] == "test" else []
    cells, note = put.fitting(cells, width, spare=spare)
    lines += ["", *put.aligned(cells, left=(0, len(cells[0]) - 1))]
    if note:
        lines += ["", note]
    if which:
        rest = f"{len(shown)} of {len(front)} children: {which}; front.csv has all"
        lines += ["", rest if width is None else put.wrapped(rest, width)]
    missing = [word for word, name in details["picks"].items() if name is None]
    if missing:
        lines += ["", f"none: {', '.join(map(metric.pick_title, missing))}"]
    return "\n".join(lines)


def child_details(run: str | os.PathLike[str], child: str) -> dict[str, Any]:
    """Return what is known of a child, and of the parent beside it.

    It has the rows of ``child`` and ``parent``, the ``picks`` that choose it, ``best_is`` as in
    `run_details`, ``groups`` with the ``units`` kept ``of`` the parent's, ``tensors`` with their
    shapes in the child and, where the manifest tells, in the parent, and the ``factory`` that
    makes a network of the parent's class, where one was given.

    Args:
        run: The folder of a finished run.
        child: An id, one of the run's picks or what else `find_child` takes.

    Raises:
        ArgumentError: No such child.
        DataError: It is not finished, or a file is damaged.
    """
    found = found_in(run)
    directory = RunDirectory(found.path)
    identifier = find_child(directory, child)
    row = next(row for row in found.front if row["id"] == identifier)
    return {
        "run": str(found.path),
        "name": found.name,
        **_of_task(found),
        "child": _with_share(found, row),
        "parent": found.parent,
        "picks": picked_in(found).get(row["id"], []),
        "best_is": _best_is(found),
        "groups": [
            {"name": name, "units": units, "of": whole}
            for name, units, whole in zip(
                found.groups, widths(row), widths(found.parent), strict=False
            )
        ],
        "tensors": _tensors(directory, row["id"]),
        "factory": found.factory,
    }


def child_text(details: Mapping[str, Any]) -> str:
    """Return what `child_details` has as tables."""
    child, parent = details["child"], details["parent"]
    metric = MetricWords(details["metric"], details["maximise"])
    title = f"child {child['id']} of {details['name']}"
    if details["picks"]:
        title += f": {metric.pick_titles(details['picks'])} on validation data"
    lines = [title, *(_why_best(metric, details) if "best" in details["picks"] else [])]
    figures = [["", "child", "parent", ""]]
    for heading, column, text in (*_of_metric(metric), *_FIGURES):
        own, whole = child.get(column), parent.get(column)
        if own is not None:
            compared = _compared(metric, column, own, whole)
            figures.append([heading, text(own), text(whole), compared])
    lines += ["", *put.aligned(figures)]
    if details["groups"]:
        rows = [["units", "child", "parent", ""]]
        for group in details["groups"]:
            kept = put.share(group["units"] / group["of"]) if group["of"] else put.NOTHING
            rows.append([group["name"], put.count(group["units"]), put.count(group["of"]), kept])
        lines += ["", *put.aligned(rows)]
    tensors = [t for t in details["tensors"] if len(t["child"]) >= _LEAST_DIMENSIONS]
    if tensors:
        shapes = [[t["name"], _shape(t["child"]), _shape(t["parent"])] for t in tensors]
        lines += ["", *put.aligned([["tensors", "child", "parent"], *shapes])]
    export = ["ecomp-deap", "export", details["run"], "--child", child["id"], "--format", "pt2"]
    if isinstance(details["factory"], str):
        export += ["--factory", details["factory"]]
    return "\n".join([*lines, "", f"to take it along: {shlex.join(export)}"])


_FIGURES = (
    ("parameters", "param_count", put.count),
    ("MACs", "mac_count", put.count),
    ("bytes", "size_bytes", put.count),
    ("latency in ms", "latency_ms", put.number),
    ("similarity loss", "similarity_loss", put.number),
)


def _of_task(found: Found) -> dict[str, Any]:
    """Return what is told of the task's metric."""
    metric = found.metric
    return {"metric": metric.column, "maximise": metric.maximise, "tolerance": found.tolerance}


def _of_metric(metric: MetricWords) -> list[tuple[str, str, Any]]:
    """Return the figures that a metric has, as there are others in ``_FIGURES``."""
    found = []
    text = partial(put.of_metric, metric)
    for samples in ("test", "validation"):
        column = f"{samples}_{metric.column}"
        found += [
            (f"{samples} {metric.name}", column, text),
            ("before training", f"{column}_before", text),
        ]
    return found


def _compared(metric: MetricWords, column: str, own: Any, whole: Any) -> str:
    """Return how a child's figure differs from its parent's."""
    if whole is None:
        return ""
    for samples in ("test", "validation"):
        if column == f"{samples}_{metric.column}":
            return f"{samples}: {metric.difference(own - whole)}"
    return put.share(own / whole) if column.endswith(("_count", "_bytes", "_ms")) and whole else ""


def _best_is(found: Found) -> str:
    """Return which child is the best, see `run_details`."""
    if found.is_weighted:
        return "highest fitness"
    metric, column = found.metric, f"validation_{found.metric.column}"
    whole, *values = [row.get(column) for row in (found.parent, *found.front)]
    if whole is not None and None not in values:
        try:
            smallest_within(
                found.tolerance,
                [float(value) for value in values if value is not None],
                [row["param_count"] for row in found.front],
                parent_value=whole,
                maximise=metric.maximise,
            )
        except ArgumentError:
            return "most accurate" if metric.is_accuracy else f"best {metric.name}"
    return f"smallest within {found.tolerance:.3g}"


def _why_best(metric: MetricWords, details: Mapping[str, Any]) -> list[str]:
    """Return a line on what the best child is, where it is not what it is as a rule."""
    best_is, allowed = details["best_is"], details["tolerance"]
    if (metric.column, best_is) == _AS_A_RULE:
        return []
    if best_is == "highest fitness":
        return ["best: the child of the highest weighted fitness"]
    if best_is.startswith("smallest"):
        near = metric.at_most(allowed)
        return [f"best: the smallest child whose validation {metric.name} is {near} the parent's"]
    best = f"child of the best validation {metric.name}"
    best = "most accurate child on validation data" if metric.is_accuracy else best
    return [f"best: the {best}, as none is within {metric.amount(allowed)} of the parent"]


def _facts(details: Mapping[str, Any]) -> str:
    """Return what the run took, as far as its summary tells."""
    summary = details["summary"]
    took = summary.get("seconds") or {}
    parts = []
    if details["generations"] is not None:
        parts.append(f"{put.count(details['generations'])} generations")
    if "evaluations" in summary:
        parts.append(f"{put.count(summary['evaluations'])} evaluations")
    for part, name in (("search", "search"), ("finalise", words.end_of(summary))):
        if part in took:
            parts.append(f"{put.seconds(took[part])} s of {name}")
    if isinstance(summary.get("seed"), int):
        parts.append(f"seed {summary['seed']}")
    if isinstance(summary.get("stopped"), str):
        parts.append(f"ended early: {summary['stopped']}")
    return ", ".join(parts)


def _cells(metric: MetricWords, name: str, row: Row, picks: Sequence[str]) -> list[str]:
    return [
        name,
        put.of_metric(metric, row.get(f"test_{metric.column}")),
        put.of_metric(metric, row.get(f"validation_{metric.column}")),
        put.count(row["param_count"]),
        put.share(row["share"]),
        put.number(row.get("similarity_loss")),
        ", ".join(map(metric.pick_label, picks)),
    ]


def _with_share(found: Found, row: Row) -> dict[str, Any]:
    return {**row, "share": found.share(row)}


def _chosen(
    front: Sequence[dict[str, Any]], by_child: Mapping[str, Any], metric: MetricWords, quantity: str
) -> tuple[list[dict[str, Any]], str]:
    """Return the rows to show, and which they are; that is empty for all.

    They are those that no other beats, some of many at even distances, and the picks.
    """
    validation = f"validation_{metric.column}"
    if all(row.get(validation) is not None for row in front):
        quantity = validation
    values, counts = ([row[name] for row in front] for name in (quantity, "param_count"))
    best = unbeaten(values, counts, maximise=metric.maximise)
    n = min(len(best), _MOST_ROWS)
    places = {best[round(i * (len(best) - 1) / max(n - 1, 1))] for i in range(n)}
    places |= {i for i, row in enumerate(front) if row["id"] in by_child}
    shown = [front[i] for i in sorted(places)]
    if len(shown) == len(front):
        return shown, ""
    which = f"that no other beats in both size and {quantity.replace('_', ' ')}"
    few = not places.issuperset(best)
    which = f"evenly from the {len(best)} {which}" if few else f"those {which}"
    return shown, which if places <= set(best) else f"picks, and {which}"


def _tensors(run: RunDirectory, identifier: str) -> list[dict[str, Any]]:
    """Return the shapes of a child's tensors and of its parent's, as its manifest has them."""
    path: Path = run.child(identifier).with_suffix(".json")
    if not os.path.lexists(path):
        return []
    manifest = read_json(path, what="a child's manifest")
    own = manifest.get("tensors", {}) if isinstance(manifest, dict) else None
    parent = (manifest.get("parent") or {}) if isinstance(own, dict) else None
    whole = parent.get("tensors", {}) if isinstance(parent, dict) else None
    if not isinstance(own, dict) or not isinstance(whole, dict):
        raise DataError(f"{path}: expected a child's manifest with tensors, but it has none")
    return [
        {"name": name, "child": _sizes(path, text), "parent": _sizes(path, whole.get(name, "[]"))}
        for name, text in own.items()
    ]


def _sizes(path: Path, text: Any) -> list[int]:
    """Return the shape in a specification such as ``float32[10, 256]``."""
    if isinstance(text, str) and len(text) <= _LONGEST_SPECIFICATION and text.endswith("]"):
        parts = [part.strip() for part in text[:-1].partition("[")[2].split(",")]
        if parts == [""]:
            return []
        if all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
            return [int(part) for part in parts]
    raise DataError(f"{path}: expected the shapes of tensors, such as 'float32[10, 256]'")


def _shape(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes)) or put.NOTHING
