import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network import (
    compile_child,
    find_structure,
    learnt_arrays,
    parent_arrays,
)
from tests.architectures import (
    ALL,
    build,
    equal_states,
    inputs_for,
    layers,
    masked_outputs,
    random_masks,
    state_of,
)

names = st.sampled_from(sorted(ALL))
seeds = st.integers(0, 2**32 - 1)


def weight_genome(network, widths, seed=0):
    """Random weights of any widths for a network without batch norms."""
    rng = np.random.default_rng(seed)
    linear = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    sizes = [linear[0][1].in_features, *widths, linear[-1][1].out_features]
    genome = {}
    for (name, module), n_in, n_out in zip(linear, sizes, sizes[1:], strict=False):
        bias = None if module.bias is None else rng.standard_normal(n_out).astype(np.float32)
        genome[name] = (rng.standard_normal((n_out, n_in)).astype(np.float32), bias)
    return WeightGenome(genome)


@given(name=names, seed=seeds)
def test_child_gives_what_the_masked_parent_gives(name, seed):
    network = build(name)
    structure = find_structure(network)
    masks = random_masks(structure.widths, seed)
    inputs = inputs_for(network, seed=seed)
    child = compile_child(network, structure, MaskGenome(masks))
    with torch.no_grad():
        torch.testing.assert_close(
            child(inputs), masked_outputs(network, masks, inputs), rtol=1e-5, atol=1e-5
        )


@given(name=names, seed=seeds)
def test_modules_know_their_new_sizes(name, seed):
    network = build(name)
    structure = find_structure(network)
    genome = MaskGenome(random_masks(structure.widths, seed))
    child = compile_child(network, structure, genome)
    for module in layers(child):
        if isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features)
        elif isinstance(module, nn.Conv2d):
            assert tuple(module.weight.shape[:2]) == (module.out_channels, module.in_channels)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.num_features == len(module.running_mean)
    widths = [
        m.out_channels if isinstance(m, nn.Conv2d) else m.out_features
        for m in layers(child)
        if isinstance(m, (nn.Linear, nn.Conv2d))
    ]
    assert tuple(widths[:-1]) == genome.widths
    assert structure.child_shapes(genome.widths) == {
        n: tuple(t.shape) for n, t in child.state_dict().items() if "num_batches" not in n
    }


@pytest.mark.parametrize("name", ALL)
def test_keeping_everything_gives_the_parent_bit_by_bit(name):
    network = build(name)
    structure = find_structure(network)
    child = compile_child(
        network, structure, MaskGenome([np.ones(n, bool) for n in structure.widths])
    )
    inputs = inputs_for(network)
    assert type(child) is type(network)
    assert torch.equal(child(inputs), network(inputs))
    assert equal_states(state_of(child), state_of(network))


