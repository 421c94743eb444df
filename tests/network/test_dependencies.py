"""Groups of networks with branches, and children that are exactly the masked parent."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import (
    CostModel,
    compile_child,
    find_structure,
    l1_importance,
    mac_count,
    param_count,
    size_bytes,
)
from ecomp_deap.network.compile import parent_arrays
from ecomp_deap.network.groups import OUTPUTS
from ecomp_deap.network.proof import masked_parent
from tests.architectures import equal_states, random_masks, state_of
from tests.network.networks import NETWORKS, TEXTS, build_network, images, tokens

# Of each network its groups, and the layers that stay with a part of the reason.
EXPECTED = {
    "Residual": ({"stem.0": 8, "inner": 6}, {"last": OUTPUTS}),
    "Concatenation": ({"left": 4, "right": 6, "join": 7}, {"last": OUTPUTS}),
    "InputBeside": ({"join": 7}, {"left": "does not run", "right": "does not run"}),
    # Of a grouped convolution each group loses an input, and an output, at a time.
    "Grouped": ({"first": 3, "grouped": 2, "squeeze": 5}, {"last": OUTPUTS}),
    "Transformer": (
        {"attention": 2, "mlp.0": 16},
        {"tokens": "mixes its units", "attention.out_proj": "nothing says", "last": OUTPUTS},
    ),
    "Encoder": (
        {
            **{f"encoder.layers.{i}.self_attn": 4 for i in range(2)},
            **{f"encoder.layers.{i}.linear1": 12 for i in range(2)},
        },
        {"tokens": "belongs to no layer", "encoder.layers.0.linear2": "belongs to no layer"},
    ),
    # The heads of a user's own attention are known to no layer, and its qkv is left alone.
    "Handwritten": ({"tokens": 8, "hidden": 16}, {"qkv": "different numbers of entries"}),
    "Tied": ({"hidden": 9}, {"first": "are one tensor", "last": OUTPUTS}),
    "ZeroHead": ({"stem.0": 8, "inner": 6}, {"last": OUTPUTS}),
    "Bag": ({"bag": 8, "hidden": 6}, {"last": OUTPUTS}),
    "BagOfSums": ({"bag": 8, "hidden": 6}, {"last": OUTPUTS}),
    "BagOfMaxima": ({"bag": 8, "hidden": 6}, {"last": OUTPUTS}),
    "LimitedBag": ({"hidden": 6}, {"bag": "EmbeddingBag 'bag' limits the norm over its units"}),
    "WeightedBag": ({"hidden": 6}, {"bag": "entries that 'weights.weight' does not have"}),
    "Stack": ({"0": 8, "1": 6}, {"3": OUTPUTS}),
    "Positions": ({"positions": 8}, {"last": OUTPUTS}),
    "Fields": ({"left": 4, "right": 3, "text": 6, "convolution": 5}, {"last": OUTPUTS}),
    "Flattened": ({"tokens": 4, "beside": 3, "hidden": 6}, {"last": OUTPUTS}),
    "Tokens": ({"tokens": 8, "hidden": 6}, {"last": OUTPUTS}),
    "NormedTokens": ({"hidden": 6}, {"tokens": "mixes its units", "back": "mixes its units"}),
    "LimitedTokens": ({"hidden": 6}, {"tokens": "Embedding 'tokens' limits the norm"}),
    "TiedTokens": ({"hidden": 6}, {"tokens": "tokens.weight and last.weight are one tensor"}),
}
# What embeddings there make units of, besides those of other layers.
TABLES = {
    "Stack": ["0"],
    "Positions": ["positions", "tokens"],
    "Fields": ["left", "right", "text"],
    "Flattened": ["tokens"],
    "Tokens": ["tokens"],
    **{name: ["bag"] for name in ("Bag", "BagOfSums", "BagOfMaxima")},
}
ALL = sorted(NETWORKS | TEXTS)


def inputs_for(name, n=3, seed=0):
    return tokens(n, seed) if name in TEXTS else images(n, seed=seed)


def assert_exact(network, structure, masks, inputs):
    child = compile_child(network, structure, MaskGenome(masks))
    with torch.no_grad():
        found, expected = child(inputs), masked_parent(network, structure, masks)(inputs)
    scale = expected.abs().max().clamp(min=1e-6)
    assert (found - expected).abs().max() <= 1e-5 * scale
    return child


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_are_found_and_what_stays_has_a_reason(name):
    network = build_network(name)
    state = state_of(network)
    structure = find_structure(network, inputs_for(name))
    groups, left_alone = EXPECTED[name]
    assert {group.name: group.n_units for group in structure.groups} == groups
    for layer, reason in left_alone.items():
        assert reason in structure.left_alone[layer]
    assert not structure.is_stack
    assert structure.tables == {f"{layer}.weight" for layer in TABLES.get(name, ())}
    assert equal_states(state_of(network), state)
    assert not any(module._forward_hooks for module in network.modules())


@given(name=st.sampled_from(ALL), seed=st.integers(0, 10**6))
def test_children_are_the_masked_parent_exactly(name, seed):
    network = build_network(name, seed=seed % 3)
    structure = find_structure(network, inputs_for(name))
    masks = random_masks(structure.widths, seed)
    child = assert_exact(network, structure, masks, inputs_for(name, 5, seed))
    assert type(child) is type(network)
    widths = [int(mask.sum()) for mask in masks]
    assert CostModel(network, structure)(widths).param_count == param_count(child)
    shapes = {name: tuple(tensor.shape) for name, tensor in child.state_dict().items()}
    assert structure.child_shapes(widths).items() <= shapes.items()


def test_tied_tensors_stay_tied():
    network = build_network("Tied")
    structure = find_structure(network, images())
    child = assert_exact(network, structure, random_masks(structure.widths, 1), images())
    assert child.first.weight is child.again.weight
    assert child.first.weight is not network.first.weight


@pytest.mark.parametrize("name", sorted(TABLES))
def test_costs_of_children_of_texts_follow_from_their_widths(name):
    network, inputs = build_network(name), tokens()
    structure = find_structure(network, inputs)
    model = CostModel(network, structure, inputs, n_samples=3)
    assert model.is_exact
    for seed in range(3):
        masks = random_masks(structure.widths, seed)
        child = compile_child(network, structure, MaskGenome(masks))
        found = model([int(mask.sum()) for mask in masks])
        assert found.param_count == param_count(child)
        assert found.mac_count == mac_count(child, inputs, n_samples=3)
        assert found.size_bytes == size_bytes(child)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_embeddings_know_their_new_size(name):
    network = build_network(name)
    structure = find_structure(network, tokens())
    masks = random_masks(structure.widths, 0)
    child = compile_child(network, structure, MaskGenome(masks))
    for layer in TABLES[name]:
        embedding, old = child.get_submodule(layer), network.get_submodule(layer)
        assert embedding.embedding_dim == embedding.weight.shape[1] < old.embedding_dim
        assert embedding.num_embeddings == len(embedding.weight) == old.num_embeddings
        assert embedding.padding_idx == old.padding_idx


class Lookup(nn.EmbeddingBag):
    """A bag of a user's own class."""


