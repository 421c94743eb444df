"""What the runs of ``pareto_vs_weighted.py`` found: figures of each, and tables of all modes."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ecomp_deap.search import hypervolume

__all__ = ["markdown", "result", "table"]

Row = dict[str, Any]

N_CLASSES = 10

# Columns of results.csv that table.csv sums up; sizes are fractions of the parent's parameters.
AFTER_SEARCH = (
    "hypervolume",
    "test_hypervolume",
    "best_test_accuracy",
    "smallest_within_1",
    "smallest_within_2",
)
FINALISED = tuple(f"finalised_{name}" for name in AFTER_SEARCH)
FIGURES = (
    "evaluations",
    "scored_children",
    "distinct_sizes",
    "front_children",
    "smallest_size",
    "largest_size",
    "population_test_hypervolume",
    *AFTER_SEARCH,
    *FINALISED,
)


def result(run: Row) -> Row:
    """Return a run's row of results.csv."""
    parent = run["parent"]
    sizes = [row["param_count"] / parent["param_count"] for row in run["front"]]
    row = {name: run[name] for name in ("mode", "seed", "evaluations")}
    row |= {
        "generations": "+".join(map(str, run["generations"])),
        "scored_children": run["scored_children"],
        "distinct_sizes": run["distinct_sizes"],
        "front_children": len(sizes),
        "smallest_size": min(sizes),
        "largest_size": max(sizes),
        "population_test_hypervolume": _hypervolume(
            run["population_front"], parent, "test_accuracy"
        ),
        **_found(run["front"], parent),
        **dict.fromkeys(FINALISED),
    }
    if run["finalised"]:
        found = _found(run["finalised"], parent)
        row |= {f"finalised_{name}": value for name, value in found.items()}
    row["search_seconds"] = run["search_seconds"]
    return row


def table(results: Sequence[Row], *, reference: str) -> list[Row]:
    """Return one row a mode: its figures over all seeds, and how they differ from a reference's."""
    return [_line(mode, results, reference) for mode in dict.fromkeys(r["mode"] for r in results)]


def markdown(lines: Sequence[Row], *, reference: str, note: str) -> str:
    """Return two tables for people, how good the fronts are and what is on them, and a note."""
    fronts = [_front_cells(line, reference) for line in lines]
    children = [_children_cells(line) for line in lines]
    return f"{_markdown_table(fronts)}\n{_markdown_table(children)}\n{note}\n"


def _found(front: Sequence[Row], parent: Row) -> Row:
    """Return how good a front is; validation chooses, test data judge."""
    best = max(front, key=lambda row: row["validation_accuracy"])
    return {
        "hypervolume": _hypervolume(front, parent, "validation_accuracy"),
        "test_hypervolume": _hypervolume(front, parent, "test_accuracy"),
        "best_test_accuracy": best["test_accuracy"],
        "smallest_within_1": _smallest_within(front, parent, 0.01),
        "smallest_within_2": _smallest_within(front, parent, 0.02),
    }


def _hypervolume(front: Sequence[Row], parent: Row, accuracy: str) -> float:
    return hypervolume(
        [row[accuracy] for row in front],
        [row["param_count"] for row in front],
        parent_param_count=parent["param_count"],
        n_classes=N_CLASSES,
    )


def _smallest_within(front: Sequence[Row], parent: Row, loss: float) -> float | None:
    """Return the size of the smallest child this close to the parent's validation accuracy."""
    enough = parent["validation_accuracy"] - loss
    counts = [row["param_count"] for row in front if row["validation_accuracy"] >= enough]
    return min(counts) / parent["param_count"] if counts else None


def _line(mode: str, results: Sequence[Row], reference: str) -> Row:
    line: Row = {"mode": mode}
    for name in FIGURES:
        values = [v for v in _column(results, mode, name) if v is not None]
        line[f"{name}_n"] = len(values)
        line[f"{name}_median"] = statistics.median(values) if values else None
        line[f"{name}_min"] = min(values, default=None)
        line[f"{name}_max"] = max(values, default=None)
    for name in ("test_hypervolume", "finalised_test_hypervolume"):
        pairs = zip(_column(results, mode, name), _column(results, reference, name), strict=True)
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        line |= {f"{name}_{k}": v for k, v in _paired(differences).items()}
    return line


def _column(results: Iterable[Row], mode: str, name: str) -> list[Any]:
    return [row[name] for row in results if row["mode"] == mode]


def _paired(differences: Sequence[float]) -> Row:
    """Return the mean of paired differences, its 95 % interval, and how many are above 0.

    The interval is Student's: with a handful of seeds a bootstrap's would be too narrow, and
    Wilcoxon's test of five pairs cannot fall below p = 0.06 whatever they are.
    """
    from scipy.stats import t

    n = len(differences)
    mean = statistics.fmean(differences) if n else None
    half = None
    if n > 1:
        half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return {
        "difference": mean,
        "difference_low": None if half is None or mean is None else mean - half,
        "difference_high": None if half is None or mean is None else mean + half,
        "better_seeds": sum(d > 0 for d in differences),
    }


def _markdown_table(rows: Sequence[Row]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _front_cells(line: Row, reference: str) -> Row:
    return {
        "mode": line["mode"],
        "test hypervolume": _spread_of(line, "test_hypervolume"),
        f"against {reference}": _difference(line, "test_hypervolume", reference),
        "final population alone": _spread_of(line, "population_test_hypervolume"),
        "finalised": _spread_of(line, "finalised_test_hypervolume"),
        f"finalised, against {reference}": _difference(
            line, "finalised_test_hypervolume", reference
        ),
    }


def _children_cells(line: Row) -> Row:
    smallest, largest = line["smallest_size_median"], line["largest_size_median"]
    return {
        "mode": line["mode"],
        "children scored": f"{line['scored_children_median']:g}",
        "distinct sizes": f"{line['distinct_sizes_median']:g}",
        "on the front": f"{line['front_children_median']:g}",
        "sizes on it": f"{100 * smallest:.2g}–{100 * largest:.2g} %",
        "best test accuracy": _spread_of(line, "best_test_accuracy"),
        "smallest within 1": _size(line, "smallest_within_1"),
        "within 2": _size(line, "smallest_within_2"),
        "best, finalised": _spread_of(line, "finalised_best_test_accuracy"),
        "within 1, finalised": _size(line, "finalised_smallest_within_1"),
        "within 2, finalised": _size(line, "finalised_smallest_within_2"),
    }


def _spread_of(line: Row, name: str) -> str:
    if not line[f"{name}_n"]:
        return "–"
    return f"{line[f'{name}_median']:.3f} [{line[f'{name}_min']:.3f}, {line[f'{name}_max']:.3f}]"


def _size(line: Row, name: str) -> str:
    if not line[f"{name}_n"]:
        return "none"
    return f"{100 * line[f'{name}_median']:.1f} % ({line[f'{name}_n']}/{line['evaluations_n']})"


def _difference(line: Row, name: str, reference: str) -> str:
    if line["mode"] == reference or line[f"{name}_difference"] is None:
        return "–"
    text = f"{line[f'{name}_difference']:+.3f}"
    low, high = line[f"{name}_difference_low"], line[f"{name}_difference_high"]
    interval = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{text}{interval}, {line[f'{name}_better_seeds']}/{line[f'{name}_n']}"
