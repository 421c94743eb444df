"""The original's seven weightings of the weighted fitness, several runs each.

Writes into OUT: ``results.csv`` (one row a run), ``table.csv`` and ``table.md`` (one row a
weighting; beside the original's figures where they are at hand), ``best_children.png`` (box
plots), ``widths.png`` and one ``trajectories_ASC.png`` a weighting. Finished runs are kept, so
an interrupted experiment goes on where it stopped.

    python experiments/weightings.py --runs 10 --jobs 2 --parent parent.safetensors

The original's results are read from ``results.csv`` and ``trajectories.csv.gz`` in the folder
that ``--original`` names, if it exists.
"""

import argparse
import csv
import gzip
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import check_settings, data, parent_file, run_all, write_csv

from ecomp_deap import read_logbook
from ecomp_deap.report import plot_boxes, plot_trajectories
from ecomp_deap.runs import RunConfig

WEIGHTINGS = ("001", "020", "021", "100", "101", "120", "121")
ACCURACY, WIDTH = "best_child_test_accuracy", "final_mean_relative_width"
# Two figures of seven weightings are compared: 0.05 / 14, after Bonferroni.
SIGNIFICANCE = 0.0036

Row = dict[str, Any]


def main() -> None:
    options = _parse()
    settings = {name: getattr(options, name) for name in ("generations", "parent", "data_dir")}
    check_settings(options.out, {**settings, "data": data(options.data_dir).source})
    options.parent = parent_file(options.out, options.parent, options.data_dir)
    todo = [(w, run) for run in range(1, options.runs + 1) for w in WEIGHTINGS]
    missing = [(w, run, options) for w, run in todo if not _is_done(options.out, w, run)]
    run_all(_run_one, missing, options.jobs)
    results = [_result(options.out, w, run) for w, run in todo]
    trajectories = {
        w: [
            read_logbook(_folder(options.out, w, run) / "logbook.csv")
            for run in range(1, options.runs + 1)
        ]
        for w in WEIGHTINGS
    }
    write_csv(options.out / "results.csv", results)
    original, original_trajectories = _read_original(options.original)
    table = _table(results, original)
    write_csv(options.out / "table.csv", table)
    (options.out / "table.md").write_text(_markdown(table), encoding="utf-8")
    _draw(options.out, results, trajectories, original, original_trajectories)
    print(_markdown(table))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=10, help="runs a weighting")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--generations", type=int, help="by default one epoch, 100 generations")
    parser.add_argument("--parent", type=Path, help="weights of the parent, else it is trained")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/weightings"))
    default = Path(__file__).resolve().parents[2] / "shared" / "seed"
    parser.add_argument("--original", type=Path, default=default, help="the original's results")
    return parser.parse_args()


def _folder(out: Path, weighting: str, run: int) -> Path:
    # The run directory's own number is always 1: each run has a name of its own.
    return out / "runs" / f"{weighting}_{run:02d}_1"


def _is_done(out: Path, weighting: str, run: int) -> bool:
    return (_folder(out, weighting, run) / "summary.json").exists()


def _run_one(job: tuple[str, int, argparse.Namespace]) -> str:
    from ecomp_deap.search.run import run_many

    weighting, run, options = job
    given = {
        "preset": "report",
        "name": f"{weighting}_{run:02d}",
        "loss_weights": tuple(float(digit) for digit in weighting),
        "seed": run,
        "parent": options.parent,
        "data_dir": options.data_dir,
        "out": options.out / "runs",
        "generations": options.generations,
        "threads": 1,
        "quiet": True,
    }
    _set_aside(_folder(options.out, weighting, run))
    (result,) = run_many(RunConfig.from_layers(given))
    return f"{result.directory.path.name} in {result.summary['seconds']['search']:.0f} s"


def _set_aside(folder: Path) -> None:
    """Move what an interrupted run left out of the way; nothing is deleted."""
    if not folder.exists():
        return
    aside = folder.with_name(f"{folder.name}.interrupted")
    n = 1
    while aside.exists():  # an earlier interruption's
        n += 1
        aside = folder.with_name(f"{folder.name}.interrupted_{n}")
    folder.rename(aside)


def _result(out: Path, weighting: str, run: int) -> Row:
    folder = _folder(out, weighting, run)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    last = read_logbook(folder / "logbook.csv")[-1]
    return {
        "weighting": weighting,
        "run": run,
        ACCURACY: summary["best"]["test_accuracy"],
        WIDTH: last["relative_width_mean"],
        "final_mean_similarity_loss": last["similarity_loss_mean"],
        "final_mean_batch_accuracy": last["accuracy_mean"],
        "seconds": summary["seconds"]["search"],
    }