def test_bags_of_another_class_are_bags():
    network = nn.Sequential(Lookup(20, 8), nn.Linear(8, 5))
    structure = find_structure(network, tokens())
    assert [group.name for group in structure.groups] == ["0"]
    child = assert_exact(network, structure, random_masks(structure.widths, 0), tokens(5))
    assert type(child[0]) is Lookup


class Factorisation(nn.Module):
    """Products of embeddings, which no layer reads."""

    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(20, 8), nn.Embedding(20, 8)

    def forward(self, x):
        return (self.users(x[:, 0]) * self.items(x[:, 1])).sum(dim=1)


def test_embeddings_that_no_layer_reads_stay():
    with pytest.raises(ArgumentError, match=f"none .users: {OUTPUTS}; items: {OUTPUTS}"):
        find_structure(Factorisation(), tokens())


@pytest.mark.parametrize(
    ("layer", "groups"),
    [("text", ["left", "right", "convolution"]), ("convolution", ["left", "right"])],
)
def test_weights_that_are_computed_from_others_stay_whole(layer, groups):
    network = build_network("Fields")
    nn.utils.parametrizations.orthogonal(network.get_submodule(layer))
    structure = find_structure(network, tokens())
    assert [group.name for group in structure.groups] == groups
    assert structure.left_alone["text"] == f"the weight of {layer!r} is computed from others"


