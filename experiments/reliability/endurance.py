"""Does a long search leak? Memory and file descriptors over thousands of generations.

A small network is searched with saves on. After a warm-up the resident memory and the open file
descriptors of the process are read after every hundredth generation. The logbook grows by a record
a generation, and nothing else should: the slope of the memory is given in bytes a generation,
beside what a record takes.

Writes ``endurance.csv`` into OUT and prints the slopes. Takes Linux.

    python experiments/reliability/endurance.py --generations 10000
"""

import argparse
import os
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
        compress(
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
    for name in ("resident_bytes", "file_descriptors"):
        figures = [row[name] for row in settled]
        slope = np.polyfit(generations, figures, 1)[0]
        print(f"{name}: {figures[0]:,d} to {figures[-1]:,d}, {slope:.1f} a generation")


if __name__ == "__main__":
    main()
