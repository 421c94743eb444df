"""Saves and journals as versions have written them, which all later ones read.

Each format has a folder ``golden/format_N``, which is never changed. That of the present format is
written by ``python -m tests.runs.golden``, once, when the format is new.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ecomp_deap import Callback, Task, compress, make_toolbox, recorded
from ecomp_deap.runs import checkpoints
from ecomp_deap.runs.store import FORMAT_VERSION

FOLDER = Path(__file__).with_name("golden")
OPTIONS = {"population": 6, "generations": 4, "finalise_count": 0, "seed": 5, "engine": "batched"}
LAST = 3


class _Stop(Callback):
    def on_generation(self, generation, n_generations, record):
        if generation == LAST:
            raise KeyboardInterrupt


def task_in(folder, **options):
    """Return the task of a golden search, whose children inherit what they learn."""
    tensors = load_file(folder / "task.safetensors")
    parent = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    data = (tensors.pop("inputs"), tensors.pop("targets"))
    parent.load_state_dict(tensors)
    options = {"batch_size": 10, "train_steps": 1, "inherit": True, **options}
    return Task(parent, data, **options)


def search(folder, saves, **options):
    """Search as the golden search did, in a folder of saves."""
    return compress(task_in(folder), **OPTIONS, checkpoint=saves, threads=1, **options)


def record(folder, path):
    """Measure a population as the golden journal has it, and return its measurements."""
    toolbox = make_toolbox(task_in(folder, train_steps=0, inherit=False), seed=5, engine="batched")
    population = toolbox.population(n=6)
    with recorded(toolbox, path):
        list(toolbox.map(toolbox.evaluate, population))
    return [individual.measurement for individual in population]


def make():
    """Write the golden files of the present format."""
    folder = FOLDER / f"format_{FORMAT_VERSION}"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    shapes = {"0": (6, 4), "2": (5, 6), "4": (2, 5)}
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator)
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
    tensors["inputs"] = torch.randn(60, 4, generator=generator)
    tensors["targets"] = torch.arange(60) % 2
    save_file(tensors, folder / "task.safetensors")
    checkpoints._SHARE = float("inf")
    try:
        search(folder, folder / "saves", callback=_Stop())
    except KeyboardInterrupt:
        (folder / "saves" / ".lock").unlink(missing_ok=True)
    record(folder, folder / "search.journal")


def copied(folder, target):
    """Return a copy of a golden folder, which is not to be changed."""
    return Path(shutil.copytree(folder, target / folder.name))


if __name__ == "__main__":
    make()
