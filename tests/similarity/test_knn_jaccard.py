import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.similarity import KNNJaccardLoss, squared_distances
from ecomp_deap.similarity.knn_jaccard import nearest_neighbours
from tests.similarity.oracles import knn_jaccard


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def neighbours_by_sorting(distances, k):
    """The k nearest of each sample, the lower index first among equals."""
    found = np.zeros(distances.shape, bool)
    for i, row in enumerate(distances):
        others = sorted((distance, j) for j, distance in enumerate(row) if j != i)
        found[i, [j for _, j in others[:k]]] = True
    return found


@given(
    points=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=5, max_size=15),
    k=st.integers(1, 4),
)
def test_ties_go_to_the_lower_index(points, k):
    points = np.array(points, dtype=float)
    distances = np.square(points[:, None] - points[None]).sum(axis=-1)
    found = nearest_neighbours(torch.as_tensor(distances), k).numpy()
    np.testing.assert_array_equal(found, neighbours_by_sorting(distances, k))
    # Nor do they where rounding has moved equal distances apart.
    turned = points @ np.linalg.qr(normal(0, 2, 2))[0] * 0.37 + 0.1
    again = nearest_neighbours(squared_distances(torch.as_tensor(turned)), k).numpy()
    np.testing.assert_array_equal(again.sum(axis=1), k)
    if len({tuple(point) for point in points}) == len(points):
        np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize(("excess", "nearest"), [(0.0, 1), (1e-12, 1), (1e-8, 2)])
def test_distances_are_tied_to_nine_digits(excess, nearest):
    distances = torch.tensor([[0.0, 3.0, 3.0], [3.0, 0.0, 9.0], [3.0, 9.0, 0.0]])
    distances = distances.double()
    distances[0, 1] = 3.0 * (1.0 + excess)
    assert nearest_neighbours(distances, 1)[0].nonzero().item() == nearest


@pytest.mark.parametrize("k", [1, 5, 28])
def test_the_number_of_neighbours_can_be_chosen(k):
    origin, child = normal(0, 30, 6), normal(1, 30, 4)
    loss = KNNJaccardLoss(origin, n_neighbours=k)
    assert loss.n_neighbours == k
    assert loss(child) == pytest.approx(knn_jaccard(origin, child, k), abs=1e-12)


@pytest.mark.parametrize(
    ("n_samples", "k"), [(3, 1), (5, 1), (10, 3), (30, 9), (31, 10), (200, 10)]
)
def test_ten_neighbours_or_a_third_of_the_others_are_the_default(n_samples, k):
    assert KNNJaccardLoss(normal(0, n_samples, 3)).n_neighbours == k


@pytest.mark.parametrize("k", [0, -1, 29, 2.0, True, "3"])
def test_a_number_of_neighbours_out_of_range_is_refused(k):
    with pytest.raises(ArgumentError, match=r"n_neighbours: expected a whole .* = 28, got"):
        KNNJaccardLoss(normal(0, 30, 3), n_neighbours=k)


def test_samples_that_keep_no_neighbour_score_the_worst():
    origin = np.array([[0.0], [1.0], [10.0], [11.0]])
    child = np.array([[0.0], [10.0], [1.0], [11.0]])
    assert KNNJaccardLoss(origin, n_neighbours=1)(child) == 1
