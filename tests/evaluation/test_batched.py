"""The batched engine finds what the loop finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.batched import evaluate_batched
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network import make_parent
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import Metric
from tests.architectures import equal_states, state_of
from tests.evaluation.dense_contexts import (
    N,
    assert_as_in_the_loop,
    context_for,
    learnt_for,
    masks_for,
    measure,
    weights_for,
)
from tests.network.dense_stacks import dense_stacks, fill, probes_of

KERNELS = st.sampled_from(["gaussian", "student"])
SEEDS = st.integers(0, 10**6)


def tolerance(network):
    """Single precision shows where a child of a random parent hardly tells samples apart."""
    return 1e-3 if next(network.parameters()).dtype == torch.float32 else 1e-9


@given(network=dense_stacks(), kernel=KERNELS, seed=SEEDS, data=st.data())
def test_children_of_masks_measure_as_in_the_loop(network, kernel, seed, data):
    names = st.sampled_from(probes_of(network))
    probes = data.draw(st.lists(names, min_size=1, max_size=3, unique=True))
    context = context_for(network, kernel=kernel, probe_layers=probes)
    first, last = learnt_for(context, 2, seed)
    genomes = masks_for(context, 4, seed)
    genomes = [first, *genomes, genomes[1], last]
    assert_as_in_the_loop(context, genomes, rel=tolerance(network))


@given(network=dense_stacks(norm=False), kernel=KERNELS, seed=SEEDS)
def test_children_of_weights_of_any_widths_measure_as_in_the_loop(network, kernel, seed):
    context = context_for(network, kernel=kernel)
    assert_as_in_the_loop(context, weights_for(context, seed=seed), rel=tolerance(network))


@given(
    network=dense_stacks(training=True),
    steps=st.integers(1, 6),
    inherit=st.booleans(),
    evaluation=st.sampled_from(["fresh", "fixed"]),
    seed=SEEDS,
)
def test_trained_children_measure_as_in_the_loop(network, steps, inherit, evaluation, seed):
    options = {"train_steps": steps, "inherit": inherit, "evaluation": evaluation}
    # In double precision, as Adam makes whole steps of gradients that are 0 but for rounding.
    context = context_for(network.double(), training=Recipe(learning_rate=0.01), **options)
    genomes = [*masks_for(context, 3, seed), *learnt_for(context, 2, seed)]
    # One or two rectified units are 0 for most samples, and what layers behind make of such equal
    # rows differs in the last bits, by the order of additions: all that tells them apart.
    genomes = [genome for genome in genomes if min(genome.widths) > 2]
    if not any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
        genomes += weights_for(context, 2, seed)
    assert_as_in_the_loop(context, genomes)


@pytest.mark.parametrize("kernel", ["gaussian", "student"])
@pytest.mark.parametrize("train_steps", [0, 2])
@pytest.mark.parametrize("make", [masks_for, learnt_for, weights_for])
def test_children_of_a_trained_parent_measure_as_in_the_loop(tiny_task, kernel, train_steps, make):
    context = Evaluator(tiny_task(kernel=kernel, train_steps=train_steps)).context(1)
    found = assert_as_in_the_loop(context, make(context, n=30))
    assert len({measurement["accuracy"] for measurement in found}) > 5


@pytest.mark.parametrize("n_hidden", [1, 2, 3, 4, 5])
def test_any_depth_with_any_probes(n_hidden):
    network = make_parent((9,) * n_hidden, n_inputs=6, n_outputs=3, seed=n_hidden).double()
    for probes in (None, ["output"], [f"layer_{n_hidden}_act", "layer_1_linear", "output"]):
        context = context_for(network, probe_layers=probes)
        assert len(context.structure.widths) == n_hidden
        assert_as_in_the_loop(context, [*masks_for(context), *weights_for(context)], rel=1e-9)


def wide_parent(*, dtype=torch.float64, activation=nn.Tanh):
    """6-8-7-3, with nothing dead about it."""
    network = nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 7), activation())
    network.append(nn.Linear(7, 3)).to(dtype).eval()
    fill(network, 4)
    return network


def spread(outputs, targets):
    """A metric of a user's own, which changes what it is given."""
    outputs -= outputs.mean(dim=0)
    return float(outputs.square().sum(dim=1).mul(targets + 1).mean())


