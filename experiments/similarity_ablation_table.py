"""What the searches of ``similarity_ablation.py`` found: figures of each, and paired statistics."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ecomp_deap.errors import ArgumentError
from ecomp_deap.search import smallest_within
from ecomp_deap.search.baseline_run import N_CLASSES
from ecomp_deap.search.comparing import chosen_rows, comparison

__all__ = [
    *("MODES", "NONE", "PARETO", "STAGES", "VOLUME", "WEIGHTED"),
    *("holm", "markdown", "result", "table"),
]

Row = dict[str, Any]

MODES = PARETO, WEIGHTED = "pareto", "weighted"
NONE = "none"
STAGES = ("before", "after")
# The figure that verdicts in words go by, and the only one of which less is better.
VOLUME, SMALLEST = "test_hypervolume", "smallest_within_1"
SIGNIFICANCE = 0.05
# Columns of a comparison; where no seed has the figure in both arms, they are empty.
_STATISTICS = ("difference", "low", "high", "better_seeds", "p", "p_holm", "verdict")


def result(run: Row, limits: Sequence[int]) -> Row:
    """Return a search's row of results.csv: all figures before and after finalising."""
    parent = run["parent"]
    stages = {"before": [_as_searched(row) for row in run["rows"]], "after": run["rows"]}
    lines = comparison(
        {stage: [rows] for stage, rows in stages.items()},
        parent_param_count=parent["param_count"],
        limits=limits,
        n_classes=N_CLASSES,
    )
    return {
        **{name: value for name, value in run.items() if name not in ("parent", "rows")},
        "parent_test_accuracy": parent["test_accuracy"],
        **{f"{line['method']}_{line['figure']}": line["mean"] for line in lines},
        **{f"{stage}_{SMALLEST}": _smallest(rows, parent) for stage, rows in stages.items()},
    }


def table(results: Sequence[Row], limits: Sequence[int]) -> list[Row]:
    """Return a row for each mode, stage, figure and measure, compared with the arm without one."""
    return [
        line
        for mode in MODES
        for stage in STAGES
        for figure in (VOLUME, *(f"test_accuracy_under_{limit}" for limit in limits), SMALLEST)
        for line in _lines([r for r in results if r["mode"] == mode], mode, stage, figure)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in order.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min((len(p_values) - rank) * p_values[i], 1.0))
        corrected[i] = highest
    return corrected


def markdown(lines: Sequence[Row], *, note: str) -> str:
    """Return verdicts, a table for each mode and stage, and a note."""
    n_seeds = max(line["n"] for line in lines)
    parts = [_summary(lines, n_seeds)]
    for mode in MODES:
        for stage in STAGES:
            parts.append(_table([r for r in lines if (r["mode"], r["stage"]) == (mode, stage)]))
    parts.append(
        "Without similarity: means. With a measure: mean of the paired differences from it, its "
        "95 % interval (Student's), p of Wilcoxon's signed-rank test after Holm's correction over "
        f"the measures; bold below {SIGNIFICANCE}. Figures beside hypervolume, modes and stages "
        "are not corrected for. Under a limit on the parameters: test accuracy of the child that "
        "validation picks. Smallest within 1: parameters, as a share of the parent's, of the "
        "smallest child whose validation accuracy is at most 1 point below the parent's; less is "
        f"better. In brackets, how many of {n_seeds} seeds have the figure, if not all. {note}\n"
    )
    return "\n".join(parts)


def _as_searched(row: Row) -> Row:
    """Return a child's row with its accuracies as the search left them."""
    names = ("validation_accuracy", "test_accuracy")
    before = {name: row[f"{name}_before"] for name in names}
    return {**row, **{name: value for name, value in before.items() if value is not None}}


def _smallest(rows: Sequence[Row], parent: Row) -> float | None:
    """Return the share of parameters of the smallest child within 1 point; None without one."""
    rows = chosen_rows(rows)
    counts = [row["param_count"] for row in rows]
    values = [row["validation_accuracy"] for row in rows]
    try:
        index = smallest_within(0.01, values, counts, parent_value=parent["validation_accuracy"])
    except ArgumentError:
        return None
    return counts[index] / parent["param_count"]


