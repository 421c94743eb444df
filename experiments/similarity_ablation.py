"""Does the similarity objective help? Searches with and without each measure, paired by seed.

A dense parent is compressed by masks, input features among them. Arms of a mode differ in the
similarity alone: Pareto searches (NSGA-II) take accuracy and number of parameters, or one
measure's loss beside them; weighted ones (tournament) add up accuracy and compression, or subtract
a loss too. Losses have different scales: a weight is such that its term has the spread (standard
deviation) in the seed's first population that the t-SNE loss has there with the original's weight
of 2. All arms of a seed share parent, split, batches and first population, and take as many
individuals, generations and training samples.

In every arm validation data choose the front of accuracy and parameters, from the final
population and, in a Pareto search, its archive. Children spread along it are finalised; where it
has too few, the fronts behind it give the others, so that each arm trains as many. Test data judge
the front as the search left it and the finalised one.

Writes into OUT: ``results.csv`` (one row a search), ``table.csv`` and ``table.md`` (each measure
against the arm without similarity) and ``differences.png``. Finished searches are kept in
``OUT/runs``, so an interrupted experiment goes on where it stopped.

    python experiments/similarity_ablation.py --seeds 20 --jobs 2 --out results/similarity_ablation
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import Row, check_settings, data, run_all, write_csv
from similarity_ablation_table import (
    MODES,
    NONE,
    PARETO,
    STAGES,
    VOLUME,
    WEIGHTED,
    markdown,
    result,
    table,
)

from ecomp_deap import Task, Toolbox, evolve, export, load_parent, make_toolbox, train_parent
from ecomp_deap.callbacks import Callback
from ecomp_deap.defaults import LOSS_WEIGHTS, SIMILARITIES
from ecomp_deap.files import write_atomically
from ecomp_deap.report import _figure as fig
from ecomp_deap.search import Child, Finisher, non_dominated, spread

LIMITS = (56_000, 27_000, 13_100)
# Weighted searches can reach the smallest limits from children that are smaller than usual.
HIGHEST_RATE = 0.9
ORIGINAL, ORIGINAL_WEIGHT = SIMILARITIES[0], LOSS_WEIGHTS[1]
Job = tuple[str, str, int, argparse.Namespace]


def main() -> None:
    options = _parse()
    torch.set_num_threads(1)
    free = ("seeds", "jobs", "out", "measures", "limits")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    check_settings(options.out, {**settings, "data": data(options.data_dir).source})
    (options.out / "runs").mkdir(exist_ok=True)
    seeds = range(1, options.seeds + 1)
    for seed in seeds:
        _make_parent(seed, options)
    arms = [(mode, measure) for mode in MODES for measure in (NONE, *options.measures)]
    every = [(*arm, seed, options) for seed in seeds for arm in arms]
    run_all(_run_one, [job for job in every if not _path(*job).exists()], options.jobs)
    runs = [json.loads(_path(*job).read_text(encoding="utf-8")) for job in every]
    results = [result(run, options.limits) for run in runs]
    lines = table(results, options.limits)
    text = markdown(lines, note=_note(options, results))
    write_csv(options.out / "results.csv", results)
    write_csv(options.out / "table.csv", lines)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    _draw(lines, options)
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=20, help="searches an arm")
    parser.add_argument("--measures", type=_names, default=SIMILARITIES, help="default: all")
    parser.add_argument("--population", type=int, default=60)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--train-steps", type=int, default=0, help="of each child, inherited")
    parser.add_argument("--finalise-children", type=int, default=10, help="in each arm")
    parser.add_argument("--finalise-epochs", type=int, default=5)
    parser.add_argument("--limits", type=_numbers, default=LIMITS, help="on the parameters")
    parser.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    parser.add_argument("--parent", type=Path, help="weights of all parents, else one is trained")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/similarity_ablation"))
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _parent_path(seed: int, options: argparse.Namespace) -> Path:
    return options.parent or options.out / "parents" / f"seed_{seed}.safetensors"


def _make_parent(seed: int, options: argparse.Namespace) -> None:
    """Train a seed's parent, unless one is given or was kept."""
    path = _parent_path(seed, options)
    if options.parent is None and not path.exists():
        path.parent.mkdir(exist_ok=True)
        export(train_parent(data(options.data_dir), seed=seed), path)