@pytest.mark.parametrize("name", ALL)
def test_masks_of_everything_give_the_parent(name):
    network, inputs = build_network(name), inputs_for(name)
    structure = find_structure(network, inputs)
    child = compile_child(
        network, structure, MaskGenome([np.ones(n, dtype=bool) for n in structure.widths])
    )
    assert equal_states(state_of(child), state_of(network))
    with torch.no_grad():
        assert torch.equal(child(inputs), network(inputs))


def test_importance_of_a_grouped_unit_is_that_of_its_channels():
    network = build_network("Grouped")
    structure = find_structure(network, images())
    importance = l1_importance(structure, parent_arrays(network, structure))
    assert [len(values) for values in importance] == list(structure.widths)
    rows = network.first.weight.detach().abs().sum(dim=(1, 2, 3)).view(4, 3).sum(dim=0)
    np.testing.assert_allclose(importance[0], rows.numpy(), rtol=1e-6)


def test_nothing_to_prune_is_an_error_with_every_reason():
    class Lonely(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(4, 2)

        def forward(self, x):
            return self.only(x)

    with pytest.raises(ArgumentError, match=r"at least one layer to prune.*only: its units are"):
        find_structure(Lonely(), torch.randn(3, 4))
    with pytest.raises(ArgumentError, match="example: expected a batch of inputs for a network"):
        find_structure(Lonely())


class Recurrent(nn.Module):
    """Layers in front of a recurrent one, of which a graph knows nothing, and behind it."""

    def __init__(self, recurrent):
        super().__init__()
        self.first, self.second = nn.Linear(5, 9), nn.Linear(9, 6)
        self.recurrent = recurrent(6, 8, batch_first=True)
        self.behind, self.last = nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        x, _ = self.recurrent(self.second(self.first(x).relu()))
        return self.last(self.behind(x[:, -1]).relu())


@pytest.mark.parametrize("recurrent", [nn.GRU, nn.LSTM, nn.RNN])
def test_a_layer_that_no_graph_follows_costs_no_other_its_units(recurrent):
    torch.manual_seed(0)
    network = Recurrent(recurrent).eval()
    structure = find_structure(network, torch.randn(3, 4, 5))
    assert [group.name for group in structure.groups] == ["first", "behind"]
    if recurrent is nn.GRU:
        assert "does not follow its units (IndexError" in structure.left_alone["second"]


@pytest.mark.parametrize("example", [None, images()])
def test_layers_without_weights_yet_are_named(example):
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(ArgumentError, match="module '1': expected one that has its weights"):
        find_structure(network, example)


def test_structures_of_branches_can_be_pickled():
    structure = find_structure(build_network("Grouped"), images())
    assert pickle.loads(pickle.dumps(structure)) == structure


# What Torch-Pruning can, what it cannot (a zero division, endless paths), and attention.
MODELS = {
    "resnet18": 12,
    "mobilenet_v3_small": 27,
    "squeezenet1_0": 25,
    "regnet_y_400mf": 53,
    "shufflenet_v2_x0_5": 16,
    "swin_t": 12,
}


@pytest.mark.parametrize("name", MODELS)
def test_torchvision_models_are_cut_exactly(name):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    inputs = images(2, size=64)
    structure = find_structure(network, inputs)
    assert len(structure.groups) == MODELS[name]
    for seed in range(2):
        assert_exact(network, structure, random_masks(structure.widths, seed), inputs)