def _lines(results: Sequence[Row], mode: str, stage: str, figure: str) -> list[Row]:
    """Return the rows of all measures for one figure, that without similarity first."""
    values = {
        measure: {r["seed"]: r[f"{stage}_{figure}"] for r in results if r["measure"] == measure}
        for measure in dict.fromkeys(r["measure"] for r in results)
    }
    values = {m: {s: v for s, v in found.items() if v is not None} for m, found in values.items()}
    lines: list[Row] = [
        {
            **{"mode": mode, "stage": stage, "figure": figure, "measure": measure},
            "n": len(found),
            "mean": statistics.fmean(found.values()) if found else None,
            **dict.fromkeys(("pairs", *_STATISTICS)),
        }
        for measure, found in values.items()
    ]
    sign = -1 if figure == SMALLEST else 1
    for line in lines:
        if line["measure"] != NONE:
            found, without = values[line["measure"]], values[NONE]
            differences = [found[seed] - without[seed] for seed in found if seed in without]
            line |= {"pairs": len(differences), **_paired(differences, sign)}
    compared = [line for line in lines if line["p"] is not None]
    for line, p in zip(compared, holm([line["p"] for line in compared]), strict=True):
        better = "helps" if sign * line["difference"] > 0 else "hurts"
        line |= {"p_holm": p, "verdict": better if p < SIGNIFICANCE else "no difference"}
    return lines


def _paired(differences: Sequence[float], sign: int) -> Row:
    """Return the mean of paired differences, its 95 % interval, and what Wilcoxon's test says."""
    from scipy.stats import t, wilcoxon

    n = len(differences)
    if n == 0:
        return {}
    mean, half = statistics.fmean(differences), None
    if n > 1:
        half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return {
        "difference": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "better_seeds": sum(sign * d > 0 for d in differences),
        # The test leaves out differences of 0, and has nothing to rank where all are.
        "p": float(wilcoxon(differences).pvalue) if any(differences) else 1.0,
    }


def _summary(lines: Sequence[Row], n_seeds: int) -> str:
    """Return what comes out for the hypervolume, in words."""
    found = [line for line in lines if line["figure"] == VOLUME and line["measure"] != NONE]
    n = {v: sum(line["verdict"] == v for line in found) for v in ("helps", "hurts")}
    text = (
        f"Test hypervolume, {n_seeds} seeds: of {len(found)} comparisons with the search without "
        f"similarity, a measure helps in {n['helps']} and hurts in {n['hurts']}.\n\n"
    )
    for mode in MODES:
        for stage in STAGES:
            here = [line for line in found if (line["mode"], line["stage"]) == (mode, stage)]
            parts = [
                f"{words}: {', '.join(_name(line['measure']) for line in those)}"
                for verdict, words in (
                    ("helps", "helps"),
                    ("hurts", "hurts"),
                    ("no difference", f"no difference that {n_seeds} seeds can show"),
                )
                if (those := [line for line in here if line["verdict"] == verdict])
            ]
            text += f"- **{mode.capitalize()}, {stage} finalising**: {'; '.join(parts)}.\n"
    # Wilcoxon's test cannot fall below this, whatever the differences are.
    if 2 ** (1 - n_seeds) * len({line["measure"] for line in found}) >= SIGNIFICANCE:
        text += "\nSo few seeds cannot show any difference after correction.\n"
    return text


def _table(lines: Sequence[Row]) -> str:
    """Return the table of one mode and stage."""
    figures = list(dict.fromkeys(line["figure"] for line in lines))
    found = {(line["measure"], line["figure"]): line for line in lines}
    n_seeds = max(line["n"] for line in lines)
    head = f"{lines[0]['mode'].capitalize()}, {lines[0]['stage']} finalising"
    rows = [[head, *map(_heading, figures)], ["---"] * (len(figures) + 1)]
    for measure in dict.fromkeys(line["measure"] for line in lines):
        cells = [_cell(found[measure, figure], n_seeds) for figure in figures]
        rows.append([_name(measure), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _name(measure: str) -> str:
    return "no similarity" if measure == NONE else measure.replace("_", " ")


def _heading(figure: str) -> str:
    """Return what people call a figure.

    >>> _heading("test_accuracy_under_27000"), _heading("smallest_within_1")
    ('accuracy under 27,000', 'smallest within 1')
    """
    *words, last = figure.removeprefix("test_").split("_")
    return " ".join([*words, f"{int(last):,d}" if last.isdigit() else last])


def _cell(line: Row, n_seeds: int) -> str:
    """Return a mean without similarity, or what a measure changes."""
    some = "" if line["n"] == n_seeds else f" ({line['n']})"
    if line["measure"] == NONE:
        return ("–" if line["mean"] is None else f"{line['mean']:.4f}") + some
    if line["difference"] is None:
        return f"–{some}"
    low, high = line["low"], line["high"]
    interval = "" if low is None else f" [{low:+.4f}, {high:+.4f}]"
    text = f"{line['difference']:+.4f}{interval}, p = {line['p_holm']:.2g}"
    return (f"**{text}**" if line["p_holm"] < SIGNIFICANCE else text) + some
