"""Comparing fronts: how good each method's are over several seeds, and which method wins where."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ecomp_deap.errors import argument_error
from ecomp_deap.runs.choosing import most_accurate_under
from ecomp_deap.search.front import hypervolume, non_dominated

__all__ = ["SEARCH", "chosen_rows", "comparison", "markdown", "shares_of"]

Row = Mapping[str, Any]
# Of each method, a front a seed: rows as in front.csv, with accuracies.
Fronts = Mapping[str, Sequence[Sequence[Row]]]

#: What the search is called among the methods.
SEARCH = "search"

# Parameters, as parts of the parent's, under which children are compared.
_SHARES = (0.2, 0.1, 0.05, 0.03)


def shares_of(parent_param_count: int) -> tuple[int, ...]:
    """Return numbers of parameters to compare children under: from 20 % to 3 % of the parent's.

    >>> shares_of(269_322)
    (53864, 26932, 13466, 8079)
    """
    return tuple(int(share * parent_param_count) for share in _SHARES)


def chosen_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the children that no other beats in validation accuracy and parameters, by size."""
    costs = [(-row["validation_accuracy"], row["param_count"]) for row in rows]
    return sorted((rows[i] for i in non_dominated(costs)), key=lambda row: row["param_count"])


def comparison(
    fronts: Fronts, *, parent_param_count: int, limits: Sequence[int], n_classes: int
) -> list[dict[str, Any]]:
    """Return a row for each method and figure: its mean over the seeds, spread and number.

    Figures are the hypervolume of the front that validation chooses, on test and on validation
    data, and for each limit the test accuracy of the child that validation picks under it.

    Args:
        fronts: By method, see `chosen_rows`; their rows also have ``test_accuracy``.
        parent_param_count: Parameters of the parent.
        limits: Numbers of parameters.
        n_classes: Number of classes.

    Returns:
        Rows with ``figure``, ``method``, ``mean``, ``std`` (None for one seed), ``min``,
        ``max``, ``n`` (seeds that have the figure) and ``wins`` (no other method's mean is higher,
        and none has it for more seeds). A figure that no seed has is None.

    Raises:
        ArgumentError: No method, or a method without a seed.
    """
    if not fronts or not all(fronts.values()):
        raise argument_error("fronts", "methods, each with at least one front", list(fronts))
    fronts = {name: [chosen_rows(rows) for rows in found] for name, found in fronts.items()}
    figures: dict[str, dict[str, list[float]]] = {}
    for samples in ("test", "validation"):
        figures[f"{samples}_hypervolume"] = {
            name: [
                hypervolume(
                    [row[f"{samples}_accuracy"] for row in rows],
                    [row["param_count"] for row in rows],
                    parent_param_count=parent_param_count,
                    n_classes=n_classes,
                )
                for rows in found
            ]
            for name, found in fronts.items()
        }
    for limit in limits:
        figures[f"test_accuracy_under_{limit}"] = {
            name: [
                _picked(rows, limit)["test_accuracy"]
                for rows in found
                if any(row["param_count"] <= limit for row in rows)
            ]
            for name, found in fronts.items()
        }
    return [line for figure, values in figures.items() for line in _lines(figure, values)]


def markdown(lines: Sequence[Row], *, note: str, reference: str = SEARCH) -> str:
    """Return a table for people, what wins each figure, and a note.

    Args:
        lines: See `comparison`.
        note: What people should know of the figures.
        reference: The method that the others are compared with.
    """
    figures = list(dict.fromkeys(line["figure"] for line in lines))
    methods = list(dict.fromkeys(line["method"] for line in lines))
    found = {(line["figure"], line["method"]): line for line in lines}
    rows = [["method", *map(_heading, figures)], ["---"] * (len(figures) + 1)]
    rows += [[m.replace("_", " "), *(_cell(found[f, m]) for f in figures)] for m in methods]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    verdicts = "".join(
        f"- {_heading(f)}: {_verdict([found[f, m] for m in methods], reference)}\n" for f in figures
    )
    return f"{table}\n{verdicts}\n{note}\n"


def _picked(rows: Sequence[Row], limit: int) -> Row:
    """Return the child that validation picks under a limit."""
    values = [row["validation_accuracy"] for row in rows]
    return rows[most_accurate_under(limit, values, [row["param_count"] for row in rows])]


def _lines(figure: str, values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return a figure's rows."""
    means = {name: statistics.fmean(found) if found else None for name, found in values.items()}
    ranks = {name: (len(values[name]), mean) for name, mean in means.items() if mean is not None}
    return [
        {
            "figure": figure,
            "method": name,
            "mean": means[name],
            "std": statistics.stdev(found) if len(found) > 1 else None,
            "min": min(found, default=None),
            "max": max(found, default=None),
            "n": len(found),
            "wins": name in ranks and ranks[name] == max(ranks.values()),
        }
        for name, found in values.items()
    ]


def _heading(figure: str) -> str:
    """Return what people call a figure.

    >>> _heading("test_accuracy_under_27000"), _heading("test_hypervolume")
    ('test accuracy under 27,000', 'test hypervolume')
    """
    words, _, limit = figure.rpartition("_")
    text = f"{words}_{int(limit):,d}" if limit.isdigit() else figure
    return text.replace("_", " ")


def _cell(line: Row) -> str:
    """Return a figure's mean and spread, bold where no other method's is better.

    >>> _cell({"mean": 0.89123, "std": 0.0012, "n": 3, "wins": True})
    '**0.8912 ± 0.0012**'
    """
    if line["mean"] is None:
        return "–"
    text = f"{line['mean']:.4f}"
    if line["std"] is not None:
        text += f" ± {line['std']:.4f}"
    return f"**{text}**" if line["wins"] else text


def _verdict(lines: Sequence[Row], reference: str) -> str:
    """Return which method wins, and by how much; of the reference against the best other."""
    known = [line for line in lines if line["mean"] is not None]
    if not known:
        return "no method has a child."
    best = " and ".join(line["method"].replace("_", " ") for line in known if line["wins"])
    text = f"**{best}** " + ("wins" if sum(line["wins"] for line in known) == 1 else "win")
    ours = next((line for line in known if line["method"] == reference), None)
    others = [line for line in known if line["method"] != reference]
    if ours is None:
        return f"{text}; the {reference} has no child."
    if not others:
        return f"{text}; no other method has a child."
    rival = max(others, key=lambda line: (line["n"], line["mean"]))
    difference = ours["mean"] - rival["mean"]
    name = rival["method"].replace("_", " ")
    side = "above" if difference >= 0 else "below"
    return f"{text}; the {reference} is {abs(difference):.4f} {side} {name}, the best baseline."
