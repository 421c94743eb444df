"""Heads of attention as units: of torch's layers, wherever they stand."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import (
    CostModel,
    compile_child,
    find_structure,
    inspect,
    mac_count,
    param_count,
    parent_arrays,
    size_bytes,
    train,
)
from ecomp_deap.network.importance import unit_importance
from ecomp_deap.network.layers import HeadAttention
from ecomp_deap.network.lessons import Lesson
from ecomp_deap.network.proof import masked_parent
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, random_masks, state_of
from tests.network.networks import build_network, images


class Reader(nn.Module):
    """A decoder over the memory of an encoder, with the sequence in front, and masks."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu")
        layer = nn.TransformerDecoderLayer(8, 4, 10, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(8))
        self.last = nn.Linear(8, 3)

    def forward(self, x, queries, ignored):
        memory = self.encoder(x, src_key_padding_mask=ignored)
        causal = nn.Transformer.generate_square_subsequent_mask(len(queries))
        read = self.decoder(
            queries, memory, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=ignored
        )
        return self.last(read.mean(dim=0))


class Padded(nn.Module):
    """An encoder that torch gives sequences of different lengths, and a mean over all it makes."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 4, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.last = nn.Linear(8, 3)

    def forward(self, x, ignored):
        return self.last(self.encoder(x, src_key_padding_mask=ignored).mean(dim=1))


class Odd(nn.Module):
    """Attention layers of every kind whose heads stay, and one whose heads can go."""

    def __init__(self):
        super().__init__()

        class Own(nn.MultiheadAttention):
            def forward(self, *inputs, **options):
                return super().forward(*inputs, **options)

        self.one = nn.MultiheadAttention(8, 1, batch_first=True)
        self.sized = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
        self.biased = nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True)
        self.zero = nn.MultiheadAttention(8, 2, add_zero_attn=True, batch_first=True)
        self.own = Own(8, 2, batch_first=True)
        self.sliced = nn.MultiheadAttention(8, 2, batch_first=True)
        self.plain = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = x + self.sized(x, x[..., :6], x[..., :6])[0]
        for attention in (self.one, self.biased, self.zero, self.own, self.plain):
            x = x + attention(x, x, x)[0]
        # Reads the weights of each head.
        y, weights = self.sliced(x, x, x, average_attn_weights=False)
        return self.last((x + y + weights[:, 1].mean(dim=-1, keepdim=True)).mean(dim=1))


class Tied(nn.Module):
    """Two attention layers that project with one weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.MultiheadAttention(8, 2, batch_first=True)
        self.second = nn.MultiheadAttention(8, 2, batch_first=True)
        self.second.in_proj_weight = self.first.in_proj_weight
        self.mlp = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x):
        x = self.second(*(self.first(x, x, x)[0],) * 3)[0]
        return self.mlp(x.mean(dim=1))


