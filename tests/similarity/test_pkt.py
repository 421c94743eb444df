import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from ecomp_deap.similarity import PKTLoss
from ecomp_deap.similarity.pkt import conditional_log_probabilities, cosines


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_cosines_agree_with_scikit_learn(scale):
    x = normal(0, 12, 5)
    x[3] = 0.0
    found = cosines(torch.as_tensor(scale * x)).numpy()
    np.testing.assert_allclose(found, cosine_similarity(x), atol=1e-14)


def test_probabilities_of_each_sample_sum_to_1():
    p = conditional_log_probabilities(cosines(torch.as_tensor(normal(0, 4, 9, 3)))).exp()
    sums = p.sum(dim=-1) - p.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(sums, torch.ones(4, 9).double(), rtol=1e-12, atol=0)


def test_the_scale_of_a_sample_does_not_matter_but_an_offset_does():
    origin, child = normal(0, 20, 6), normal(1, 20, 4)
    loss = PKTLoss(origin * np.linspace(0.1, 9, 20)[:, None])
    expected = PKTLoss(origin)(child)
    assert loss(child * np.linspace(1e-9, 1e9, 20)[:, None]) == pytest.approx(expected, rel=1e-9)
    assert loss(child + 5) != pytest.approx(expected, rel=0.1)


def test_samples_without_a_direction_are_at_right_angles_to_all_and_have_no_gradient():
    loss = PKTLoss(torch.as_tensor(normal(0, 10, 4)))
    child = torch.as_tensor(normal(1, 10, 3))
    child[2:4] = 0.0
    turned = torch.hstack([child, torch.zeros(10, 2).double()])
    turned[2, 3] = turned[3, 4] = 1.0
    torch.testing.assert_close(loss(child), loss(turned))
    child.requires_grad_()
    loss(child).backward()
    assert not child.grad[2:4].any()
    assert child.grad[[0, 1, 4, 5, 6, 7, 8, 9]].abs().min() > 0


def test_opposite_directions_where_the_parent_has_one_are_the_worst():
    # Each sample has one neighbour, which the child sends the other way.
    origin = np.array([[1.0], [1.0], [-1.0]])
    child = np.array([[1.0], [-1.0], [1.0]])
    found = PKTLoss(origin)(child)
    assert 5 < found <= math.log(1 / 1e-7) < PKTLoss.worst
