"""A generation of 100 children: the batched engine, the loop engine and the original's route.

The evaluation alone, of real populations (the initial one, and one some generations on), and whole
generations of DEAP's own loops, from selection to statistics. The original's route goes child by
child, with scikit-learn's calibration. Each is done with one torch thread and with two; the batched
engine also with as many as it settles on by itself. Writes into OUT: ``results.csv``,
``table.md``, ``evaluation.png`` and ``generation.png``; fails if the measurements differ.

    python experiments/benchmarks/engine.py --parent parent.safetensors
"""

import os

# NumPy and scikit-learn are fastest with one thread. Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from _bars import plot_bars
from _bench import Row, Timing, compare, fastest, parser, take_turns, write_results
from _original import (
    BISECTED,
    EXACT,
    Agreement,
    OriginalEvaluator,
    agreement,
    check_agreement,
    worst,
)
from _tasks import ORIGINAL, Search, Stamps, add_inputs, load_inputs

from ecomp_deap import Task
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import Genome

# Name: engine and threads.
ALTERNATIVES: dict[str, tuple[str, int | None]] = {
    "batched, settled": ("batched", None),
    "batched, 1 thread": ("batched", 1),
    "batched, 2 threads": ("batched", 2),
    "loop, 1 thread": ("loop", 1),
    "loop, 2 threads": ("loop", 2),
    "scikit-learn, 1 thread": (ORIGINAL, 1),
    "scikit-learn, 2 threads": (ORIGINAL, 2),
}
OURS = "batched, settled"
# What the batched engine's measurements are held against. Two torch threads round in other ways.
CHECKED = {
    "batched against loop": ("loop, 1 thread", EXACT),
    "batched against scikit-learn": ("scikit-learn, 1 thread", BISECTED),
}
SEARCHES = (Search("weights"), Search("mask"), Search("mask", "nsga2"))
# Generations that a population has behind it, and those of one turn.
GROWN, GENERATIONS = 10, 4
CHILDREN, QUICK_CHILDREN = 100, 6


def main() -> None:
    arguments = parser(__doc__, "engine")
    add_inputs(arguments)
    options = arguments.parse_args()
    parent, data = load_inputs(options)
    task = Task(parent, data, batch_size=40 if options.quick else 100)
    n = QUICK_CHILDREN if options.quick else CHILDREN
    repeats, generations = (3, 1) if options.quick else (7, GENERATIONS)

    rows: list[Row] = []
    table: list[Row] = []
    panels: dict[str, dict[str, dict[str, float]]] = {"evaluation": {}, "generation": {}}

    def take_in(
        part: str, setting: Row, timings: list[Timing], found: Mapping[str, Agreement]
    ) -> None:
        ours = next(timing for timing in timings if timing.name == OURS)
        given = {"part": part, **setting}
        rows.extend(timing.row(ours, **given, **_apart(found)) for timing in timings)
        agreements = {name: found.get(name) for name in CHECKED}
        table.append({**given, **_cells(timings), **agreements})
        panel = f"{setting['genome']}: {setting['population']}"
        panels[part][panel] = {timing.name: timing.median for timing in timings}

    for search in SEARCHES[:2]:
        for name, genomes in _populations(search, task, n, 1 if options.quick else GROWN).items():
            timings, found, threads = measure_evaluation(task, genomes, repeats)
            setting = _setting(search, name, n, threads)
            take_in("evaluation", setting, timings, found)
    for search in SEARCHES:
        timings, evaluations, threads = measure_generation(task, search, n, generations, repeats)
        setting = _setting(search, str(search), evaluations, threads)
        take_in("generation", setting, timings, {})

    title = f"A generation of {n} children"
    notes = (
        "Median [min, max] of a generation; ratios are medians over rounds in which the "
        "alternatives take turns. Evaluation includes what is done once a batch, the batch and the "
        "parent's tables; a generation is all from selection to statistics, a mean over "
        f"{generations} after the initial one. Equal masks are evaluated once, and NSGA-II's "
        "survivors again on each fresh batch, hence the number of evaluations. ÷ is by the faster "
        "thread setting of each. The last columns: the largest differences of the batched engine's "
        "measurements on one batch from those of the loop and of scikit-learn's route with one "
        "thread; the latter itself is exact to some 1e-7 nats only."
    )
    print(write_results(options.out, title, rows, table, notes))
    for part, found_panels in panels.items():
        plot_bars(
            found_panels,
            options.out / f"{part}.png",
            title=f"{'A generation' if part == 'generation' else 'Evaluation'} of {n} children",
            xlabel="Time",
        )


