"""Embeddings that say nothing, or barely anything, to measures other than t-SNE."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.similarity import SIMILARITIES, make_similarity
from tests.similarity.oracles import ORACLES
from tests.similarity.references import child_of, relu_embedding

NAMES = tuple(ORACLES)
DIFFERENTIABLE = tuple(name for name in NAMES if SIMILARITIES[name].differentiable)
N = 24
ORIGIN = relu_embedding(0, N, 15)


def with_value(value, *, where=(3, 2)):
    child = child_of(ORIGIN, 1, 8)
    child[where] = value
    return child


DEAD = {
    "zeros": np.zeros((N, 8)),
    "one unit": np.zeros((N, 1)),
    "constant": np.full((N, 8), 0.1),
    "constant rows of different units": np.tile(np.linspace(-3, 7, 8), (N, 1)),
    "large constant": np.full((N, 8), 1e30),
    "differences that vanish": np.stack([np.ones(N), 1e-200 * np.arange(N)], axis=1),
    "NaN": np.full((N, 8), np.nan),
    "one NaN": with_value(np.nan),
    "one Inf": with_value(np.inf),
    "one -Inf": with_value(-np.inf),
    "Inf of both signs": with_value([np.inf, -np.inf], where=(slice(0, 2), 0)),
}


def value_and_gradient(loss, child):
    """The loss, and its gradient where it has one, which must leave the loss as it is."""
    value = float(loss(torch.as_tensor(child)))
    if not loss.differentiable:
        return value, torch.zeros(())
    tensor = torch.as_tensor(child).requires_grad_()
    found = loss(tensor)
    found.backward()
    assert float(found.detach()) == pytest.approx(value, rel=1e-6, abs=1e-9)
    return value, tensor.grad


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dead", DEAD)
def test_a_dead_child_scores_the_worst_with_no_gradient(name, dead):
    loss = make_similarity(name, ORIGIN)
    assert loss(DEAD[dead]) == loss.worst
    assert loss.of_children([torch.as_tensor(DEAD[dead])]).item() == loss.worst
    value, gradient = value_and_gradient(loss, DEAD[dead])
    assert value == loss.worst
    assert not gradient.any()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("dead", DEAD)
def test_dead_children_leave_the_others_of_a_batch_alone(name, dead):
    loss = make_similarity(name, ORIGIN)
    sound = torch.as_tensor(child_of(ORIGIN, 1, DEAD[dead].shape[1]))
    alone = sound.clone().requires_grad_()
    loss(alone).backward()
    batch = torch.stack([sound, torch.as_tensor(DEAD[dead]), sound]).requires_grad_()
    loss(batch).sum().backward()
    assert not batch.grad[1].any()
    torch.testing.assert_close(batch.grad[0], alone.grad, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(batch.grad[2], alone.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_parent_is_refused(name):
    for origin in (np.zeros((N, 8)), np.full((N, 8), 0.1), np.stack([ORIGIN, np.ones((N, 15))])):
        with pytest.raises(ArgumentError, match=r"origin_embeddings: .*dead layer of the parent"):
            make_similarity(name, origin)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parent_that_is_not_finite_is_refused(name, value):
    with pytest.raises(ArgumentError, match="origin_embeddings: expected finite values"):
        make_similarity(name, with_value(value))


EQUALLY_FAR = np.eye(N)
TURNED = np.eye(N) @ np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))[0]
ONE_APART = 3.0 * (np.arange(N) == 5)[:, None] * np.ones(4)
ONE_DIRECTION = np.linspace(1, 9, N)[:, None] * np.array([[0.3, 1.7, -0.1]])
UNSEEN = [
    *[("cka", child) for child in (EQUALLY_FAR, TURNED, ONE_APART)],
    *[("distance_correlation", child) for child in (EQUALLY_FAR, TURNED, ONE_APART)],
    ("pkt", ONE_DIRECTION),
]


@pytest.mark.parametrize(("name", "child"), UNSEEN)
def test_what_a_measure_sees_no_structure_in_is_dead_to_it(name, child):
    loss = make_similarity(name, ORIGIN)
    value, gradient = value_and_gradient(loss, child)
    assert value == loss.worst
    assert not gradient.any()
    with pytest.raises(ArgumentError, match="samples that the measure tells apart"):
        make_similarity(name, child)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("child", [EQUALLY_FAR, TURNED, ONE_APART, ONE_DIRECTION])
def test_others_see_a_sound_child_in_it(name, child):
    if not any(name == other and child is unseen for other, unseen in UNSEEN):
        value, gradient = value_and_gradient(make_similarity(name, ORIGIN), child)
        assert 0 < value <= SIMILARITIES[name].worst
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_scale_changes_a_loss(name, scale, dtype):
    origin, child = ORIGIN.astype(dtype), child_of(ORIGIN, 1, 8).astype(dtype)
    expected = make_similarity(name, origin)(child)
    found = make_similarity(name, origin * dtype(scale))(child * dtype(scale))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "knn_jaccard"])
@settings(deadline=None, max_examples=15)
@given(n_equal=st.integers(2, N - 2), seed=st.integers(0, 1000))
def test_duplicates_of_any_number_agree_with_the_definition(name, n_equal, seed):
    child = child_of(ORIGIN, seed, 8) + 0.1
    child[:n_equal] = child[0]
    origin = ORIGIN.copy()
    origin[-3:] = origin[0]
    loss = make_similarity(name, origin)
    value, gradient = value_and_gradient(loss, child)
    assert value == pytest.approx(ORACLES[name](origin, child), rel=1e-7, abs=1e-10)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_embedding_gives_more_than_the_worst_or_less_than_nothing(name, data):
    elements = st.sampled_from([0.0, 1.0, -1.0, 1e-12, 1e-30, 1e6, 1e30, 1e200, np.inf, np.nan])
    n_units = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(elements, min_size=n_units, max_size=n_units), min_size=1))
    child = np.resize(np.array(rows, dtype=np.float64), (12, n_units))
    loss = make_similarity(name, relu_embedding(0, 12, 6))
    assert 0 <= float(loss(torch.as_tensor(child))) <= loss.worst
    if loss.differentiable:
        tensor = torch.as_tensor(child).requires_grad_()
        found = loss(tensor)
        found.backward()
        assert 0 <= float(found.detach()) <= loss.worst
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_more_units_than_samples_agree_with_the_definition(name):
    origin, child = relu_embedding(0, 9, 50), relu_embedding(3, 9, 70)
    found = make_similarity(name, origin)(child)
    assert found == pytest.approx(ORACLES[name](origin, child), rel=1e-8, abs=1e-12)
