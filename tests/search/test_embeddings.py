import numpy as np
import pytest
import torch

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.network import make_parent
from ecomp_deap.search.embeddings import laid_out, principal_plane, turned_to


def distances(plane):
    return np.linalg.norm(plane[:, None] - plane[None], axis=-1)


def test_a_plane_has_the_two_largest_components():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) * [5, 2, 0.01]
    plane = principal_plane(rows @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 7)
    assert plane.shape == (200, 2)
    assert np.allclose(plane.mean(axis=0), 0)
    assert (plane**2).sum(axis=1).mean() == pytest.approx(1)
    # What is left out hardly changes a distance, but for the common scale.
    wanted = distances(rows[:, :2])
    assert np.corrcoef(distances(plane).ravel(), wanted.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("rows", [np.ones((5, 1)), np.ones((5, 4)), np.arange(5.0)[:, None]])
def test_where_there_are_fewer_components_the_rest_is_0(rows):
    plane = principal_plane(rows)
    assert plane.shape == (5, 2)
    assert np.allclose(plane[:, 1], 0)


def test_turning_keeps_distances_and_finds_what_was_turned():
    rng = np.random.default_rng(2)
    wanted = principal_plane(rng.normal(size=(50, 4)))
    for angle, mirror in ((0.7, 1), (2.5, -1)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        plane = wanted @ turn * [1, mirror]
        found = turned_to(wanted, plane)
        assert np.allclose(found, wanted)
        assert np.allclose(distances(found), distances(plane))


def test_parent_and_children_lay_out_the_same_samples(tiny_task):
    task = tiny_task()
    evaluator = Evaluator(task)
    child = make_parent((5, 7), n_inputs=12, n_outputs=3, seed=4).eval()
    found = laid_out(evaluator, {"001": child, "same": task.parent})
    n = len(task.splits.validation)
    assert found["layer"] == evaluator.probe_layers[-1] == "layer_2_act"
    assert found["labels"] == task.splits.validation.targets.tolist()
    assert list(found["points"]) == ["parent", "001", "same"]
    assert all(np.array(points).shape == (n, 2) for points in found["points"].values())
    assert found["points"]["same"] == found["points"]["parent"] != found["points"]["001"]


def test_nothing_is_told_without_probe_layers_or_finite_embeddings(tiny_task):
    task = tiny_task(probe_layers=[])
    evaluator = Evaluator(task, similarity=False)
    assert laid_out(evaluator, {}) is None
    evaluator = Evaluator(tiny_task())
    broken = make_parent((5, 7), n_inputs=12, n_outputs=3, seed=4)
    with torch.no_grad():
        broken.layer_2_linear.bias.fill_(torch.inf)
    assert laid_out(evaluator, {"001": broken}) is None
