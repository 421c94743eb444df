import numpy as np
import pytest
import torch

from ecomp_deap.similarity import ProcrustesLoss
from ecomp_deap.similarity.procrustes import pre_shapes


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_units_that_correlate_with_none_of_the_parents_score_the_worst():
    t = np.arange(32) * 2 * np.pi / 32
    origin = np.stack([np.sin(t), np.cos(t)], axis=1)
    child = np.stack([np.sin(3 * t), np.cos(5 * t), np.sin(7 * t)], axis=1)
    assert ProcrustesLoss(origin)(child) == pytest.approx(1, abs=1e-12)


def test_it_is_symmetric():
    a, b = normal(0, 20, 7), normal(1, 20, 30)
    assert ProcrustesLoss(a)(b) == pytest.approx(ProcrustesLoss(b)(a), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_squares_that_would_be_lost_change_nothing(scale):
    a, b = normal(0, 20, 7), normal(1, 20, 3)
    assert ProcrustesLoss(a)(scale * b) == pytest.approx(ProcrustesLoss(a)(b), abs=1e-12)


def test_columns_of_zeros_change_nothing():
    a, b = normal(0, 20, 7), normal(1, 20, 3)
    expected = ProcrustesLoss(a)(b)
    padded = np.hstack([b, np.zeros((20, 9))])
    assert ProcrustesLoss(a)(padded) == pytest.approx(expected, abs=1e-12)
    assert ProcrustesLoss(np.hstack([a, np.zeros((20, 40))]))(b) == pytest.approx(
        expected, abs=1e-12
    )


def test_its_root_satisfies_the_triangle_inequality():
    for seed in range(20):
        a, b, c = (normal(10 * seed + i, 12, 2 + 3 * i) for i in range(3))
        ab, bc, ac = (np.sqrt(2 * ProcrustesLoss(x)(y)) for x, y in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc + 1e-12


def test_a_gradient_is_finite_with_units_that_are_dead_or_alike():
    loss = ProcrustesLoss(torch.as_tensor(normal(0, 12, 5)))
    child = torch.as_tensor(normal(1, 12, 6))
    child[:, 2] = 0.0
    child[:, 3] = child[:, 4]
    child.requires_grad_()
    loss(child).backward()
    assert torch.isfinite(child.grad).all()
    assert child.grad.any()


def test_pre_shapes_are_centred_and_of_norm_1():
    found, dead = pre_shapes(torch.as_tensor(normal(0, 3, 10, 4)) + 7)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(3, 4).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(found.norm(dim=(1, 2)), torch.ones(3).double(), rtol=1e-12, atol=0)
    assert not dead.any()