def _populations(search: Search, task: Task, n: int, grown: int) -> dict[str, list[Genome]]:
    """Return plain genomes of the initial population, and of one some generations on."""
    toolbox = search.toolbox(task)
    initial = toolbox.population(n=n)
    before = [individual.plain() for individual in initial]
    after = [individual.plain() for individual in search.run(toolbox, initial, grown)]
    return {"initial": before, f"after {grown} generations": after}


def measure_evaluation(
    task: Task, genomes: Sequence[Genome], repeats: int
) -> tuple[list[Timing], dict[str, Agreement], int]:
    """Return the timings of one evaluation, how far measurements on one batch are apart, and the
    number of threads that the batched engine settled on."""
    evaluators = {name: _evaluator(task, *how) for name, how in ALTERNATIVES.items()}
    seeds = [0] * len(genomes)
    found = {
        name: [outcome.measurement for outcome in evaluator.measure(genomes, 0, seeds)]
        for name, evaluator in evaluators.items()
    }
    apart = {}
    for name, (expected, absolute) in CHECKED.items():
        measured = [
            agreement(found[other], found[expected], task.batch_size, absolute=absolute)
            for other in found
            if other.startswith("batched")
        ]
        apart[name] = worst(measured)
        check_agreement(f"{type(genomes[0]).__name__}: {name}", apart[name])

    def evaluation(evaluator: Evaluator) -> Callable[[], object]:
        # Another generation each time, so that its batch and the parent's tables are made.
        generations = count(1)
        return lambda: evaluator.measure(genomes, next(generations), seeds)

    timed = {name: evaluation(evaluator) for name, evaluator in evaluators.items()}
    return compare(timed, repeats=repeats, limit_s=20.0), apart, evaluators[OURS].threads


def _evaluator(task: Task, engine: str, threads: int | None) -> Evaluator:
    if engine == ORIGINAL:
        return OriginalEvaluator(task, threads=threads or 1)
    return Evaluator(task, engine=engine, threads=threads)


def measure_generation(
    task: Task, search: Search, n: int, generations: int, repeats: int
) -> tuple[list[Timing], float, int]:
    """Return the timings of one generation of DEAP's loop, the evaluations in it, and the number
    of threads that the batched engine settled on."""
    evaluations: list[float] = []
    settled: list[int] = []

    def turn(engine: str, threads: int | None) -> float:
        toolbox = search.toolbox(task, engine=engine, threads=threads)
        toolbox.settle(n)
        if threads is None:
            settled.append(toolbox.evaluator.threads)
        stamps = Stamps()
        search.run(toolbox, toolbox.population(n=n), generations, stamps)
        evaluations.append((toolbox.counters.evaluations - n) / generations)
        return stamps.seconds

    turns = {name: _bound(turn, *how) for name, how in ALTERNATIVES.items()}
    turns[OURS]()  # whatever is done once
    timings = take_turns(turns, repeats=repeats, limit_s=45.0)
    # All start with the same population, and go the same way unless rounding decides about someone.
    return timings, statistics.mean(evaluations), statistics.mode(settled)


def _bound(function: Callable[..., float], *arguments: Any) -> Callable[[], float]:
    return lambda: function(*arguments)


def _cells(timings: list[Timing]) -> Row:
    ours = fastest(timings, "batched")
    return {
        **{timing.name: timing for timing in timings},
        "loop ÷ batched": fastest(timings, "loop").ratio_to(ours),
        "scikit-learn ÷ batched": fastest(timings, "scikit-learn").ratio_to(ours),
    }


def _setting(search: Search, population: str, evaluations: float, threads: int) -> Row:
    return {
        "genome": search.genome,
        "population": population,
        "evaluations": evaluations,
        "settled on": f"{threads} thread{'s' * (threads > 1)}",
    }


def _apart(found: Mapping[str, Agreement]) -> Row:
    row = {}
    for name in CHECKED:
        apart = found.get(name)
        column = name.replace(" ", "_").replace("-", "_")
        row[f"samples_{column}"] = apart and apart.samples
        row[f"relative_loss_{column}"] = apart and apart.relative
    return row


if __name__ == "__main__":
    main()
