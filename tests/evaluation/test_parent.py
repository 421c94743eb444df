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
