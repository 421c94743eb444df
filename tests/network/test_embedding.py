import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import (
    default_probe_layers,
    embed,
    find_probe_layers,
    find_structure,
    make_parent,
)
from tests.architectures import CONVOLUTIONAL, build, inputs_for, layers
from tests.network.networks import build_network, tokens


def call(module, inputs):
    return module(inputs)


def test_embeddings_equal_a_forward_pass_by_hand():
    network = build("activations")
    inputs = inputs_for(network)
    outputs, found = embed(network, inputs, ("5", "0", "1"), forward=call)
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
    _, found = embed(network, inputs, ("0", "1"), forward=call)
    assert torch.equal(found["0"], network[0](inputs))
    assert found["0"].min() < 0 <= found["1"].min()


def test_maps_are_averaged_over_positions():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    inputs = torch.randn(4, 1, 6, 5)
    _, found = embed(network, inputs, ("0",), forward=call)
    assert found["0"].shape == (4, 3)
    torch.testing.assert_close(found["0"], network[0](inputs).mean(dim=(2, 3)))


def test_hooks_are_taken_off_again_even_after_an_error():
    network = build("activations")
    with pytest.raises(RuntimeError, match="shapes"):
        embed(network, torch.zeros(2, 99), ("0",), forward=call)
    embed(network, inputs_for(network), ("0",), forward=call)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_probe_that_the_forward_pass_leaves_out_is_named():
    network = build("activations")
    with pytest.raises(ArgumentError, match=r"probe_layers: expected layers that.*'2'"):
        embed(network, inputs_for(network), ("0", "2"), forward=lambda m, x: m[1](m[0](x)))


@pytest.mark.parametrize(
    ("name", "probes"),
    [
        ("one hidden layer", ("1",)),
        ("activations", ("1", "3", "5")),
        ("batch norm", ("3", "7")),  # the dropout behind "3" does nothing when measured
        ("batch norm without affine", ("3", "6")),
        ("nested", ("body.1.1.0", "2")),
        ("one convolution", ("2",)),  # the pooled map, and no Flatten
        ("pooled", ("2", "5")),
        ("visual", ("features.2", "features.5", "head.2")),
        ("norm behind flatten", ("2", "8")),  # behind the Flatten columns are no units
        ("convolutions alone", ("3", "6")),
        ("double convolution", ("1", "2", "5")),
    ],
)
def test_default_probes_are_the_activations_that_the_next_layer_reads(name, probes):
    assert default_probe_layers(build(name)) == probes
    assert find_probe_layers(build(name), None) == probes


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_default_probes_have_a_column_for_each_unit(name):
    network = build(name)
    _, found = embed(network, inputs_for(network), default_probe_layers(network), forward=call)
    widths = [embedding.shape for embedding in found.values()]
    assert widths == [(9, n) for n in find_structure(network).widths]


def test_default_probes_of_the_originals_parent():
    assert default_probe_layers(make_parent()) == ("layer_1_act", "layer_2_act")


def test_linear_layers_in_a_row_are_their_own_probes():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    assert default_probe_layers(network) == ("0", "2")


def test_positions_are_no_probe_as_they_are_of_no_sample():
    network = build_network("Positions")
    structure = find_structure(network, tokens())
    assert [group.name for group in structure.groups] == ["positions"]
    probes = find_probe_layers(network, None, structure=structure, inputs=tokens(), forward=call)
    assert probes == ("tokens",)
    _, found = embed(network, tokens(), probes, forward=call)
    torch.testing.assert_close(found["tokens"], network.tokens(tokens()).mean(dim=1))


def test_chosen_probes_are_kept_in_order():
    assert find_probe_layers(build("nested"), ["middle", "body.0"]) == ("middle", "body.0")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer_7_act"], r"probe_layers: expected names among \['layer_1_linear'.*'layer_7_act'"),
        (["layer_1_act", "layer_1_act"], "probe_layers: expected at least one name, none twice"),
        ([], "probe_layers: expected at least one name"),
        ([""], "probe_layers: expected names among"),
    ],
)
def test_wrong_probes_are_refused(names, message):
    with pytest.raises(ArgumentError, match=message):
        find_probe_layers(make_parent(), names)


def test_outputs_of_other_shapes_are_refused_by_the_probes_name():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match=r"probe layer '1': expected an output of shape"):
        embed(network, torch.zeros(5, 6, 2, 2, 3), ("1",), forward=lambda m, x: m(x))
