"""Embeddings for which a neighbour distribution does not exist, or barely.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.similarity import WORST_LOSS, TSNELoss
from tests.similarity.references import (
    child_of,
    relu_embedding,
    sklearn_gaussian_loss,
    twin_loss,
)

KERNELS = ["gaussian", "student"]
ORIGIN = relu_embedding(0, 60, 30)


def with_value(value, *, where=(3, 2)):
    child = child_of(ORIGIN, 1, 8)
    child[where] = value
    return child


DEAD = {
    "zeros": np.zeros((60, 8)),
    "one unit": np.zeros((60, 1)),
    "constant": np.full((60, 8), 0.1),
    "constant rows of different units": np.tile(np.linspace(-3, 7, 8), (60, 1)),
    "large constant": np.full((60, 8), 1e30),
    "NaN": np.full((60, 8), np.nan),
    "one NaN": with_value(np.nan),
    "one Inf": with_value(np.inf),
    "one -Inf": with_value(-np.inf),
    "Inf of both signs": with_value([np.inf, -np.inf], where=(slice(0, 2), 0)),
    "overflow": with_value(1e200),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", DEAD)
def test_a_dead_child_scores_the_worst_loss_with_no_gradient(name, kernel):
    loss = TSNELoss(ORIGIN, perplexity=15.0, kernel=kernel)
    assert loss(DEAD[name]) == WORST_LOSS

    child = torch.as_tensor(DEAD[name]).requires_grad_()
    loss(child).backward()
    assert torch.equal(child.grad, torch.zeros_like(child))


@pytest.mark.parametrize("name", ["zeros", "one unit"])
def test_scikit_learn_would_have_called_a_dead_child_similar(name):
    # A uniform table is close to any: the arithmetic alone does not notice.
    assert 0 < sklearn_gaussian_loss(ORIGIN, DEAD[name], 15.0) < 2
    assert TSNELoss(ORIGIN, perplexity=15.0)(DEAD[name]) == WORST_LOSS


@pytest.mark.parametrize("kernel", KERNELS)
def test_dead_children_leave_the_others_of_the_batch_alone(kernel):
    loss = TSNELoss(ORIGIN, perplexity=15.0, kernel=kernel)
    sound = torch.as_tensor(child_of(ORIGIN, 1, 8))
    alone = sound.clone().requires_grad_()
    loss(alone).backward()
    for dead in ("zeros", "constant", "one NaN", "one Inf", "overflow"):
        batch = torch.stack([sound, torch.as_tensor(DEAD[dead]), sound]).requires_grad_()
        found = loss(batch)
        found.sum().backward()

        assert found[1] == WORST_LOSS
        torch.testing.assert_close(found[::2], loss(sound).expand(2), rtol=1e-9, atol=1e-12)
        assert torch.equal(batch.grad[1], torch.zeros_like(sound))
        torch.testing.assert_close(batch.grad[0], alone.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_dead_parent_is_refused(kernel):
    for origin in (np.zeros((60, 8)), np.full((60, 8), 0.1)):
        with pytest.raises(ArgumentError, match=r"origin_embeddings: .*dead layer of the parent"):
            TSNELoss(origin, perplexity=15.0, kernel=kernel)
    with pytest.raises(ArgumentError, match="dead layer of the parent"):
        TSNELoss(np.stack([ORIGIN, np.ones((60, 30))]), perplexity=15.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parent_that_is_not_finite_is_refused(value):
    with pytest.raises(ArgumentError, match="origin_embeddings: expected finite values"):
        TSNELoss(with_value(value), perplexity=15.0)


@settings(deadline=None, max_examples=25)
@given(n_equal=st.integers(2, 59), seed=st.integers(0, 1000))
def test_duplicates_of_any_number_agree_with_the_slow_twin(n_equal, seed):
    child = child_of(ORIGIN, seed, 8)
    child[:n_equal] = 0.0
    assume(child.any())

    found = TSNELoss(ORIGIN, perplexity=15.0)(child)
    assert found == pytest.approx(twin_loss(ORIGIN, child, 15.0), rel=1e-8)


@pytest.mark.parametrize(("n_equal", "tied_rows"), [(15, 0), (16, 16), (40, 40)])
def test_rows_with_as_many_ties_as_the_perplexity_are_counted(n_equal, tied_rows):
    # A row of n equal samples has n - 1 neighbours at a distance of 0.
    origin = ORIGIN.copy()
    origin[:n_equal] = origin[0] + 100.0  # so far away that no other row is tied to them
    loss = TSNELoss(origin, perplexity=15.0)

    assert loss.tied_rows == tied_rows
    assert abs(loss(origin)) < 1e-12
    assert loss(ORIGIN) == pytest.approx(twin_loss(origin, ORIGIN, 15.0), rel=1e-8)


def test_scikit_learn_loses_rows_to_ties_where_this_does_not():
    child = child_of(ORIGIN, 1, 8)
    child[:40] = 0.0
    expected = twin_loss(ORIGIN, child, 15.0)

    assert abs(sklearn_gaussian_loss(ORIGIN, child, 15.0) - expected) > 0.01
    assert TSNELoss(ORIGIN, perplexity=15.0)(child) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("turned", [False, True])
def test_samples_all_equally_far_apart_give_a_uniform_table(turned):
    child = np.eye(60)
    if turned:
        # Now the distances are equal only up to rounding.
        child = child @ np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    loss = TSNELoss(ORIGIN, perplexity=15.0)
    p = loss.probabilities.numpy()
    p = p[p > 0]

    assert loss(child) == pytest.approx((p * np.log(p * 60 * 59)).sum(), rel=1e-9)
    assert TSNELoss(child, perplexity=15.0).tied_rows == 60
    tensor = torch.as_tensor(child).requires_grad_()
    loss(tensor).backward()
    assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_is_finite_with_more_duplicates_than_the_perplexity(kernel):
    child = torch.as_tensor(child_of(ORIGIN, 1, 8))
    child[:40] = 0.0
    child.requires_grad_()
    TSNELoss(ORIGIN, perplexity=15.0, kernel=kernel)(child).backward()

    assert torch.isfinite(child.grad).all()
    assert child.grad.abs().max() > 0


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_an_outlier_agrees_with_the_slow_twin(offset):
    child = child_of(ORIGIN, 1, 8)
    child[7] += offset
    origin = ORIGIN.copy()
    origin[11] += offset

    found = TSNELoss(ORIGIN, perplexity=15.0)(child)
    assert found == pytest.approx(twin_loss(ORIGIN, child, 15.0), rel=1e-6)
    found = TSNELoss(origin, perplexity=15.0)(child)
    assert found == pytest.approx(twin_loss(origin, child, 15.0), rel=1e-6)


@pytest.mark.parametrize("offset", [1e9, 1e18, 1e30])
def test_outliers_at_any_distance_give_a_finite_loss(offset):
    child = child_of(ORIGIN, 1, 8)
    child[7:9] += [[offset], [2 * offset]]
    for kernel in KERNELS:
        tensor = torch.as_tensor(child).requires_grad_()
        found = TSNELoss(ORIGIN, perplexity=15.0, kernel=kernel)(tensor)
        found.backward()
        assert 0 <= float(found.detach()) <= WORST_LOSS
        assert torch.isfinite(tensor.grad).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_embedding_gives_more_than_the_worst_or_less_than_nothing(data):
    elements = st.sampled_from([0.0, 1.0, -1.0, 1e-12, 1e-30, 1e6, 1e30, np.inf, np.nan, 0.5])
    n_units = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(elements, min_size=n_units, max_size=n_units), min_size=1))
    child = np.resize(np.array(rows, dtype=np.float64), (12, n_units))
    origin = relu_embedding(0, 12, 6)
    for kernel in KERNELS:
        tensor = torch.as_tensor(child).requires_grad_()
        found = TSNELoss(origin, perplexity=3.0, kernel=kernel)(tensor)
        found.backward()
        assert -1e-10 <= float(found.detach()) <= WORST_LOSS
        assert torch.isfinite(tensor.grad).all()
