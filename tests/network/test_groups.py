from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Axis
from ecomp_deap.network import find_structure, make_parent, weighted_layers
from tests.architectures import ALL, build

WIDTHS = {
    "one hidden layer": {"0": 5},
    "activations": {"0": 5, "2": 8, "4": 4},
    "batch norm": {"1": 7, "5": 5},
    "batch norm without affine": {"1": 6, "4": 4},
    "no bias": {"0": 6, "2": 3},
    "nested": {"body.0": 7, "middle": 4},
    "double": {"0": 5},
    "one convolution": {"0": 4},
    "pooled": {"0": 5, "3": 7},
    "visual": {"features.0": 4, "features.3.0": 6, "head.0": 5},
    "norm behind flatten": {"1": 3, "7": 6},
    "convolutions alone": {"2": 4, "4": 4},
    "double convolution": {"0": 3, "2": 3, "4": 4},
}


@pytest.mark.parametrize("name", ALL)
def test_hidden_layers_make_groups_in_the_order_of_the_forward_pass(name):
    structure = find_structure(build(name))
    assert [(group.name, group.n_units) for group in structure.groups] == [*WIDTHS[name].items()]
    assert structure.widths == tuple(WIDTHS[name].values())


@pytest.mark.parametrize("name", ALL)
def test_every_tensor_but_counters_belongs_to_the_structure(name):
    network = build(name)
    state = {n: t for n, t in network.state_dict().items() if "num_batches" not in n}
    structure = find_structure(network)
    assert structure.shapes == {n: tuple(t.shape) for n, t in state.items()}
    assert structure.child_shapes(structure.widths) == structure.shapes


def test_shapes_of_a_child_follow_its_widths():
    shapes = find_structure(build("batch norm")).child_shapes((3, 2))
    assert shapes["1.weight"] == (3, 6)
    assert shapes["1.bias"] == shapes["2.weight"] == shapes["2.running_var"] == (3,)
    assert shapes["5.weight"] == (2, 3)
    assert shapes["6.running_mean"] == (2,)
    assert shapes["8.weight"] == (3, 2)
    assert shapes["8.bias"] == (3,)


def test_channels_own_their_filters_the_next_ones_slices_and_blocks_of_columns():
    shapes = find_structure(build("visual")).child_shapes((3, 2, 1))
    assert shapes["features.0.weight"] == (3, 2, 3, 3)
    assert shapes["features.1.running_mean"] == (3,)
    assert shapes["features.3.0.weight"] == (2, 3, 2, 3)
    assert shapes["head.0.weight"] == (1, 12)
    assert shapes["head.1.bias"] == (1,)
    assert shapes["output.weight"] == (3, 1)


def test_a_norm_behind_a_flatten_shrinks_by_blocks():
    structure = find_structure(build("norm behind flatten"))
    assert structure.tensors["5.running_var"] == (Axis(0, block=9),)
    assert structure.child_shapes((2, 6))["5.bias"] == (18,)
    assert structure.child_shapes((2, 6))["0.weight"] == (2,)  # of the inputs


def test_channels_of_the_outputs_belong_to_no_group():
    shapes = find_structure(build("convolutions alone")).child_shapes((1, 1))
    assert shapes["7.weight"] == (3, 1, 3, 3)
    assert shapes["7.bias"] == (3,)


def test_nested_containers_are_opened():
    structure = find_structure(build("nested"))
    assert structure.child_shapes((2, 3))["body.1.0.bias"] == (2,)
    assert structure.child_shapes((2, 3))["middle.weight"] == (3, 2)


def test_layers_with_weights_are_named():
    assert [name for name, _ in weighted_layers(make_parent((4, 3)))] == [
        "layer_1_linear",
        "layer_2_linear",
        "output",
    ]


