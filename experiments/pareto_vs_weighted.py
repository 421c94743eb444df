"""Pareto or weighted selection? The same budget of evaluations for each mode, several seeds.

All modes evolve the same genome of the same parent on the same data, in as many generations as
fit into the budget: the evaluations that NSGA-II takes for ``--generations``, where mu + lambda
counts its survivors, measured again on every fresh batch. Then the final population, and the
archive where the mode has one, are scored on the whole validation data, which choose the front
of accuracy and parameters. Test data are looked at for the chosen children alone. A sweep is how
users of a weighted fitness trace a front: several weightings share one budget. The initial
population, which only pruning made, shows what there was before any search.

Writes into OUT: ``results.csv`` (one row a mode and seed), ``table.csv`` and ``table.md`` (one
row a mode), ``fronts.png`` and ``hypervolume.png``. Finished runs are kept in ``OUT/runs``, so an
interrupted experiment goes on where it stopped.

    python experiments/pareto_vs_weighted.py --seeds 5 --jobs 2 --out results/pareto_vs_weighted
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from common import check_settings, data, parent_file, run_all, write_csv
from deap import algorithms
from pareto_vs_weighted_table import markdown, result, table

from ecomp_deap import Task, Toolbox, load_parent, make_toolbox
from ecomp_deap.callbacks import Callback
from ecomp_deap.files import write_atomically
from ecomp_deap.report import plot_boxes, plot_fronts
from ecomp_deap.search import Archive, Child, Finisher, non_dominated, spread

Row = dict[str, Any]
Weights = tuple[float, float, float]

# Of accuracy, similarity and compression. The original's three that weigh more than one thing
# and accuracy among them; a sweep adds two with the size less and more important.
WEIGHTINGS: tuple[Weights, ...] = ((1, 2, 1), (1, 0, 1), (1, 2, 0))
SWEEP: tuple[Weights, ...] = (*WEIGHTINGS, (1, 0, 0.3), (1, 0, 3))


@dataclass(frozen=True)
class Mode:
    """A way to search: a Pareto one, or a weighted one with one or more weightings."""

    name: str
    selection: str
    weightings: tuple[Weights, ...] = ()
    objectives: tuple[str, ...] | None = None
    searches: bool = True

    @property
    def is_pareto(self) -> bool:
        return not self.weightings


REFERENCE = "NSGA-II"
MODES = (
    Mode("initial population", "nsga2", searches=False),
    Mode(REFERENCE, "nsga2"),
    Mode("NSGA-II, two objectives", "nsga2", objectives=("accuracy", "param_count")),
    Mode("SPEA2", "spea2"),
    *(
        Mode(f"{selection} {','.join(f'{w:g}' for w in weights)}", selection, (weights,))
        for selection in ("roulette", "tournament")
        for weights in WEIGHTINGS
    ),
    Mode("roulette sweep", "roulette", SWEEP),
    Mode("tournament sweep", "tournament", SWEEP),
)


def main() -> None:
    options = _parse()
    torch.set_num_threads(1)
    free = ("seeds", "jobs", "out")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    check_settings(options.out, {**settings, "data": data(options.data_dir).source})
    (options.out / "runs").mkdir(exist_ok=True)
    options.parent = parent_file(options.out, options.parent, options.data_dir)
    every = [(mode, seed, options) for seed in range(1, options.seeds + 1) for mode in MODES]
    run_all(_run_one, [job for job in every if not _path(*job).exists()], options.jobs)
    runs = [json.loads(_path(*job).read_text(encoding="utf-8")) for job in every]
    results = [result(run) for run in runs]
    lines = table(results, reference=REFERENCE)
    text = markdown(lines, reference=REFERENCE, note=_note(options))
    write_csv(options.out / "results.csv", results)
    write_csv(options.out / "table.csv", lines)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    _draw(options.out, runs, results)
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="runs a mode")
    parser.add_argument("--generations", type=int, default=30, help="of NSGA-II: the budget")
    parser.add_argument("--population", type=int, default=60)
    parser.add_argument("--genome", choices=("mask", "weights"), default="mask")
    parser.add_argument("--finalise-children", type=int, default=8, help="along each front")
    parser.add_argument("--finalise-epochs", type=int, default=2, help="0 for none")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--parent", type=Path, help="weights of the parent, else it is trained")
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("results/pareto_vs_weighted"))
    return parser.parse_args()


def _path(mode: Mode, seed: int, options: argparse.Namespace) -> Path:
    name = re.sub(r"[^a-z0-9.]+", "_", mode.name.lower())
    return options.out / "runs" / f"{name}_seed_{seed}.json"


def _run_one(job: tuple[Mode, int, argparse.Namespace]) -> str:
    mode, seed, options = job
    torch.set_num_threads(1)
    started = time.perf_counter()
    task = Task(load_parent(options.parent), data(options.data_dir))
    searches = [_search(task, mode, w, seed, options) for w in mode.weightings or (None,)]
    toolboxes, populations, archives = zip(*searches, strict=True)
    seconds = time.perf_counter() - started
    evaluations = sum(toolbox.counters.evaluations for toolbox in toolboxes)
    run = {
        "mode": mode.name,
        "seed": seed,
        "evaluations": evaluations,
        "generations": [toolbox.generation for toolbox in toolboxes],
        "search_seconds": seconds,
        **_score(toolboxes[0], list(chain(*populations)), list(chain(*archives)), options),
    }
    write_atomically(_path(mode, seed, options), json.dumps(run) + "\n")
    return f"{mode.name}, seed {seed}: {evaluations} evaluations in {seconds:.0f} s"


def _search(
    task: Task, mode: Mode, weights: Weights | None, seed: int, options: argparse.Namespace
) -> tuple[Toolbox, list[Any], list[Any]]:
    """Return the toolbox, the final population and what a Pareto mode has archived.

    The generations are those of DEAP's eaMuPlusLambda and eaSimple, which run for a number of
    generations that is known before; here the budget ends them.
    """
    toolbox = make_toolbox(
        task,
        genome=options.genome,
        selection=mode.selection,
        objectives=mode.objectives,
        loss_weights=weights,
        # Small steps suit every selection here; larger ones find smaller children.
        mutation="flips" if options.genome == "mask" else None,
        seed=seed,
        threads=1,
    )
    n = options.population
    # What a generation takes if no two of its children are equal: equal ones are measured once.
    cost = 2 * n if mode.is_pareto else n
    budget = (n + 2 * n * options.generations) / max(len(mode.weightings), 1)
    rates = (1.0, 0.01) if options.genome == "weights" and not mode.is_pareto else (0.7, 0.3)
    archive = Archive()
    population = toolbox.population(n=n)
    _evaluate(toolbox, population)
    if mode.is_pareto:
        archive.update(population)
    while mode.searches and toolbox.counters.evaluations + cost <= budget:
        if mode.is_pareto:
            offspring = algorithms.varOr(population, toolbox, n, *rates)
            _evaluate(toolbox, offspring)
            archive.update(offspring)
            population = toolbox.select(population + offspring, n)
        else:
            offspring = algorithms.varAnd(toolbox.select(population, n), toolbox, *rates)
            _evaluate(toolbox, offspring)
            population = offspring
    return toolbox, population, list(archive)


def _evaluate(toolbox: Toolbox, individuals: Sequence[Any]) -> None:
    """Measure individuals as one generation, as DEAP's algorithms do."""
    unscored = [individual for individual in individuals if not individual.fitness.valid]
    values = toolbox.map(toolbox.evaluate, unscored)
    for individual, value in zip(unscored, values, strict=True):
        individual.fitness.values = value


