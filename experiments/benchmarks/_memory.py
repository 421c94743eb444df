"""What an evaluation takes of memory, measured in a process of its own.

    python experiments/benchmarks/_memory.py '{"genome": "mask", "children": 100}'

prints one number: the bytes by which the process grew at most during an evaluation, after the
genomes and the evaluator were there. Linux only; elsewhere it prints null.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecomp_deap import MaskGenome, Splits, Task, WeightGenome, load_fashion_mnist
from ecomp_deap.defaults import MEMORY
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.network import make_parent
from ecomp_deap.operators import initial_rates, pruned_weight_genome, random_masks
from ecomp_deap.seeding import generator

# More weight genomes than these would fill the memory, so their arrays are shared from here on.
DISTINCT = 500


@dataclass(frozen=True)
class Point:
    """An evaluation: how many children of which parent, in which batches and within what.

    Attributes:
        genome: ``"mask"`` or ``"weights"``.
        children: Number of them.
        batch: Samples.
        width: Units of each hidden layer of the parent.
        depth: Its hidden layers.
        threads: Of the evaluator; None for what it settles on.
        memory: Its bound in bytes.
        data_dir: Folder with the data.
    """

    genome: str
    children: int = 100
    batch: int = 100
    width: int = 256
    depth: int = 2
    threads: int | None = None
    memory: int = MEMORY
    data_dir: str | None = None

    def evaluator(self, data: Splits, parent: torch.nn.Module | None = None) -> Evaluator:
        """Return the evaluator for a parent, by default an untrained one."""
        parent = make_parent((self.width,) * self.depth) if parent is None else parent
        task = Task(parent, data, batch_size=self.batch)
        return Evaluator(task, engine="batched", threads=self.threads, memory=self.memory)

    def genomes(self, evaluator: Evaluator) -> Sequence[Any]:
        """Return genomes that differ, pruned at random at the rates of an initial population.

        Of more than `DISTINCT` weight genomes each has the arrays of an earlier one.
        """
        rng = generator(self.children)
        structure = evaluator.structure
        n = self.children if self.genome == "mask" else min(self.children, DISTINCT)
        masks = [random_masks(structure, rate, rng) for rate in initial_rates(n)]
        if self.genome == "mask":
            return [MaskGenome(m) for m in masks]
        distinct = [
            pruned_weight_genome(WeightGenome, m, structure=structure, arrays=evaluator.arrays)
            for m in masks
        ]
        return [WeightGenome(distinct[i % n].layers) for i in range(self.children)]


def peak_bytes(point: Point) -> int | None:
    """Return what `main` prints for a point."""
    found = subprocess.run(
        [sys.executable, __file__, json.dumps(asdict(point))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if found.returncode:
        raise SystemExit(f"{point}: {found.stderr}")
    answer: int | None = json.loads(found.stdout)
    return answer


def main() -> None:
    point = Point(**json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    evaluator = point.evaluator(load_fashion_mnist(point.data_dir))
    genomes = point.genomes(evaluator)
    seeds = [0] * len(genomes)
    # Threads and what libraries load at first use are no part of it.
    evaluator.measure(genomes[:1], 0, seeds[:1])
    before = _start()
    evaluator.measure(genomes, 1, seeds)
    print(json.dumps(None if before is None else _status("VmHWM") - before))


def _start() -> int | None:
    """Give back free memory, forget the peak so far, and return what is in use."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):
        return None


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key}")


if __name__ == "__main__":
    main()
