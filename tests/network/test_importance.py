import numpy as np
import torch
from torch import nn

from ecomp_deap.network import find_structure, l1_importance, parent_arrays


def test_importance_sums_incoming_weights_without_the_bias():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.5], [-3.0, 0.0]]))
        network[0].bias.fill_(100.0)
        network[2].weight.copy_(torch.tensor([[1.0, 1.0, -1.0], [0.25, 0.0, 0.0]]))
    structure = find_structure(network)
    first, second = l1_importance(structure, parent_arrays(network, structure))
    assert first.dtype == second.dtype == np.float64
    assert first.tolist() == [3.0, 0.5, 3.0]
    assert second.tolist() == [3.0, 0.25]


def test_importance_of_a_channel_sums_its_filter():
    network = nn.Sequential(nn.Conv2d(2, 2, (1, 2)), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        network[0].weight.copy_(
            torch.tensor([[[[1.0, -2.0]], [[0.0, 0.5]]], [[[-3.0, 0.0]], [[4.0, 0.25]]]])
        )
    structure = find_structure(network)
    (found,) = l1_importance(structure, parent_arrays(network, structure))
    assert found.tolist() == [3.5, 7.25]


def test_importance_changes_nothing():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    structure = find_structure(network)
    arrays = parent_arrays(network, structure)
    before = {name: array.copy() for name, array in arrays.items()}
    l1_importance(structure, arrays)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)
