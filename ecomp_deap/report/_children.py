"""How the children of a run are told apart, and placed on the axes of their figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.report import _words as words
from ecomp_deap.report._found import Found, widths
from ecomp_deap.runs.choosing import picked

# Groups with an axis of their own; of more, the relative width says it.
_MOST_AXES = 4


def picked_in(run: Found) -> dict[str, list[str]]:
    """Return the words that pick each child, by its id."""
    return picked(run.picks, (row["id"] for row in run.front))


def groups_of(run: Found, picked: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Return the places of the picks, of the best children of their size or smaller, of others."""
    found: dict[str, list[int]] = {"front": [], "others": [], "picks": []}
    best = -math.inf
    order = sorted(
        range(len(run.front)),
        key=lambda i: (run.front[i]["param_count"], -run.metric.gain(run.front[i][run.quantity])),
    )
    for i in order:
        row = run.front[i]
        gain = run.metric.gain(row[run.quantity])
        leads, best = gain > best, max(best, gain)
        found["picks" if row["id"] in picked else "front" if leads else "others"].append(i)
    return found


def axes_of(run: Found) -> tuple[list[tuple[str, str, str]], list[list[float]]]:
    """Return the axes of the parallel coordinates, and each child's heights on them."""
    values = [row[run.quantity] for row in run.front]
    wanted = [
        (f"{run.samples} {run.metric.name}", values, run.metric.text, False),
        ("parameters", [r["param_count"] for r in run.front], words.short, True),
        ("MACs", [r.get("mac_count") for r in run.front], words.short, True),
        ("similarity loss", [r.get("similarity_loss") for r in run.front], words.number, False),
    ]
    own = [widths(row) for row in run.front]
    n = len(own[0])
    if 0 < n <= _MOST_AXES and all(len(found) == n for found in own):
        for i, name in enumerate(run.groups[:n]):
            units = [found[i] for found in own]
            wanted.append((_clipped(name), units, words.count, False))
    else:
        kept = [r.get("relative_width") for r in run.front]
        wanted.append(("relative width", kept, words.percent, False))
    axes, columns = [], []
    for name, values, text, log in wanted:
        known = [v for v in values if v is not None]
        if len(known) == len(values):
            axes.append((name, text(min(known)), text(max(known))))
            columns.append(heights(values, log=log))
    return axes, columns


def _clipped(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


def heights(values: Sequence[Any], *, log: bool = False) -> list[float]:
    """Return values from 0 to 1 between their least and greatest, NaN where there is none.

    >>> heights([1, 10, 100], log=True)
    [0.0, 0.5, 1.0]
    """
    column = np.array([math.nan if v is None else float(v) for v in values])
    if log:
        column = np.log10(np.maximum(column, 1e-12))
    known = column[np.isfinite(column)]
    if not known.size or known.min() == known.max():
        return np.where(np.isfinite(column), 0.5, math.nan).tolist()
    return ((column - known.min()) / (known.max() - known.min())).tolist()
