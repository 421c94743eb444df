"""What an evaluation costs, by population, batch, width and depth; and what memory it takes.

The batched engine evaluates masks (untrained) and weights pruned at random from parents that were
trained for one epoch. One of population, batch size, width and depth is varied at a time. Memory is
measured in a process of its own for each point: the peak above what is there before, which is the
genomes, the data and the evaluator. Writes into OUT: ``results.csv``, ``memory.csv``,
``table.md``, ``per_child.png`` and ``total.png``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/cost.py
"""

import os

# Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

from _bench import (
    Row,
    compare,
    markdown_table,
    parser,
    plot_lines,
    seconds_text,
    write_csv,
    write_results,
)
from _memory import DISTINCT, Point, peak_bytes
from torch import nn

from ecomp_deap import Splits, load_fashion_mnist
from ecomp_deap.defaults import BLOCK_SIZE, MEMORY
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.network import fit, make_parent
from ecomp_deap.task import default_forward
from ecomp_deap.threads import available_cores

GENOMES = ("mask", "weights")
# One of them is varied at a time, the rest is as in `Point`.
VARIED = {
    "children": (10, 100, 1_000, 10_000),
    "batch": (100, 200, 500, 1_000, 2_000),
    "width": (32, 128, 256, 512, 1_024, 2_048),
    "depth": (1, 2, 4, 8),
}
QUICK = {"children": (2, 4), "batch": (40, 60), "width": (8, 16), "depth": (1, 2)}
LABELS = {
    "children": "Population",
    "batch": "Batch size",
    "width": "Units of a layer",
    "depth": "Hidden layers",
}
# A table of 2,000 samples takes as long as hundreds of 100.
CHILDREN_OF_BATCHES = 10
# Batches that the time of what is done once a batch is the median of.
CONTEXTS = 5
# Cost is linear within so much.
LINEAR = 0.15
MIB = 2**20


def main() -> None:
    arguments = parser(__doc__, "cost")
    arguments.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    options = arguments.parse_args()
    data = load_fashion_mnist(options.data_dir)
    threads = available_cores()
    base = Point("mask", threads=threads, data_dir=options.data_dir and str(options.data_dir))
    varied = VARIED
    if options.quick:
        base, varied = replace(base, children=4, batch=40, width=16), QUICK

    rows = [
        row
        for name, values in varied.items()
        for genome in GENOMES
        for row in measure(replace(base, genome=genome), name, values, data, options.quick)
    ]
    kinds = GENOMES[:1] if options.quick else GENOMES
    memory = _population_memory(base, kinds, varied["children"][1:])
    bounds = _bounded_memory(base, kinds, options.quick)
    peaks = {(row["genome"], row["children"]): row["peak_MiB"] for row in memory}
    table = [_cells(row, peaks) for row in rows]
    title = "Cost of an evaluation with the batched engine"
    print(write_results(options.out, title, rows, table, _notes(base, rows, bounds)))
    write_csv(options.out / "memory.csv", [*memory, *bounds])
    for figure, key, text in (
        ("per_child", "per_child_s", "of a child"),
        ("total", "median_s", "of the population"),
    ):
        plot_lines(
            {LABELS[name]: _lines(rows, name, key) for name in varied},
            options.out / f"{figure}.png",
            title=f"{title}: time {text}",
        )


def measure(base: Point, name: str, values: Sequence[int], data: Splits, quick: bool) -> list[Row]:
    """Return a row for each value of what is varied; all values take turns."""
    if name == "batch" and not quick:
        base = replace(base, children=CHILDREN_OF_BATCHES)
    points = {value: replace(base, **{name: value}) for value in values}
    functions: dict[str, Callable[[], object]] = {}
    contexts: dict[int, float] = {}
    for value, point in points.items():
        evaluator = point.evaluator(data, _parent(point.width, point.depth, data))
        contexts[value] = _context_seconds(evaluator)
        genomes = point.genomes(evaluator)
        functions[str(value)] = partial(evaluator.measure, genomes, 0, [0] * len(genomes))
        evaluator.context(0)
    timings = compare(functions, repeats=3 if quick else 7, limit_s=20.0)
    # Per child, against the setting that all panels share.
    usual = getattr(base, name) if getattr(base, name) in points else values[0]
    baseline = next(timing for timing in timings if timing.name == str(usual))
    found = []
    for timing, (value, point) in zip(timings, points.items(), strict=True):
        ratio = timing.ratio_to(baseline) * points[usual].children / point.children
        setting = {k: v for k, v in asdict(point).items() if k not in ("memory", "data_dir")}
        found.append(
            {
                "varied": name,
                **timing.row(baseline, **setting),
                "per_child_s": timing.median / point.children,
                "per_child_to_baseline": ratio,
                "context_s": contexts[value],
            }
        )
    return found


