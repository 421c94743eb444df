"""Which mutation, and which weights for children of two mates, find the better front?

The parent 784-256-256-10 is trained on the bundled slice of Fashion-MNIST. Its input features may
go, too. Each way of varying gets the same number of evaluations, by accuracy and number of
parameters, and what counts is the front on validation data, without any training at the end: its
hypervolume, and the most accurate child under a number of parameters.

Writes ``table.csv``, ``table.md`` and ``hypervolume.png`` into OUT.

    python experiments/operators.py
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from common import Row, data, write_csv
from torch import nn

from ecomp_deap import Task, compress, train_parent
from ecomp_deap.report import _figure as fig
from ecomp_deap.search.front import hypervolume

LIMITS = (56_000, 13_100)
INHERIT = {"train_steps": 8, "inherit": True}
BEST = "resize"
# By what children do before they are scored: options of the task, and what varies.
SETTINGS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]] = {
    "masks, children inherit 8 steps": (
        INHERIT,
        {
            **{name: {"mutation": name} for name in ("flips", "biased", "resize", "mixed")},
            **{f"{BEST}, {how}": {"mutation": BEST, "learnt": how} for how in ("mean", "aligned")},
        },
    ),
    "masks, no training": (
        {},
        {name: {"mutation": name} for name in ("flips", "biased", "resize", "mixed")},
    ),
    "widths, no training": (
        {},
        {name: {"genome": "width", "mutation": name} for name in ("steps", "mixed")},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="searches by each way of varying")
    # Defaults of the operators were chosen by searches with seeds 0 to 2.
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--population", type=int, default=32)
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--parent-epochs", type=int, default=10)
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/operators"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    parent = train_parent(data(options.data_dir), epochs=options.parent_epochs)
    rows = [
        {"setting": setting, "variation": name, "seed": seed}
        | measure(parent, options, task_options, ways, seed)
        for setting, (task_options, variations) in SETTINGS.items()
        for name, ways in variations.items()
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "table.csv", rows)
    text = markdown(rows, options)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    draw(rows, options.out / "hypervolume.png")
    print(text)


def measure(
    parent: nn.Module,
    options: argparse.Namespace,
    task_options: Mapping[str, Any],
    ways: Mapping[str, Any],
    seed: int,
) -> Row:
    started = time.perf_counter()
    result = compress(
        Task(parent, data(options.data_dir), prune_inputs=True, **task_options),
        objectives=("accuracy", "param_count"),
        population=options.population,
        generations=options.generations,
        finalise_count=0,
        engine="batched",
        threads=1,
        seed=seed,
        **ways,
    )
    found = [child.validation for child in result.front]
    volume = hypervolume(
        [child.metric for child in found],
        [child.param_count for child in found],
        parent_param_count=result.parent.validation.param_count,
        n_classes=10,
    )
    row: Row = {"hypervolume": volume}
    for limit in LIMITS:
        within = [child.metric for child in found if child.param_count <= limit]
        row[f"accuracy_{limit}"] = max(within, default=None)
    return {
        **row,
        "evaluations": result.toolbox.counters.evaluations,
        "seconds": round(time.perf_counter() - started, 2),
    }


def figures(rows: list[Row], setting: str, variation: str, column: str) -> list[float]:
    found = [r[column] for r in rows if (r["setting"], r["variation"]) == (setting, variation)]
    return [value for value in found if value is not None]


def markdown(rows: list[Row], options: argparse.Namespace) -> str:
    minutes = sum(row["seconds"] for row in rows) / 60
    lines = [
        f"Fronts on validation data without final training, mean ± standard deviation of "
        f"{options.seeds} searches; {options.population} individuals, {options.generations} "
        "generations; in brackets, how many searches have such a child if not all; "
        f"{minutes:.1f} minutes in one thread.",
    ]
    heads = [f"best accuracy under {limit:,} parameters" for limit in LIMITS]
    for setting, (_, variations) in SETTINGS.items():
        lines += [
            f"\n| {setting} | hypervolume | {' | '.join(heads)} | seconds |",
            "|---" * (3 + len(LIMITS)) + "|",
        ]
        for name in variations:
            cells = [spread(figures(rows, setting, name, "hypervolume"))]
            for limit in LIMITS:
                found = figures(rows, setting, name, f"accuracy_{limit}")
                some = f" ({len(found)} of {options.seeds})" if len(found) < options.seeds else ""
                cells.append(spread(found) + some)
            seconds = mean(figures(rows, setting, name, "seconds"))
            lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    if not values:
        return "none"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def draw(rows: list[Row], path: Path) -> None:
    figure = fig.new_figure()
    axes = figure.add_subplot()
    fig.dress(axes, title="Hypervolume by way of varying")
    labels = []
    for (setting, (_, variations)), colour in zip(SETTINGS.items(), fig.PALETTE, strict=False):
        for k, name in enumerate(variations):
            values = figures(rows, setting, name, "hypervolume")
            place = [len(labels)] * len(values)
            axes.plot(values, place, "o", color=colour, label=None if k else setting)
            labels.append(name)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("Hypervolume", fontsize=fig.LABEL_SIZE)
    axes.legend(frameon=False)
    fig.save_figure(figure, path)


if __name__ == "__main__":
    main()
