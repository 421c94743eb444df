from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator, evaluate_block
from ecomp_deap.evaluation.masked import evaluate_masked, supports_masked
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import parent_arrays
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import Metric, Task
from tests.architectures import ALL, CONVOLUTIONAL, build, equal_states, inputs_for, state_of
from tests.evaluation.masked_contexts import (
    Checksum,
    N,
    all_but_one,
    assert_as_in_the_loop,
    context_for,
    genomes_for,
)


@given(name=st.sampled_from(sorted(ALL)), seed=st.integers(0, 10**6))
def test_children_measure_as_in_the_loop(name, seed):
    context = context_for(build(name, seed=1))
    context = replace(context, losses=dict.fromkeys(context.losses, Checksum()))
    found = assert_as_in_the_loop(context, genomes_for(context, seed=seed), rel=1e-9)
    assert not any(measurement.failed for measurement in found)


@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)])
def test_children_of_dense_stacks_measure_as_in_the_loop_at_each_position(shape):
    def at_each(outputs, targets):
        return float((outputs.flatten(1, -2).mean(dim=1).argmax(dim=1) == targets).double().mean())

    torch.manual_seed(0)
    layers = [nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)]
    data = (torch.randn(60, *shape), torch.arange(60) % 3)
    metric = Metric(at_each, "at_each")
    options = {"batch_size": N, "metric": metric, "recalibration_samples": 0}
    evaluator = Evaluator(Task(nn.Sequential(*layers), data, **options))
    assert {probe.unit_dim for probe in evaluator.probes} == {len(shape)}
    context = evaluator.context(1)
    assert_as_in_the_loop(context, all_but_one(context))


@pytest.mark.parametrize("kernel", ["gaussian", "student"])
def test_children_of_a_trained_parent_measure_as_in_the_loop(tiny_task, kernel):
    context = Evaluator(tiny_task(kernel=kernel)).context(1)
    found = assert_as_in_the_loop(context, genomes_for(context, n=50))
    assert len({measurement["accuracy"] for measurement in found}) > 5


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_single_precision_is_enough_for_children_that_tell_samples_apart(name):
    context = context_for(build(name, seed=1), dtype=torch.float32)
    assert_as_in_the_loop(context, all_but_one(context), rel=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_outputs_are_those_of_the_sliced_child(name):
    seen = []

    def keep(outputs, targets):
        seen.append(outputs.clone())
        return 0.5

    context = context_for(build(name).float(), dtype=torch.float32, metric=Metric(keep, "kept"))
    genomes = genomes_for(context, n=5)
    seen.clear()
    evaluate_masked(context, genomes, range(5))
    evaluate_block(context, genomes, range(5))
    for masked, sliced in zip(seen[:5], seen[5:], strict=True):
        torch.testing.assert_close(masked, sliced, rtol=1e-5, atol=1e-5)
        assert masked.dtype == torch.float32
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "probes"),
    [
        ("batch norm", ("0", "2", "8")),  # in front, behind a norm, the outputs
        ("nested", ("body", "body.1", "2")),  # containers
        ("visual", ("features", "flat", "head.0")),  # columns of a flattened map
        ("visual", ("features.0", "features.3", "output")),
        ("norm behind flatten", ("0", "5", "7")),
        ("convolutions alone", ("0", "4", "8")),
    ],
)
@pytest.mark.parametrize("kernel", ["gaussian", "student"])
def test_any_layer_can_be_a_probe(name, probes, kernel):
    context = context_for(build(name, seed=1), probe_layers=probes, kernel=kernel)
    assert_as_in_the_loop(context, all_but_one(context))


def test_a_dead_child_is_as_dead_as_in_the_loop():
    network = build("one convolution", seed=1)
    network[1] = nn.ReLU()
    with torch.no_grad():
        network[0].bias[:2] = -100.0  # two channels that never fire
    context = context_for(network)
    masks = [[True, True, False, False], [False, True, True, False]]
    dead, alive = assert_as_in_the_loop(context, [MaskGenome([np.array(m)]) for m in masks])
    assert dead.similarity_loss == WORST_LOSS > alive.similarity_loss
    assert not dead.failed