def test_structure_takes_no_part_of_the_parent_away():
    network = build("nested")
    before = str(network)
    find_structure(network)
    assert str(network) == before


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (nn.Linear(3, 2), r"example: expected a batch of inputs for a network that is no Seq"),
        (nn.Sequential(nn.Linear(3, 2)), "at least one hidden Linear or Conv2d.*'1 Linear or"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), "at least one hidden Linear or Conv2d.*'1 Linear or"),
        (nn.Sequential(nn.ReLU()), "at least one hidden Linear or Conv2d.*'0 Linear or"),
        (
            nn.Sequential(OrderedDict(a=nn.Linear(3, 4), odd=nn.PReLU(4), b=nn.Linear(4, 2))),
            "parent: module 'odd': expected Linear.*got 'PReLU'",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.LSTM(4, 4)), nn.Linear(4, 2)),
            r"parent: module '1\.0'.*got 'LSTM'",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 2)),
            "parent: module '1'.*Flatten in front.*got 'Flatten'",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), nn.Linear(4, 2)),
            "parent: module '1'.*Unflatten in front.*got 'Unflatten'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 3)),
            "parent: module '1': expected a Conv2d with groups=1, or a depthwise .* got 'groups=2'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Conv2d(4, 2, 3)),
            "parent: module '1'.*got 'ConvTranspose2d'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3)),
            "parent: module '1'.*got 'GroupNorm'",
        ),
        (
            nn.Sequential(
                nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, return_indices=True), nn.Conv2d(4, 2, 3)
            ),
            "parent: module '1': expected a MaxPool2d without indices",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Linear(4, 2)),
            "parent: module '2': expected a Flatten between maps and columns, got 'Linear'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(4, 2)),
            "parent: module '1': expected a Flatten between.*got 'BatchNorm1d'",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)),
            "parent: module '1': expected a module for columns, got 'AdaptiveAvgPool2d'",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Conv2d(4, 2, 1)),
            "parent: module '1': expected a module for columns, got 'Conv2d'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(2), nn.Linear(4, 2)),
            "parent: module '1': expected a Flatten of everything but.*'start_dim=2, end_dim=-1'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(1, 2), nn.Linear(4, 2)),
            "parent: module '1': expected a Flatten of everything but.*'start_dim=1, end_dim=2'",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(18, 2)),
            "parent: in_features of '2': expected a multiple of the 4 channels of '0', got 18",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 2)),
            "parent: num_features of '2': expected a multiple of the 4 channels of '0', got 3",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(12, 2)),
            "parent: in_features of '3': expected 8, as '0' gives, got 12",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(3, 2, 3)),
            "parent: in_channels of '1': expected 4, as '0' gives, got 3",
        ),
        (
            nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2)),
            "parent: 0.weight: expected a parameter or buffer, got 'one computed from others'",
        ),
    ],
)
def test_other_parents_are_refused_by_name(parent, message):
    with pytest.raises(ArgumentError, match=message):
        find_structure(parent)


@pytest.mark.parametrize("shared", [nn.ReLU(), nn.Linear(4, 4)])
def test_a_module_that_is_used_twice_is_refused(shared):
    parent = nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match=r"module '3': expected one of its own, got.*'1'"):
        find_structure(parent)


def test_output_units_belong_to_no_group():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2))
    structure = find_structure(network)
    assert structure.child_shapes((1,))["3.weight"] == (2,)
    assert structure.relative_width((1,)) == 0.25


def test_devices_and_modes_are_left_alone():
    network = build("batch norm").train()
    find_structure(network)
    assert all(module.training for module in network.modules())
    assert next(network.parameters()).device == torch.device("cpu")


def test_tied_tensors_are_refused():
    parent = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    parent[2].weight = parent[0].weight
    with pytest.raises(ArgumentError, match=r"parent: 2\.weight: expected a tensor of its own"):
        find_structure(parent)


def test_half_precision_is_refused():
    parent = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).half()
    with pytest.raises(ArgumentError, match=r"parent: 0\.weight: expected float32 or float64"):
        find_structure(parent)


class Residual(nn.Sequential):
    def forward(self, inputs):
        return inputs + super().forward(inputs)


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (
            Residual(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
            "^example: expected .* no Sequential",
        ),
        (
            nn.Sequential(nn.Linear(4, 4), Residual(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)),
            "got 'Residual'",
        ),
    ],
)
def test_a_stack_with_a_forward_of_its_own_is_refused(parent, message):
    with pytest.raises(ArgumentError, match=message):
        find_structure(parent)
