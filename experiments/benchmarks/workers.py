"""Workers: what a job costs, what two of them gain, and how many a driver can keep busy.

- Overhead: blocks of one child of a tiny network, by one worker of each kind, against the same
  measured in this process; and the bytes of a job beside those of its genomes.
- Gain: children that take 50 ms and more, by two processes against one.
- Driver: workers that answer at once, whatever they are asked, so that all that is left is what
  the driver does: seeds, jobs, answers, fitness, selection by NSGA-II and variation.

Writes into OUT: ``results.csv``, ``table.md`` and ``driver.png``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/workers.py
"""

import math
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch
from _bench import Row, compare, parser, plot_lines, write_results
from deap import algorithms
from torch import nn

from ecomp_deap import DaskWorkers, ProcessWorkers, RayWorkers, Task, Toolbox, Workers, make_toolbox
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.workers import Answer, Job, Kit, pack_kit
from ecomp_deap.evaluation.workers.job import pack_genomes, unpack_genomes

HERE = "this process"
KINDS: dict[str, Callable[[], Workers]] = {
    "processes": partial(ProcessWorkers, 1),
    "Dask": partial(DaskWorkers, n_workers=1),
    "Ray": partial(RayWorkers, n_workers=1),
}
BLOCK_SIZES = (25, 1)
SIZES = (100, 300, 1_000, 3_000, 10_000)


class Prompt(Workers):
    """Answer at once, with the measurement of the parent."""

    n_workers = 8

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        genomes = unpack_genomes(pickle.loads(pickle.dumps(job)).genomes)
        future: Future[Answer] = Future()
        future.set_result(Answer(job.index, [self._outcome] * len(genomes)))
        return future

    def restart(self) -> None:
        """Nothing ends."""


def main() -> None:
    command = parser(__doc__, "workers")
    command.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = command.parse_args()
    torch.set_num_threads(1)
    repeats = 3 if options.quick else 7
    rows: list[Row] = []
    table: list[Row] = []
    for name in options.kinds:
        own, row = overhead(name, 10 if options.quick else 100, repeats)
        rows, table = rows + own, [*table, row]
    own, row = gain(4 if options.quick else 40, repeats)
    rows, table = rows + own, [*table, row]
    names = [*(f"a generation, blocks of {size}" for size in BLOCK_SIZES), "NSGA-II alone"]
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for n in SIZES[:1] if options.quick else SIZES:
        for block_size in BLOCK_SIZES:
            own, row = driver(n, 3, block_size=block_size)
            rows, table = rows + own, [*table, row]
            lines[f"a generation, blocks of {block_size}"].append((n, row["_seconds"]))
        lines["NSGA-II alone"].append((n, row["_selection"]))
    table = [{k: v for k, v in row.items() if not k.startswith("_")} for row in table]
    columns = list(dict.fromkeys(name for row in table for name in row))
    table = [{name: row.get(name) for name in columns} for row in table]
    notes = (
        "Median [min, max]; ratios and differences are medians over rounds in which the "
        "alternatives take turns. Overhead: for blocks of one child, what a job takes beyond what "
        "it takes in this process. Gain: of two workers over one, which has a core to itself. "
        "Driver: a generation of mu + lambda with workers that answer at once."
    )
    print(write_results(options.out, "Workers", rows, table, notes))
    plot_lines(
        {"Driver": lines},
        options.out / "driver.png",
        title="What the driver takes",
        xlabel="Individuals",
    )


