import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation.parent import check_parent, proof_size
from ecomp_deap.task import Task


def task_of(parent):
    return Task(parent, (torch.randn(60, 6), torch.arange(60) % 2), batch_size=20)


def test_a_parent_that_takes_the_data_is_taken():
    inputs = torch.randn(2, 6)
    before = inputs.clone()
    check_parent(task_of(nn.Linear(6, 2)), inputs)
    assert torch.equal(inputs, before)


def test_a_parent_of_other_inputs_is_refused_with_the_shape_of_the_data():
    with pytest.raises(ArgumentError, match=r"samples of shape \(6,\), but RuntimeError: "):
        check_parent(task_of(nn.Linear(5, 2)), torch.randn(2, 6))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.names, self.layer = nn.Embedding(9, 6), nn.Linear(6, 2)

    def forward(self, names, weights):
        return self.layer(self.names(names) * weights)


@pytest.mark.parametrize(
    ("parent", "inputs", "why"),
    [
        (nn.Linear(6, 2), torch.randn(2, 6).double(), "float64, the network float32: inputs.float"),
        (nn.Linear(6, 2), torch.ones(2, 6).byte(), "uint8, the network float32: inputs.float"),
        (nn.Linear(6, 2).double(), torch.ones(2, 6), "float32, the network float64: inputs.double"),
        (
            Scaled(),
            (torch.tensor([1, 2]), torch.ones(2, 6).double()),
            "float64, the network float32: inputs.float",
        ),
    ],
)
def test_inputs_of_another_type_than_the_weights_are_told_to_be_converted(parent, inputs, why):
    match = rf"samples of shape .*, but inputs are {why}\(\)$"
    with pytest.raises(ArgumentError, match=match):
        check_parent(task_of(parent), inputs)


@pytest.mark.parametrize(
    ("parent", "inputs"),
    [
        (nn.Linear(5, 2), torch.randn(2, 6).double()),  # it would not take them as float32
        (Scaled(), (torch.tensor([1, 10]), torch.ones(2, 6))),  # an index out of range
    ],
)
def test_inputs_are_not_told_to_be_converted_if_that_is_no_help(parent, inputs):
    with pytest.raises(ArgumentError, match=r"^(?!.*inputs are)parent: expected a network that"):
        check_parent(task_of(parent), inputs)


def test_a_parent_that_writes_into_its_inputs_is_refused():
    parent = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2))
    with pytest.raises(ArgumentError, match=r"leaves its inputs as they are, .* .one that writes"):
        check_parent(task_of(parent), torch.randn(2, 6))


def test_large_networks_are_proven_on_fewer_samples():
    assert proof_size(task_of(nn.Linear(6, 2)), torch.zeros(2, 6)) == 64
    with torch.device("meta"):
        large = nn.Sequential(nn.Linear(6, 2**14), nn.Linear(2**14, 2**14), nn.Linear(2**14, 2))
    task = task_of(nn.Linear(6, 2))
    object.__setattr__(task, "parent", large)
    assert proof_size(task, torch.zeros(2, 6, device="meta")) == 3