def _path(mode: str, measure: str, seed: int, options: argparse.Namespace) -> Path:
    return options.out / "runs" / f"{mode}_{measure}_seed_{seed}.json"


def _run_one(job: Job) -> str:
    mode, measure, seed, options = job
    torch.set_num_threads(1)
    started = time.perf_counter()
    weight = _weight(measure, seed, options) if mode == WEIGHTED else None
    toolbox = _toolbox(mode, measure, seed, options, weight=weight)
    # Finalising goes by accuracy and parameters in every arm, whatever its own front goes by.
    found = evolve(
        toolbox,
        population=options.population,
        generations=options.generations,
        finalise_count=0,
    )
    finisher = Finisher(toolbox, Callback())
    rows = _finish(finisher, [*found.front, *finisher.score(found.population)], options)
    seconds = time.perf_counter() - started
    run = {
        "mode": mode,
        "measure": measure,
        "seed": seed,
        "similarity_weight": weight,
        "evaluations": toolbox.counters.evaluations,
        "duplicates": toolbox.counters.duplicates,
        "failed": toolbox.counters.failed,
        "training_samples": toolbox.counters.training_samples,
        "seconds": seconds,
        "parent": found.parent.as_row(),
        "rows": rows,
    }
    write_atomically(_path(*job), json.dumps(run) + "\n")
    return f"{mode}, {measure}, seed {seed}: {seconds:.0f} s"


def _toolbox(
    mode: str,
    measure: str,
    seed: int,
    options: argparse.Namespace,
    *,
    weight: float | None = None,
) -> Toolbox:
    """Return the toolbox of an arm; without a measure nothing looks at representations."""
    compared: Row = {"probe_layers": []} if measure == NONE else {"similarity": measure}
    task = Task(
        load_parent(_parent_path(seed, options)),
        data(options.data_dir),
        prune_inputs=True,
        train_steps=options.train_steps,
        inherit=options.train_steps > 0,
        **compared,
    )
    if mode == PARETO:
        middle = () if measure == NONE else ("similarity_loss",)
        fitness: Row = {"objectives": ("accuracy", *middle, "param_count")}
    else:
        fitness = {"selection": "tournament", "loss_weights": (1.0, weight, 1.0)}
    return make_toolbox(
        task, highest_rate=HIGHEST_RATE, seed=seed, engine="batched", threads=1, **fitness
    )


def _weight(measure: str, seed: int, options: argparse.Namespace) -> float:
    """Return the weight that gives a loss the spread of the t-SNE loss with its own weight."""
    if measure == NONE:
        return 0.0
    ours, original = (_first_spread(name, seed, options) for name in (measure, ORIGINAL))
    return ORIGINAL_WEIGHT * original / ours


def _first_spread(measure: str, seed: int, options: argparse.Namespace) -> float:
    """Return the standard deviation of a loss in the first population, failed children left out."""
    toolbox = _toolbox(PARETO, measure, seed, options)
    population = toolbox.population(n=options.population)
    for _ in toolbox.map(toolbox.evaluate, population):
        pass
    found = [individual.measurement for individual in population]
    return statistics.stdev(m.similarity_loss for m in found if not m.failed)