@pytest.mark.parametrize("all_units", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_child_owns_its_tensors(name, all_units):
    network = build(name)
    structure = find_structure(network)
    masks = [np.arange(n) >= (0 if all_units else 1) for n in structure.widths]
    genome = MaskGenome(masks)
    arrays = parent_arrays(network, structure)
    kept = {n: a.copy() for n, a in arrays.items()}
    before, key = state_of(network), genome.key()
    child = compile_child(network, structure, genome, arrays=arrays)
    _disturb(child)
    assert equal_states(state_of(network), before)
    assert all(np.array_equal(arrays[n], kept[n]) for n in kept)
    genome._key = None
    assert genome.key() == key


def test_training_a_child_leaves_its_learnt_genome_alone():
    network = build("batch norm")
    structure = find_structure(network)
    masks = [np.ones(n, bool) for n in structure.widths]
    learnt = {n: np.array(a) for n, a in parent_arrays(network, structure).items()}
    genome = MaskGenome(masks, learnt)
    key = genome.key()
    _disturb(compile_child(network, structure, genome))
    genome._key = None
    assert genome.key() == key


def test_training_a_child_leaves_its_weight_genome_alone():
    network = build("activations")
    structure = find_structure(network)
    genome = weight_genome(network, (2, 3, 1))
    key = genome.key()
    _disturb(compile_child(network, structure, genome))
    genome._key = None
    assert genome.key() == key


def _disturb(child):
    """Train for a step and overwrite the buffers."""
    child.train()
    inputs = inputs_for(child)
    child(inputs).square().sum().backward()
    torch.optim.SGD(child.parameters(), lr=0.5).step()
    with torch.no_grad():
        for tensor in (*child.parameters(), *child.buffers()):
            tensor.add_(1)


def test_child_keeps_mode_and_what_is_frozen():
    network = build("batch norm").train()
    network[1].weight.requires_grad_(False)
    structure = find_structure(network)
    child = compile_child(network, structure, MaskGenome([np.arange(7) < 3, np.arange(5) < 2]))
    assert child.training
    assert not child[1].weight.requires_grad
    assert child[5].weight.requires_grad
    assert isinstance(child[1].weight, nn.Parameter)
    assert list(dict(child.named_buffers())) == list(dict(network.named_buffers()))


def test_parents_gradient_stays_with_the_parent():
    network = build("one hidden layer")
    network(inputs_for(network)).sum().backward()
    structure = find_structure(network)
    child = compile_child(network, structure, MaskGenome([np.arange(5) < 3]))
    assert all(parameter.grad is None for parameter in child.parameters())
    assert network[0].weight.grad is not None


@given(name=st.sampled_from(["one hidden layer", "activations", "no bias"]), seed=seeds)
def test_weight_genomes_of_any_widths_are_compiled(name, seed):
    network = build(name)
    structure = find_structure(network)
    rng = np.random.default_rng(seed)
    genome = weight_genome(network, [int(rng.integers(1, 12)) for _ in structure.widths], seed)
    inputs = inputs_for(network, seed=seed)
    expected, dense = inputs, iter(genome.layers.values())
    for module in layers(network):
        if isinstance(module, nn.Linear):
            weight, bias = (None if a is None else torch.from_numpy(a.copy()) for a in next(dense))
            expected = nn.functional.linear(expected, weight, bias)
        else:
            expected = module(expected)
    child = compile_child(network, structure, genome)
    with torch.no_grad():
        torch.testing.assert_close(child(inputs), expected, rtol=1e-5, atol=1e-5)


def test_learnt_arrays_are_used_and_read_back():
    network = build("batch norm")
    structure = find_structure(network)
    masks = [np.arange(7) % 2 == 0, np.arange(5) < 2]
    child = compile_child(network, structure, MaskGenome(masks))
    _disturb(child)
    child.eval()
    learnt = learnt_arrays(child, structure)
    again = compile_child(network, structure, MaskGenome(masks, learnt))
    inputs = inputs_for(network)
    assert torch.equal(again(inputs), child(inputs))
    before = learnt["1.weight"].copy()
    _disturb(child)
    assert np.array_equal(learnt["1.weight"], before)


def test_parent_arrays_are_copies_that_nobody_can_write_into():
    network = build("nested")
    arrays = parent_arrays(network, find_structure(network))
    before = {name: array.copy() for name, array in arrays.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)
    with pytest.raises(ValueError, match="read-only"):
        arrays["middle.weight"][0, 0] = 1
    pickle.loads(pickle.dumps(arrays))  # they travel to other processes


def test_genomes_that_do_not_fit_are_refused():
    network = build("batch norm")
    structure = find_structure(network)
    with pytest.raises(ArgumentError, match=r"genome: expected masks of sizes \(7, 5\).*\(7, 4\)"):
        compile_child(network, structure, MaskGenome([np.ones(7, bool), np.ones(4, bool)]))
    with pytest.raises(ArgumentError, match=r"genome: expected the tensors \['1.bias', '1.weight'"):
        compile_child(network, structure, weight_genome(network, (3, 3)))
    with pytest.raises(ArgumentError, match="genome: expected a MaskGenome or WeightGenome"):
        compile_child(network, structure, "0110")


def test_hooks_and_attributes_of_the_parent_are_kept():
    network = build("one hidden layer")
    network.purpose = "testing"
    child = compile_child(network, find_structure(network), MaskGenome([np.arange(5) < 2]))
    assert child.purpose == "testing"
    assert child[1] is not network[1]


def test_a_convolution_of_one_channel_is_no_depthwise_one():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).eval()
    genome = MaskGenome([np.array([True, False, False, True])])
    child = compile_child(network, find_structure(network), genome)
    assert (child[0].groups, child[0].in_channels, child[0].out_channels) == (1, 1, 2)
    assert child(torch.zeros(5, 1, 3, 3)).shape == (5, 2)
