"""The page of several runs: their fronts, and what they attain, with the spread between them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ecomp_deap.report import _charts as charts
from ecomp_deap.report import _words as words
from ecomp_deap.report._cards import card_of, name_of, tip_of
from ecomp_deap.report._children import picked_in
from ecomp_deap.report._found import Found, names_of, samples_of
from ecomp_deap.report.attainment import attainment_surface


def several_context(runs: Sequence[Found]) -> dict[str, Any]:
    """Return what the template of several runs is filled with.

    Raises:
        DataError: Some have test data and others have none.
    """
    samples, names = samples_of(runs), names_of(runs)
    picked = [picked_in(run) for run in runs]
    metric = runs[0].metric
    middle = float(np.median([run.parent[run.quantity] for run in runs]))
    looks: dict[str, Any] = {
        "parent": (middle, f"parent, {metric.text(middle)}"),
        "y_label": metric.title(samples),
        "of": metric.column,
    }
    children = [(i, place) for i, run in enumerate(runs) for place in range(len(run.front))]
    rows = [(runs[i], runs[i].front[place]) for i, place in children]
    source = charts.children_source(
        {
            "x": [run.share(row) for run, row in rows],
            "y": [row[run.quantity] for run, row in rows],
            "tip": [
                f"<b>{escape(names[i])}</b><br>{tip_of(run, row, picked[i].get(row['id'], []))}"
                for (i, _), (run, row) in zip(children, rows, strict=True)
            ],
            "card": [
                name_of(place, row, _prefix(i))
                for (i, place), (_, row) in zip(children, rows, strict=True)
            ],
        }
    )
    places = [[k for k, (i, _) in enumerate(children) if i == n] for n in range(len(runs))]
    shares, lines = _attained(runs)
    tips = [
        f"<b>{escape(words.share(share))} of the parameters or less</b><br>"
        f"{metric.text(middle)} by half of the runs<br>"
        f"{metric.text(worst)} to {metric.text(best)}"
        for share, worst, middle, best in zip(
            shares, *(map(_known, lines[name]) for name in ("all", "half", "any")), strict=True
        )
    ]
    return {
        "title": f"{len(runs)} runs",
        "lead": _lead(runs),
        "facts": "",
        "plots": {
            "fronts": charts.fronts_plot(source, runs=places, **looks),
            "attained": charts.attainment_plot(
                shares, lines, tips=tips, maximise=metric.maximise, **looks
            ),
        },
        "runs": [
            _row(name, run, i, picked[i])
            for i, (name, run) in enumerate(zip(names, runs, strict=True))
        ],
        "metric": metric,
        "samples": samples,
        "has_latency": any(row.get("latency_ms") is not None for _, row in rows),
    }


def _lead(runs: Sequence[Found]) -> dict[str, str]:
    best = [(run, row) for run in runs if (row := run.child(run.picks.get("best"))) is not None]
    if not best:
        return {"heading": f"{len(runs)} runs beside each other", "sentence": ""}
    metric = runs[0].metric
    shares = [run.share(row) for run, row in best]
    values = [row[run.quantity] for run, row in best]
    middle = (float(np.median(values)), float(np.median(shares)))
    heading = words.capital(
        f"{metric.phrase(middle[0])} with {words.share(middle[1])} of the parameters, "
        f"the medians of {len(best)} runs, each by itself"
    )
    sentence = (
        f"The best children of the runs have from {metric.text(min(values))} to "
        f"{metric.text(max(values))} {runs[0].samples} {metric.name}, with "
        f"{words.share(min(shares))} to {words.share(max(shares))} of their parents’ parameters."
    )
    return {"heading": heading, "sentence": sentence}


def _attained(runs: Sequence[Found]) -> tuple[list[float], dict[str, list[float]]]:
    """Return shares of the parameters, and what all, half and any of the runs attain at each."""
    fronts = [
        [{"param_count": run.share(row), "value": row[run.quantity]} for row in run.front]
        for run in runs
    ]
    surfaces = {
        name: attainment_surface(
            fronts, quantity="value", percentile=percentile, maximise=runs[0].metric.maximise
        )
        for name, percentile in (("all", 100), ("half", 50), ("any", 100 / len(fronts)))
    }
    shares = np.unique(np.concatenate([[1.0], *(surface[0] for surface in surfaces.values())]))
    lines = {}
    for name, surface in surfaces.items():
        places = np.searchsorted(surface[0], shares, side="right")
        lines[name] = np.concatenate([[np.nan], surface[1]])[places].tolist()
    return shares.tolist(), lines


def _row(name: str, run: Found, index: int, picked: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a run's line in the table, and its children."""
    cards = [
        card_of(run, place, picked.get(row["id"], []), _prefix(index))
        for place, row in enumerate(run.front)
    ]
    best = run.child(run.picks.get("best"))
    return {
        "name": name,
        "color": charts.SEVERAL[index % len(charts.SEVERAL)],
        "marker": charts.MARKERS[index % len(charts.MARKERS)],
        "parent": run.metric.text(run.parent[run.quantity]),
        "children": words.count(len(run.front)),
        "best": None if best is None else cards[run.front.index(best)],
        "value": run.metric.text(None if best is None else best[run.quantity]),
        "share": words.share(None if best is None else run.share(best)),
        "seed": str(run.summary.get("seed", words.NOTHING)),
        "seconds": words.seconds((run.summary.get("seconds") or {}).get("search")),
        "cards": cards,
        "parent_card": card_of(run, None, []),
    }


def _prefix(index: int) -> str:
    """Return what the names of a run's children begin with, on a page of several."""
    return f"run-{index + 1}-"


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