def _context_seconds(evaluator: Evaluator) -> float:
    """Return the time of what is done once for all children of a generation."""
    found = []
    for generation in range(1, 1 + CONTEXTS):
        start = time.perf_counter()
        evaluator.context(generation)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


@cache
def _parent(width: int, depth: int, data: Splits) -> nn.Module:
    parent = make_parent((width,) * depth)
    loss_fn = nn.functional.cross_entropy
    fit(parent, data.search, epochs=1, loss_fn=loss_fn, forward=default_forward, seed=0)
    return parent


def _population_memory(
    base: Point, genomes: Sequence[str], populations: Sequence[int]
) -> list[Row]:
    """Return the peak of an evaluation, by population."""
    points = [replace(base, genome=genome, children=n) for genome in genomes for n in populations]
    return [_memory_row(point) for point in points]


def _bounded_memory(base: Point, genomes: Sequence[str], quick: bool) -> list[Row]:
    """Return the peak of a block of wide children with a large batch, by the evaluator's bound."""
    wide = base if quick else replace(base, children=25, batch=1_000, width=1_024)
    bounds = (1, MEMORY) if quick else (1, 64 * MIB, 256 * MIB, MEMORY)
    return [
        _memory_row(replace(wide, genome=genome, threads=1, memory=bound))
        for genome in genomes
        for bound in bounds
    ]


def _memory_row(point: Point) -> Row:
    peak = peak_bytes(point)
    setting = asdict(point)
    bound = setting.pop("memory") / MIB
    del setting["data_dir"]
    return {**setting, "bound_MiB": bound, "peak_MiB": None if peak is None else peak / MIB}


def _cells(row: Row, peaks: dict[tuple[str, int], float | None]) -> Row:
    is_population = row["varied"] == "children"
    return {
        "varied": LABELS[row["varied"]].lower(),
        "value": row[row["varied"]],
        "genome": row["genome"],
        "children": row["children"],
        "total": " ".join(
            (
                seconds_text(row["median_s"]),
                f"[{seconds_text(row['min_s'])}, {seconds_text(row['max_s'])}]",
            )
        ),
        "per child": seconds_text(row["per_child_s"]),
        "per child ÷ baseline's": row["per_child_to_baseline"],
        "baseline": row["baseline"],
        "once a batch": seconds_text(row["context_s"]),
        "peak memory (MiB)": peaks.get((row["genome"], row["children"])) if is_population else None,
    }


def _notes(base: Point, rows: list[Row], bounds: list[Row]) -> str:
    large = [r for r in rows if r["varied"] == "children" and r["children"] > base.children]
    off = max((abs(row["per_child_to_baseline"] - 1) for row in large), default=0.0)
    verdict = "within" if off <= LINEAR else "not within"
    fixed = {row["genome"]: row["peak_MiB"] for row in bounds if row["bound_MiB"] < 1}
    bounded = [
        {
            "genome": row["genome"],
            "bound (MiB)": "one child" if row["bound_MiB"] < 1 else row["bound_MiB"],
            "peak (MiB)": row["peak_MiB"],
            "peak below bound and fixed part": None
            if row["peak_MiB"] is None
            else ("no", "yes")[row["peak_MiB"] <= row["bound_MiB"] + fixed[row["genome"]]],
        }
        for row in bounds
    ]
    wide = bounds[0]
    return (
        "Median [min, max]; ratios are medians over rounds in which all values of what is varied "
        f"take turns. The rest is: {base.children} children ({CHILDREN_OF_BATCHES} where the batch "
        f"is varied), batch {base.batch}, {base.depth} hidden layers of {base.width} units, "
        f"{base.threads} threads, of which each takes blocks of {BLOCK_SIZE} children. What is "
        "done once a batch, the parent's tables above all, has a column of its own and is not part "
        "of the rest. "
        f"Masks all differ; of more than {DISTINCT} weight genomes each has the arrays of an "
        f"earlier one, or 10,000 would take several gigabytes.\n\nFrom {base.children} children "
        f"on the cost of a child changes by {100 * off:.0f} % at most: linear {verdict} "
        f"{100 * LINEAR:.0f} %. Peak memory is what an evaluation adds at most to genomes, data "
        "and evaluator; what is done once a batch and the results are part of it.\n\n"
        f"The evaluator's bound on memory, for a block of {wide['children']} children of "
        f"{wide['depth']} × {wide['width']} units with batches of {wide['batch']}, in 1 thread; "
        "the fixed part (the batch's tables, buffers, one child) is what the first line takes:\n\n"
        f"{markdown_table(bounded)}"
    )


def _lines(rows: list[Row], name: str, key: str) -> dict[str, list[tuple[float, float]]]:
    return {
        genome: [(r[name], r[key]) for r in rows if r["varied"] == name and r["genome"] == genome]
        for genome in GENOMES
    }


if __name__ == "__main__":
    main()