def overhead(name: str, n: int, repeats: int) -> tuple[list[Row], Row]:
    """Compare blocks of one child by a worker with the same in this process."""
    plain = _toolbox(block_size=1)
    with KINDS[name]() as workers:
        toolbox = _toolbox(block_size=1, workers=workers)
        genomes = [individual.plain() for individual in toolbox.population(n=n)]
        seeds = list(range(n))

        def run(crew: Any) -> None:
            plain.evaluator.measure(genomes, 1, seeds, crew=crew)

        run(toolbox.crew)  # the kit is there then
        here, there = compare(
            {HERE: partial(run, None), name: partial(run, toolbox.crew)}, repeats=repeats
        )
    per_job = sorted((b - a) / n for a, b in zip(here.seconds, there.seconds, strict=True))[
        repeats // 2
    ]
    kit = pack_kit(plain.evaluator)
    job = Job(kit.key, 0, 1, True, pack_genomes(genomes[:25]), seeds[:25])
    n_units = sum(mask.size for genome in genomes[:25] for mask in genome.masks)
    setting = {"what": f"overhead, {name}", "children": n}
    return [t.row(here, **setting) for t in (here, there)], {
        **setting,
        "a": here,
        "b": there,
        "a job, ms": round(1e3 * per_job, 2),
        "bytes of a job": len(pickle.dumps(job)),
        "units of its genomes": n_units,
        "bytes of the kit": len(kit.content),
    }


def gain(n: int, repeats: int) -> tuple[list[Row], Row]:
    """Compare two processes with one, for children of 50 ms and more."""
    options: dict[str, Any] = {"train_steps": 100, "block_size": 1, "engine": "loop"}
    with ProcessWorkers(1) as one, ProcessWorkers(2) as two:
        toolboxes = [_toolbox(workers=workers, **options) for workers in (one, two)]
        evaluator = toolboxes[0].evaluator
        genomes = [individual.plain() for individual in toolboxes[0].population(n=n)]

        def run(toolbox: Toolbox) -> None:
            evaluator.measure(genomes, 1, list(range(n)), crew=toolbox.crew)

        for toolbox in toolboxes:
            run(toolbox)
        turns = {
            f"{workers} workers": partial(run, toolbox)
            for workers, toolbox in zip((1, 2), toolboxes, strict=True)
        }
        first, second = compare(turns, repeats=repeats)
    setting = {"what": "gain of two processes", "children": n}
    return [t.row(first, **setting) for t in (first, second)], {
        **setting,
        "a": first,
        "b": second,
        "ratio": round(1 / second.ratio_to(first), 2),
        "a child, ms": round(1e3 * first.median / n, 1),
    }


def driver(n: int, repeats: int, *, block_size: int) -> tuple[list[Row], Row]:
    """Time generations whose workers answer at once, and NSGA-II alone."""
    toolbox = _toolbox()
    (outcome,) = toolbox.evaluator.measure([toolbox.individual().plain()], 0, [0])
    toolbox = _toolbox(block_size=block_size, workers=Prompt(outcome))
    population = toolbox.population(n=n)

    def generation() -> None:
        toolbox.generation = -1  # whoever survives is scored again, as on another batch
        algorithms.eaMuPlusLambda(population, toolbox, n, n, 0.7, 0.3, 1, verbose=False)

    generation()
    before = toolbox.counters.evaluations
    generation()
    evaluations = toolbox.counters.evaluations - before
    both = [*population, *population]

    def selection() -> None:
        toolbox.select.func.function(both, n)

    whole, chosen = compare({"generation": generation, "selection": selection}, repeats=repeats)
    setting = {"what": f"driver, blocks of {block_size}", "children": n}
    return [t.row(whole, **setting) for t in (whole, chosen)], {
        **setting,
        "a": whole,
        "b": chosen,
        "evaluations": evaluations,
        "evaluations a second": math.floor(evaluations / whole.median),
        "_seconds": whole.median,
        "_selection": chosen.median,
    }


def _toolbox(
    *, workers: Workers | None = None, block_size: int = 25, engine: str = "auto", **options: Any
) -> Toolbox:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2000, 20, generator=generator)
    labels = inputs[:, :3].argmax(dim=1)
    torch.manual_seed(1)
    parent = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    parent.append(nn.Linear(32, 3))
    task = Task(parent, (inputs, labels), batch_size=100, **options)
    return make_toolbox(task, seed=1, block_size=block_size, engine=engine, workers=workers)


if __name__ == "__main__":
    main()