def _read_original(folder: Path) -> tuple[list[Row], dict[str, list[list[Row]]]]:
    """Return the original's results and trajectories, both empty where they are not at hand."""
    if not (folder / "results.csv").exists():
        return [], {}
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        results = [_numbers(row) for row in csv.DictReader(file)]
    runs: dict[tuple[str, int], list[Row]] = {}
    with gzip.open(folder / "trajectories.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            runs.setdefault((row["weighting"], int(row["run"])), []).append(_numbers(row))
    trajectories: dict[str, list[list[Row]]] = {}
    for (weighting, _), rows in runs.items():
        trajectories.setdefault(weighting, []).append(rows)
    return results, trajectories


def _numbers(row: Mapping[str, str]) -> Row:
    return {k: v if k == "weighting" else float(v) for k, v in row.items()}


def _table(results: Sequence[Row], original: Sequence[Row]) -> list[Row]:
    table = []
    for weighting in WEIGHTINGS:
        line: Row = {"weighting": ",".join(weighting)}
        for figure, name in ((ACCURACY, "accuracy"), (WIDTH, "width")):
            ours = _column(results, weighting, figure)
            line |= _summary(f"{name}", ours)
            if original:
                theirs = _column(original, weighting, figure)
                line |= _summary(f"original_{name}", theirs)
                line[f"{name}_inside"] = min(theirs) <= statistics.median(ours) <= max(theirs)
                line[f"{name}_p"] = _mann_whitney(ours, theirs)
        table.append(line)
    return table


def _column(rows: Iterable[Row], weighting: str, figure: str) -> list[float]:
    return [row[figure] for row in rows if row["weighting"] == weighting]


def _summary(name: str, values: Sequence[float]) -> Row:
    return {
        f"{name}_median": statistics.median(values),
        f"{name}_min": min(values),
        f"{name}_max": max(values),
    }


def _mann_whitney(ours: Sequence[float], theirs: Sequence[float]) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(ours, theirs, alternative="two-sided").pvalue)


def _markdown(table: Sequence[Row]) -> str:
    """Return the table as Markdown, with the original's figures where there are any."""
    compared = "accuracy_p" in table[0]
    heads = ["weights a,s,c", "best child's test accuracy", "final mean relative width"]
    if compared:
        heads = [heads[0], heads[1], "original's", "p", heads[2], "original's", "p"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in table:
        cells = [row["weighting"]]
        for name in ("accuracy", "width"):
            cells.append(_cell(row, name))
            if compared:
                mark = "" if row[f"{name}_inside"] else ", median outside"
                p = row[f"{name}_p"]
                mark += " *" if p < SIGNIFICANCE else ""
                cells += [_cell(row, f"original_{name}"), f"{p:.3g}{mark}"]
        lines.append(f"| {' | '.join(cells)} |")
    note = "Median [min, max] over runs."
    if compared:
        note += f" p: Mann-Whitney, two-sided; * marks p < {SIGNIFICANCE} (0.05 / 14)."
    return "\n".join([*lines, "", note]) + "\n"


def _cell(row: Row, name: str) -> str:
    return f"{row[f'{name}_median']:.3f} [{row[f'{name}_min']:.3f}, {row[f'{name}_max']:.3f}]"


def _draw(
    out: Path,
    results: Sequence[Row],
    trajectories: Mapping[str, list[list[Row]]],
    original: Sequence[Row],
    original_trajectories: Mapping[str, list[list[Row]]],
) -> None:
    for figure, file, label, title in (
        (ACCURACY, "best_children.png", "test accuracy", "Best child of each run"),
        (WIDTH, "widths.png", "mean relative width", "Final population of each run"),
    ):
        plot_boxes(
            {",".join(w): _column(results, w, figure) for w in WEIGHTINGS},
            out / file,
            ylabel=label,
            xlabel="weights of accuracy, similarity, compression",
            title=title,
            overlay={",".join(w): _column(original, w, figure) for w in WEIGHTINGS}
            if original
            else None,
        )
    for weighting in WEIGHTINGS:
        theirs = original_trajectories.get(weighting)
        plot_trajectories(
            {",".join(weighting): trajectories[weighting]},
            out / f"trajectories_{weighting}.png",
            title=f"Weights {','.join(weighting)}",
            overlay={",".join(weighting): theirs} if theirs else None,
        )


if __name__ == "__main__":
    main()
