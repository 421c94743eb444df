"""Which units should stay? Importances compared at fixed sizes, before and after training.

A dense parent is trained on Fashion-MNIST and pruned by each importance to children of a few
sizes, all groups alike, the input features among them. The children are then trained with the
recipe below, all in the same order of samples for each seed, and tested.

Writes ``table.csv``, ``table.md`` and ``accuracy.png`` into OUT.

    python experiments/importance.py --data-dir DIR --out results/importance
"""

import argparse
import statistics
from pathlib import Path

import torch
from common import Row, write_csv

from ecomp_deap import Recipe, Splits, Task, load_fashion_mnist, make_toolbox, train_parent
from ecomp_deap.defaults import IMPORTANCES
from ecomp_deap.network import fit_children, param_count
from ecomp_deap.report import _figure as fig
from ecomp_deap.search.pruning import keep, uniform_widths

SIZES = (56_000, 27_000, 13_100, 8_100)
# Evaluations for as many children as there are units say little about input features.
COMPARED = tuple(name for name in IMPORTANCES if name != "similarity")
RECIPE = Recipe(
    learning_rate=1.8e-3,
    schedule="onecycle",
    batch_size=100,
    optimizer="adamw",
    weight_decay=0.04,
    averaging=0.3,
    size_power=0.5,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="parents, each pruned anew")
    parser.add_argument("--epochs", type=int, default=10, help="of training a child")
    parser.add_argument("--parent-epochs", type=int, default=20)
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/importance"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_fashion_mnist(options.data_dir)
    rows = [row for seed in range(options.seeds) for row in measure(data, options, seed)]
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "table.csv", rows)
    text = markdown(rows, options.epochs, data.source)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    draw(rows, options.out / "accuracy.png")
    print(text)


def measure(data: Splits, options: argparse.Namespace, seed: int) -> list[Row]:
    parent = train_parent(data, epochs=options.parent_epochs, seed=seed)
    task = Task(parent, data, prune_inputs=True, probe_layers=[])
    found = []
    for name in COMPARED:
        toolbox = make_toolbox(
            task, objectives=("accuracy", "param_count"), importance=name, seed=seed
        )
        evaluator = toolbox.evaluator
        for size in SIZES:
            widths = uniform_widths(size, evaluator, inputs=True)
            assert widths is not None
            child = evaluator.compile(keep(widths, evaluator.importance))
            found.append((name, size, widths, child))
    scorer = evaluator.scorer(data.validation)
    children = [child for *_, child in found]
    before = [scorer.test(child, data.test) for child in children]
    whole = param_count(parent)
    fit_children(
        *(children, data.search),
        epochs=options.epochs,
        loss_fn=task.loss_fn,
        forward=task.apply,
        seed=seed,
        recipe=RECIPE,
        learning_rates=[RECIPE.rate_for(param_count(child), whole) for child in children],
    )
    return [
        {
            **{"seed": seed, "importance": name, "size": size},
            "param_count": param_count(child),
            "widths": "-".join(map(str, widths)),
            "validation_accuracy": scorer.test(child, data.validation),
            "test_accuracy": scorer.test(child, data.test),
            "test_accuracy_before": untrained,
            "parent_test_accuracy": scorer.test(parent, data.test),
        }
        for (name, size, widths, child), untrained in zip(found, before, strict=True)
    ]


def figures(rows: list[Row], name: str, size: int, column: str) -> list[float]:
    return [r[column] for r in rows if (r["importance"], r["size"]) == (name, size)]


def markdown(rows: list[Row], epochs: int, source: str) -> str:
    n_seeds = len({row["seed"] for row in rows})
    parents = statistics.fmean(row["parent_test_accuracy"] for row in rows)
    lines = [
        f"Test accuracy of children pruned to a size, the same fraction of every group and of the "
        f"input features, after {epochs} epochs; untrained in brackets. Mean of {n_seeds} parents "
        f"(parents: {parents:.4f}); {source}\n",
        "| importance | " + " | ".join(f"{size:,}" for size in SIZES) + " |",
        "|---" * (len(SIZES) + 1) + "|",
    ]
    for name in COMPARED:
        cells = []
        for size in SIZES:
            after, before = (
                statistics.fmean(figures(rows, name, size, column))
                for column in ("test_accuracy", "test_accuracy_before")
            )
            cells.append(f"{after:.4f} ({before:.3f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    figure = fig.new_figure()
    axes = figure.add_subplot()
    fig.dress(axes, title="Children of one size, by what ranks their units")
    for name, colour in zip(COMPARED, (*fig.PALETTE, fig.MUTED), strict=False):
        means = [statistics.fmean(figures(rows, name, size, "test_accuracy")) for size in SIZES]
        axes.plot(SIZES, means, "o-", color=colour, label=name)
    axes.set_xscale("log")
    axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    axes.minorticks_off()
    fig.set_value_axis(axes.yaxis, "accuracy")
    axes.set_xlabel("Parameters at most", fontsize=fig.LABEL_SIZE)
    axes.set_ylabel("Test accuracy after training (%)", fontsize=fig.LABEL_SIZE)
    axes.legend(frameon=False)
    fig.save_figure(figure, path)


if __name__ == "__main__":
    main()
