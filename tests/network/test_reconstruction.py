"""Reconstruction: who stands in for whom."""

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import find_structure
from ecomp_deap.network.compile import parent_arrays
from ecomp_deap.network.reconstruction import reconstruction_importance
from ecomp_deap.task import default_forward


def _importance(parent, *batches, prune_inputs=False):
    parent = parent.eval()
    structure = find_structure(
        parent, batches[0], forward=default_forward, prune_inputs=prune_inputs
    )
    arrays = parent_arrays(parent, structure)
    return reconstruction_importance(parent, structure, arrays, batches, forward=default_forward)


def _order(importance):
    return np.argsort(-importance).tolist()


def _follow(values, n):
    """Return the first n columns by brute force: each leaves the least unexplained."""
    values = values - values.mean(axis=0)
    kept: list[int] = []
    while len(kept) < n:
        errors = {}
        for unit in set(range(values.shape[1])) - set(kept):
            known = values[:, [*kept, unit]]
            fitted = known @ np.linalg.lstsq(known, values, rcond=None)[0]
            errors[unit] = ((values - fitted) ** 2).sum()
        kept.append(min(errors, key=errors.__getitem__))
    return kept


def _dense(n_inputs=8, n_units=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_inputs, n_units), nn.ReLU(), nn.Linear(n_units, 3))


def test_units_come_in_the_order_of_what_is_left_unexplained():
    parent, inputs = _dense(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    (importance,) = _importance(parent, inputs)
    with torch.no_grad():
        read = parent[:2](inputs).double().numpy()
        read = read * parent[2].weight.norm(dim=0).numpy()
    assert _order(importance)[:4] == _follow(read, 4)
    assert sorted(importance) == [1, 2, 3, 4, 5, 6]


def test_input_features_are_ranked_too():
    parent, inputs = _dense(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    found = _importance(parent, inputs, prune_inputs=True)
    of_inputs = next(values for values in found if len(values) == 8)
    read = inputs.double().numpy() * parent[0].weight.norm(dim=0).detach().numpy()
    assert _order(of_inputs)[:4] == _follow(read, 4)


def test_a_copy_of_a_kept_unit_comes_late():
    parent, inputs = _dense(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (before,) = _importance(parent, inputs)
        first = _order(before)[0]
        copy = (first + 1) % 6
        for tensor in (parent[0].weight, parent[0].bias):
            tensor[copy] = tensor[first]
        parent[2].weight[:, copy] = parent[2].weight[:, first]
    (importance,) = _importance(parent, inputs)
    order = _order(importance)
    assert {first, copy} & {order[0], order[1]} != {first, copy}
    assert order[-1] in (first, copy)


def test_dead_units_come_last():
    parent, inputs = _dense(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        parent[0].bias[2] = -1e3
        parent[2].weight[:, 4] = 0
    (importance,) = _importance(parent, inputs)
    assert set(_order(importance)[-2:]) == {2, 4}


def test_batches_add_up():
    parent, inputs = _dense(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    (whole,) = _importance(parent, inputs)
    (parts,) = _importance(parent, inputs[:25], inputs[25:])
    assert _order(whole) == _order(parts)


def _convolutions(groups=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=groups),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def test_channels_count_by_position_and_behind_a_flatten():
    parent, inputs = _convolutions(), torch.randn(40, 1, 6, 6)
    first, second = _importance(parent, inputs)
    with torch.no_grad():
        of_first = parent[:2](inputs).double().movedim(1, -1).reshape(-1, 4).numpy()
        of_first = of_first * parent[2].weight.square().sum(dim=(0, 2, 3)).sqrt().numpy()
        flat = parent[:5](inputs).double() * parent[5].weight.norm(dim=0)
        # Each of the four positions has a mean of its own.
        of_second = (flat - flat.mean(dim=0)).view(40, 4, 4).movedim(1, -1).reshape(-1, 4).numpy()
    assert _order(first) == _follow(of_first, 4)
    assert _order(second) == _follow(of_second, 4)


def test_grouped_convolutions_rank_what_goes_together():
    for values in _importance(_convolutions(groups=2), torch.randn(40, 1, 6, 6)):
        assert sorted(values) == list(range(1, len(values) + 1))


def test_a_channel_counts_by_the_filters_of_its_own_group():
    parent = _convolutions(groups=2)
    with torch.no_grad():
        for channel, scale in enumerate((0.01, 10.0, 10.0, 10.0)):
            parent[0].weight[channel] *= scale
        parent[0].bias.zero_()
        # Of each group of filters, what the first and the second channel that it reads count.
        for filters, first, second in (((0, 1), 1.0, 0.01), ((2, 3), 0.01, 0.1)):
            for one in filters:
                parent[2].weight[one, 0], parent[2].weight[one, 1] = first, second
    units, *_ = _importance(parent, torch.randn(40, 1, 6, 6))
    # Unit 0 is channels 0 and 2, unit 1 is channels 1 and 3.
    assert _order(units) == [1, 0]


@pytest.mark.parametrize("bias", [0.1, 0.7, 1e9])
def test_units_that_never_change_are_ranked_all_the_same(bias):
    torch.manual_seed(0)
    parent = nn.Sequential(nn.Linear(8, 7), nn.Softplus(), nn.Linear(7, 3)).double()
    with torch.no_grad():
        parent[0].weight.zero_()
        parent[0].bias.fill_(bias)
    inputs = torch.randn(60, 8).double() + 1.7e9
    for values in _importance(parent, inputs[:30], inputs[30:], prune_inputs=True):
        assert sorted(values) == list(range(1, len(values) + 1))


def test_values_that_are_not_finite_are_refused():
    inputs = torch.randn(30, 8)
    bad = inputs.clone()
    bad[3, 3] = float("nan")
    with pytest.raises(ArgumentError, match="importance 'reconstruction': expected finite values"):
        _importance(_dense(), inputs, bad)
