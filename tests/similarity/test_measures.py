"""What holds for every measure, whatever it compares by."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap import defaults
from ecomp_deap.errors import ArgumentError
from ecomp_deap.similarity import (
    SIMILARITIES,
    SimilarityLoss,
    TSNELoss,
    losses_of_children,
    make_similarity,
)
from tests.similarity.oracles import ORACLES
from tests.similarity.references import child_of, relu_embedding

NAMES = tuple(SIMILARITIES)
DIFFERENTIABLE = tuple(name for name in NAMES if SIMILARITIES[name].differentiable)
N = 30
ORIGIN = relu_embedding(0, N, 20)


def normal(seed, n_samples, n_units):
    return np.random.default_rng(seed).normal(size=(n_samples, n_units))


def rotation(seed, n_units):
    return np.linalg.qr(normal(seed, n_units, n_units))[0]


@st.composite
def pairs(draw):
    """Two embeddings of the same samples without ties, of any two widths, related or not."""
    n_samples = draw(st.integers(6, 40))
    seed = draw(st.integers(0, 10**6))
    origin = normal(seed, n_samples, draw(st.integers(2, 60)))
    width = draw(st.integers(2, 60))
    mixed = origin @ normal(seed + 1, origin.shape[1], width) / np.sqrt(origin.shape[1])
    return origin, mixed + draw(st.sampled_from([0.1, 1.0, 10.0])) * normal(
        seed + 2, n_samples, width
    )


def test_measures_are_those_that_can_be_asked_for():
    assert NAMES == defaults.SIMILARITIES
    assert all(issubclass(measure, SimilarityLoss) for measure in SIMILARITIES.values())
    assert set(DIFFERENTIABLE) == set(NAMES) - {"knn_jaccard"}


def test_an_unknown_measure_is_refused():
    with pytest.raises(ArgumentError, match=r"name: expected one of .*'pkt'.*, got 'cosine'"):
        make_similarity("cosine", ORIGIN)


def test_perplexity_and_kernel_are_those_of_t_sne():
    loss = make_similarity("tsne", ORIGIN, perplexity=4.0, kernel="student")
    assert (loss.perplexity, loss.kernel) == (4.0, "student")
    assert make_similarity("tsne", ORIGIN).perplexity == (N - 1) / 3
    assert not hasattr(make_similarity("cka", ORIGIN), "perplexity")


@pytest.mark.parametrize("name", ORACLES)
@settings(deadline=None, max_examples=20)
@given(pair=pairs())
def test_a_measure_is_what_its_definition_says(name, pair):
    found = make_similarity(name, pair[0])(pair[1])
    assert found == pytest.approx(ORACLES[name](*pair), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("n_units", [1, 7, 40])
def test_activations_of_a_layer_agree_with_the_definition(name, n_units):
    origin, child = relu_embedding(1, N, 25), child_of(relu_embedding(1, N, 25), 2, n_units)
    child += 1e-3 * normal(3, N, n_units)  # no two samples alike
    found = make_similarity(name, origin.astype(np.float32))(child.astype(np.float32))
    assert found == pytest.approx(ORACLES[name](origin, child), rel=1e-4, abs=1e-6)
    loss = make_similarity(name, origin)
    assert loss(child) == pytest.approx(ORACLES[name](origin, child), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=20)
@given(pair=pairs(), seed=st.integers(0, 1000), scale=st.sampled_from([1e-30, 1e-3, 7.0, 1e30]))
def test_turning_scaling_and_swapping_units_changes_nothing(name, pair, seed, scale):
    origin, child = pair
    expected = make_similarity(name, origin)(child)
    turned = child @ rotation(seed, child.shape[1])
    swapped = child[:, np.random.default_rng(seed).permutation(child.shape[1])]
    loss = make_similarity(name, scale * origin @ rotation(seed, origin.shape[1]))
    for other in (turned, swapped, scale * child, child / scale, -child):
        assert loss(other) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pkt"])
@settings(deadline=None, max_examples=15)
@given(pair=pairs(), seed=st.integers(0, 1000))
def test_a_common_offset_changes_nothing(name, pair, seed):
    origin, child = pair
    expected = make_similarity(name, origin)(child)
    loss = make_similarity(name, origin + 5 * normal(seed, 1, origin.shape[1]))
    moved = child + 5 * normal(seed, 1, child.shape[1])
    assert loss(moved) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=15)
@given(pair=pairs(), seed=st.integers(0, 1000))
def test_the_order_of_samples_does_not_matter(name, pair, seed):
    order = np.random.default_rng(seed).permutation(len(pair[0]))
    expected = make_similarity(name, pair[0])(pair[1])
    found = make_similarity(name, pair[0][order])(pair[1][order])
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_representations_score_nothing_and_noise_scores_more(name, dtype):
    origin = ORIGIN.astype(dtype)
    loss = make_similarity(name, origin)
    nothing = 5e-8 if name == "tsne" else 1e-12
    for seed in range(12):
        turned = ORIGIN @ rotation(seed, ORIGIN.shape[1])
        assert 0 <= loss(turned.astype(dtype)) <= nothing
    assert 0 <= loss(origin) <= nothing
    noise = normal(5, *ORIGIN.shape)
    values = [loss((ORIGIN + level * noise).astype(dtype)) for level in (0.03, 0.3, 3.0)]
    assert 0 < values[0] < values[1] < values[2] < loss.worst


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_and_children_of_different_widths_equal_single_calls(name, dtype):
    loss = make_similarity(name, torch.as_tensor(ORIGIN, dtype=dtype))
    batch = torch.stack([torch.as_tensor(child_of(ORIGIN, s, 9), dtype=dtype) for s in range(4)])
    batch[1] = 0.1
    batch[2, 3, 4] = torch.nan
    together = loss(batch)
    assert together.shape == (4,)
    assert together.dtype == dtype
    assert together[1:3].tolist() == pytest.approx([loss.worst] * 2, rel=1e-6)
    assert loss(batch.reshape(2, 2, N, 9)).flatten().tolist() == together.tolist()

    children = [torch.as_tensor(child_of(ORIGIN, s, 1 + 13 * s), dtype=dtype) for s in range(5)]
    found = loss.of_children([*children, batch[1], batch[2]])
    assert found.dtype == torch.float64
    assert found[-2:].tolist() == pytest.approx([loss.worst] * 2, rel=1e-6)
    for values, single in ((together, batch), (found[:5], children)):
        for value, child in zip(values, single, strict=True):
            torch.testing.assert_close(value.double(), loss(child.double()), rtol=1e-5, atol=1e-6)
    assert loss.of_children([]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_more_children_than_a_block_holds_equal_single_calls(name):
    origin = torch.as_tensor(relu_embedding(0, 200, 9))
    loss = make_similarity(name, origin)
    children = [torch.as_tensor(child_of(origin.numpy(), s, 3 + s % 2)) for s in range(9)]
    alone = torch.stack([loss(child) for child in children])
    torch.testing.assert_close(loss.of_children(children), alone, rtol=1e-6, atol=1e-9)
    wide = torch.stack(children[::2])
    torch.testing.assert_close(loss(wide), alone[::2], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_several_tables_are_each_compared_with_their_own(name, shape):
    count = int(np.prod(shape))
    origins = torch.as_tensor(np.stack([relu_embedding(s, N, 8) for s in range(count)]))
    loss = make_similarity(name, origins.reshape(*shape, N, 8))
    children = [
        torch.as_tensor(np.stack([child_of(o.numpy(), 7 + s, 3 + s) for o in origins]))
        for s in range(2)
    ]
    expected = torch.stack(
        [
            torch.stack([make_similarity(name, o)(c) for o, c in zip(origins, child, strict=True)])
            for child in children
        ]
    ).reshape(2, *shape)
    children = [child.reshape(*shape, N, -1) for child in children]
    torch.testing.assert_close(loss.of_children(children), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss(children[0]), expected[0], rtol=1e-6, atol=1e-9)
    pair = torch.stack([children[0], children[0]])
    torch.testing.assert_close(loss(pair), expected[:1].expand(2, *shape), rtol=1e-6, atol=1e-9)
    with pytest.raises(ArgumentError, match=r"compressed_embeddings: expected shape \(\.\.\., "):
        loss(children[0].flatten(0, -3)[0])


def test_losses_of_probe_layers_are_those_of_each():
    origins = [torch.as_tensor(relu_embedding(s, N, 8)) for s in range(4)]
    names = ("cka", "tsne", "pkt", "tsne")
    losses = [make_similarity(n, o) for n, o in zip(names, origins, strict=True)]
    children = [[torch.as_tensor(child_of(o.numpy(), s, 3 + s)) for s in range(3)] for o in origins]
    found = losses_of_children(losses, children)
    for loss, own, values in zip(losses, children, found, strict=True):
        torch.testing.assert_close(values, loss.of_children(own), rtol=1e-9, atol=1e-12)
    assert losses_of_children([], []) == []


@pytest.mark.parametrize("name", NAMES)
def test_arrays_give_doubles_and_tensors_tensors(name):
    loss, child = make_similarity(name, ORIGIN), child_of(ORIGIN, 1, 6)
    value = loss(child)
    assert isinstance(value, np.float64)
    values = loss(np.stack([child, child]))
    assert (type(values), values.dtype) == (np.ndarray, np.float64)
    found = loss(torch.as_tensor(child))
    assert float(found) == pytest.approx(value, rel=1e-9)
    assert not found.requires_grad
    integers = np.arange(N)[:, None] ** 2
    assert loss(integers) == loss(integers.astype(float))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_measure_gives_the_same(name):
    loss, child = make_similarity(name, ORIGIN), child_of(ORIGIN, 1, 6)
    expected = loss(child)
    again = pickle.loads(pickle.dumps(loss))
    assert again(child) == expected
    assert (again.worst, again.n_samples) == (loss.worst, N)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("child", "message"),
    [
        (np.ones((N + 1, 4)), f"compressed_embeddings: expected {N} samples"),
        (np.ones(N), r"compressed_embeddings: expected shape \(n_samples, n_units\)"),
        (np.ones((N, 0)), r"compressed_embeddings: expected shape \(n_samples, n_units\)"),
        (np.ones((N, 2), complex), "compressed_embeddings: expected real numbers"),
    ],
)
def test_a_child_of_another_shape_is_refused(name, child, message):
    with pytest.raises(ArgumentError, match=message):
        make_similarity(name, ORIGIN)(child)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tsne"])
def test_too_few_samples_are_refused(name):
    least = SIMILARITIES[name].min_samples
    make_similarity(name, normal(0, least, 3))
    with pytest.raises(
        ArgumentError, match=f"origin_embeddings: expected at least {least} samples"
    ):
        make_similarity(name, normal(0, least - 1, 3))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("n_units", [2, 4, 12])
def test_the_gradient_equals_finite_differences(name, n_units):
    loss = make_similarity(name, torch.as_tensor(normal(0, 9, 4)))
    child = torch.as_tensor(normal(1, 9, n_units)).requires_grad_()
    assert torch.autograd.gradcheck(loss, child, rtol=1e-4)
    batch = torch.as_tensor(np.stack([normal(s, 9, n_units) for s in (2, 3)])).requires_grad_()
    assert torch.autograd.gradcheck(loss, batch, rtol=1e-4)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_gradient_does_not_change_the_loss_and_reaches_all_children(name):
    loss = make_similarity(name, torch.as_tensor(ORIGIN))
    children = [torch.as_tensor(child_of(ORIGIN, s, 2 + s)) for s in range(3)]
    plain = loss.of_children(children)
    for child in children:
        child.requires_grad_()
    found = loss.of_children(children)
    torch.testing.assert_close(found.detach(), plain, rtol=1e-6, atol=1e-9)
    found.sum().backward()
    for child in children:
        alone = child.detach().clone().requires_grad_()
        loss(alone).backward()
        torch.testing.assert_close(child.grad, alone.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_descending_makes_a_child_more_similar(name):
    loss = make_similarity(name, torch.as_tensor(ORIGIN).float())
    child = torch.as_tensor(child_of(ORIGIN, 1, 5, noise=1.0)).float().requires_grad_()
    optimiser = torch.optim.Adam([child], lr=0.05)
    before = float(loss(child).detach())
    for _ in range(30):
        optimiser.zero_grad()
        loss(child).backward()
        assert child.grad.dtype == torch.float32
        optimiser.step()
    assert float(loss(child).detach()) < 0.75 * before


def test_a_gradient_is_refused_where_there_is_none():
    loss = make_similarity("knn_jaccard", ORIGIN)
    child = torch.as_tensor(child_of(ORIGIN, 1, 5)).requires_grad_()
    message = "expected no gradient to be asked, as KNNJaccardLoss is not differentiable"
    for ask in (lambda: loss(child), lambda: loss.of_children([child])):
        with pytest.raises(ArgumentError, match=message):
            ask()
        with torch.no_grad():
            assert 0 < float(ask()) < 1


def test_t_sne_satisfies_the_interface():
    assert isinstance(TSNELoss(ORIGIN), SimilarityLoss)
    assert TSNELoss.worst == pytest.approx(35.35, abs=0.01)
