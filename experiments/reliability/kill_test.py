"""Is a search the same after it was killed? Searches are killed again and again, and compared.

Small searches of each kind run in processes of their own. They are ended with SIGKILL at random
moments, and begun again with ``resume=True`` until they come to their end; then they are killed
once before every single step of their saves and their journals. Each time the result, logbook,
front with its tensors, and genomes, must be that of a search that nobody touched.

Writes ``kills.csv`` into OUT, one row a kind of search.

    python experiments/reliability/kill_test.py --kills 1000

Processes are forked, for importing torch takes far longer than such a search: this takes Linux.
"""

import argparse
import functools
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecomp_deap import Task, compress, export_logbook
from ecomp_deap.runs import checkpoints, store

# What kinds of searches there are: options of `compress`, and of its task.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "masks": ({}, {}),
    "widths": ({"genome": "width", "selection": "spea2"}, {"evaluation": "fixed"}),
    "masks that inherit": ({"selection": "nsga3"}, {"train_steps": 1, "inherit": True}),
    "weights": ({"genome": "weights", "loss_weights": (1, 2, 1)}, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=1000, help="at random moments, in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--generations", type=int, default=12, help="of searches killed at random")
    parser.add_argument("--stepwise", type=int, default=3, help="of those killed at each step")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.kinds:
            search = functools.partial(_search, name, options.generations)
            short = functools.partial(_search, name, options.stepwise)
            n_kills = -(-options.kills // len(options.kinds))
            # What a first search loads takes longer than the search, and kills should hit that.
            short(Path(scratch, f"warm {name}"))
            row: dict[str, Any] = {"search": name}
            row |= kill_at_random(search, Path(scratch), n_kills, rng)
            row |= kill_at_steps(short, Path(scratch))
            rows.append(row)
            print(rows[-1], file=sys.stderr, flush=True)
    export_logbook(rows, options.out / "kills.csv")
    wrong = [
        r for r in rows if r["same"] < r["searches"] or r["same_after_steps"] < r["steps_killed_at"]
    ]
    if wrong:
        raise SystemExit(f"another result after a kill: {wrong}")


def kill_at_random(
    search: Callable[[Path], str], scratch: Path, n_kills: int, rng: random.Random
) -> dict[str, Any]:
    """Kill a search at random moments, and count how often its result was the same.

    Args:
        search: Given a folder, begins or goes on there, and returns a digest of its result.
        scratch: A folder for folders.
        n_kills: As often, at least.
        rng: Draws the moments.
    """
    started = time.perf_counter()
    expected = _ended(search, scratch / "untouched")
    seconds = time.perf_counter() - started
    kills = searches = same = 0
    while kills < n_kills:
        folder, result = scratch / "random", None
        shutil.rmtree(folder, ignore_errors=True)
        while result is None:
            late = math.inf if kills >= n_kills else rng.uniform(0, 0.7 * seconds)
            result = _killed_after(search, folder, late)
            kills += result is None
        searches, same = searches + 1, same + (result == expected)
    shutil.rmtree(scratch / "untouched")
    return {
        "seconds": round(seconds, 3),
        "random_kills": kills,
        "searches": searches,
        "same": same,
    }


def kill_at_steps(search: Callable[[Path], str], scratch: Path) -> dict[str, Any]:
    """Kill a search before each step of its saves and its journal, likewise."""
    expected = _ended(search, scratch / "untouched")
    n_steps = same = 0
    while True:
        folder = scratch / "steps"
        shutil.rmtree(folder, ignore_errors=True)
        if _killed_at_step(search, folder, n_steps + 1) is not None:
            break  # there are no more
        n_steps += 1
        same += _ended(search, folder) == expected
    shutil.rmtree(scratch / "untouched")
    return {"steps_killed_at": n_steps, "same_after_steps": same}


def _search(kind: str, generations: int, folder: Path) -> str:
    """Search a small network for smaller ones, from the beginning or from where it stopped."""
    own, of_task = KINDS[kind]
    torch.manual_seed(1)
    parent = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())
    parent.append(nn.Linear(12, 3))
    inputs = torch.randn(240, 8)
    task = Task(parent, (inputs, inputs[:, :3].argmax(dim=1)), batch_size=20, **of_task)
    return compress(
        task,
        **own,
        population=8,
        generations=generations,
        finalise_count=1,
        finalise_epochs=1,
        engine="batched",
        threads=1,
        checkpoint=folder,
        resume=True,
    ).digest()


def _ended(search: Callable[[Path], str], folder: Path) -> str:
    found = _killed_after(search, folder, math.inf)
    if found is None:
        raise SystemExit("a search that nobody killed did not come to its end")
    return found


def _killed_after(search: Callable[[Path], str], folder: Path, seconds: float) -> str | None:
    """Return the result of a search in a process of its own; None if it was killed before."""
    process, reader = _start(lambda: search(folder))
    if not math.isinf(seconds):
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    return _result(process, reader)


def _killed_at_step(search: Callable[[Path], str], folder: Path, n: int) -> str | None:
    """As `_killed_after`, before the n-th step of its saves and its journal."""

    def run() -> str:
        left = n

        def passing(step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        store.passing = passing
        # After each generation, so that all that a save does is seen in a short search.
        checkpoints._SHARE = math.inf
        return search(folder)

    return _result(*_start(run))


def _start(function: Callable[[], str]) -> tuple[int, int]:
    """Start a process; return its number and where what the function returns can be read."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reader)
            os.write(writer, function().encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    return process, reader


def _result(process: int, reader: int) -> str | None:
    found = b""
    while part := os.read(reader, 4096):
        found += part
    os.close(reader)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status != 0:
        raise SystemExit("a search failed, see above")
    return found.decode()


if __name__ == "__main__":
    main()
