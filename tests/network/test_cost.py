import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import (
    compile_child,
    find_structure,
    mac_count,
    make_parent,
    param_count,
    size_bytes,
    widths_cost,
    with_positions,
)
from tests.architectures import ALL, build, inputs_for


@given(data=st.data(), name=st.sampled_from(sorted(ALL)))
def test_cost_from_widths_is_what_torch_counts_on_the_child(data, name):
    network = build(name)
    structure = with_positions(
        find_structure(network), network, inputs_for(network, 1), n_samples=1
    )
    widths = [data.draw(st.integers(1, n)) for n in structure.widths]
    masks = [np.arange(n) < width for n, width in zip(structure.widths, widths, strict=True)]
    child = compile_child(network, structure, MaskGenome(masks))
    inputs = inputs_for(child, n=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        child(inputs)
    n_parameters = sum(parameter.numel() for parameter in child.parameters())
    assert widths_cost(structure, widths) == (n_parameters, counter.get_total_flops() / 2 / 4)
    assert param_count(child) == n_parameters
    assert mac_count(child, inputs, n_samples=4) == widths_cost(structure, widths)[1]


def test_cost_of_the_originals_parent():
    parent = make_parent()
    structure = find_structure(parent)
    macs = 784 * 256 + 256 * 256 + 256 * 10
    assert widths_cost(structure, structure.widths) == (macs + 256 + 256 + 10, macs)


def test_positions_are_those_of_the_output_maps_for_one_sample():
    network = build("visual")
    structure = find_structure(network)
    assert structure.positions == {}
    for n in (1, 3):
        found = with_positions(structure, network, inputs_for(network, n), n_samples=n)
        assert found.positions == {"features.0.weight": 8 * 7, "features.3.0.weight": 7 * 5}
    assert structure.positions == {}
    assert (found.groups, found.tensors, found.shapes) == (
        *(structure.groups, structure.tensors, structure.shapes),
    )
    assert not any(module._forward_hooks for module in network.modules())


def test_dense_stacks_have_one_position_a_weight():
    network = build("activations")
    structure = find_structure(network)
    assert with_positions(structure, network, inputs_for(network), n_samples=9) == structure


def test_positions_are_counted_through_the_given_forward():
    network = build("one convolution")

    def twice(module, batch):
        return module(batch["x"]) + module(batch["x"].flip(3))

    inputs = {"x": inputs_for(network, 2)}
    structure = with_positions(find_structure(network), network, inputs, n_samples=2, forward=twice)
    _, macs = widths_cost(structure, structure.widths)
    assert macs == mac_count(network, inputs, n_samples=2, forward=twice)
    assert macs == 2 * (6 * 5 * 4 * 2 * 9 + 24 * 3)


def test_hooks_are_taken_off_again_even_after_an_error():
    network = build("one convolution")
    with pytest.raises(RuntimeError, match="channels"):
        with_positions(find_structure(network), network, torch.zeros(1, 5, 8, 7), n_samples=1)
    assert not any(module._forward_hooks for module in network.modules())


def test_macs_are_counted_for_one_sample_whatever_the_batch():
    network = build("activations")
    for n in (1, 2, 17):
        assert mac_count(network, inputs_for(network, n), n_samples=n) == 30 + 40 + 32 + 12


def test_macs_are_counted_through_the_given_forward():
    network = build("one hidden layer")
    inputs = {"x": inputs_for(network, 2)}
    found = mac_count(network, inputs, n_samples=2, forward=lambda m, batch: m(batch["x"]))
    assert found == 6 * 5 + 5 * 2


def test_a_shared_parameter_counts_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert param_count(network) == 16 + 4 + 4


def test_bytes_are_those_of_parameters_and_buffers():
    batch_norm = nn.BatchNorm1d(5)  # two parameters, two statistics, and an int64 counter
    network = nn.Sequential(nn.Linear(3, 5), batch_norm)
    assert size_bytes(network) == 4 * (15 + 5 + 4 * 5) + 8
    assert size_bytes(network.double()) == 8 * (15 + 5 + 4 * 5) + 8
    assert size_bytes(nn.Linear(3, 5).half()) == 2 * 20
    assert size_bytes(nn.ReLU()) == 0


@given(name=st.sampled_from(sorted(ALL)))
def test_bytes_are_those_of_the_state_dict_where_nothing_is_shared(name):
    network = build(name)
    assert size_bytes(network) == sum(t.nbytes for t in network.state_dict().values())


def test_bytes_of_shared_tensors_count_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    scale = torch.ones(3)
    for layer in network:
        layer.register_buffer("scale", scale)
    assert size_bytes(network) == 4 * (16 + 4 + 4 + 3)


def test_buffers_that_are_not_saved_take_no_bytes():
    network = nn.Linear(4, 4)
    network.register_buffer("kept", torch.zeros(3))
    network.register_buffer("lost", torch.zeros(100), persistent=False)
    assert size_bytes(network) == 4 * (16 + 4 + 3)


def test_state_that_is_no_tensor_takes_no_bytes():
    class Noted(nn.Linear):
        def get_extra_state(self):
            return {"note": "made by hand"}

    assert size_bytes(Noted(2, 1)) == 4 * 3


def test_statistics_of_batch_norms_are_no_parameters():
    structure = find_structure(build("batch norm"))
    params, _ = widths_cost(structure, (7, 5))
    assert params == (6 * 7 + 7) + 2 * 7 + (7 * 5 + 5) + 2 * 5 + (5 * 3 + 3)


@pytest.mark.parametrize("name", ["batch norm", "nested"])
def test_fewer_units_never_cost_more(name):
    structure = find_structure(build(name))
    costs = [widths_cost(structure, (n, 3)) for n in range(1, 8)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 7
