import numpy as np
import pytest
import torch

from ecomp_deap.similarity import DistanceMSELoss
from ecomp_deap.similarity.distance_mse import range_normalised


def test_ranges_are_from_0_to_1():
    tables = torch.tensor([[[0.0, 2.0], [2.0, 0.0]], [[0.0, 9.0], [9.0, 0.0]]])
    assert range_normalised(tables).tolist() == [[[0.0, 1.0], [1.0, 0.0]]] * 2


def test_an_outlier_sets_the_range_of_all():
    origin = np.random.default_rng(0).normal(size=(30, 4))
    child = origin.copy()
    child[7] += 1e6
    normalised = np.linalg.norm(origin[:, None] - origin, axis=-1)
    normalised = np.delete(np.delete(normalised / normalised.max(), 7, axis=0), 7, axis=1)
    # All others are together now; the outlier is far from each.
    least = np.square(normalised).sum() / (30 * 29)
    assert DistanceMSELoss(origin)(child) == pytest.approx(least, rel=0.5)
    assert DistanceMSELoss(origin)(child) > least


def test_it_is_symmetric():
    a, b = (np.random.default_rng(s).normal(size=(15, 2 + s)) for s in range(2))
    assert DistanceMSELoss(a)(b) == pytest.approx(DistanceMSELoss(b)(a), rel=1e-12)