def _finish(
    finisher: Finisher, children: Sequence[Child], options: argparse.Namespace
) -> list[Row]:
    """Return the rows of the front and of all finalised children, tested before and after."""
    # A Pareto front and its population overlap.
    unique = {(tuple(c.kept.values()), c.validation.metric): c for c in children}
    numbered = [replace(child, id=f"{i:03d}") for i, child in enumerate(unique.values())]
    front, _ = _split(numbered)
    chosen = _chosen(numbered, options.finalise_children)
    finished = finisher.finalise(chosen, n=len(chosen), epochs=options.finalise_epochs)
    kept = {child.id: child for child in [*front, *finished]}
    return [child.as_row() for child in finisher.test(kept.values())]


def _chosen(children: Sequence[Child], n: int) -> list[Child]:
    """Return n children spread along the front; if it has fewer, it and some of those behind."""
    front, others = _split(children)
    if len(front) >= n or not others:
        return spread(front, n, [child.validation.param_count for child in front])
    return [*front, *_chosen(others, n - len(front))]


def _split(children: Sequence[Child]) -> tuple[list[Child], list[Child]]:
    """Return the front of accuracy and parameters, from the smallest on, and all others."""
    costs = [(-child.validation.metric, child.validation.param_count) for child in children]
    members = set(non_dominated(costs))
    front = sorted((children[i] for i in members), key=lambda c: c.validation.param_count)
    return front, [child for i, child in enumerate(children) if i not in members]


def _note(options: argparse.Namespace, results: Sequence[Row]) -> str:
    weights = ", ".join(
        f"{measure.replace('_', ' ')} {statistics.fmean(found):.3g}"
        for measure in options.measures
        if (found := _column(results, "similarity_weight", mode=WEIGHTED, measure=measure))
    )
    steps = f", {options.train_steps} inherited steps a child" if options.train_steps else ""
    evaluations = "; ".join(
        f"{mode} {_span(_column(results, 'evaluations', mode=mode))}" for mode in MODES
    )
    source, *_ = data(options.data_dir).source.split(";")
    return (
        f"{options.population} individuals, {options.generations} generations{steps}; evaluations "
        f"of a search (equal children of a generation are measured once): {evaluations}; training "
        f"samples: {_span(_column(results, 'training_samples'))}. {options.finalise_children} "
        f"children of each search finalised for {options.finalise_epochs} epochs. Similarity "
        "weights, by which each term has the standard deviation in the first population that the "
        f"t-SNE loss has with weight {ORIGINAL_WEIGHT:g} (mean of the seeds): {weights}. {source}."
    )


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,d}" if low == high else f"{low:,d} to {high:,d}"


def _column(results: Sequence[Row], name: str, **of: str) -> list[Any]:
    return [row[name] for row in results if all(row[key] == value for key, value in of.items())]


def _draw(lines: Sequence[Row], options: argparse.Namespace) -> None:
    """Draw the differences of hypervolumes with their intervals, before and after finalising."""
    found = {(r["mode"], r["stage"], r["measure"]): r for r in lines if r["figure"] == VOLUME}
    figure = fig.new_figure(10.0)
    panels = figure.subplots(1, len(MODES), sharey=True)
    for axes, mode in zip(panels, MODES, strict=True):
        fig.dress(axes, title=mode.capitalize())
        fig.label(axes, "Test hypervolume, with minus without", None)
        fig.set_value_axis(axes.xaxis, "hypervolume", ticks=5)
        axes.axvline(0, color=fig.MUTED, linewidth=1)
        for stage, colour, shift in zip(STAGES, fig.PALETTE, (-0.12, 0.12), strict=False):
            rows = [found[mode, stage, measure] for measure in options.measures]
            places = [place + shift for place in range(len(rows))]
            means = [row["difference"] for row in rows]
            axes.plot(means, places, "o", color=colour, label=f"{stage} finalising")
            for row, place in zip(rows, places, strict=True):
                if row["low"] is not None:
                    axes.plot([row["low"], row["high"]], [place] * 2, color=colour, linewidth=2)
    names = [measure.replace("_", " ") for measure in options.measures]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(STAGES), frameon=False)
    fig.save_figure(figure, options.out / "differences.png")


if __name__ == "__main__":
    main()
