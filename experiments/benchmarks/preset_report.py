"""`--preset report`: the original's whole protocol, by this program and by the original's route.

101 generations of 100 weight genomes and the final scoring of the last population, on 100 tables of
100 images for each child; after imports. This program runs it through `run_many`, as the command
does (from the data to the files), and through `evolve` alone, which is search and scoring. The
original's route replaces the evaluation and the scoring in the same `evolve`: child by child, with
scikit-learn's calibration, at one torch thread and at two. The slower of the two is run in the
first round only. Writes into OUT: ``results.csv``, ``table.md`` and ``preset_report.png``; fails
if the measurements differ. Takes about a minute and a half a round, and as much again.

    python experiments/benchmarks/preset_report.py --parent parent.safetensors --rounds 3
"""

import os

# NumPy and scikit-learn are fastest with one thread. Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _bars import plot_bars
from _bench import Row, Timing, parser, take_turns, write_results
from _original import BISECTED, OriginalEvaluator, agreement, check_agreement, worst
from _tasks import ORIGINAL, Search, add_inputs, load_or_train

from ecomp_deap import Splits, Task, evolve, export
from ecomp_deap.data import load_fashion_mnist, load_fashion_mnist_original
from ecomp_deap.runs import RunConfig
from ecomp_deap.search import Result
from ecomp_deap.search.run import run_many

RUN, EVOLVE = "ecomp_deap, whole run", "ecomp_deap, search and scoring"
ONE, TWO = "scikit-learn, 1 thread", "scikit-learn, 2 threads"
SEED = 1
# The slower of the baselines has no second round if the first took so many times as long.
CLEARLY = 1.05
# Children of the front whose scores on the whole data are compared.
CHECKED = 5


def main() -> None:
    arguments = parser(__doc__, "preset_report")
    add_inputs(arguments)
    arguments.add_argument("--rounds", type=int, default=3, help="rounds of all alternatives")
    options = arguments.parse_args()
    rounds = 1 if options.quick else options.rounds
    protocol = Protocol(options)

    with tempfile.TemporaryDirectory() as folder:
        turns = {
            RUN: partial(protocol.whole_run, Path(folder)),
            EVOLVE: partial(protocol.search, EVOLVE, "auto", None),
            ONE: partial(protocol.search, ONE, ORIGINAL, 1),
            TWO: partial(protocol.search, TWO, ORIGINAL, 2),
        }
        timings = _rounds(turns, rounds)
    baseline = min((timings[ONE], timings[TWO]), key=lambda timing: timing.seconds[0])
    rows, table = [], []
    for name, timing in timings.items():
        # Of the same rounds.
        paired = Timing(baseline.name, baseline.seconds[: len(timing.seconds)])
        rows.append({**timing.row(paired), **protocol.facts(name)})
        cells = {"alternative": name, "time": timing, "rounds": len(timing.seconds)}
        ratio = {f"{baseline.name} ÷": paired.ratio_to(timing)}
        table.append({**cells, **ratio, **protocol.facts(name)})
    title = "The report preset: search and final scoring"
    notes = (
        "Median [min, max] of the whole protocol, after imports; ratios are medians over rounds in "
        "which the alternatives take turns, to scikit-learn's route at its better thread setting. "
        f"{protocol.check()}"
    )
    print(write_results(options.out, title, rows, table, notes))
    medians = {name: timing.median for name, timing in timings.items()}
    plot_bars({"": medians}, options.out / "preset_report.png", title=title, xlabel="Time")


def _rounds(turns: dict[str, Callable[[], float]], n: int) -> dict[str, Timing]:
    """Return the timings of n rounds by name; of the slower baseline's first round alone."""
    first = {timing.name: timing for timing in take_turns(turns, repeats=1)}
    ratio = first[TWO].median / first[ONE].median
    slower = TWO if ratio > CLEARLY else ONE if ratio < 1 / CLEARLY else None
    left = {name: turn for name, turn in turns.items() if name != slower}
    more = {t.name: t.seconds for t in take_turns(left, repeats=n - 1)}
    return {
        name: Timing(name, timing.seconds + more.get(name, ())) for name, timing in first.items()
    }


