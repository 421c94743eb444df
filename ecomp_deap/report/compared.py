"""Runs side by side: what their best children are worth, by name, and what they were asked."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.report import _aligned as put
from ecomp_deap.report import _words as words
from ecomp_deap.report._found import Found, finite, found_in, names_of, samples_of
from ecomp_deap.report._metric import MetricWords

__all__ = ["compared", "compared_text"]

# Figures of a run of which groups have mean and spread.
_FIGURES = ("value", "share", "hypervolume", "seconds")
# Columns that go first where there is no room for all.
_SPARE = ("seconds", "generations", "hypervolume")
# Options that say where, and not what.
_ASIDE = ("name", "out", "n_runs", "quiet")
_FINALISE = "finalise_"
_NUMBERED = re.compile(r"(.+)_[0-9]+")
_LONGEST = 60


def compared(runs: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Return what finished runs found, beside each other.

    It has the name of the ``metric``, and whether to ``maximise`` it; ``runs``, each with the
    metric's ``value`` of its best child and the child's ``share`` of the parent's parameters, the
    ``hypervolume`` of its last generation, ``seconds`` and more, and ``differences`` from the first
    run; ``groups`` of the runs ``NAME_1``, ``NAME_2`` …, with mean and standard deviation (None of
    a single run); and ``options``, each with the value that every run had, where they differ; those
    of the parent's training and of the final training only if a run had that.

    Raises:
        ArgumentError: Fewer than two runs.
        DataError: One is not finished or damaged, some have test data and others have none, or
            they have other metrics.
    """
    if len(runs) < 2:
        raise argument_error("runs", "at least two", list(map(str, runs)))
    found = [found_in(run) for run in runs]
    samples, names = samples_of(found), names_of(found)
    rows = [_row(name, run) for name, run in zip(names, found, strict=True)]
    for row in rows:
        pairs = {figure: (row[figure], rows[0][figure]) for figure in _FIGURES}
        row["differences"] = {
            figure: None if None in (own, first) else own - first
            for figure, (own, first) in pairs.items()
        }
    return {
        "samples": samples,
        "metric": found[0].metric.column,
        "maximise": found[0].metric.maximise,
        "runs": rows,
        "groups": _groups(rows),
        "options": _options(names, found),
    }


