import math

import numpy as np
import pytest
from matplotlib import image

from ecomp_deap.errors import ArgumentError
from ecomp_deap.report import plot_boxes, plot_fronts, plot_trajectories

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


def make_fronts(shift=0.0, n_runs=3):
    return {
        name: [
            [
                {"param_count": 1000 * 2**i + 10 * run, "test_accuracy": 0.3 + 0.1 * i + shift}
                for i in range(5)
            ]
            for run in range(n_runs)
        ]
        for name in ("NSGA-II", "roulette")
    }


PARENT = {"param_count": 40_000, "test_accuracy": 0.88}


def test_fronts_have_a_colour_for_each_mode(tmp_path):
    fronts = make_fronts()
    both = plot_fronts(fronts, PARENT, tmp_path / "a.png", title="Fronts")
    alone = plot_fronts({"NSGA-II": fronts["NSGA-II"]}, PARENT, tmp_path / "b.png")
    assert pixels_of(both, BLUE) > 300
    assert pixels_of(both, VERMILION) > 300
    assert pixels_of(alone, VERMILION) == 0
    # Two panels side by side are wider than they are high.
    height, width = image.imread(both).shape[:2]
    assert width > height


def test_fronts_are_drawn_in_the_order_of_size(tmp_path):
    fronts = make_fronts()
    reversed_rows = {name: [run[::-1] for run in runs] for name, runs in fronts.items()}
    one = plot_fronts(fronts, PARENT, tmp_path / "a.png")
    other = plot_fronts(reversed_rows, PARENT, tmp_path / "b.png")
    assert one.read_bytes() == other.read_bytes()


def test_any_number_of_panels_fits_any_number_of_columns(tmp_path):
    fronts = {f"mode {i}": make_fronts(0.01 * i)["roulette"] for i in range(7)}
    fronts["none"] = [[]]
    for columns in (3, 20):
        path = plot_fronts(fronts, PARENT, tmp_path / f"{columns}.png", columns=columns)
        assert path.stat().st_size > 1000


def test_other_quantities_are_drawn(tmp_path):
    rows = [{"param_count": n, "validation_r2": n / 1000} for n in (500, 100, 900)]
    path = plot_fronts({"a": [rows]}, rows[0], tmp_path / "a.png", quantity="validation_r2")
    assert path.stat().st_size > 1000


def test_front_faults_are_named(tmp_path):
    path = tmp_path / "a.png"
    rows = make_fronts()["roulette"][0]
    with pytest.raises(ArgumentError, match=r"fronts: expected at least one child"):
        plot_fronts({"a": [[]]}, PARENT, path)
    with pytest.raises(ArgumentError, match=r"columns: expected at least 1, got 0"):
        plot_fronts({"a": [rows]}, PARENT, path, columns=0)
    with pytest.raises(ArgumentError, match=r"fronts\['a'\]\[0\]: expected a column 'test_r2'"):
        plot_fronts({"a": [rows]}, PARENT, path, quantity="test_r2")
    with pytest.raises(ArgumentError, match=r"fronts\['a'\]: expected finite numbers"):
        plot_fronts({"a": [[{**rows[0], "test_accuracy": None}]]}, PARENT, path)
    with pytest.raises(ArgumentError, match=r"parent param_count: expected counts greater than 0"):
        plot_fronts({"a": [rows]}, {**PARENT, "param_count": 0}, path)
