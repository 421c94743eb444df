import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from ecomp_deap.similarity import CKALoss, DistanceCorrelationLoss


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def biased_correlation(x, y):
    """Székely et al. (2007), definition 5."""
    tables = []
    for z in (x, y):
        d = squareform(pdist(z))
        tables.append(d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean())
    a, b = tables
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def test_unrelated_wide_embeddings_are_unrelated():
    origin = normal(0, 50, 400)
    others = [normal(s, 50, 400) for s in range(1, 40)]
    found = np.array([DistanceCorrelationLoss(origin)(other) for other in others])
    assert abs(found.mean() - 1) < 0.01
    # The plain distance correlation finds them all but equal.
    assert np.mean([biased_correlation(origin, other) for other in others]) > 0.9


def test_many_samples_agree_with_the_plain_distance_correlation():
    origin = normal(0, 1500, 2)
    child = origin @ normal(1, 2, 3) + normal(2, 1500, 3)
    expected = 1 - biased_correlation(origin, child) ** 2
    assert DistanceCorrelationLoss(origin)(child) == pytest.approx(expected, abs=3e-3)


def test_it_sees_a_relation_that_is_not_linear():
    origin = normal(0, 400, 1)
    child = origin**2
    assert DistanceCorrelationLoss(origin)(child) < 0.8
    assert CKALoss(origin)(child) > 0.95
