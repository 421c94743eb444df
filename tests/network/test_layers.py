"""`HeadAttention` beside `torch.nn.MultiheadAttention`, which knows no other number of heads."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network.layers import HeadAttention

# Of samples, heads, queries and keys.
N, H, L, S = 3, 4, 5, 6


def both(n_kept=H, *, training=False, seed=0, **options):
    """Return torch's attention of 4 heads, and ours of its first ones.

    Torch's reads the other heads as 0.
    """
    torch.manual_seed(seed)
    theirs = nn.MultiheadAttention(8, H, **options).train(training)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours = copy.deepcopy(theirs)
    rows = np.concatenate([np.arange(2 * n_kept) + 8 * block for block in range(3)])
    with torch.no_grad():
        theirs.out_proj.weight[:, 2 * n_kept :] = 0
        ours.in_proj_weight = nn.Parameter(ours.in_proj_weight[rows])
        if ours.in_proj_bias is not None:
            ours.in_proj_bias = nn.Parameter(ours.in_proj_bias[rows])
        ours.out_proj.weight = nn.Parameter(ours.out_proj.weight[:, : 2 * n_kept])
    HeadAttention.adopt(ours)
    return theirs, ours


def sequences(kind, batch_first=True, batched=True):
    """Return query, key and value: of one sequence, of two, or of three."""
    torch.manual_seed(1)
    query, key, value = (torch.randn(N, n, 8) for n in (L, S, S))
    if not batched:
        query, key, value = query[0], key[0], value[0]
    elif not batch_first:
        query, key, value = (x.transpose(0, 1).contiguous() for x in (query, key, value))
    return {"self": (query,) * 3, "memory": (query, key, key), "all": (query, key, value)}[kind]


def masks(kind, n_keys, batched=True, dtype=torch.bool):
    """Return a mask of attention and one of padding, that hide no query's every key."""
    n = N if batched else 1
    generator = torch.Generator().manual_seed(2)
    hidden = torch.rand(L, n_keys, generator=generator) < 0.3
    each = torch.rand(n * H, L, n_keys, generator=generator) < 0.3
    padding = torch.zeros(n, n_keys, dtype=torch.bool)
    padding[:, -1] = True
    hidden[:, 0], each[..., 0] = False, False
    attn_mask = {"2d": hidden, "3d": each}.get(kind.split("+")[0])
    key_padding_mask = padding if "padding" in kind else None
    key_padding_mask = key_padding_mask if batched or key_padding_mask is None else padding[0]
    if dtype != torch.bool:
        attn_mask, key_padding_mask = (
            None if mask is None else -3.0 * mask.to(dtype) + 0.1
            for mask in (attn_mask, key_padding_mask)
        )
    return {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", ["none", "2d", "3d", "padding", "2d+padding", "3d+padding"])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["self", "memory", "all"])
def test_all_heads_give_what_torchs_attention_gives(kind, batch_first, batched, mask):
    for bias, training, dtype in itertools.product(
        (True, False), (True, False), (torch.bool, torch.float32)
    ):
        theirs, ours = both(bias=bias, batch_first=batch_first, training=training)
        inputs = sequences(kind, batch_first, batched)
        given = masks(mask, L if kind == "self" else S, batched, dtype)
        for weights in (
            {"need_weights": False},
            {"need_weights": True},
            {"need_weights": True, "average_attn_weights": False},
        ):
            with torch.no_grad():
                assert_same(ours(*inputs, **given, **weights), theirs(*inputs, **given, **weights))


@pytest.mark.parametrize("n_kept", [1, 2, 3])
@pytest.mark.parametrize("mask", ["none", "2d", "padding", "2d+padding"])
@pytest.mark.parametrize("kind", ["self", "memory", "all"])
def test_fewer_heads_give_what_torchs_attention_gives_with_the_others_at_0(kind, mask, n_kept):
    theirs, ours = both(n_kept, batch_first=True)
    assert (ours.num_heads, ours.head_dim, ours.embed_dim) == (n_kept, 2, 8)
    inputs, given = sequences(kind), masks(mask, L if kind == "self" else S)
    for need_weights in (True, False):
        given["need_weights"] = need_weights
        found, weights = ours(*inputs, **given, average_attn_weights=False)
        expected, all_weights = theirs(*inputs, **given, average_attn_weights=False)
        kept = all_weights[:, :n_kept] if need_weights else None
        assert_same((found, weights), (expected, kept))


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_in_training_is_torchs(need_weights):
    theirs, ours = both(batch_first=True, dropout=0.5, training=True)
    x = sequences("self")
    found, expected = [], []
    for attention, outputs in ((ours, found), (theirs, expected)):
        torch.manual_seed(3)
        outputs.extend(attention(*x, need_weights=need_weights))
    assert_same(found, expected)
    assert not torch.allclose(found[0], ours.eval()(*x)[0])


def test_gradients_are_torchs():
    theirs, ours = both(batch_first=True)
    for attention in (theirs, ours):
        attention(*sequences("all"))[0].square().sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_causal_hint_needs_its_mask(need_weights):
    theirs, ours = both(batch_first=True, training=True)
    causal = nn.Transformer.generate_square_subsequent_mask(L)
    given = {"attn_mask": causal, "is_causal": True, "need_weights": need_weights}
    assert_same(ours(*sequences("self"), **given), theirs(*sequences("self"), **given))
    with pytest.raises(ArgumentError, match="attn_mask: expected a mask to go with is_causal"):
        ours(*sequences("self"), is_causal=True)


def test_its_own_kind_in_half_precision_and_through_pickle():
    theirs, ours = both(2, batch_first=True)
    assert isinstance(ours, nn.MultiheadAttention)
    again = pickle.loads(pickle.dumps(ours))
    assert again.num_heads == 2
    x = sequences("self")
    assert torch.equal(again(*x)[0], ours(*x)[0])
    half = [t.bfloat16() for t in masks("2d+padding", L, dtype=torch.float32).values()]
    x = (sequences("self")[0].bfloat16(),) * 3
    found = ours.bfloat16()(*x, attn_mask=half[0], key_padding_mask=half[1], need_weights=False)[0]
    expected = theirs.float()(
        *sequences("self"), **masks("2d+padding", L, dtype=torch.float32), need_weights=False
    )[0]
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("mask", ["none", "2d", "padding"])
def test_encoders_of_torch_take_it(mask, norm_first, grad):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 4, 12, batch_first=True, norm_first=norm_first)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).eval()
    ours = copy.deepcopy(theirs)
    for seed, (their, own) in enumerate(zip(theirs.layers, ours.layers, strict=True)):
        their.self_attn, own.self_attn = both(2, batch_first=True, seed=seed)
    given = masks(mask, L)
    given = {"mask": given["attn_mask"], "src_key_padding_mask": given["key_padding_mask"]}
    with torch.set_grad_enabled(grad):
        x = sequences("self")[0]
        assert_same([ours(x, **given)], [theirs(x, **given)])