class Recording(nn.ReLU):
    """Notes how many samples come through."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return super().forward(x)


def recording(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3), Recording(), nn.Conv2d(4, 5, 3), Recording(), nn.Flatten()),
        nn.Linear(60, 2),
    )


def test_what_children_share_is_computed_once():
    context = context_for(recording())
    first, second = context.parent[1].sizes, context.parent[3].sizes
    first.clear(), second.clear()
    evaluate_masked(context, genomes_for(context, n=9), range(9))
    assert first == [N]
    assert second == [N, 8 * N]  # the first child shows how much memory one takes


@pytest.mark.parametrize(("n_bytes", "largest"), [(1, 1), (117_119, 1), (117_120, 2), (190_000, 3)])
def test_memory_bounds_the_children_in_a_batch(n_bytes, largest):
    context = context_for(recording())
    genomes = genomes_for(context, n=20)
    sizes = context.parent[3].sizes
    sizes.clear()
    outcomes = evaluate_masked(context, genomes, range(20), max_bytes=n_bytes)
    for genome, outcome in zip(genomes, outcomes, strict=True):
        assert outcome.measurement["relative_width"] == sum(genome.widths) / 9
    assert sum(sizes) == 20 * N
    assert max(sizes) == largest * N
    # At the second convolution: its inputs twice, its outputs, and the embedding.
    child_bytes = 8 * N * (2 * 4 * 30 + 5 * 12 + 5)
    assert largest == 1 or largest * child_bytes <= n_bytes < (largest + 1) * child_bytes


def test_the_contexts_memory_is_the_bound_by_default():
    context = replace(context_for(recording()), memory=130_000)
    sizes = context.parent[3].sizes
    sizes.clear()
    evaluate_masked(context, genomes_for(context, n=5), range(5))
    assert sizes == [N, 2 * N, 2 * N]


def test_nothing_is_changed():
    context = context_for(build("pooled", seed=1))
    genomes = genomes_for(context)
    keys = [genome.key() for genome in genomes]
    before, inputs = state_of(context.parent), context.inputs.clone()
    first = evaluate_masked(context, genomes, range(7))
    assert evaluate_masked(context, genomes, range(7)) == first
    assert all(outcome.arrays is None for outcome in first)
    assert equal_states(state_of(context.parent), before)
    assert torch.equal(context.inputs, inputs)
    for genome in genomes:
        genome._key = None
    assert [genome.key() for genome in genomes] == keys


def test_no_genomes_no_outcomes():
    context = context_for(build("pooled", seed=1))
    assert supports_masked(context, [])
    assert evaluate_masked(context, [], []) == []


def test_masks_of_other_sizes_are_refused():
    context = context_for(build("pooled", seed=1))
    genome = MaskGenome([np.ones(1, bool), np.ones(7, bool)])
    with pytest.raises(ArgumentError, match=r"genome: expected masks of sizes \(5, 7\)"):
        evaluate_masked(context, [genome], [0])


class Dicts(Dataset):
    """Flat images in dicts, with labels."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return {"x": self.images[i].flatten()}, i % 3


def from_dict(module, batch):
    return module(batch["x"].unflatten(1, (2, 8, 7)))


def both_ways(module, batch):
    maps = batch["x"].unflatten(1, (2, 8, 7))
    return module(maps) - 0.5 * module(maps.flip(3)) + batch["x"][:, :3]


@pytest.mark.parametrize("forward", [from_dict, both_ways])
def test_a_forward_of_the_tasks_own_may_call_the_network(forward):
    network = build("pooled", seed=1).double()
    options = {"batch_size": N, "forward": forward, "recalibration_samples": 0}
    task = Task(network, Dicts(inputs_for(network, n=60)), **options)
    context = Evaluator(task).context(1)
    found = assert_as_in_the_loop(context, genomes_for(context))
    assert len({measurement.similarity_loss for measurement in found}) > 1


def broken(change):
    """A context whose parent was changed after its embeddings had been found sound."""
    context = context_for(build("pooled", seed=1))
    with torch.no_grad():
        change(context.parent)
    return replace(context, arrays=parent_arrays(context.parent, context.structure))


def nan_filter(parent):
    parent[0].weight[2] = torch.nan


def nan_slice(parent):
    parent[3].weight[:, 2] = torch.nan


def overflow(parent):
    parent[1].weight[2] = 1e308  # finite, but what it gives is not
    parent[1].bias[2] = 1e308


@pytest.mark.parametrize("change", [nan_filter, nan_slice, overflow])
def test_children_fail_with_the_units_that_fail_as_in_the_loop(change):
    context = broken(change)
    kept = np.ones(5, bool)
    without = np.arange(5) != 2
    genomes = [MaskGenome([mask, np.ones(7, bool)]) for mask in (kept, without)]
    failed, sound = assert_as_in_the_loop(context, genomes)
    assert failed.failed
    assert failed.reason == "outputs are not finite"
    assert not sound.failed
