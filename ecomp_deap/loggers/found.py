"""`found_table`: what a run found as a table of Markdown, for pages that show such."""

from collections.abc import Mapping
from typing import Any

from ecomp_deap.runs.choosing import picked
from ecomp_deap.runs.directory import RunDirectory, metric_of

__all__ = ["cell", "found_table"]


def found_table(run: RunDirectory, summary: Mapping[str, Any]) -> str:
    """Return a table of a run's parent and of the children that it picks, see `choose`.

    Args:
        run: A folder with ``front.csv``.
        summary: The content of its ``summary.json``.
    """
    parent, metric = summary["parent"], metric_of(summary)["name"]
    rows = {str(row["id"]): row for row in run.front()}
    words = picked(summary["picks"], rows)
    shown = [("parent", parent)]
    shown += [(", ".join(words[name]), rows[name]) for name in words]
    lines = [
        f"| | child | validation {cell(metric)} | test {cell(metric)} | parameters | share |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for text, row in shown:
        values = [row.get(f"{samples}_{metric}") for samples in ("validation", "test")]
        cells = [
            text,
            "–" if row is parent else row["id"],
            *("–" if value is None else f"{value:.4g}" for value in values),
            f"{row['param_count']:,d}",
            f"{row['param_count'] / parent['param_count']:.1%}",
        ]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """Return a value as it stands in a table of Markdown."""
    return str(value).replace("|", "\\|").replace("\n", " ")