def _score(
    toolbox: Toolbox,
    population: Sequence[Any],
    archive: Sequence[Any],
    options: argparse.Namespace,
) -> Row:
    """Return the rows of the chosen children: scored on validation data and tested."""
    finisher = Finisher(toolbox, Callback())
    known = {individual.key() for individual in population}
    ours = finisher.score(population)
    children = ours + finisher.score([i for i in archive if i.key() not in known])
    front = finisher.test(_front(children))
    finalised: list[Child] = []
    if options.finalise_epochs:
        chosen = spread(front, options.finalise_children)
        finalised = finisher.finalise(chosen, n=len(chosen), epochs=options.finalise_epochs)
        finalised = finisher.test(_front(finalised))
    return {
        "parent": finisher.parent().as_row(),
        "scored_children": len(children),
        "distinct_sizes": len({child.validation.param_count for child in children}),
        "front": [child.as_row() for child in front],
        "population_front": [child.as_row() for child in finisher.test(_front(ours))],
        "finalised": [child.as_row() for child in finalised],
    }


def _front(children: Sequence[Child]) -> list[Child]:
    """Return the children that validation chooses, by accuracy and parameters in every mode."""
    costs = [(-c.validation.metric, c.validation.param_count) for c in children]
    front = sorted((children[i] for i in non_dominated(costs)), key=_param_count)
    return [replace(child, id=f"{i:03d}") for i, child in enumerate(front, start=1)]


def _param_count(child: Child) -> int:
    return child.validation.param_count


def _note(options: argparse.Namespace) -> str:
    return (
        f"Median [min, max] of {options.seeds} seeds. Each mode has the evaluations of "
        f"{options.generations} generations of {REFERENCE}, {options.population} individuals. "
        "Differences: mean of the paired differences and its 95 % interval, seeds above 0. "
        f"Finalised: {options.finalise_epochs} epochs for up to {options.finalise_children} "
        "children along each front. Sizes: parameters, in % of the parent's. Within 1 and 2: the "
        "smallest child whose validation accuracy is at most 1 or 2 points below the parent's; in "
        "how many seeds there is one."
    )


def _draw(out: Path, runs: Sequence[Row], results: Sequence[Row]) -> None:
    names = [mode.name for mode in MODES]
    plot_fronts(
        {name: [run["front"] for run in runs if run["mode"] == name] for name in names},
        runs[0]["parent"],
        out / "fronts.png",
        title="Fronts that validation chooses, one line a seed",
    )
    lines = {name: name.replace(" ", "\n") for name in names}  # one word a line
    searched, finalised = (
        {lines[n]: [row[figure] for row in results if row["mode"] == n] for n in names}
        for figure in ("test_hypervolume", "finalised_test_hypervolume")
    )
    plot_boxes(
        searched,
        out / "hypervolume.png",
        ylabel="test hypervolume",
        title="The same budget for each mode",
        label="after the search",
        overlay=None if None in finalised[lines[REFERENCE]] else finalised,
        overlay_label="finalised",
    )


if __name__ == "__main__":
    main()
