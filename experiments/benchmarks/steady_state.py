"""Steady state: what it gains where children differ in cost, and what it costs in quality.

Eight workers measure children of a tiny network. Each child takes a time of its own on top, asleep,
as if workers were elsewhere: 100 ms on average, log-normal, the same whenever it is measured. The
generational search (mu + lambda) waits for the last child of each generation; the steady-state one
does not. Both measure as many children; the time, the share of it that workers were busy, and the
hypervolume of what was found are compared, over several seeds.

Writes into OUT: ``results.csv``, ``table.md`` and ``hypervolume.png``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/steady_state.py
"""

import os
import random
import time
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
import torch
from _bench import Row, parser, write_results
from matplotlib.figure import Figure
from torch import nn

from ecomp_deap import ProcessWorkers, Result, Task, Workers, evolve, make_toolbox
from ecomp_deap.search.stopping import objective_hypervolume

MEAN_S, WORKERS = 0.1, 8
# Standard deviations of the logarithm of times.
SPREADS = {"equal": 0.0, "spread": 0.5, "wide": 1.0, "very wide": 1.5}
LOOPS = {"generational": False, "steady state": True}
DRIVER = os.getpid()


def main() -> None:
    options = parser(__doc__, "steady_state").parse_args()
    torch.set_num_threads(1)
    seeds = range(1, 2 if options.quick else 11)
    generations = 3 if options.quick else 10
    spreads = dict([*SPREADS.items()][-1:]) if options.quick else SPREADS
    rows: list[Row] = []
    with ProcessWorkers(2 if options.quick else WORKERS) as workers:
        for population in (16, 48):
            for name, spread in spreads.items():
                for seed in seeds:
                    for loop, steady in turned(LOOPS, seed):
                        row = searched(workers, population, generations, spread, seed, steady)
                        rows.append({"times": name, "loop": loop, "seed": seed, **row})
    table = [
        compared([row for row in rows if (row["times"], row["population"]) == (name, population)])
        for population in (16, 48)
        for name in spreads
    ]
    notes = (
        f"{WORKERS} workers, {generations} generations, {len(seeds)} seeds; times a child are "
        f"log-normal with a mean of {MEAN_S:g} s. Medians over seeds; gain: of time, for pairs of "
        "one seed, which take turns in being first; [min, max]. Hypervolume: of the objectives, "
        "error and share of the parameters, mean ± standard deviation; difference: steady state "
        "less generational, mean of pairs with its 95 % interval."
    )
    print(write_results(options.out, "Steady state", rows, table, notes))
    plot(rows, options.out / "hypervolume.png")


def turned(loops: dict[str, bool], seed: int) -> list[tuple[str, bool]]:
    items = [*loops.items()]
    return items if seed % 2 else items[::-1]


def searched(
    workers: Workers, population: int, generations: int, spread: float, seed: int, steady: bool
) -> Row:
    """Return what a search took and found."""
    task = Task(*_network(), batch_size=200, evaluation="fixed", forward=_Slow(spread))
    toolbox = make_toolbox(
        task,
        objectives=("accuracy", "param_count"),
        seed=seed,
        block_size=1,
        engine="loop",
        workers=workers,
    )
    result = evolve(
        toolbox,
        population=population,
        generations=generations,
        finalise_count=0,
        steady_state=steady,
    )
    return {
        "population": population,
        # The first population is waited for by both.
        "seconds": sum(result.generation_seconds[1:]),
        "children": sum(result.logbook.select("nevals")[1:]),
        "hypervolume": hypervolume(result),
    }


def hypervolume(result: Result) -> float:
    """Return that of the last population's objectives, as a share of what is possible."""
    whole = result.parent.validation.param_count
    costs = [[1.0 - i.fitness.values[0], i.fitness.values[1] / whole] for i in result.population]
    return objective_hypervolume(np.array(costs), [1.0, 1.0])


def compared(rows: list[Row]) -> Row:
    """Return a row of the table."""
    pairs = [
        [next(r for r in rows if (r["loop"], r["seed"]) == (loop, seed)) for loop in LOOPS]
        for seed in sorted({row["seed"] for row in rows})
    ]
    gains = [slow["seconds"] / fast["seconds"] for slow, fast in pairs]
    differences = [fast["hypervolume"] - slow["hypervolume"] for slow, fast in pairs]
    row: Row = {"population": rows[0]["population"], "times": rows[0]["times"]}
    for i, loop in enumerate(LOOPS):
        found = [pair[i]["hypervolume"] for pair in pairs]
        row[f"{loop}, s"] = round(median(pair[i]["seconds"] for pair in pairs), 2)
        row[f"hypervolume, {loop}"] = f"{fmean(found):.3f} ± {_deviation(found):.3f}"
    row["gain"] = f"{median(gains):.2f} [{min(gains):.2f}, {max(gains):.2f}]"
    half = 1.96 * _deviation(differences) / len(differences) ** 0.5
    row["difference"] = f"{fmean(differences):+.3f} ± {half:.3f}"
    return row


def plot(rows: list[Row], path: Any) -> None:
    """Draw each search's hypervolume against its time."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for panel, population in zip(axes, (16, 48), strict=True):
        for loop, marker in zip(LOOPS, "ox", strict=True):
            own = [r for r in rows if (r["loop"], r["population"]) == (loop, population)]
            panel.scatter(
                [r["seconds"] for r in own],
                [r["hypervolume"] for r in own],
                marker=marker,
                s=22,
                label=loop,
                alpha=0.8,
            )
        panel.set(title=f"Population {population}", xlabel="Seconds")
        panel.set_xlim(left=0)
    axes[0].set_ylabel("Hypervolume")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


class _Slow:
    """Lets each child take a time of its own longer, in workers."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def __call__(self, module: nn.Module, inputs: torch.Tensor) -> Any:
        layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
        is_parent = [m.out_features for m in layers][:2] == [64, 32]  # which takes no time
        if os.getpid() != DRIVER and not is_parent:
            # With this shift the mean is 1 whatever the spread.
            rng = random.Random(str([m.weight.sum().item() for m in layers]))
            time.sleep(MEAN_S * rng.lognormvariate(-(self.spread**2) / 2, self.spread))
        return module(inputs)


def _network() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Return a trained network, and its data."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2000, 20, generator=generator)
    labels = inputs[:, :8].argmax(dim=1)
    torch.manual_seed(1)
    parent = nn.Sequential(
        *(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    )
    optimizer = torch.optim.Adam(parent.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(parent(inputs), labels).backward()
        optimizer.step()
    return parent.eval(), (inputs, labels)


def _deviation(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
