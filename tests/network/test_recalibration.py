import copy

import pytest
import torch
from torch import nn

from ecomp_deap.network import has_statistics, recalibrate
from ecomp_deap.network.stack import DenseStack
from ecomp_deap.task import default_forward
from tests.architectures import build, inputs_for


def statistics(network):
    state = network.state_dict()
    return {name: value for name, value in state.items() if "running_" in name}


@pytest.mark.parametrize("name", ["batch norm", "visual", "batch norm without affine"])
def test_norms_get_the_statistics_of_what_reaches_them(name):
    network = build(name, seed=3).double()
    inputs = inputs_for(network, n=40).double()
    seen = {}
    for key, module in network.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.register_forward_pre_hook(lambda m, x, key=key: seen.update({key: x[0]}))
    recalibrate(network, inputs, forward=default_forward)
    assert not any(module.training for module in network.modules())
    # In training mode a norm gives on what it normalised by the very batch.
    for key, x in seen.items():
        dims = [d for d in range(x.ndim) if d != 1]
        norm = network.get_submodule(key)
        torch.testing.assert_close(norm.running_mean, x.mean(dim=dims))
        torch.testing.assert_close(norm.running_var, x.var(dim=dims))


def test_nothing_else_changes_and_momenta_come_back():
    network = build("batch norm")
    network[2].momentum = None
    before = copy.deepcopy(network.state_dict())
    recalibrate(network, inputs_for(network, n=20), forward=default_forward)
    after = network.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed <= {n for n in after if "running_" in n or "num_batches" in n}
    assert "2.running_mean" in changed
    assert (network[2].momentum, network[6].momentum) == (None, 0.1)


def test_the_network_is_in_eval_mode_again_after_an_error():
    network = build("batch norm")
    with pytest.raises(RuntimeError):
        recalibrate(network, torch.zeros(4, 5), forward=default_forward)
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("name", ["batch norm", "batch norm without affine", "nested"])
def test_a_dense_stack_takes_the_same_statistics(name):
    network = build(name, seed=4)
    inputs = inputs_for(network, n=30)
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    before = copy.deepcopy(tensors)
    found = DenseStack(network, ()).recalibrated(tensors, inputs)
    for key, value in before.items():
        assert torch.equal(tensors[key], value), key
    recalibrate(network, inputs, forward=default_forward)
    for key, value in statistics(network).items():
        assert torch.equal(found[key], value), key


class UsedTwice(nn.Module):
    """A norm that is used twice, and one that is not used."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 3)
        self.norm, self.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x):
        x = self.norm(self.first(x))
        return self.norm(self.second(x))


def test_a_norm_that_is_used_twice_gets_the_mean_of_both_uses():
    torch.manual_seed(0)
    network, inputs = UsedTwice().eval(), 3 * torch.randn(40, 4) + 1
    seen = []
    network.norm.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    recalibrate(network, inputs, forward=default_forward)
    for name, expected in (
        ("running_mean", [x.mean(dim=0) for x in seen]),
        ("running_var", [x.var(dim=0) for x in seen]),
    ):
        torch.testing.assert_close(getattr(network.norm, name), torch.stack(expected).mean(dim=0))


def test_norms_that_are_not_used_keep_their_statistics():
    network = UsedTwice().eval()
    network.unused.running_mean.fill_(7)
    network.unused.num_batches_tracked.fill_(5)
    before = copy.deepcopy(network.unused.state_dict())
    recalibrate(network, torch.randn(20, 4), forward=default_forward)
    after = network.unused.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_after_an_error_all_norms_have_what_they_had():
    network = build("batch norm")
    before = copy.deepcopy(network.state_dict())
    inputs = inputs_for(network, n=20)

    def forward(module, x):
        module(x)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        recalibrate(network, inputs, forward=forward)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_norms_with_statistics_have_any():
    assert has_statistics(build("batch norm"))
    assert not has_statistics(build("no bias"))
    assert not has_statistics(nn.BatchNorm1d(3, track_running_stats=False))