def tokens(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ignored():
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[0, 4:], mask[1, 5:] = True, True
    return mask


CASES = {
    "Transformer": (lambda: build_network("Transformer"), images),
    "Encoder": (lambda: build_network("Encoder"), images),
    "Reader": (Reader, lambda: (tokens(6, 3, 8), tokens(4, 3, 8), ignored())),
    "Padded": (Padded, lambda: (tokens(3, 6, 8), ignored())),
}
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def build(name):
    """Return a network and inputs, in eval mode."""
    torch.manual_seed(0)
    make, inputs = CASES[name]
    return make().eval(), inputs()


@pytest.mark.parametrize("name", CASES)
def test_children_are_the_masked_parent_exactly(name):
    network, inputs = build(name)
    structure = find_structure(network, inputs)
    attention = [n for n, m in network.named_modules() if isinstance(m, nn.MultiheadAttention)]
    assert set(attention) <= {group.name for group in structure.groups}
    for seed in range(10):
        masks = random_masks(structure.widths, seed)
        child = compile_child(network, structure, MaskGenome(masks))
        with torch.no_grad():
            found = default_forward(child, inputs)
            expected = default_forward(masked_parent(network, structure, masks), inputs)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        for group, mask in zip(structure.groups, masks, strict=True):
            if group.name in attention:
                layer = child.get_submodule(group.name)
                assert layer.num_heads == mask.sum()
                assert isinstance(layer, HeadAttention) is not mask.all()


@pytest.mark.parametrize("name", CASES)
def test_costs_of_children_are_known(name):
    network, inputs = build(name)
    structure = find_structure(network, inputs)
    costs = CostModel(network, structure, inputs, n_samples=3, forward=default_forward)
    for seed in range(3):
        masks = random_masks(structure.widths, seed)
        child = compile_child(network, structure, MaskGenome(masks))
        found = costs([int(mask.sum()) for mask in masks])
        assert found.param_count == param_count(child)
        assert found.size_bytes == size_bytes(child)
        assert found.mac_count == mac_count(child, inputs, n_samples=3, forward=default_forward)


@pytest.mark.parametrize("name", ["Transformer", "Encoder"])
def test_children_learn_and_are_parents(name):
    network, inputs = build(name)
    structure = find_structure(network, inputs)
    state = state_of(network)
    masks = [np.arange(n) < n // 2 for n in structure.widths]
    child = compile_child(network, structure, MaskGenome(masks))
    before = state_of(child)
    train(
        child,
        [Lesson(inputs, torch.tensor([0, 1, 2]))],
        recipe=Recipe(learning_rate=1e-2),
        n_steps=1,
        loss_fn=functional.cross_entropy,
        forward=default_forward,
        seed=0,
    )
    after = state_of(child)
    assert all(not torch.equal(after[key], before[key]) for key in before)
    assert equal_states(state_of(network), state)
    again = find_structure(child, inputs)
    assert {g.name: g.n_units for g in again.groups} == {
        g.name: n // 2 for g, n in zip(structure.groups, structure.widths, strict=True) if n > 3
    }


def test_what_is_found_is_shown():
    network, inputs = build("Encoder")
    rows = {row.name: row for row in inspect(network, inputs).rows}
    row = rows["encoder.layers.0.self_attn"]
    # Three projections of 8 units with biases, and one that reads them.
    assert (row.n_units, row.param_count) == (4, 3 * 8 * 8 + 3 * 8 + 8 * 8)
    assert rows["encoder.layers.0.linear1"].param_count == 12 * 8 + 12 + 8 * 12


def test_heads_that_cannot_go_stay_with_a_reason():
    torch.manual_seed(0)
    network = Odd().eval()
    structure = find_structure(network, tokens(3, 5, 8))
    assert {group.name: group.n_units for group in structure.groups} == {"plain": 2}
    for name, reason in {
        "one": "it has one unit",
        "sized": "its keys or values have another size",
        "biased": "it attends to keys of its own",
        "zero": "it attends to keys of its own",
        "own": "Own may compute attention in its own way",
        "sliced": "without its units the network does not run",
    }.items():
        assert reason in structure.left_alone[name]


def test_tied_projections_stay():
    torch.manual_seed(0)
    structure = find_structure(Tied().eval(), tokens(3, 5, 8))
    assert [group.name for group in structure.groups] == ["mlp.0"]
    assert "are one tensor" in structure.left_alone["first"]
    assert "are one tensor" in structure.left_alone["second"]


@pytest.mark.parametrize("tensor", ["in_proj_weight", "in_proj_bias", "out_proj.weight"])
def test_computed_projections_stay(tensor):
    network, inputs = build("Transformer")
    if tensor == "out_proj.weight":
        weight_norm(network.attention.out_proj)
    else:
        nn.init.ones_(network.attention.in_proj_bias)
        prune.l1_unstructured(network.attention, tensor, amount=0.5)
    with torch.no_grad():
        network(inputs)  # or else the computed one cannot be copied
    structure = find_structure(network, inputs)
    assert [group.name for group in structure.groups] == ["mlp.0"]
    assert structure.left_alone["attention"] == "its weights are computed from others"


def test_attention_alone():
    torch.manual_seed(0)
    network, x = nn.MultiheadAttention(8, 4, batch_first=True).eval(), tokens(3, 5, 8)

    def forward(module, inputs):
        return module(inputs, inputs, inputs, need_weights=False)[0]

    structure = find_structure(network, x, forward=forward)
    assert [group.n_units for group in structure.groups] == [4]
    child = compile_child(network, structure, MaskGenome([np.arange(4) > 1]))
    assert isinstance(child, HeadAttention)
    # Weights that are returned are means over the heads that there are.
    with pytest.raises(ArgumentError, match="removing a unit changes what others compute"):
        find_structure(network, x, forward=lambda module, inputs: module(inputs, inputs, inputs))


@pytest.mark.parametrize("name", ["Transformer", "Encoder", "Reader"])
@pytest.mark.parametrize("measure", ["l1", "l2", "variance", "taylor"])
def test_importance_of_heads(name, measure):
    network, inputs = build(name)
    structure = find_structure(network, inputs)
    state, copied = state_of(network), copy.deepcopy(network)
    found = unit_importance(
        measure,
        network,
        structure,
        parent_arrays(network, structure),
        inputs=inputs,
        targets=torch.tensor([0, 1, 2]),
        loss_fn=functional.cross_entropy,
        forward=default_forward,
    )
    for group, values in zip(structure.groups, found, strict=True):
        assert values.shape == (group.n_units,)
        layer = network.get_submodule(group.name)
        is_attention = isinstance(layer, nn.MultiheadAttention)
        assert (values > 0).all() if is_attention else values.any()
        if is_attention and measure in ("l1", "l2"):
            heads = layer.in_proj_weight.detach().reshape(3, layer.num_heads, -1)
            norms = heads.permute(1, 0, 2).flatten(1).norm(p=int(measure[1]), dim=1)
            np.testing.assert_allclose(values, norms.numpy(), rtol=1e-5)
    assert equal_states(state_of(network), state)
    assert [type(m) for m in network.modules()] == [type(m) for m in copied.modules()]


def test_a_vision_transformer_of_torchvision():
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=2, num_heads=4, hidden_dim=16, mlp_dim=24
    ).eval()
    nn.init.normal_(network.heads.head.weight)
    inputs = images(2, size=16)
    structure = find_structure(network, inputs)
    assert sorted(structure.widths) == [4, 4, 24, 24]
    masks = random_masks(structure.widths, 0)
    child = compile_child(network, structure, MaskGenome(masks))
    with torch.no_grad():
        found, expected = child(inputs), masked_parent(network, structure, masks)(inputs)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
