import numpy as np
import pytest
import torch

from ecomp_deap.similarity import CKALoss


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def biased_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = [np.linalg.norm(z.T @ z) for z in (x, y)]
    return np.linalg.norm(x.T @ y) ** 2 / (norms[0] * norms[1])


def test_unrelated_wide_embeddings_are_unrelated():
    origin = normal(0, 50, 400)
    others = [normal(s, 50, 400) for s in range(1, 40)]
    found = np.array([CKALoss(origin)(other) for other in others])
    assert abs(found.mean() - 1) < 0.01
    # Without the debiasing they look alike.
    assert np.mean([biased_cka(origin, other) for other in others]) > 0.85


def test_many_samples_agree_with_the_biased_estimate():
    origin = normal(0, 2000, 3)
    child = origin @ normal(1, 3, 4) + normal(2, 2000, 4)
    assert CKALoss(origin)(child) == pytest.approx(1 - biased_cka(origin, child), abs=3e-3)


def test_inner_products_of_another_sign_score_more_than_unrelated_ones():
    # Samples in four corners; the child's pairs are the parent's opposites.
    origin = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    child = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert float(CKALoss(origin)(child)) == pytest.approx(1.5, abs=1e-6)
