import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

from ecomp_deap.errors import ArgumentError
from ecomp_deap.report import attainment, attainment_surface, plot_attainment
from ecomp_deap.search.baselines import BASELINES

PARENT = {"param_count": 1000, "test_accuracy": 0.9}
BLUE = "#0072B2"


def rows(*points):
    return [{"param_count": n, "test_accuracy": a} for n, a in points]


points = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.1, 0.3, 0.5, 0.7])), max_size=5)
sets = st.lists(points, min_size=1, max_size=5)


@given(sets, st.sampled_from([20, 50, 80, 100]))
def test_the_surface_bounds_what_so_many_fronts_attain(fronts, percentile):
    surface = attainment_surface([rows(*front) for front in fronts], percentile=percentile)
    for size in range(1, 8):
        for accuracy in (0.05, 0.1, 0.3, 0.5, 0.7, 0.75):
            attained = [any(n <= size and a >= accuracy for n, a in front) for front in fronts]
            expected = 100 * sum(attained) >= percentile * len(fronts) - 1e-9
            found = any(n <= size and a >= accuracy - 1e-9 for n, a in surface.T)
            assert found == expected


@given(points)
def test_one_front_attains_itself(front):
    surface = attainment_surface([rows(*front)])
    assert (np.diff(surface[0]) > 0).all()
    assert (np.diff(surface[1]) > 0).all()
    assert {(int(n), round(a, 9)) for n, a in surface.T} <= {*front}


@given(sets, st.sampled_from([20, 50, 100]))
def test_of_what_is_to_be_small_the_least_is_attained(fronts, percentile):
    more = attainment_surface([rows(*front) for front in fronts], percentile=percentile)
    missing = [rows(*((n, 1 - a) for n, a in front)) for front in fronts]
    less = attainment_surface(missing, percentile=percentile, maximise=False)
    np.testing.assert_allclose(less, [more[0], 1 - more[1]])


def pixels_of(path, color):
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    pixels = image.imread(path)[..., :3]
    return int((np.abs(pixels - wanted) < 8 / 255).all(axis=-1).sum())


FRONTS = {
    "search": [rows((100, 0.80), (400, 0.88)), rows((120, 0.82), (300, 0.86))],
    "uniform_l1": [rows((100, 0.78), (500, 0.87))],
    "uniform_l1_inputs": [rows((90, 0.79), (500, 0.87))],
}


def test_surfaces_are_drawn_the_same_each_time(tmp_path):
    path = plot_attainment(FRONTS, PARENT, tmp_path / "a.png", title="All")
    again = plot_attainment(FRONTS, PARENT, tmp_path / "b.png", title="All")
    assert path.read_bytes() == again.read_bytes()
    other = {**FRONTS, "search": FRONTS["uniform_l1"]}
    assert plot_attainment(other, PARENT, again).read_bytes() != path.read_bytes()
    assert pixels_of(path, BLUE) > 500


def test_what_lies_far_below_the_parent_is_not_shown(tmp_path):
    path = plot_attainment(FRONTS, PARENT, tmp_path / "a.png")
    low = {n: [[*front, *rows((1, 0.2))] for front in f] for n, f in FRONTS.items()}
    before, after = (pixels_of(p, BLUE) for p in (path, plot_attainment(low, PARENT, path)))
    assert 0.8 * before < after < 1.3 * before
    deep = plot_attainment(low, PARENT, tmp_path / "b.png", depth=1.0)
    assert deep.read_bytes() != path.read_bytes()


def test_methods_without_children_are_drawn_beside_others(tmp_path):
    for fronts in (
        {**FRONTS, "scratch": [[]]},
        {"search": [[]], "scratch": [rows((10, 0.1))]},
        {"search": [[], rows((10, 0.1))]},
        {"search": [rows((2000, 0.95))]},
    ):
        assert plot_attainment(fronts, PARENT, tmp_path / "a.png").stat().st_size > 1000


def test_faults_are_named(tmp_path):
    path = tmp_path / "a.png"
    for fronts in ({}, {"search": [[]]}):
        with pytest.raises(ArgumentError, match="fronts: expected at least one child"):
            plot_attainment(fronts, PARENT, path)
    with pytest.raises(ArgumentError, match=r"fronts\[0\]: expected a column|\[0\]\[0\]"):
        attainment_surface([[{"param_count": 3}]])
    with pytest.raises(ArgumentError, match=r"fronts\[1\]: expected finite numbers"):
        attainment_surface([rows((1, 0.5)), rows((1, None))])


def test_all_methods_and_the_search_have_colours_of_their_own():
    bases = {name.removesuffix(attainment._DASHED) for name in BASELINES}
    assert len(set(attainment._COLORS)) == len(attainment._COLORS) >= len(bases) + 1
