"""Does a long search leak? Memory and file descriptors over thousands of generations.

A small network is searched with saves on. After every hundredth generation the resident memory and
the open file descriptors of the process are read. The logbook grows by a record a generation, once
in DEAP's loop and once in ours, and nothing else should: the slope of the memory is given beside
what the records of a generation take, counted object by object.

Writes ``endurance.csv`` and ``endurance_slopes.csv`` into OUT. Takes Linux.

    python experiments/reliability/endurance.py --generations 10000
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap import Callback, Task, compress, export_logbook

_EVERY = 100


class Meter(Callback):
    """Reads memory and file descriptors after every hundredth generation."""

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = []

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        if generation % _EVERY == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.rows.append(
                {
                    "generation": generation,
                    "resident_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
                    "file_descriptors": len(os.listdir("/proc/self/fd")),
                }
            )


def deep_bytes(value: Any, seen: set[int]) -> int:
    """Return the bytes of an object and of all that it holds, each counted once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    held: list[Any] = []
    if isinstance(value, Mapping):
        held += [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        held += value
    held += [vars(value)] if hasattr(value, "__dict__") else []
    return sys.getsizeof(value) + sum(deep_bytes(item, seen) for item in held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--generations", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    parent = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(240, 8)
    task = Task(parent, (inputs, inputs[:, :3].argmax(dim=1)), batch_size=20)
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            task,
            objectives=("accuracy", "param_count"),
            population=8,
            generations=options.generations,
            finalise_count=0,
            engine="batched",
            threads=1,
            checkpoint=folder,
            callback=meter,
        )
    export_logbook(meter.rows, options.out / "endurance.csv")
    settled = meter.rows[len(meter.rows) // 5 :]
    generations = [row["generation"] for row in settled]
    slopes = {
        name: float(np.polyfit(generations, [row[name] for row in settled], 1)[0])
        for name in ("resident_bytes", "file_descriptors")
    }
    # The loop's logbook and the records that are saved.
    slopes["bytes_of_records"] = 2 * deep_bytes(result.logbook, set()) / options.generations
    rows = [{"what": name, "per_generation": slope} for name, slope in slopes.items()]
    export_logbook(rows, options.out / "endurance_slopes.csv")
    for row in rows:
        print(f"{row['what']}: {row['per_generation']:.1f} a generation")


if __name__ == "__main__":
    main()
