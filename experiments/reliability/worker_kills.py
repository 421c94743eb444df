r"""Is a search the same though its workers are killed, again and again? And is nothing left behind?

Children of a tiny network are measured by workers, each taking some time on top, so that workers
are at something when they are killed: one after the other by SIGKILL, at random moments,
``--kills`` in all. The search is then compared with one in a single process: logbook, front and
genomes must be the same, and as many children counted. At the end no process of a worker may be
there, and nothing more in shared memory. (With Dask and Ray, nobody else may use that meanwhile.)

Writes ``worker_kills.csv`` into OUT, one row for each kind and number of workers.

    python experiments/reliability/worker_kills.py
    python experiments/reliability/worker_kills.py --kinds dask --workers 32 --evaluations 6500 \
        --kills 200 --every 2.5
"""

import argparse
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from ecomp_deap import (
    DaskWorkers,
    ProcessWorkers,
    RayWorkers,
    Result,
    Task,
    Workers,
    evolve,
    export_logbook,
    make_toolbox,
    read_logbook,
)

# What makes them, what the command line of a worker has in it, and which names in shared memory may
# be theirs: those of loky have the number of this process, of Dask and Ray they are random.
KINDS: dict[str, tuple[Callable[[int], Workers], str, str]] = {
    "processes": (ProcessWorkers, "popen_loky", f"*-{os.getpid()}-*"),
    "dask": (lambda n: DaskWorkers(n_workers=n), "spawn_main", "*"),
    "ray": (lambda n: RayWorkers(n_workers=n), "ray::_Seat", "*"),
}
_POPULATION = 500
# For threads of executors to end, after the workers have.
_PATIENCE_S = 10.0


class Killer(threading.Thread):
    """Kills a worker at random moments, after the first one has answered.

    Args:
        workers: Who is killed.
        mark: In the command line of workers.
        most: How many.
        every_s: Seconds between two, on average.
    """

    def __init__(self, workers: Workers, mark: str, most: int, every_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.workers, self.mark, self.most, self.every_s = workers, mark, most, every_s
        self.killed = 0
        self.ended = threading.Event()
        self._rng = random.Random(seed)

    def run(self) -> None:
        while not self.workers.has_answered:
            if self.ended.wait(0.2):
                return
        while self.killed < self.most:
            if self.ended.wait(self._rng.uniform(0.2, 1.8) * self.every_s):
                return
            alive = workers_alive(self.mark)
            if alive:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(alive), signal.SIGKILL)
                    self.killed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 8])
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=float, default=3.5, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    expected = search(options.evaluations, 0.0)
    unsound = 0
    for kind in options.kinds:
        for n_workers in options.workers:
            row = killed(kind, n_workers, options, expected)
            print(row, flush=True)
            path = options.out / "worker_kills.csv"
            before = read_logbook(path) if path.is_file() else []
            others = [r for r in before if (r["kind"], r["workers"]) != (kind, n_workers)]
            export_logbook([*others, row], path)
            left = row["processes_left"] + row["left_in_shared_memory"]
            counted = row["evaluations"] == row["evaluations_expected"]
            unsound += not (row["same"] and counted and row["blamed"] == left == 0)
    if unsound:
        raise SystemExit(f"{unsound} searches are others, or something was left behind")


def killed(
    kind: str, n_workers: int, options: argparse.Namespace, expected: Result
) -> dict[str, Any]:
    """Search while workers are killed; return what came of it."""
    make, mark, names = KINDS[kind]
    shared = in_shared_memory(names)
    # So that the search lasts somewhat longer than the killing.
    seconds = 1.4 * options.kills * options.every * n_workers / options.evaluations
    with make(n_workers) as workers:
        killer = Killer(workers, mark, options.kills, options.every, options.seed)
        killer.start()
        started = time.perf_counter()
        found = search(options.evaluations, seconds, workers)
        taken = time.perf_counter() - started
        killer.ended.set()
        killer.join()
    left = left_in_shared_memory(names, shared)
    counters = [result.toolbox.counters for result in (expected, found)]
    return {
        "kind": kind,
        "workers": n_workers,
        "evaluations": counters[1].evaluations,
        "evaluations_expected": counters[0].evaluations,
        "kills": killer.killed,
        "same": found.digest() == expected.digest() and counters[0] == counters[1],
        **found.incidents,
        "seconds": round(taken, 1),
        "processes_left": len(workers_alive(mark)),
        "left_in_shared_memory": left,
    }


def search(n_evaluations: int, seconds: float, workers: Workers | None = None) -> Result:
    """Search a tiny network, whose children take so many seconds longer in a worker."""
    driver = os.getpid()

    def forward(module: nn.Module, inputs: torch.Tensor) -> Any:
        if seconds and os.getpid() != driver:
            time.sleep(seconds)
        return module(inputs)

    torch.manual_seed(1)
    parent = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    inputs = torch.randn(300, 6)
    data = (inputs, inputs[:, :3].argmax(dim=1))
    task = Task(parent, data, batch_size=40, evaluation="fixed", forward=forward)
    toolbox = make_toolbox(
        task,
        objectives=("accuracy", "param_count"),
        seed=1,
        block_size=1,
        engine="loop",
        workers=workers,
    )
    population = min(_POPULATION, n_evaluations // 2)
    generations = n_evaluations // population - 1
    return evolve(toolbox, population=population, generations=generations, finalise_count=0)


def workers_alive(mark: str) -> list[int]:
    """Return the numbers of this process's workers."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end in between
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return sorted(found)


def left_in_shared_memory(names: str, before: set[str]) -> int:
    """Return how many such names are new, once those that are about to go have gone."""
    patience = time.monotonic() + _PATIENCE_S
    while left := in_shared_memory(names) - before:
        if time.monotonic() > patience:
            break
        gc.collect()  # an executor lets its semaphores go when it is collected
        time.sleep(0.1)
    return len(left)


def in_shared_memory(names: str) -> set[str]:
    """Return which of such names are in shared memory, where the system shows them."""
    return {path.name for path in Path("/dev/shm").glob(names)}


if __name__ == "__main__":
    main()
