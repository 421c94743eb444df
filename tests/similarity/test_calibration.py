import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.similarity import calibrate, joint_probabilities, squared_distances
from ecomp_deap.similarity.distances import median_scale
from tests.similarity.references import (
    relu_embedding,
    true_distances,
    twin_conditional,
    twin_probabilities,
)


def entropies(conditional):
    return torch.special.entr(conditional).sum(dim=-1)


def table_of(embedding):
    distances = squared_distances(torch.as_tensor(embedding))
    return distances / median_scale(distances)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n_samples=st.integers(8, 60),
    n_units=st.integers(2, 80),
    fraction=st.floats(0.1, 1.0),
)
def test_every_row_reaches_the_perplexity(seed, n_samples, n_units, fraction):
    perplexity = 1.05 + fraction * ((n_samples - 1) / 3 - 1.05)
    embedding = relu_embedding(seed, n_samples, n_units, bias=0.8)
    found = calibrate(table_of(embedding), perplexity)

    assert (found.converged | found.tied).all()
    reached = entropies(found.conditional)[found.converged]
    assert (reached - np.log(perplexity)).abs().max() < 1e-8
    torch.testing.assert_close(
        found.conditional.sum(dim=-1), torch.ones(n_samples).double(), rtol=0, atol=1e-12
    )
    assert (found.conditional.diagonal() == 0).all()


@pytest.mark.parametrize("perplexity", [1.2, 2.0, 5.0, 13.0])
@pytest.mark.parametrize("n_units", [2, 30, 200])
def test_conditional_probabilities_equal_those_of_the_slow_twin(perplexity, n_units):
    embedding = relu_embedding(n_units, 40, n_units, bias=1.0)
    found = calibrate(table_of(embedding), perplexity)

    expected = twin_conditional(true_distances(embedding), perplexity)
    np.testing.assert_allclose(found.conditional.numpy(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_joint_probabilities_equal_those_of_the_slow_twin(seed):
    embedding = relu_embedding(seed, 50, 20, scale=10.0 ** (4 * seed - 6))
    embedding[:10] = embedding[0]
    found, calibration = joint_probabilities(squared_distances(torch.as_tensor(embedding)), 12.0)

    assert calibration.converged.all()
    np.testing.assert_allclose(found, twin_probabilities(embedding, 12.0), rtol=0, atol=1e-8)


def test_joint_probabilities_are_symmetric_and_sum_to_one():
    embedding = torch.as_tensor(relu_embedding(1, 40, 20))
    found, _ = joint_probabilities(squared_distances(embedding), 10.0)

    assert torch.equal(found, found.T)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-12)
    assert (found.diagonal() == 0).all()
    assert (found + torch.eye(40)).min() >= np.finfo(np.float64).eps


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), shift=st.floats(-8, 8))
def test_the_start_does_not_change_the_result(seed, shift):
    table = table_of(relu_embedding(seed, 40, 25, bias=0.8))
    cold = calibrate(table, 12.0)
    warm = calibrate(table, 12.0, log_beta=cold.log_beta + shift)

    assert cold.converged.all()
    assert warm.converged.all()
    torch.testing.assert_close(warm.conditional, cold.conditional, rtol=0, atol=1e-9)


@pytest.mark.parametrize("log_beta", [-1e6, 1e6])
def test_a_start_far_out_is_recovered_from(log_beta):
    table = table_of(relu_embedding(0, 40, 25, bias=0.8))
    found = calibrate(table, 12.0, log_beta=torch.full((40,), log_beta).double())

    assert found.converged.all()
    torch.testing.assert_close(
        found.conditional, calibrate(table, 12.0).conditional, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(("n_ties", "reachable"), [(9, True), (10, False), (11, False)])
def test_ties_make_the_perplexity_unreachable_from_as_many_samples_on(n_ties, reachable):
    # Sample 0 sees n_ties samples at a distance of 1, and the others from 2 on.
    row = torch.cat([torch.zeros(1), torch.ones(n_ties), 2 + torch.rand(39 - n_ties)])
    table = torch.full((40, 40), 3.0).triu(1) + torch.rand(40, 40).triu(1)
    table[0] = row
    table = (table.triu(1) + table.triu(1).T).double()
    found = calibrate(table, 10.0)

    assert bool(found.converged[0]) is reachable
    assert bool(found.tied[0]) is not reachable
    assert not found.tied[n_ties + 1 :].any()
    if not reachable:
        expected = torch.zeros(40).double()
        expected[1 : n_ties + 1] = 1 / n_ties
        torch.testing.assert_close(found.conditional[0], expected)


def test_all_distances_equal_give_uniform_rows():
    found = calibrate((1 - torch.eye(40)).double(), 10.0)

    assert found.tied.all()
    assert not found.converged.any()
    torch.testing.assert_close(found.conditional, ((1 - torch.eye(40)) / 39).double())


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7])
def test_a_small_cluster_is_calibrated_not_taken_for_ties(size):
    embedding = np.random.default_rng(0).normal(size=(60, 8))
    embedding[:40] *= size
    found = calibrate(table_of(embedding), 10.0)

    assert found.converged.all()
    expected = twin_conditional(true_distances(embedding), 10.0)
    np.testing.assert_allclose(found.conditional, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_an_outlier_is_calibrated_too(offset):
    embedding = np.random.default_rng(0).normal(size=(60, 8))
    embedding[0] += offset
    found = calibrate(table_of(embedding), 10.0)

    assert found.converged.all()
    expected = twin_conditional(true_distances(embedding), 10.0)
    np.testing.assert_allclose(found.conditional[1:], expected[1:], rtol=0, atol=1e-8)
    # The differences of an outlier's own distances have lost digits before they come here.
    np.testing.assert_allclose(found.conditional[0], expected[0], rtol=0, atol=1e-6)


def test_tables_of_a_stack_do_not_see_each_other():
    tables = torch.stack([table_of(relu_embedding(seed, 30, 10)) for seed in range(4)])
    tables[1] = 1 - torch.eye(30)
    found = calibrate(tables.reshape(2, 2, 30, 30), 8.0)

    assert found.conditional.shape == (2, 2, 30, 30)
    assert found.log_beta.shape == found.converged.shape == found.tied.shape == (2, 2, 30)
    for i in range(4):
        alone = calibrate(tables[i], 8.0)
        torch.testing.assert_close(
            found.conditional.reshape(4, 30, 30)[i], alone.conditional, rtol=0, atol=1e-12
        )
    assert found.tied.reshape(4, 30).sum(dim=-1).tolist() == [0, 30, 0, 0]


def test_probabilities_keep_with_distances_of_any_scale():
    distances = squared_distances(torch.as_tensor(relu_embedding(0, 40, 20)))
    expected, _ = joint_probabilities(distances, 10.0)
    for scale in (1e-150, 1e-30, 1e30, 1e150):
        found, calibration = joint_probabilities(distances * scale, 10.0)
        assert calibration.converged.all()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradient_of_the_conditional_probabilities():
    table = table_of(relu_embedding(3, 8, 5, bias=1.0)).requires_grad_()

    assert torch.autograd.gradcheck(lambda t: calibrate(t, 2.2).conditional, table)


def test_gradient_is_finite_where_all_distances_are_equal():
    table = (1 - torch.eye(20)).double().requires_grad_()
    calibrate(table, 5.0).conditional.square().sum().backward()

    assert torch.equal(table.grad, torch.zeros(20, 20).double())
