import math

import numpy as np
import pytest
from matplotlib import image

from ecomp_deap.errors import ArgumentError
from ecomp_deap.report import plot_boxes, plot_trajectories

BLUE, VERMILION = "#0072B2", "#D55E00"


def pixels_of(path, color):
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    pixels = image.imread(path)[..., :3]
    return int((np.abs(pixels - wanted) < 8 / 255).all(axis=-1).sum())


def make_groups(shift=0.0):
    return {
        name: [0.7 + 0.02 * i + 0.01 * j + shift for j in range(10)]
        for i, name in enumerate(("100", "121", "001"))
    }


def make_run(level, n=20, key="gen", gaps=()):
    return [
        {
            **({key: gen} if key else {}),
            "accuracy_mean": None if gen in gaps else level + 0.01 * gen,
            "similarity_loss_mean": 1 - 0.02 * gen,
            "relative_width_mean": 0.9 - 0.03 * gen,
        }
        for gen in range(n)
    ]


def make_series(shift=0.0, **options):
    return {
        name: [make_run(0.3 + 0.05 * i + shift, **options) for i in range(4)]
        for name in ("100", "121")
    }


def test_boxes_show_the_overlay_in_another_colour(tmp_path):
    plain = plot_boxes(make_groups(), tmp_path / "a.png", ylabel="Accuracy")
    both = plot_boxes(
        make_groups(),
        tmp_path / "b.png",
        ylabel="Accuracy (%)",
        xlabel="Weighting",
        title="Best children",
        overlay=make_groups(0.05),
        percent=True,
    )
    assert pixels_of(plain, BLUE) > 1000
    assert pixels_of(plain, VERMILION) == 0
    assert pixels_of(both, VERMILION) > 1000


def test_single_points_are_drawn(tmp_path):
    few = plot_boxes({"a": [0.0, 1.0]}, tmp_path / "a.png", ylabel="y")
    # Nine more at the quartiles and the median: the same box, more points.
    values = [0.0, 1.0, 0.25, 0.75, 0.5]
    assert np.quantile(values, 0.25) == np.quantile([0.0, 1.0], 0.25)
    many = plot_boxes({"a": values}, tmp_path / "b.png", ylabel="y")
    assert few.read_bytes() != many.read_bytes()


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5]])
def test_groups_of_few_values_are_drawn(tmp_path, values):
    path = plot_boxes({"a": values, "b": [0.1, 0.9]}, tmp_path / "a.png", ylabel="y", overlay={})
    assert path.stat().st_size > 1000


def test_box_faults_are_named(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ArgumentError, match=r"groups: expected at least one group"):
        plot_boxes({}, path, ylabel="y")
    with pytest.raises(ArgumentError, match=r"overlay: expected names among a, got \['b'\]"):
        plot_boxes({"a": [1.0]}, path, ylabel="y", overlay={"b": [1.0]})
    with pytest.raises(ArgumentError, match=r"groups\['a'\]: expected finite numbers"):
        plot_boxes({"a": [math.nan]}, path, ylabel="y")
    with pytest.raises(ArgumentError, match=r"overlay\['a'\]: expected finite numbers"):
        plot_boxes({"a": [1.0]}, path, ylabel="y", overlay={"a": [math.inf]})


def test_trajectories_show_the_overlay_in_another_colour(tmp_path):
    plain = plot_trajectories(make_series(), tmp_path / "a.png")
    both = plot_trajectories(make_series(), tmp_path / "b.png", overlay=make_series(0.2), title="t")
    assert pixels_of(plain, BLUE) > 1000
    assert pixels_of(plain, VERMILION) == 0
    assert pixels_of(both, VERMILION) > 500


def test_the_overlay_is_the_median_of_its_runs(tmp_path):
    low, middle, high = (make_run(level) for level in (0.1, 0.3, 0.9))
    of_three, of_one = (
        plot_trajectories(
            {"a": [make_run(0.2)]},
            tmp_path / f"{len(runs)}.png",
            panels=["accuracy_mean"],
            overlay={"a": runs},
        )
        for runs in ([high, low, middle], [middle])
    )
    assert of_three.read_bytes() == of_one.read_bytes()


def test_missing_values_are_left_out_of_the_median(tmp_path):
    whole, gap = make_run(0.3), make_run(0.9, gaps=range(20))
    both, one = (
        plot_trajectories(
            {"a": [make_run(0.2)]},
            tmp_path / f"{len(runs)}.png",
            panels=["accuracy_mean"],
            overlay={"a": runs},
        )
        for runs in ([whole, gap], [whole])
    )
    assert both.read_bytes() == one.read_bytes()


def test_rows_without_a_generation_count_from_zero(tmp_path):
    named = plot_trajectories(make_series(), tmp_path / "a.png")
    counted = plot_trajectories(make_series(key=None), tmp_path / "b.png")
    assert named.read_bytes() == counted.read_bytes()


@pytest.mark.parametrize(
    "series",
    [
        {"a": []},
        {"a": [[]]},
        {"a": [make_run(0.5, n=1)]},
        {"a": [make_run(0.5, n=3, gaps=(0, 1, 2)), make_run(0.4, n=8)]},
    ],
)
def test_short_and_uneven_runs_are_drawn(tmp_path, series):
    path = plot_trajectories(series, tmp_path / "a.png", overlay={"a": []})
    assert path.stat().st_size > 1000


def test_trajectory_faults_are_named(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ArgumentError, match=r"series: expected at least one entry"):
        plot_trajectories({}, path)
    with pytest.raises(ArgumentError, match=r"panels: expected at least one entry"):
        plot_trajectories(make_series(), path, panels=[])
    with pytest.raises(ArgumentError, match=r"overlay: expected names among 100, 121"):
        plot_trajectories(make_series(), path, overlay={"020": []})
    with pytest.raises(ArgumentError, match=r"series\['100'\]\[0\]: expected a column 'r2_mean'"):
        plot_trajectories(make_series(), path, panels=["r2_mean"])
