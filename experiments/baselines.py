"""Was evolution worth it? Simpler methods with the search's own budget, several seeds.

For each seed a search runs as ``ecomp-deap run`` does it, with the options of ``--config``. Then
every baseline gets what the search took: as many training samples, search and final training
together, as many evaluations, the same split and the same final training, with a learning rate
tuned on validation data at the baseline's expense. Validation data choose, test data report.

Writes into OUT: ``results.csv`` (one row a child), ``table.csv`` and ``table.md`` (hypervolumes,
accuracy under fixed sizes, who wins where) and ``attainment.png``. Finished searches and methods
are kept in ``OUT/runs``, so an interrupted experiment goes on where it stopped.

    python experiments/baselines.py --seeds 3 --network dense --data-dir DIR --out results/baselines
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import check_settings, run_all, write_csv
from networks import build

from ecomp_deap import export, load_fashion_mnist, train_parent
from ecomp_deap.files import write_atomically
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.report import plot_attainment
from ecomp_deap.runs import RunConfig
from ecomp_deap.runs.config import load_toml
from ecomp_deap.search.baseline_run import N_CLASSES, FinishedRun
from ecomp_deap.search.baselines import methods_for
from ecomp_deap.search.comparing import SEARCH, comparison, markdown
from ecomp_deap.search.run import run_many

Row = dict[str, Any]

# Parameters that children are compared under.
LIMITS = {
    "dense": (56_000, 27_000, 13_100, 8_100),
    "resnet20": (27_000, 14_000, 7_000),
}

# What a search is asked of each network.
OPTIONS: dict[str, Row] = {
    "dense": {
        "genome": "width",
        "importance": "reconstruction",
        "highest_rate": 0.9,
        "prune_inputs": True,
        "min_units": 32,
        "max_params": 56_000,
        "objectives": ["accuracy", "param_count"],
        "probe_layers": [],
        "mutation": "mixed",
        "population": 64,
        "generations": 20,
        "batch_size": 4000,
        "train_steps": 100,
        "train_batch_size": 100,
        "learning_rate": 3e-3,
        "optimizer": "adamw",
        "weight_decay": 0.04,
        "finalise_count": 32,
        "finalise_epochs": 50,
        "finalise_trials": 64,
        "finalise_learning_rate": 1.8e-3,
        "finalise_size_power": 0.5,
        "finalise_optimizer": "adamw",
        "finalise_weight_decay": 0.04,
        "finalise_batch_size": 100,
        "finalise_averaging": 0.3,
        "finalise_mixup": 0.05,
    },
    "resnet20": {
        "images": True,
        "genome": "width",
        "importance": "reconstruction",
        "highest_rate": 0.9,
        "max_params": 27_000,
        "objectives": ["accuracy", "param_count"],
        "probe_layers": [],
        "mutation": "mixed",
        "population": 16,
        "generations": 6,
        "evaluation": "fixed",
        "batch_size": 500,
        "train_steps": 3,
        "train_batch_size": 100,
        "learning_rate": 4e-3,
        "finalise_count": 8,
        "finalise_epochs": 4,
        "finalise_size_power": 0.5,
    },
}
# How parents are trained; those of 10 epochs without weight decay have weaker children.
PARENTS = {
    "dense": Recipe(
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.05,
        schedule="onecycle",
        batch_size=128,
        mixup=0.4,
        averaging=0.2,
    ),
    "resnet20": FINALISE_RECIPE,
}
EPOCHS = {"dense": 60, "resnet20": 10}


def main() -> None:
    options = _parse()
    torch.set_num_threads(1)
    options.limits = options.limits or LIMITS[options.network]
    if options.parent_epochs is None:
        options.parent_epochs = EPOCHS[options.network]
    images = options.network != "dense"
    free = ("seeds", "jobs", "out", "methods")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    config = options.config and options.config.read_text(encoding="utf-8")
    source = load_fashion_mnist(options.data_dir).source
    check_settings(options.out, {**settings, "config": config, "data": source})
    (options.out / "runs").mkdir(exist_ok=True)
    options.parent = _parent_file(options, images=images)
    asked = _config(1, options)
    known = methods_for(prune_inputs=asked.prune_inputs, importance=asked.importance)
    methods = options.methods or known
    seeds = range(1, options.seeds + 1)
    for names in ([SEARCH], methods):  # baselines need to know what the search took
        jobs = [(name, seed, options) for seed in seeds for name in names]
        run_all(_run_one, [job for job in jobs if not _path(*job).exists()], options.jobs)
    runs = [_read(name, seed, options) for name in (SEARCH, *methods) for seed in seeds]
    parent = runs[0]["parent"]
    fronts = {n: [r["rows"] for r in runs if r["method"] == n] for n in (SEARCH, *methods)}
    lines = comparison(
        fronts,
        parent_param_count=parent["param_count"],
        limits=options.limits,
        n_classes=N_CLASSES,
    )
    text = markdown(lines, note=_note(options, runs))
    write_csv(options.out / "results.csv", [_own(row, r) for r in runs for row in r["rows"]])
    write_csv(options.out / "table.csv", lines)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    title = "Median attainment surfaces, the same budget for each method"
    plot_attainment(fronts, parent, options.out / "attainment.png", title=title)
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--network", choices=tuple(OPTIONS), default="dense")
    parser.add_argument("--seeds", type=int, default=3, help="searches, and runs of each method")
    parser.add_argument("--config", type=Path, help="a file of options of ecomp-deap run")
    parser.add_argument("--methods", type=_names, help="baselines, default: all that apply")
    parser.add_argument("--limits", type=_numbers, help="parameters to compare children under")
    parser.add_argument("--children", type=int, default=8, help="that each baseline trains")
    parser.add_argument("--max-epochs", type=int, default=60, help="of a child of a baseline")
    parser.add_argument("--parent", type=Path, help="weights of the parent, else it is trained")
    parser.add_argument("--parent-epochs", type=int, help="default: 60, of ResNet-20 10")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/baselines"))
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _parent_file(options: argparse.Namespace, *, images: bool) -> Path:
    """Return the file of the given parent, or of one that is trained once and kept."""
    path: Path = options.parent or options.out / "parent.safetensors"
    if not path.exists() and options.parent is None:
        data = load_fashion_mnist(options.data_dir, flatten=not images)
        network = build(options.network) if images else None
        recipe, epochs = PARENTS[options.network], options.parent_epochs
        parent = train_parent(data, network, epochs=epochs, recipe=recipe)
        export(parent, path, example=data.search.batch([0, 1])[0])
    return path


def _path(method: str, seed: int, options: argparse.Namespace) -> Path:
    return options.out / "runs" / f"{method}_seed_{seed}.json"


def _read(method: str, seed: int, options: argparse.Namespace) -> Row:
    return json.loads(_path(method, seed, options).read_text(encoding="utf-8"))


def _run_one(job: tuple[str, int, argparse.Namespace]) -> str:
    """Do one search, or give one method what the search of this seed took; keep what it found."""
    method, seed, options = job
    torch.set_num_threads(1)
    started = time.perf_counter()
    if method == SEARCH:
        (run,) = run_many(_config(seed, options))
        folder, finished = run.directory.path, FinishedRun.open(run.directory.path)
        rows = finished.search_rows()
    else:
        folder = options.out / _read(SEARCH, seed, options)["folder"]
        finished = FinishedRun.open(folder)
        found = finished.baseline_rows(
            names=[method],
            sizes=options.limits,
            children=options.children,
            max_epochs=options.max_epochs,
            factory=build(options.network) if options.network != "dense" else None,
        )
        rows = found[method]
    seconds = time.perf_counter() - started
    found = {
        "method": method,
        "seed": seed,
        "seconds": seconds,
        "folder": str(folder.relative_to(options.out)),
        "samples": finished.budget.samples,
        "evaluations": finished.budget.evaluations,
        "parent": finished.parent,
        "rows": rows,
    }
    write_atomically(_path(method, seed, options), json.dumps(found) + "\n")
    return f"{method}, seed {seed}: {seconds:.0f} s"


def _config(seed: int, options: argparse.Namespace) -> RunConfig:
    """Return what the search of a seed is asked."""
    own: Row = {
        "n_runs": 1,
        "name": f"search_seed_{seed}",
        "seed": seed,
        "out": options.out / "runs",
        "parent": options.parent,
        "data_dir": options.data_dir,
    }
    if options.network != "dense":
        folder = Path(__file__).resolve().parent
        own["factory"] = f"{folder / 'networks.py'}:{_class_name(options.network)}"
    known = {"threads": 1, "finalise_sizes": options.limits, **OPTIONS[options.network]}
    layers: list[Mapping[str, Any]] = [known]
    if options.config:
        layers.append(load_toml(options.config))
    return RunConfig.from_layers(*layers, own)


def _class_name(network: str) -> str:
    return type(build(network)).__name__


def _own(row: Row, run: Row) -> Row:
    return {"method": run["method"], "seed": run["seed"], **row}


def _note(options: argparse.Namespace, runs: Sequence[Row]) -> str:
    searches = [run for run in runs if run["method"] == SEARCH]
    samples, evaluations, seconds = (
        sum(run[name] for run in searches) / len(searches)
        for name in ("samples", "evaluations", "seconds")
    )
    return (
        f"Mean ± standard deviation of {len(searches)} seeds; {options.network}. Each search took "
        f"{samples:,.0f} training samples and {evaluations:,.0f} evaluations on average, in "
        f"{seconds:.0f} s; each method had those of its seed at most, up to {options.max_epochs} "
        "epochs a child. Hypervolume of the children that validation chooses; under a limit on the "
        "parameters, test accuracy of the child that it picks. Bold: no other method's is higher."
    )


if __name__ == "__main__":
    main()