def compared_text(comparison: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return what `compared` has as tables; with the columns that ``width`` has room for."""
    rows = comparison["runs"]
    metric = MetricWords(comparison["metric"], comparison["maximise"])
    headings = ("run", metric.name, "", "share", "", "hypervolume", "generations", "seconds")
    cells = [headings, *(_cells(metric, row, first=row is rows[0]) for row in rows)]
    fitting, note = put.fitting(cells, width, spare=_SPARE)
    differing = "how much more or less than the first run's, of shares in points"
    differing = "points from the first run's" if metric.is_accuracy else differing
    title = f"best children, {comparison['samples']} {metric.full_name}; in brackets: {differing}"
    lines = [put.wrapped(title, width or 80), "", *put.aligned(fitting)]
    lines += ["", note] if note else []
    groups = [group for group in comparison["groups"] if group["n_runs"] > 1]
    if groups:
        names = ("name", "runs", metric.name, *_FIGURES[1:])
        spread = [names, *(_group_cells(metric, group) for group in comparison["groups"])]
        fitting, note = put.fitting(spread, width, spare=_SPARE)
        lines += ["", "mean ± standard deviation of the runs of a name", ""]
        lines += [*put.aligned(fitting), *(["", note] if note else [])]
    lines += ["", "options that differ" if comparison["options"] else "the options are the same"]
    for option, values in comparison["options"].items():
        lines.append(put.filled(f"  {option}", _values(values), width=width))
    return "\n".join(lines)


def _row(name: str, run: Found) -> dict[str, Any]:
    """Return a run's figures."""
    best = run.child(run.picks.get("best"))
    took = run.summary.get("seconds") or {}
    last = run.timings[-1].get("hypervolume") if run.timings else None
    stem = _NUMBERED.fullmatch(run.name)
    return {
        "run": str(run.path),
        "name": name,
        "group": stem[1] if stem else run.name,
        "best": None if best is None else best["id"],
        "value": None if best is None else best[run.quantity],
        "parent_value": run.parent[run.quantity],
        "param_count": None if best is None else best["param_count"],
        "share": None if best is None else run.share(best),
        "n_children": len(run.front),
        "hypervolume": last if finite(last) else None,
        "generations": run.timings[-1]["generation"] if run.timings else None,
        "evaluations": run.summary.get("evaluations"),
        "seconds": sum(took.values()) if took else None,
    }


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of the runs of each name."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(row["group"], []).append(row)
    found = []
    for name, own in members.items():
        group: dict[str, Any] = {"name": name, "n_runs": len(own)}
        for figure in _FIGURES:
            group[figure] = _spread([row[figure] for row in own if row[figure] is not None])
        found.append(group)
    return found


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the standard deviation of values, each None where there is none."""
    try:
        mean = fmean(values) if values else None
        return {"mean": mean, "std": stdev(values) if len(values) > 1 else None}
    except (OverflowError, AttributeError):  # beyond what a float holds; the second before 3.12
        return {"mean": None, "std": None}


def _options(names: Sequence[str], runs: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """Return the options in which runs differ, with each run's value; None where it has none."""
    configs = [run.config or {} for run in runs]
    for run, config in zip(runs, configs, strict=True):
        try:
            json.dumps(config)
        except RecursionError as error:
            raise DataError(f"{run.path / 'config.json'}: it is nested too deeply") from error
    options = dict.fromkeys(option for config in configs for option in config)
    found = {}
    for option in options:
        values = [config.get(option) for config in configs]
        counts = option not in _ASIDE and any(_has_effect(option, config) for config in configs)
        if counts and any(value != values[0] for value in values):
            found[option] = dict(zip(names, values, strict=True))
    return found


def _has_effect(option: str, config: Mapping[str, Any]) -> bool:
    """Return whether a run could not have gone without an option, as far as its others tell."""
    if option == "parent_epochs":
        return config.get("parent") is None
    if option.startswith(_FINALISE):
        others = {"finalise_count", "finalise_epochs"} - {option}
        return all(config.get(other) != 0 for other in others)
    return True


def _cells(metric: MetricWords, row: Mapping[str, Any], *, first: bool) -> tuple[str, ...]:
    difference = words.points if metric.is_accuracy else metric.difference
    return (
        row["name"],
        put.of_metric(metric, row["value"]),
        "" if first else _bracketed(row["differences"]["value"], difference),
        put.share(row["share"]),
        "" if first else _bracketed(row["differences"]["share"], words.points),
        put.number(row["hypervolume"]),
        put.count(row["generations"]),
        put.seconds(row["seconds"]),
    )


def _bracketed(difference: float | None, text: Callable[[float], str]) -> str:
    return "" if difference is None else f"({text(difference)})"


def _group_cells(metric: MetricWords, group: Mapping[str, Any]) -> tuple[str, ...]:
    of_metric = partial(put.of_metric, metric)
    texts: tuple[Callable[[Any], str], ...] = (of_metric, put.share, put.number, put.seconds)
    cells = []
    for figure, text in zip(_FIGURES, texts, strict=True):
        mean, std = group[figure]["mean"], group[figure]["std"]
        spread = "" if std is None else f" ± {text(std)}"
        cells.append(text(mean).removesuffix(" %" if spread else "") + spread)
    return (group["name"], put.count(group["n_runs"]), *cells)


def _values(values: Mapping[str, Any]) -> str:
    """Return each value once, with the runs that had it."""
    together: dict[str, list[str]] = {}
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        text = "none" if value is None else text
        short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        together.setdefault(short, []).append(name)
    return ", ".join(f"{text} ({', '.join(names)})" for text, names in together.items())
