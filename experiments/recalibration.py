"""How many samples do the batch norms of a child need, and what are they worth?

A network of convolutions with batch norms is trained on the bundled slice of Fashion-MNIST, pruned
by the L1 norms of its units at several rates, and scored on the validation data without any
training: with the parent's statistics, and with statistics from more and more samples.

Writes ``table.csv``, ``table.md`` and ``accuracy.png`` into OUT.

    python experiments/recalibration.py
"""

import argparse
from pathlib import Path

import torch
from common import Row, write_csv
from torch import nn

from ecomp_deap import Evaluator, MaskGenome, Splits, Task, load_fashion_mnist, train_parent
from ecomp_deap.operators import prune_masks
from ecomp_deap.report import _figure as fig

SAMPLES = (0, 32, 128, 512, 2048)
RATES = (0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="parents, each scored anew")
    parser.add_argument("--epochs", type=int, default=4, help="of training a parent")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/recalibration"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_fashion_mnist(options.data_dir, flatten=False)
    rows = [row for seed in range(options.seeds) for row in measure(data, options.epochs, seed)]
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "table.csv", rows)
    text = markdown(rows)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    draw(rows, options.out / "accuracy.png")
    print(text)


def measure(data: Splits, epochs: int, seed: int) -> list[Row]:
    parent = train_parent(data, network(seed), epochs=epochs, seed=seed)
    rows = []
    for n_samples in SAMPLES:
        evaluator = Evaluator(Task(parent, data, recalibration_samples=n_samples), seed=seed)
        scorer = evaluator.scorer(data.validation)
        for rate in (0.0, *RATES):
            masks = prune_masks(evaluator.structure, evaluator.importance, rate)
            genome = MaskGenome(masks)
            found = scorer.score(evaluator.compile(genome), genome.widths)
            rows.append(
                {
                    **{"seed": seed, "samples": n_samples, "rate": rate},
                    "accuracy": found.metric,
                    "similarity_loss": found.similarity_loss,
                }
            )
    return rows


def network(seed: int) -> nn.Module:
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for n_inputs, n_outputs in ((1, 16), (16, 32), (32, 64)):
            convolution = nn.Conv2d(n_inputs, n_outputs, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(n_outputs), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(64 * 16, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, 10))


def mean(rows: list[Row], n_samples: int, rate: float) -> float:
    found = [r["accuracy"] for r in rows if (r["samples"], r["rate"]) == (n_samples, rate)]
    return sum(found) / len(found)


def label(n_samples: int) -> str:
    return f"{n_samples:,} samples" if n_samples else "the parent's"


def markdown(rows: list[Row]) -> str:
    n_parents = len({row["seed"] for row in rows})
    lines = [
        f"Validation accuracy of children without training, mean of {n_parents} parents "
        f"(parents: {mean(rows, 0, 0.0):.3f}).\n",
        "| statistics | " + " | ".join(f"{rate:.0%} of the units removed" for rate in RATES) + " |",
        "|---" * (len(RATES) + 1) + "|",
    ]
    for n_samples in SAMPLES:
        cells = [f"{mean(rows, n_samples, rate):.3f}" for rate in RATES]
        lines.append(f"| {label(n_samples)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    figure = fig.new_figure()
    axes = figure.add_subplot()
    fig.dress(axes, title="Children of batch norms, without training")
    for n_samples, colour in zip(SAMPLES, (fig.MUTED, *fig.PALETTE), strict=False):
        values = [mean(rows, n_samples, rate) for rate in (0.0, *RATES)]
        axes.plot((0.0, *RATES), values, "o-", color=colour, label=label(n_samples))
    fig.set_value_axis(axes.yaxis, "accuracy")
    axes.xaxis.set_major_formatter(fig.percent_formatter())
    axes.set_xlabel("Units removed (%)", fontsize=fig.LABEL_SIZE)
    axes.set_ylabel("Validation accuracy (%)", fontsize=fig.LABEL_SIZE)
    axes.legend(title="Statistics from", frameon=False)
    fig.save_figure(figure, path)


if __name__ == "__main__":
    main()
