"""The page of a run: one HTML file that shows what was found, and needs no network.

All that comes from files is untrusted: the template escapes it, and what a figure shows of it is
escaped here.
"""

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path, check_sequence, installed
from ecomp_deap.errors import argument_error
from ecomp_deap.files import make_folder, write_atomically
from ecomp_deap.report import _canvas as canvas
from ecomp_deap.report import _charts as charts
from ecomp_deap.report import _words as words
from ecomp_deap.report._cards import card_of, name_of, tip_of
from ecomp_deap.report._children import axes_of, groups_of, picked_in
from ecomp_deap.report._found import Found, Row, found_in
from ecomp_deap.report._several import several_context

__all__ = ["write_report"]

_NEEDS = "the page of a run"


def write_report(
    runs: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str] | None = None
) -> Path:
    """Write the page of a run, or of several that are compared, and return its path.

    Args:
        runs: Folders of finished runs.
        out: Where to; by default ``report.html`` in the first of them.

    Raises:
        ArgumentError: No run, or Bokeh is not installed.
        DataError: A run is not finished or damaged, or the page cannot be written.
    """
    if not check_sequence("runs", runs, "folders of runs"):
        raise argument_error("runs", "at least one", runs)
    jinja2 = installed("jinja2", extra="report", what=_NEEDS)
    canvas.bokeh("plotting")
    found = [found_in(run) for run in runs]
    path = found[0].path / "report.html" if out is None else check_path("out", out)
    template, context = (
        ("run.html.jinja", _run_context(found[0]))
        if len(found) == 1
        else ("several.html.jinja", several_context(found))
    )
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    library, script, divs = canvas.embedded(context.pop("plots"))
    ours = {
        name: (folder / f"page.{ending}").read_text(encoding="utf-8")
        for name, ending in (("style", "css"), ("behaviour", "js"))
    }
    text = environment.get_template(template).render(
        **context, **ours, library=library, script=script, divs=divs
    )
    make_folder(path.parent)
    write_atomically(path, text)
    return path


def _run_context(run: Found) -> dict[str, Any]:
    """Return what the template of one run is filled with."""
    picked = picked_in(run)
    cards = [card_of(run, i, picked.get(row["id"], [])) for i, row in enumerate(run.front)]
    plots: dict[str, Any] = {}
    groups = groups_of(run, picked)
    plots |= _children_plots(run, picked, groups)
    history = _history(run)
    planes = _planes(run, picked)
    plots |= {key: plot for key, _, plot in history}
    plots |= {key: plot for key, _, _, plot in planes}
    return {
        "run": run,
        "metric": run.metric,
        "title": run.name,
        "plots": plots,
        "lead": _lead(run),
        "cards": cards,
        "groups": groups,
        "picks": _pick_list(run),
        "rule": _rule_of_the_best(run),
        "history": [(key, heading) for key, heading, _ in history],
        "planes": [entry[:-1] for entry in planes],
        "layer": None if run.planes is None else run.planes.layer,
        "has_latency": any(row.get("latency_ms") is not None for row in run.front),
        "has_before": _was_trained(run),
        "parent": card_of(run, None, []),
        "facts": _facts(run),
        "config": sorted((run.config or {}).items()),
        "versions": run.summary.get("versions") or {},
    }


def _lead(run: Found) -> dict[str, str]:
    """Return what was found, in a heading and a sentence."""
    best = run.child(run.picks.get("best"))
    parent, quantity, metric = run.parent, run.quantity, run.metric
    whole = metric.text(parent[quantity])
    if metric.is_accuracy:
        kind = "new test images" if run.samples == "test" else "validation images"
        does = f"classifies {whole} of {kind} correctly"
    else:
        does = f"has a {run.samples} {metric.name} of {whole}"
    begin = f"The parent network has {words.count(parent['param_count'])} parameters and {does}."
    if best is None:
        return {"heading": f"{len(run.front)} smaller networks", "sentence": begin}
    share, own = words.share(run.share(best)), metric.text(best[quantity])
    does = f"classifies {own} correctly" if metric.is_accuracy else f"has {own}"
    return {
        "heading": words.capital(f"{metric.phrase(best[quantity])} with {share} of the parameters"),
        "sentence": f"{begin} The best child keeps {words.count(best['param_count'])} of them, "
        f"{share}, and {does}: {metric.compared(best[quantity] - parent[quantity])} the parent.",
    }


def _facts(run: Found) -> str:
    """Return what the search took, as a sentence; empty where the summary does not tell."""
    summary, took = run.summary, run.summary.get("seconds") or {}
    if "evaluations" not in summary or "search" not in took:
        return ""
    text = (
        f"The search made {words.count(summary['evaluations'])} evaluations in "
        f"{words.seconds(took['search'])}"
    )
    if took.get("finalise") and _was_trained(run):
        text += f"; the final training of some took {words.seconds(took['finalise'])}"
    return f"{text}."


def _was_trained(run: Found) -> bool:
    """Return whether some children had a final training."""
    return any(row.get(f"{run.quantity}_before") is not None for row in run.front)


