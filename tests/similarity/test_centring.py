import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.similarity.centring import one_minus_cosine, u_centred, u_directions
from tests.similarity.oracles import centred_by_loops


def table(seed, n):
    a = np.random.default_rng(seed).random((n, n))
    return (a + a.T) * (1 - np.eye(n))


@given(n=st.integers(4, 12), seed=st.integers(0, 1000))
def test_centring_is_what_its_definition_says(n, seed):
    a = table(seed, n)
    found = u_centred(torch.as_tensor(a)).numpy()
    np.testing.assert_allclose(found, centred_by_loops(a), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-12)
    assert not np.diagonal(found).any()


def test_what_depends_on_one_sample_alone_vanishes():
    of_each = torch.arange(9.0).double().square()
    sums = (of_each[:, None] + of_each) * (1 - torch.eye(9))
    torch.testing.assert_close(u_centred(sums), torch.zeros(9, 9).double(), rtol=0, atol=1e-12)
    directions, vanished = u_directions(torch.stack([sums, torch.as_tensor(table(0, 9))]))
    assert vanished.tolist() == [True, False]
    assert not directions[0].any()
    assert float(directions[1].norm()) == pytest.approx(1, abs=1e-12)


def test_one_minus_the_cosine_is_exact_near_0():
    a, _ = u_directions(torch.as_tensor(table(0, 9)))
    b, _ = u_directions(torch.as_tensor(table(1, 9)))
    torch.testing.assert_close(one_minus_cosine(a, b), 1 - (a * b).sum(), rtol=1e-12, atol=1e-13)
    assert one_minus_cosine(a, a) == 0
    assert one_minus_cosine(a, -a) == pytest.approx(2, abs=1e-12)


def test_a_table_that_vanishes_exactly_has_no_gradient():
    tables = (1.0 - torch.eye(6)).double().requires_grad_()
    directions, vanished = u_directions(tables)
    directions.square().sum().backward()
    assert vanished
    assert not directions.any()
    assert not tables.grad.any()


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e200])
def test_directions_do_not_depend_on_the_scale(scale):
    a = torch.as_tensor(table(1, 8))
    expected, _ = u_directions(a)
    found, vanished = u_directions(scale * a)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not vanished
