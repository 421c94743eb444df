import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.genomes import Axis, Group, MaskGenome, Structure
from ecomp_deap.network import (
    CostModel,
    Costs,
    compile_child,
    find_structure,
    mac_count,
    make_parent,
    param_count,
    size_bytes,
)
from tests.architectures import ALL, build, inputs_for
from tests.network.networks import NETWORKS, build_network, images


class Products(nn.Module):
    """Two layers of one group, whose activations are multiplied with each other."""

    def __init__(self, product):
        super().__init__()
        self.query, self.key = nn.Linear(6, 8), nn.Linear(6, 8)
        self.product = product

    def forward(self, x):
        return self.product(self.query(x), self.key(x))


def over_units(query, key):
    """Take as many operations as there are units, as attention over all its heads does."""
    return query @ key.T


def over_samples(query, key):
    """Take as many operations as there are pairs of units."""
    return query.T @ key


def over_inputs(query, key):
    """Take as many operations, whatever the units."""
    pooled = torch.stack([query.sum(dim=1), key.sum(dim=1)])
    return pooled @ pooled.T


def products(product, **limits):
    """Return the network and its structure."""
    tensors = {
        "query.weight": (Axis(0), None),
        "query.bias": (Axis(0),),
        "key.weight": (Axis(0), None),
        "key.bias": (Axis(0),),
    }
    network = Products(product).eval()
    shapes = {name: tuple(network.get_parameter(name).shape) for name in tensors}
    return network, Structure((Group("query", 8, **limits),), tensors, shapes, is_stack=False)


def child_of(network, structure, widths):
    masks = [np.arange(n) >= n - width for n, width in zip(structure.widths, widths, strict=True)]
    return compile_child(network, structure, MaskGenome(masks))


def counted(child, inputs, n_samples, forward=None):
    """The costs of a network, counted one by one: a slow twin."""
    macs = mac_count(child, inputs, n_samples=n_samples, forward=forward)
    return Costs(param_count(child), macs, size_bytes(child))


@given(data=st.data(), name=st.sampled_from(sorted(ALL)))
def test_stacks_cost_what_torch_counts_on_the_child(data, name):
    network = build(name)
    structure = find_structure(network)
    model = CostModel(network, structure, inputs_for(network, 1), n_samples=1)
    assert model.is_exact
    widths = [data.draw(st.integers(1, n)) for n in structure.widths]
    child = child_of(network, structure, widths)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        child(inputs_for(child, n=4))
    assert model(widths) == Costs(
        sum(parameter.numel() for parameter in child.parameters()),
        counter.get_total_flops() / 2 / 4,
        sum(tensor.nbytes for tensor in child.state_dict().values()),
    )


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_any_network_costs_what_is_counted_on_the_child(name):
    network, inputs = build_network(name), images(2)
    structure = find_structure(network, inputs)
    model = CostModel(network, structure, inputs, n_samples=2)
    assert model.is_exact
    rng = np.random.default_rng(1)
    for _ in range(4):
        widths = [int(rng.integers(1, n + 1)) for n in structure.widths]
        assert model(widths) == counted(child_of(network, structure, widths), inputs, 2)
    assert model(structure.widths) == counted(network, inputs, 2)


@pytest.mark.parametrize(
    ("product", "is_exact"), [(over_units, True), (over_inputs, True), (over_samples, False)]
)
def test_products_of_activations_count(product, is_exact):
    network, structure = products(product)
    inputs = torch.randn(4, 6)
    model = CostModel(network, structure, inputs, n_samples=4)
    assert model.is_exact == is_exact
    for _ in range(2):
        for width in range(1, 9):
            child = child_of(network, structure, [width])
            assert model([width]) == counted(child, inputs, 4)


def test_only_widths_that_children_have_are_tried():
    def forward(module, x):
        assert module.query.out_features in (4, 8)
        return module(x)

    network, structure = products(over_samples, min_units=3, round_to=4)
    model = CostModel(network, structure, torch.zeros(2, 6), n_samples=2, forward=forward)
    assert model.smallest == (4,)
    assert model.is_exact  # between two widths, everything is in proportion
    assert model((4,)) == counted(child_of(network, structure, [4]), torch.zeros(2, 6), 2)


