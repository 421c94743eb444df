"""What comes of networks that users write themselves, from training to finished children?

The networks of ``networks.py`` on Fashion-MNIST. For each network and seed the parent is trained,
inspected and compressed, all of it timed. Two children of the front are chosen, on validation
data: the package's own choice, and the most accurate one of at most ``--share`` of the parent's
parameters. Networks that are large for two cores get fewer images.

Writes into OUT: ``fronts.csv`` (one row a child of a front), ``table.csv`` and ``table.md``
(parents and chosen children), ``fronts.png``, and ``NETWORK.txt``, what `inspect` says of it.
Finished runs are kept in ``OUT/runs``, so an interrupted experiment goes on where it stopped, and
the tables hold all runs that are there.

    python experiments/any_network.py --networks lenet5 concat --seeds 3
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from common import Row, check_settings, write_csv
from matplotlib.lines import Line2D
from networks import NETWORKS, build

from ecomp_deap import Result, Splits, Task, compress, inspect, load_fashion_mnist
from ecomp_deap.data import Samples
from ecomp_deap.files import write_atomically
from ecomp_deap.network import fit, latency_ms, param_count, speedup
from ecomp_deap.report import _figure as fig
from ecomp_deap.search import Child
from ecomp_deap.task import default_forward
from ecomp_deap.threads import available_cores


@dataclass(frozen=True)
class Settings:
    """What is done for a network; the defaults suit small ones.

    Attributes:
        images: Search data at most; a fifth as many validate.
        epochs: Of training the parent.
        largest: Parameters of a child at most, as a fraction of the parent's.
        population: Individuals.
        generations: Generations after the first.
        train_steps: Gradient steps of a child before it is scored.
        finalise_count: Children of the front that are trained longer.
        finalise_epochs: Epochs of that training.
    """

    images: int = 50_000
    epochs: int = 10
    largest: float = 0.5
    population: int = 40
    generations: int = 20
    train_steps: int = 5
    finalise_count: int = 8
    finalise_epochs: int = 5


SETTINGS = {
    "lenet5": Settings(largest=0.2, finalise_count=10),
    "resnet20": Settings(images=8_000, population=16, generations=8, finalise_count=6),
    "vit": Settings(images=20_000, population=30, generations=15),
    "concat": Settings(images=20_000, population=30, generations=15),
}
# Images that networks are timed with.
N_TIMED = 8


def main() -> None:
    options = _parse()
    torch.set_num_threads(options.threads)
    data = load_fashion_mnist(options.data_dir, flatten=False)
    given = {field.name: getattr(options, field.name) for field in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    check_settings(options.out, {"share": options.share, "data": len(data.search), **given})
    (options.out / "runs").mkdir(exist_ok=True)
    for name in options.networks:
        for seed in range(1, options.seeds + 1):
            path = options.out / "runs" / f"{name}_seed_{seed}.json"
            if not path.exists():
                run = _run(name, seed, replace(SETTINGS[name], **given), data, options)
                write_atomically(path, json.dumps(run, indent=1) + "\n")
                print(f"{name}, seed {seed}: {run['seconds']}", file=sys.stderr, flush=True)
    # All that are there, so that networks and seeds can be added one by one.
    paths = [p for name in NETWORKS for p in sorted((options.out / "runs").glob(f"{name}_seed_*"))]
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    text = _markdown(runs, options.share)
    write_csv(options.out / "fronts.csv", [row for run in runs for row in run["front"]])
    write_csv(options.out / "table.csv", [row for run in runs for row in run["chosen"]])
    (options.out / "table.md").write_text(text, encoding="utf-8")
    _draw(runs, options.out / "fronts.png")
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=1, help="runs a network")
    parser.add_argument("--share", type=float, default=0.15, help="of the parent's parameters")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch")
    parser.add_argument("--rounds", type=int, default=9, help="in which children are timed")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/any_network"))
    for field in fields(Settings):
        text = "for all networks, in place of what suits each"
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, help=text)
    return parser.parse_args()


def _run(
    name: str, seed: int, settings: Settings, data: Splits, options: argparse.Namespace
) -> Row:
    """Do everything for one network and seed, and return what ``OUT/runs`` keeps of it."""
    parts = replace(
        data,
        search=_at_most(data.search, settings.images),
        validation=_at_most(data.validation, settings.images // 5),
    )
    started = time.perf_counter()
    parent = build(name, seed)
    fit(
        parent,
        parts.search,
        epochs=settings.epochs,
        loss_fn=torch.nn.functional.cross_entropy,
        forward=default_forward,
        seed=seed,
    )
    trained = time.perf_counter() - started
    inputs, _ = parts.validation.batch(np.arange(N_TIMED))
    (options.out / f"{name}.txt").write_text(f"{inspect(parent, inputs)}\n", encoding="utf-8")
    task = Task(
        parent,
        parts,
        train_steps=settings.train_steps,
        max_params=int(settings.largest * param_count(parent)),
    )
    result = compress(
        task,
        # Masks would stay near the proportions that all groups are first pruned in.
        genome="width",
        objectives=("accuracy", "param_count"),
        population=settings.population,
        generations=settings.generations,
        finalise_count=settings.finalise_count,
        finalise_epochs=settings.finalise_epochs,
        seed=seed,
        threads=options.threads,
    )
    total = time.perf_counter() - started
    seconds = {"parent": trained, **result.seconds, "total": total}
    front = [_row(name, seed, child.id, child, result.parent) for child in result.front]
    return {
        "settings": asdict(settings),
        "seconds": {phase: round(value, 1) for phase, value in seconds.items()},
        "front": front,
        "chosen": _chosen(name, seed, result, options, inputs),
    }


def _at_most(samples: Samples, n: int) -> Samples:
    """Return n of the samples, the same ones each time, or all if there are no more."""
    order = np.random.default_rng(0).permutation(len(samples))
    return samples.subset(np.sort(order[:n])) if n < len(samples) else samples


def _row(name: str, seed: int, label: str, child: Child, parent: Child) -> Row:
    found, whole = child.validation, parent.validation
    assert child.test is not None
    assert parent.test is not None
    return {
        "network": name,
        "seed": seed,
        "child": label,
        "param_count": found.param_count,
        "param_share": round(found.param_count / whole.param_count, 4),
        "mac_count": found.mac_count,
        "mac_share": round(found.mac_count / whole.mac_count, 4),
        "validation_accuracy": round(found.metric, 4),
        "test_accuracy": round(child.test, 4),
        "test_accuracy_before": child.test_before and round(child.test_before, 4),
        "test_accuracy_of_parent": round(child.test / parent.test, 4),
        "similarity_loss": round(found.similarity_loss, 4),
        "widths": "-".join(map(str, child.widths)),
    }


def _chosen(
    name: str, seed: int, result: Result, options: argparse.Namespace, inputs: torch.Tensor
) -> list[Row]:
    """Return the rows of the parent and of the children that validation chooses."""
    children = {"parent": result.parent, "within 1 point": result.best}
    limit = options.share * result.parent.validation.param_count
    small = [child for child in result.front if child.validation.param_count <= limit]
    if small:
        best = max(small, key=lambda child: child.validation.metric)
        children[f"at most {100 * options.share:g} %"] = best
    modules = {label: child.module for label, child in children.items()}
    times = latency_ms(modules, inputs, repeats=options.rounds)
    return [
        {
            **_row(name, seed, label, child, result.parent),
            "latency_ms": round(times[label].median_ms, 3),
            "speedup": round(speedup(times, label, "parent"), 2),
        }
        for label, child in children.items()
    ]


def _markdown(runs: Sequence[Row], share: float) -> str:
    """Return the table of parents and chosen children, with a note."""
    headings = (
        *("network", "seed", "", "parameters", "", "MACs", "", "test accuracy", "of the parent's"),
        *("similarity loss", "times as fast", "seconds"),
    )
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for run in runs:
        for row in run["chosen"]:
            whole = row["child"] == "parent"
            cells = (
                row["network"] if whole else "",
                str(row["seed"]) if whole else "",
                row["child"],
                f"{row['param_count']:,d}",
                f"{100 * row['param_share']:.1f} %",
                f"{row['mac_count']:,d}",
                f"{100 * row['mac_share']:.1f} %",
                f"{row['test_accuracy']:.4f}",
                f"{100 * row['test_accuracy_of_parent']:.1f} %",
                f"{row['similarity_loss']:.3f}",
                f"{row['speedup']:.2f}",
                _seconds(run["seconds"]) if whole else "",
            )
            lines.append(f"| {' | '.join(cells)} |")
    note = (
        "Within 1 point: the smallest child whose validation accuracy is at most 1 point below the "
        f"parent's, else the most accurate one. At most {100 * share:g} %: the most accurate on "
        "validation data with no more of the parent's parameters. Times as fast: "
        f"{N_TIMED} images, one thread. Seconds: all in all (training the parent + search + "
        "finalising, with the tests)."
    )
    return "\n".join([*lines, "", note, ""])


def _seconds(seconds: Row) -> str:
    parts = [f"{seconds[phase]:.0f}" for phase in ("parent", "search", "finalise")]
    return f"{seconds['total']:.0f} ({' + '.join(parts)})"


def _draw(runs: Sequence[Row], path: Path) -> None:
    """Draw test accuracy against the fraction of parameters: a colour a network, a line a seed.

    Children of few units that hardly work would leave the others no room.
    """
    figure = fig.new_figure()
    axes = figure.subplots()
    fig.dress(axes, title="Children of the fronts within 10 points of their parents, the stars")
    fig.label(axes, "Parameters, % of the parent's (log scale)", fig.axis_label("test", "accuracy"))
    names = list(dict.fromkeys(run["chosen"][0]["network"] for run in runs))
    shares = [1.0]
    for run in runs:
        name = run["chosen"][0]["network"]
        color = fig.PALETTE[names.index(name)]
        parent = run["chosen"][0]["test_accuracy"]
        near = [row for row in run["front"] if row["test_accuracy"] >= parent - 0.1]
        x, y = ([row[key] for row in near] for key in ("param_share", "test_accuracy"))
        shares += x
        axes.plot(x, y, color=color, linewidth=1.1, marker="o", markersize=4)
        axes.scatter(1, parent, marker="*", s=200, color=color, edgecolors="white", zorder=4)
    fig.set_log_count_axis(axes, shares)
    axes.xaxis.set_major_formatter(fig.percent_formatter())
    fig.set_value_axis(axes.yaxis, "accuracy")
    keys = [
        Line2D([], [], color=fig.PALETTE[i], marker="o", markersize=4) for i in range(len(names))
    ]
    figure.legend(
        keys, names, loc="outside lower center", ncols=4, frameon=False, fontsize=fig.TICK_SIZE
    )
    fig.save_figure(figure, path)


if __name__ == "__main__":
    main()
