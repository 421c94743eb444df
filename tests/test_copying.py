"""Copies of networks that hold more than parameters, and of batches of any form."""

import threading
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ecomp_deap.copying import check_module, check_network, copy_batch, copy_network, tensors_in
from ecomp_deap.errors import ArgumentError
from tests.architectures import equal_states, state_of


class Keeping(nn.Linear):
    """A layer that keeps what it gave, as networks do whose features are looked at."""

    def forward(self, x):
        y = super().forward(x)
        self.latest, self.all = y, {"features": [y]}
        return y


def test_stored_results_of_a_forward_pass_are_detached():
    network = nn.Sequential(Keeping(4, 3), nn.ReLU())
    outputs = network(torch.randn(2, 4))
    copied = copy_network(network)
    assert not copied[0].latest.requires_grad
    assert copied[0].all["features"][0] is copied[0].latest
    assert torch.equal(copied[0].latest, network[0].latest)
    assert network[0].latest.requires_grad
    outputs.sum().backward()
    assert equal_states(state_of(copied), state_of(network))
    assert copied[0].weight is not network[0].weight


def test_a_memo_says_what_is_shared():
    network = Keeping(4, 3)
    network(torch.randn(2, 4))
    copied = copy_network(network, {id(network.weight): network.weight})
    assert copied.weight is network.weight
    assert copied.bias is not network.bias


@pytest.mark.parametrize("network", [nn.LazyLinear(3), nn.LazyBatchNorm1d()])
def test_layers_without_weights_yet_are_named(network):
    for refusing in (check_network, copy_network):
        with pytest.raises(ArgumentError, match="module '1': expected one that has its weights"):
            refusing(nn.Sequential(nn.ReLU(), network))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_networks_are_named():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ArgumentError, match="module '1': expected one of Python code, got 'a scr"):
        copy_network(nn.Sequential(nn.ReLU(), scripted))


def test_what_is_nearly_a_network_is_told():
    expected = "^parent: expected a torch.nn.Module, got"
    with pytest.raises(ArgumentError, match=rf"{expected} the class Linear: give Linear\(\)$"):
        check_module("parent", nn.Linear)
    for weights in (nn.Linear(2, 3).state_dict(), dict(nn.Linear(2, 3).named_parameters())):
        match = f"{expected} a state dict: load it into a network first$"
        with pytest.raises(ArgumentError, match=match):
            check_module("parent", weights)
    for other, name in (({}, "dict"), ({"epoch": 3}, "dict"), (int, "type"), (None, "NoneType")):
        with pytest.raises(ArgumentError, match=f"{expected} '{name}'$"):
            check_module("parent", other)
    network = nn.Linear(2, 3)
    assert check_module("parent", network) is network


def test_what_cannot_be_copied_is_told():
    network = nn.Linear(2, 2)
    network.lock = threading.Lock()
    with pytest.raises(ArgumentError, match=r"Linear: expected a network that can be copied, but"):
        copy_network(network)


def test_batches_are_copied_with_their_containers():
    a, b = torch.randn(2, 3), torch.arange(2)
    batch = {"a": a, "more": (b, [a, "name"])}
    copied = copy_batch(batch)
    copied["a"].zero_()
    copied["more"][0].zero_()
    assert copied["more"][1][1] == "name"
    assert type(copied["more"]) is tuple
    assert a.any()
    assert b.any()


Pair = namedtuple("Pair", "left right")


class Named(dict):
    """A dict that torch does not know."""


@dataclass
class Outputs:
    logits: torch.Tensor
    aside: object = None


def test_tensors_are_found_in_any_container():
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    tree = [Pair(a, None), Named(x=b), Outputs(c, aside=Outputs(a))]
    assert [len(tensor) for tensor in tensors_in(tree)] == [1, 2, 3, 1]
    assert list(tensors_in((Outputs, "name", 3, nn.Linear(2, 2)))) == []