def test_children_of_the_same_widths_are_counted_once():
    network, structure = products(over_samples)
    seen = []

    def forward(module, x):
        seen.append(module.query.out_features)
        return module(x)

    model = CostModel(network, structure, torch.zeros(2, 6), n_samples=2, forward=forward)
    seen.clear()
    threads = [threading.Thread(target=model, args=((n,),)) for n in (3, 5, 3, 5, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [3, 5]


@pytest.mark.parametrize("product", [over_units, over_samples])
def test_a_model_survives_pickling(product):
    network, structure = products(product)
    model = CostModel(network, structure, torch.zeros(2, 6), n_samples=2)
    found = pickle.loads(pickle.dumps(model))
    for width in range(1, 9):
        assert found([width]) == model([width])


def test_an_exact_model_keeps_no_network():
    network = nn.Sequential(nn.Linear(6, 2000), nn.ReLU(), nn.Linear(2000, 2))
    model = CostModel(network, find_structure(network), torch.zeros(1, 6))
    assert len(pickle.dumps(model)) < size_bytes(network) / 10


def test_the_originals_parent_needs_no_example():
    parent = make_parent()
    structure = find_structure(parent)
    macs = 784 * 256 + 256 * 256 + 256 * 10
    n_params = macs + 256 + 256 + 10
    assert CostModel(parent, structure)(structure.widths) == Costs(n_params, macs, 4 * n_params)


def test_macs_follow_the_size_of_the_maps():
    network = build("one convolution")
    for n in (1, 3):
        model = CostModel(network, find_structure(network), inputs_for(network, n), n_samples=n)
        assert model([2]).mac_count == 2 * (6 * 5 * 2 * 9) + 12 * 3
    assert not any(module._forward_hooks for module in network.modules())


def test_the_given_forward_is_what_counts():
    network = build("one convolution")

    def twice(module, batch):
        return module(batch["x"]) + module(batch["x"].flip(3))

    inputs = {"x": inputs_for(network, 2)}
    model = CostModel(network, find_structure(network), inputs, n_samples=2, forward=twice)
    assert model([4]).mac_count == 2 * (6 * 5 * 4 * 2 * 9 + 24 * 3)


def test_by_default_inputs_are_given_as_a_task_gives_them():
    network = build("one convolution")
    for inputs in ((inputs_for(network, 2),), {"input": inputs_for(network, 2)}):
        model = CostModel(network, find_structure(network), inputs, n_samples=2)
        assert model([4]).mac_count == 6 * 5 * 4 * 2 * 9 + 24 * 3


def test_an_example_that_the_parent_does_not_take_is_an_error():
    network = build("one convolution")
    with pytest.raises(RuntimeError, match="channels"):
        CostModel(network, find_structure(network), torch.zeros(1, 5, 8, 7))


def test_what_no_group_cuts_counts_as_well():
    class Extra(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
            self.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
            self.register_buffer("scratch", torch.zeros(99), persistent=False)
            self.scale = nn.Parameter(torch.ones(7, dtype=torch.float64))

        def forward(self, x):
            return super().forward(x)

    network = Extra().eval()
    structure = find_structure(nn.Sequential(*list(network)[:3]))
    model = CostModel(network, structure)
    assert model([2]) == Costs(12 + 2 + 4 + 2 + 7, 12 + 4, 4 * 20 + 8 * 7 + 8 * 3)


def test_running_statistics_are_bytes_and_no_parameters():
    network = build("batch norm")
    costs = CostModel(network, find_structure(network))((7, 5))
    n_params = (6 * 7 + 7) + 2 * 7 + (7 * 5 + 5) + 2 * 5 + (5 * 3 + 3)
    assert costs.param_count == n_params
    assert costs.size_bytes == 4 * (n_params + 2 * 7 + 2 * 5) + 2 * 8


@pytest.mark.parametrize("name", ["batch norm", "nested"])
def test_fewer_units_never_cost_more(name):
    network = build(name)
    model = CostModel(network, find_structure(network))
    costs = [model((n, 3)) for n in range(1, 8)]
    for figure in ("param_count", "mac_count", "size_bytes"):
        found = [getattr(c, figure) for c in costs]
        assert found == sorted(set(found))


@given(data=st.data(), name=st.sampled_from(["one hidden layer", "activations", "double"]))
def test_children_that_read_some_inputs_list_them(data, name):
    network = build(name)
    structure = find_structure(network, prune_inputs=True)
    model = CostModel(network, structure, inputs_for(network, 2), n_samples=2)
    assert model.is_exact
    widths = [data.draw(st.integers(1, n)) for n in structure.widths]
    child = child_of(network, structure, widths)
    assert model(widths) == counted(child, inputs_for(network, 2), 2)


def test_heads_of_attention_take_their_products_with_them():
    network, inputs = build_network("Transformer"), images(2)
    structure = find_structure(network, inputs)
    names = [group.name for group in structure.groups]
    model = CostModel(network, structure, inputs, n_samples=2)
    one = [1 if name == "attention" else n for name, n in zip(names, structure.widths, strict=True)]
    n_tokens = 4
    # Of one head of 4 units: projections of 8, and two products over all pairs of tokens.
    lost = n_tokens * 8 * 4 * 4 + 2 * n_tokens * n_tokens * 4
    assert model(structure.widths).mac_count - model(one).mac_count == lost