class Protocol:
    """The protocol as the preset resolves it, and what its runs have found."""

    def __init__(self, options: argparse.Namespace) -> None:
        smaller = {"population": 6, "generations": 1} if options.quick else {}
        self.config = RunConfig.from_layers({"preset": "report", "seed": SEED}, smaller).resolved()
        self.data_dir = options.data_dir
        n_search = 500 if options.quick else 10_000
        self.data: Splits = load_fashion_mnist_original(self.data_dir, n_search=n_search, seed=SEED)
        self.parent = load_or_train(options, load_fashion_mnist(self.data_dir))
        self.results: dict[str, Result] = {}
        self.widths: dict[str, int] = {}

    def task(self) -> Task:
        return Task(
            self.parent,
            self.data,
            batch_size=self.config.batch_size,
            perplexity=self.config.perplexity,
        )

    def whole_run(self, folder: Path) -> float:
        """Return the seconds of a run as the command does it, into a folder."""
        parent = folder / "parent.safetensors"
        if not parent.exists():
            export(self.parent, parent)
        given = {"parent": parent, "out": folder, "data_dir": self.data_dir}
        config = RunConfig.from_json_dict({**self.config.as_dict(), **given})
        start = time.perf_counter()
        for _ in run_many(config):
            pass
        return time.perf_counter() - start

    def search(self, name: str, engine: str, threads: int | None) -> float:
        """Return the seconds of search and scoring, from the task to the best child."""
        config = self.config
        start = time.perf_counter()
        task = self.task()
        toolbox = Search(config.genome, config.selection).toolbox(
            task, engine=engine, threads=threads, seed=SEED
        )
        generations = config.generations
        if generations is None:
            generations = (config.epochs or 0) * toolbox.evaluator.batches_per_epoch
        self.results[name] = evolve(
            toolbox,
            population=config.population,
            generations=generations,
            crossover_rate=config.crossover_rate,
            mutation_rate=config.mutation_rate,
            finalise_count=config.finalise_count,
            finalise_epochs=config.finalise_epochs,
        )
        return time.perf_counter() - start

    def facts(self, name: str) -> Row:
        """Return what a search was and found."""
        result = self.results.get(name)
        if result is None:
            return dict.fromkeys(("threads", "generations", "evaluations", "best child's accuracy"))
        return {
            "threads": result.toolbox.evaluator.threads,
            "generations": len(result.logbook),
            "evaluations": result.toolbox.counters.evaluations,
            "best child's accuracy": result.best.validation.metric,
        }

    def check(self) -> str:
        """Return a line on how far both routes are apart on the same genomes; fail if too far."""
        ours, theirs = self.results[EVOLVE], self.results[ONE]
        alike = _keys(ours) == _keys(theirs)
        genomes = [individual.plain() for individual in ours.population]
        generation, seeds = ours.toolbox.generation, [0] * len(genomes)
        original = OriginalEvaluator(self.task(), seed=SEED)
        measured = [
            [outcome.measurement for outcome in evaluator.measure(genomes, generation, seeds)]
            for evaluator in (ours.toolbox.evaluator, original)
        ]
        batch = agreement(*measured, self.config.batch_size, absolute=BISECTED)
        scorer = original.scorer(self.data.validation)
        front = ours.front[:CHECKED]
        scores = [scorer.score(child.module, child.widths) for child in front]
        found = [child.validation for child in front]
        whole = agreement(found, scores, len(self.data.validation), absolute=BISECTED)
        check_agreement("the two routes", worst([batch, whole]))
        return (
            f"Both routes' searches ended with {'the same' if alike else 'another'} population. On "
            f"the same genomes they measure the same: {len(genomes)} children on one batch: "
            f"{batch}; {len(front)} children on all {len(self.data.validation)} images: {whole}. "
            "scikit-learn's route itself is exact to some 1e-7 nats only."
        )


def _keys(result: Result) -> list[Any]:
    return [individual.key() for individual in result.population]


if __name__ == "__main__":
    main()
