from collections import OrderedDict

import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import dense_layers, find_structure, make_parent
from tests.architectures import ARCHITECTURES, build

WIDTHS = {
    "one hidden layer": {"0": 5},
    "activations": {"0": 5, "2": 8, "4": 4},
    "batch norm": {"1": 7, "5": 5},
    "batch norm without affine": {"1": 6, "4": 4},
    "no bias": {"0": 6, "2": 3},
    "nested": {"body.0": 7, "middle": 4},
    "double": {"0": 5},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hidden_layers_make_groups_in_the_order_of_the_forward_pass(name):
    structure = find_structure(build(name))
    assert [(group.name, group.n_units) for group in structure.groups] == [*WIDTHS[name].items()]
    assert structure.widths == tuple(WIDTHS[name].values())


@pytest.mark.parametrize("name", ARCHITECTURES)
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


def test_nested_containers_are_opened():
    structure = find_structure(build("nested"))
    assert structure.child_shapes((2, 3))["body.1.0.bias"] == (2,)
    assert structure.child_shapes((2, 3))["middle.weight"] == (3, 2)


def test_dense_layers_are_named():
    assert [name for name, _ in dense_layers(make_parent((4, 3)))] == [
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
        (nn.Linear(3, 2), r"parent: expected a torch.nn.Sequential of dense layers, got 'Linear'"),
        (nn.Sequential(nn.Linear(3, 2)), "at least one hidden Linear layer.*'1 Linear layers'"),
        (nn.Sequential(nn.ReLU()), "at least one hidden Linear layer.*'0 Linear layers'"),
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
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 2)),
            "parent: module '0'.*got 'Conv2d'",
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
    "parent",
    [
        Residual(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), Residual(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)),
    ],
)
def test_a_stack_with_a_forward_of_its_own_is_refused(parent):
    with pytest.raises(ArgumentError, match="got 'Residual'"):
        find_structure(parent)