def _pick_list(run: Found) -> list[dict[str, Any]]:
    """Return what is told of each pick, in the order of the summary."""
    found = []
    together: dict[str | None, list[str]] = {}
    for word, name in run.picks.items():
        # What is not there is an entry of its own.
        key = name if run.child(name) is not None else f"{word}:none"
        together.setdefault(key, []).append(word)
    for name, picks in together.items():
        row = run.child(name)
        entry: dict[str, Any] = {"title": run.metric.pick_titles(picks), "card": None}
        if row is not None:
            entry |= {
                "card": name_of(run.front.index(row), row),
                "id": row["id"],
                "share": words.share(run.share(row)),
                "value": run.metric.text(row[run.quantity]),
                "than": run.metric.compared(row[run.quantity] - run.parent[run.quantity]),
            }
        found.append(entry)
    return found


def _rule_of_the_best(run: Found) -> str:
    """Return which child is called the best."""
    if run.is_weighted:
        return "The best child is the one with the highest weighted sum."
    return (
        f"The best child is the smallest one whose validation {run.metric.name} is "
        f"{run.metric.at_most(run.tolerance)} the parent’s, or if there is none the one that comes "
        "nearest."
    )


def _children_plots(
    run: Found, picked: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Return the front, and several children in parallel coordinates; they share a selection."""
    front, quantity = run.front, run.quantity
    axes, columns = axes_of(run)
    places = [list(range(len(axes)))] * len(front)
    source = charts.children_source(
        {
            "x": [run.share(row) for row in front],
            "y": [row[quantity] for row in front],
            "px": places,
            "py": [list(heights) for heights in zip(*columns, strict=True)],
            "tip": [tip_of(run, row, picked.get(row["id"], [])) for row in front],
            "card": [name_of(i, row) for i, row in enumerate(front)],
        }
    )
    trained = [row for row in front if row.get(f"{quantity}_before") is not None]
    plot = charts.front_plot(
        source,
        groups=groups,
        parent=(run.parent[quantity], f"parent, {run.metric.text(run.parent[quantity])}"),
        before=(
            [run.share(row) for row in trained],
            [row[f"{quantity}_before"] for row in trained],
            [row[quantity] for row in trained],
        ),
        labels=[
            (run.share(row), row[quantity], words.listed([_unbroken(run, w) for w in picks]))
            for row in front
            if (picks := picked.get(row["id"]))
        ],
        y_label=run.metric.title(run.samples),
        of=run.metric.column,
        maximise=run.metric.maximise,
    )
    if len(front) == 1:
        return {"front": plot}
    return {"front": plot, "parallel": charts.parallel_plot(source, groups=groups, axes=axes)}


def _unbroken(run: Found, word: str) -> str:
    """Return a pick's short name that stays in one line."""
    return run.metric.pick_label(word).replace(" ", "\u00a0")


def _planes(
    run: Found, picked: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, str | None, Any]]:
    """Return key, heading, card and plot of how parent and picks lay out the same samples."""
    if run.planes is None:
        return []
    found: list[tuple[str, str, str | None, Any]] = []
    everywhere = [abs(v) for points in run.planes.points.values() for xy in points for v in xy]
    reach = 1.06 * max(everywhere, default=1.0) or 1.0
    for i, (name, points) in enumerate(run.planes.points.items()):
        row, heading, card = run.child(name), "Parent", None
        if row is not None:
            labels = [run.metric.pick_label(word) for word in picked.get(name, [])]
            heading = f"Child {name}" + (f", {words.listed(labels)}" if labels else "")
            card = name_of(run.front.index(row), row)
        elif name != "parent":
            continue
        plot = charts.plane_plot(points, run.planes.labels, reach=reach)
        found.append((f"plane_{i}", heading, card, plot))
    return found


def _history(run: Found) -> list[tuple[str, str, Any]]:
    """Return key, heading and plot of each quantity that was recorded over the generations."""
    found = []
    rows = run.generations
    gens = [row["generation"] for row in rows]
    metric = run.metric
    for chapter, heading, of, text in (
        (metric.column, metric.title(), metric.column, metric.text),
        ("param_count", "Parameters", "counts", words.count),
        ("similarity_loss", "Similarity loss", "numbers", words.number),
    ):
        columns = {s: _numbers(rows, f"{chapter}_{s}") for s in ("min", "mean", "max")}
        if rows and any(map(math.isfinite, columns["mean"])):
            tips = [_history_tip(row, chapter, text) for row in rows]
            plot = charts.band_plot(gens, columns, tips=tips, of=of)
            found.append((f"history_{chapter}", heading, plot))
    timed = run.timings
    for column, heading in (
        ("hypervolume", "Hypervolume"),
        ("seconds", "Seconds per generation"),
    ):
        values = _numbers(timed, column)
        if any(map(math.isfinite, values)):
            tips = [
                f"<b>Generation {row['generation']}</b><br>{escape(words.number(row.get(column)))}"
                for row in timed
            ]
            gens = [row["generation"] for row in timed]
            plot = charts.band_plot(gens, {"mean": values}, tips=tips, of="numbers")
            found.append((f"history_{column}", heading, plot))
    return found


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    """Return a column, NaN where it has no number."""
    found = (row.get(column) for row in rows)
    return [float(v) if isinstance(v, (int, float)) else math.nan for v in found]


def _history_tip(row: Row, chapter: str, text: Any) -> str:
    values = {s: row.get(f"{chapter}_{s}") for s in ("mean", "min", "max")}
    if not all(isinstance(v, (int, float)) for v in values.values()):
        return f"<b>Generation {row['generation']}</b>"
    mean, low, high = (escape(text(values[s])) for s in ("mean", "min", "max"))
    return f"<b>Generation {row['generation']}</b><br>{mean} on average<br>{low} to {high}"
