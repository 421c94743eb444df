import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import Probe, embed
from ecomp_deap.network.embedding import as_embedding
from tests.architectures import build, inputs_for, layers


def call(module, inputs):
    return module(inputs)


def probes(*names):
    return [Probe(name) for name in names]


def test_embeddings_equal_a_forward_pass_by_hand():
    network = build("activations")
    inputs = inputs_for(network)
    outputs, found = embed(network, inputs, probes("5", "0", "1"), forward=call)
    first = nn.functional.linear(inputs, network[0].weight, network[0].bias)
    x = inputs
    for layer in layers(network)[:6]:
        x = layer(x)
    assert list(found) == ["5", "0", "1"]
    torch.testing.assert_close(found["0"], first)
    torch.testing.assert_close(found["1"], torch.tanh(first))
    assert torch.equal(found["5"], x)
    assert torch.equal(outputs, network(inputs))


def test_an_activation_in_place_does_not_overwrite_the_probe_before_it():
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    inputs = inputs_for(network)
    _, found = embed(network, inputs, probes("0", "1"), forward=call)
    assert torch.equal(found["0"], network[0](inputs))
    assert found["0"].min() < 0 <= found["1"].min()


def test_maps_are_averaged_over_positions():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    inputs = torch.randn(4, 1, 6, 5)
    _, found = embed(network, inputs, probes("0"), forward=call)
    assert found["0"].shape == (4, 3)
    torch.testing.assert_close(found["0"], network[0](inputs).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("sample_dim", "unit_dim", "others"),
    [(0, 1, (2, 3)), (0, 3, (1, 2)), (1, 3, (0, 2)), (2, 0, (1, 3)), (3, 2, (0, 1))],
)
def test_the_mean_is_over_all_dimensions_but_two(sample_dim, unit_dim, others):
    output = torch.randn(3, 4, 5, 6)
    found = as_embedding(Probe("a", sample_dim, unit_dim), output)
    wanted = output.mean(dim=others)
    torch.testing.assert_close(found, wanted if sample_dim < unit_dim else wanted.T)


def test_rows_of_units_are_copied_as_they_are():
    output = torch.randn(3, 4)
    for probe, wanted in ((Probe("a"), output), (Probe("a", 1, 0), output.T)):
        found = as_embedding(probe, output)
        assert torch.equal(found, wanted)
        assert found.data_ptr() != output.data_ptr()


@pytest.mark.parametrize("container", [tuple, list])
def test_of_several_outputs_the_first_counts(container):
    output = container([torch.ones(3, 4), torch.zeros(5)])
    assert torch.equal(as_embedding(Probe("a"), output), torch.ones(3, 4))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_sequences_of_different_lengths_end_in_zeros():
    nested = torch.nested.nested_tensor([torch.ones(4, 3), torch.ones(1, 3)])
    found = as_embedding(Probe("a", 0, 2), nested)
    assert torch.equal(found, torch.tensor([[1.0] * 3, [0.25] * 3]))


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (torch.zeros(5, 4), r"'shape \(5, 4\)'"),
        (torch.zeros(5, 4, 3, dtype=torch.int64), "'Tensor'"),
        ({"a": torch.zeros(5, 4, 3)}, "'dict'"),
        ((), "'tuple'"),
    ],
)
def test_outputs_without_the_dimensions_are_refused_by_the_probes_name(output, got):
    expected = f"probe layer 'a': expected a tensor whose dimension 1 counts samples.*got {got}"
    with pytest.raises(ArgumentError, match=expected):
        as_embedding(Probe("a", 1, 2), output)


def test_hooks_are_taken_off_again_even_after_an_error():
    network = build("activations")
    with pytest.raises(RuntimeError, match="shapes"):
        embed(network, torch.zeros(2, 99), probes("0"), forward=call)
    embed(network, inputs_for(network), probes("0"), forward=call)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_probe_that_the_forward_pass_leaves_out_is_named():
    network = build("activations")
    with pytest.raises(ArgumentError, match=r"probe_layers: expected layers that.*'2'"):
        embed(network, inputs_for(network), probes("0", "2"), forward=lambda m, x: m[1](m[0](x)))


def test_no_probes_are_no_embeddings():
    network = build("activations")
    inputs = inputs_for(network)
    outputs, found = embed(network, inputs, (), forward=call)
    assert torch.equal(outputs, network(inputs))
    assert found == {}
