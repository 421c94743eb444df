"""NSGA-II selection: ours against DEAP's, by population and number of objectives.

Half of a random population is selected, by `ecomp_deap.operators.selNSGA2` and by
`deap.tools.selNSGA2` with each of its two ways to sort. Writes into OUT: ``results.csv``,
``table.md`` and ``selection.png``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/selection.py
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _bench import Row, Timing, compare, parser, plot_lines, write_results
from deap import base, tools

from ecomp_deap.operators import selNSGA2

SIZES = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
QUICK_SIZES = (50, 100)
OBJECTIVES = (2, 3)
OURS, STANDARD, LOG = "ecomp_deap", "DEAP, nd='standard'", "DEAP, nd='log'"
# Beyond it DEAP's standard sorting, which is quadratic in Python, takes tens of seconds.
LARGEST_STANDARD = 2_000


def main() -> None:
    options = parser(__doc__, "selection").parse_args()
    sizes = QUICK_SIZES if options.quick else SIZES
    repeats = 3 if options.quick else 9
    rows: list[Row] = []
    table: list[Row] = []
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for n_objectives in OBJECTIVES:
        lines = panels.setdefault(f"{n_objectives} objectives", {})
        for n in sizes:
            timings = measure(n, n_objectives, repeats)
            ours = timings[OURS]
            setting = {"objectives": n_objectives, "individuals": n, "selected": n // 2}
            rows += [timing.row(ours, **setting) for timing in timings.values()]
            table.append({**setting, **_cells(timings)})
            for name, timing in timings.items():
                lines.setdefault(name, []).append((n, timing.median))
    notes = (
        "Median [min, max]; ratios are medians over rounds in which the alternatives take turns. "
        "Values are uniform random numbers. Wherever DEAP's standard sorting was run, both "
        "selected the same individuals in the same order, with the same crowding distances."
    )
    print(write_results(options.out, "NSGA-II selection of n / 2 from n", rows, table, notes))
    plot_lines(
        panels,
        options.out / "selection.png",
        title="NSGA-II selection of n / 2 from n",
        xlabel="Individuals n",
    )


def measure(n: int, n_objectives: int, repeats: int) -> dict[str, Timing]:
    """Return the timings by name, once the outcomes are known to agree."""
    population = make_population(n, n_objectives)
    alternatives: dict[str, Callable[[], list[Any]]] = {OURS: partial(selNSGA2, population, n // 2)}
    if n <= LARGEST_STANDARD:
        alternatives[STANDARD] = partial(tools.selNSGA2, population, n // 2)
        if _outcome(alternatives[OURS]) != _outcome(alternatives[STANDARD]):
            raise SystemExit(f"{n} individuals, {n_objectives} objectives: DEAP selects others")
    alternatives[LOG] = partial(tools.selNSGA2, population, n // 2, nd="log")
    return {t.name: t for t in compare(alternatives, repeats=repeats, limit_s=20.0)}


def make_population(n: int, n_objectives: int) -> list[Any]:
    """Return individuals with uniform random fitness values, of alternate signs."""
    signs = tuple((-1.0) ** i for i in range(n_objectives))
    fitness = type("RandomFitness", (base.Fitness,), {"weights": signs})
    values = np.random.default_rng(n).random((n, n_objectives)).tolist()
    return [_Individual(fitness(point)) for point in values]


class _Individual:
    def __init__(self, fitness: base.Fitness) -> None:
        self.fitness = fitness


def _outcome(select: Callable[[], list[Any]]) -> list[tuple[int, float]]:
    return [(id(individual), individual.fitness.crowding_dist) for individual in select()]


def _cells(timings: dict[str, Timing]) -> dict[str, Any]:
    cells: dict[str, Any] = {OURS: timings[OURS]}
    for name in (STANDARD, LOG):
        timing = timings.get(name)
        cells[name] = timing
        cells[f"{name} ÷ ours"] = None if timing is None else timing.ratio_to(timings[OURS])
    return cells


if __name__ == "__main__":
    main()
