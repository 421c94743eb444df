"""To how many workers does a search scale? A plan by simulation, from measured costs of a job.

A generation of mu + lambda is simulated: one driver, which makes, sends and takes in jobs one after
the other, and workers that each take a job when they are free, with the barrier at
the end of a generation. What the driver takes for a child and what a job takes on its way are those
of ``experiments/benchmarks/workers.py``; ``--results`` names its file. The network is as fast as
this machine's loopback, and all children take equally long: a plan, not a measurement.

Writes ``results.csv``, ``table.md`` and ``scaling.png`` into OUT.

    python experiments/benchmarks/scaling.py
"""

import argparse
import csv
import heapq
from pathlib import Path

from _bench import markdown_table, plot_lines, write_csv

# A generation of blocks of one child, without measuring it.
DRIVER = ("driver, blocks of 1", "generation")
WORKERS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
CHILD_S = (0.01, 0.1, 1.0, 10.0)
# Individuals for each worker, so that there is something to spread.
_PER_WORKER, _FEWEST = 4, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    results = Path(__file__).parents[1] / "results" / "benchmarks"
    parser.add_argument("--results", type=Path, default=results / "workers" / "results.csv")
    parser.add_argument("--out", type=Path, default=results / "scaling")
    options = parser.parse_args()
    driver_s, job_s = measured(options.results)
    rows = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for child_s in CHILD_S:
        for n_workers in WORKERS:
            n = max(_FEWEST, _PER_WORKER * n_workers)
            seconds = generation_s(n, n_workers, child_s, driver_s=driver_s, job_s=job_s)
            busy = n * child_s / (n_workers * seconds)
            rows.append(
                {
                    "child_s": child_s,
                    "workers": n_workers,
                    "individuals": n,
                    "generation_s": seconds,
                    "speedup": n * child_s / seconds,
                    "workers_busy": busy,
                    "driver_busy": n * driver_s / seconds,
                }
            )
            lines.setdefault(f"{child_s:g} s a child", []).append(
                (n_workers, n * child_s / seconds)
            )
    table = [
        {
            "a child takes": f"{child_s:g} s",
            **{
                f"{row['workers']:,}": f"{row['speedup']:,.3g}"
                for row in rows
                if row["child_s"] == child_s
            },
            "the driver is the limit from": f"{child_s / driver_s:,.0f} workers on",
        }
        for child_s in CHILD_S
    ]
    page = (
        f"# Speedup by workers, simulated\n\n{markdown_table(table)}\nBlocks of one child, "
        f"{_PER_WORKER} individuals a worker, at least {_FEWEST}. As measured, the driver takes "
        f"{1e6 * driver_s:.0f} µs a child, and a job {1e3 * job_s:.2g} ms on its way.\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "results.csv", rows)
    (options.out / "table.md").write_text(page, encoding="utf-8")
    print(page)
    plot_lines(
        {"Speedup": lines},
        options.out / "scaling.png",
        title="Speedup of a generation, simulated",
        xlabel="Workers",
        ylabel="Speedup",
        ytext="{:,g}".format,
    )


def measured(path: Path) -> tuple[float, float]:
    """Return what the driver takes for a child, and a job by Dask on its way, in seconds."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = {
        (row["what"], int(row["children"]), row["alternative"]): float(row["median_s"])
        for row in rows
    }
    driver = [(n, s) for (what, n, name), s in seconds.items() if (what, name) == DRIVER]
    largest, taken = max(driver)
    n = next(n for what, n, _ in seconds if what == "overhead, Dask")
    here, there = (seconds["overhead, Dask", n, name] for name in ("this process", "Dask"))
    return taken / largest, (there - here) / n


def generation_s(n: int, n_workers: int, child_s: float, *, driver_s: float, job_s: float) -> float:
    """Return the seconds of a generation of ``n`` children.

    The driver does half of its work for a child before it is sent, and half when it is back.
    """
    half = driver_s / 2
    free = [0.0] * n_workers  # when each worker is
    back: list[float] = []
    now = 0.0
    for _ in range(n):
        now += half
        begins = max(now, heapq.heappop(free))
        ends = begins + job_s + child_s
        heapq.heappush(free, ends)
        back.append(ends)
    for ends in sorted(back):
        now = max(now, ends) + half
    return now


if __name__ == "__main__":
    main()
