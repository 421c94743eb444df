from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap import Task, make_toolbox
from ecomp_deap.evaluation.workers import pack_kit, unpack_kit
from ecomp_deap.evaluation.workers.workers import KitFile


def genomes_of(toolbox, n=6):
    return [individual.plain() for individual in toolbox.population(n=n)]


def measured(evaluator, genomes, generation=1):
    return evaluator.measure(genomes, generation, list(range(len(genomes))))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"train_steps": 2, "inherit": True}, {"evaluation": "fixed", "balanced": True}]
)
def test_an_evaluator_from_a_kit_measures_the_same_to_the_last_bit(tiny_task, options, mapped):
    toolbox = make_toolbox(tiny_task(**options), seed=4)
    genomes = genomes_of(toolbox)
    expected = measured(toolbox.evaluator, genomes)
    kit = pack_kit(toolbox.evaluator)
    file = KitFile()
    there = unpack_kit(file.path_of(kit) if mapped else kit.content)
    file.remove()  # what is mapped stays
    found = measured(there, genomes)
    assert [o.measurement for o in found] == [o.measurement for o in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a.arrays is None) == (b.arrays is None)
        for name, array in (a.arrays or {}).items():
            np.testing.assert_array_equal(array, b.arrays[name])


def test_functions_and_classes_of_a_script_go_along(tiny_splits):
    class Own(nn.Module):  # found by no import
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 3)

        def forward(self, inputs):
            return self.last(self.first(inputs).relu())

    own = Task(Own(), tiny_splits, batch_size=30, forward=lambda module, x: module(x) * 2)
    toolbox = make_toolbox(own, seed=1)
    genomes = genomes_of(toolbox)
    there = unpack_kit(pack_kit(toolbox.evaluator).content)
    assert measured(there, genomes) == measured(toolbox.evaluator, genomes)


def test_data_that_no_worker_needs_stay_here(tiny_parent):
    inputs, labels = torch.randn(200, 12), torch.arange(200) % 3
    large = (torch.randn(50_000, 12), torch.arange(50_000) % 3)
    task = Task(tiny_parent, (inputs, labels), validation=large, test=large, batch_size=30)
    kit = pack_kit(make_toolbox(task).evaluator)
    assert len(kit.content) < 10 * inputs.nbytes
    assert unpack_kit(kit.content).task.splits.search.inputs.equal(inputs)


MAPS = Path("/proc/self/maps")


def mapped_from(tensor):
    """Return the file that a tensor's memory is mapped from, empty for none."""
    for line in MAPS.read_text().splitlines():
        span, *_, name = line.split(maxsplit=5) if len(line.split()) > 5 else (line.split()[0], "")
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= tensor.data_ptr() < last:
            return name
    return ""


@pytest.mark.skipif(not MAPS.exists(), reason="takes Linux")
def test_workers_map_the_data_and_have_no_copy_of_them(tiny_parent):
    inputs, labels = torch.randn(50_000, 12), torch.arange(50_000) % 3
    kit = pack_kit(make_toolbox(Task(tiny_parent, (inputs, labels), batch_size=30)).evaluator)
    file = KitFile()
    path = file.path_of(kit)
    samples = unpack_kit(path).task.splits.search
    assert mapped_from(samples.inputs) == mapped_from(samples.targets) == path
    assert mapped_from(unpack_kit(kit.content).task.splits.search.inputs) != path
    file.remove()


def test_a_kit_is_one_of_its_own(tiny_task):
    evaluator = make_toolbox(tiny_task()).evaluator
    assert pack_kit(evaluator).key != pack_kit(evaluator).key


def test_a_file_holds_the_last_kit_alone(tiny_task):
    evaluator = make_toolbox(tiny_task()).evaluator
    file = KitFile()
    first, second = pack_kit(evaluator), pack_kit(evaluator)
    path = file.path_of(first)
    assert file.path_of(first) == path
    other = file.path_of(second)
    assert not Path(path).exists()
    assert Path(other).read_bytes() == second.content
    file.remove()