def distance(outputs, targets):
    return nn.functional.mse_loss(outputs[:, 0], targets.to(outputs.dtype))


@pytest.mark.parametrize("train_steps", [0, 3])
def test_another_metric_and_loss_serve_as_in_the_loop(train_steps):
    metric = Metric(spread, "spread", maximise=False, worst=1e6)
    options = {"metric": metric, "loss_fn": distance, "probe_layers": ["1", "4"]}
    context = context_for(wide_parent(), train_steps=train_steps, **options)
    genomes = [*masks_for(context), *weights_for(context), *learnt_for(context)]
    found = assert_as_in_the_loop(context, genomes, rel=1e-9)
    assert len({measurement["spread"] for measurement in found}) == len(genomes)


def with_weight(genome, value, layer):
    weight, bias = genome.layers[layer]
    weight = weight.copy()
    weight[0, 0] = value
    return WeightGenome({**genome.layers, layer: (weight, bias)})


@pytest.mark.parametrize("train_steps", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", ["0", "2", "4"])
def test_children_fail_for_the_same_reason(value, layer, train_steps):
    context = context_for(wide_parent(activation=nn.ReLU), train_steps=train_steps)
    sound = weights_for(context, 3)
    sound[1] = with_weight(sound[1], value, layer)
    first, broken, last = assert_as_in_the_loop(context, sound)
    assert not first.failed
    assert not last.failed
    if layer == "4":
        assert broken.failed
        assert broken.reason == "outputs are not finite"


def test_units_of_the_parent_that_are_broken_fail_the_children_that_keep_them():
    context = context_for(wide_parent())
    with torch.no_grad():
        context.parent[2].bias[3] = torch.nan
    arrays = {**context.arrays, "2.bias": context.parent[2].bias.detach().numpy().copy()}
    context = replace(context, arrays=arrays)
    kept = [np.ones(8, bool), np.arange(7) == 3]
    lost = [np.ones(8, bool), np.arange(7) != 3]
    failed, sound = assert_as_in_the_loop(context, [MaskGenome(kept), MaskGenome(lost)])
    assert failed.failed
    assert not sound.failed


def test_a_metric_that_is_not_finite_fails_the_child():
    def careful(outputs, targets):
        return float("nan") if float(outputs.sum()) < 0 else 1.0

    network = wide_parent()
    with torch.no_grad():
        network[4].bias += 1.0
    context = context_for(network, metric=Metric(careful, "care"))
    found = assert_as_in_the_loop(context, weights_for(context, 20))
    assert {measurement.reason for measurement in found} == {"", "care is not finite"}


def test_the_metric_never_meets_outputs_that_are_not_finite():
    def strict(outputs, targets):
        assert torch.isfinite(outputs).all()
        return 0.5

    context = context_for(wide_parent(), metric=Metric(strict, "strict"))
    sound, broken = weights_for(context, 2)
    broken = with_weight(broken, np.nan, "4")
    assert [found.failed for found in measure(context, [sound, broken])] == [False, True]


def test_dead_children_are_as_dead_as_in_the_loop():
    network = wide_parent(activation=nn.ReLU)
    with torch.no_grad():
        network[0].bias[:2] = -100.0  # two units that never fire
    context = context_for(network)
    dead, half = [np.arange(8) < 2, np.ones(7, bool)], [np.arange(8) < 5, np.ones(7, bool)]
    (genome,) = weights_for(context, 1)
    silent = WeightGenome({name: (0 * w, b) for name, (w, b) in genome.layers.items()})
    genomes = [MaskGenome(half), MaskGenome(dead), silent, MaskGenome(half)]
    first, second, third, last = assert_as_in_the_loop(context, genomes)
    assert second.similarity_loss == third.similarity_loss == 2 * WORST_LOSS
    assert first.similarity_loss == last.similarity_loss < WORST_LOSS


def test_arrays_of_another_type_or_layout_are_taken_as_in_the_loop():
    context = context_for(wide_parent(dtype=torch.float32))
    double = [
        WeightGenome({n: (w.astype(np.float64), b) for n, (w, b) in genome.layers.items()})
        for genome in weights_for(context, 3)
    ]
    turned = [
        WeightGenome({n: (by_columns(w), b) for n, (w, b) in genome.layers.items()})
        for genome in weights_for(context, 3)
    ]
    assert not turned[0].layers["0"][0].flags.c_contiguous
    assert_as_in_the_loop(context, [*double, *turned])


def by_columns(array):
    array = np.asfortranarray(array)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("train_steps", [0, 3])
def test_nothing_is_changed(train_steps):
    network = wide_parent(activation=lambda: nn.ELU(inplace=True))
    inherit = train_steps > 0
    context = context_for(
        network, train_steps=train_steps, training=Recipe(learning_rate=0.1), inherit=inherit
    )
    genomes = [*masks_for(context), *weights_for(context), *learnt_for(context)]
    keys, before = [genome.key() for genome in genomes], state_of(context.parent)
    batches = [context.inputs, *(lesson.inputs for lesson in context.training)]
    copies = [inputs.clone() for inputs in batches]
    first = measure(context, genomes)
    assert measure(context, genomes) == first
    for genome in genomes:
        genome._key = None
    assert [genome.key() for genome in genomes] == keys
    assert not genomes[5].layers["0"][0].flags.writeable
    assert equal_states(state_of(context.parent), before)
    assert all(torch.equal(a, b) for a, b in zip(batches, copies, strict=True))


def flops(context, genomes):
    with FlopCounterMode(display=False) as counter:
        evaluate_batched(context, genomes, range(len(genomes)))
    return counter.get_total_flops()


def pairs(*kept):
    return [MaskGenome([np.arange(8) < a, np.arange(7) < b]) for a, b in kept]


def products(n_in, n_out):
    return 2 * N * n_in * n_out


@pytest.mark.parametrize(
    ("second", "again"),
    [
        ((5, 4), products(4, 3)),  # both masks agree: the outputs alone are computed again
        ((5, 3), products(5, 3) + products(3, 3) + products(3, N)),  # the first one does
        ((6, 4), products(6, 4) + products(4, 3) + products(6, N) + products(4, N)),  # none does
    ],
)
def test_what_equal_masks_decide_is_computed_once(second, again):
    context = context_for(wide_parent())
    genomes = pairs((5, 4), second)
    assert flops(context, genomes) == flops(context, genomes[:1]) + again
    found = assert_as_in_the_loop(context, [*genomes, *pairs((5, 6)), *genomes], rel=1e-9)
    assert found[:2] == found[3:]


@pytest.mark.parametrize(("memory", "n_chunks"), [(1, 6), (2 * 24 * N * 9, 3), (2**30, 1)])
def test_memory_bounds_the_children_in_a_chunk_and_changes_nothing_else(memory, n_chunks):
    context = context_for(wide_parent())
    genomes = pairs(*[(5, 4)] * 6)
    shared = flops(context, genomes[:1]) - products(4, 3)
    bounded = replace(context, memory=memory)
    assert flops(bounded, genomes) == n_chunks * shared + 6 * products(4, 3)
    mixed = [*genomes, *masks_for(context), *weights_for(context)]
    assert measure(bounded, mixed) == measure(context, mixed)


def test_the_seeds_change_nothing():
    context = context_for(wide_parent(), train_steps=2)
    genomes = masks_for(context)
    first, second = (evaluate_batched(context, genomes, [seed] * 5) for seed in (0, 1))
    assert first == second


def test_no_genomes_no_outcomes():
    assert evaluate_batched(context_for(wide_parent()), [], []) == []


@pytest.mark.parametrize("train_steps", [0, 1])
@pytest.mark.parametrize("sizes", [(7, 7), (8,), (8, 7, 3)])
def test_masks_of_other_sizes_are_refused(sizes, train_steps):
    context = context_for(wide_parent(), train_steps=train_steps)
    genome = MaskGenome([np.ones(n, bool) for n in sizes])
    with pytest.raises(ArgumentError, match=r"genome: expected masks of sizes \(8, 7\), got"):
        evaluate_batched(context, [genome], [0])


def test_weights_that_lack_a_layer_are_refused():
    context = context_for(wide_parent())
    layers = dict(weights_for(context, 1)[0].layers)
    del layers["4"]
    with pytest.raises(ArgumentError, match="genome: expected the tensors"):
        evaluate_batched(context, [WeightGenome(layers)], [0])
