import math
import struct
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import image

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import plot_front, plot_history, write_plots

PARENT = {"validation_accuracy": 0.89, "test_accuracy": 0.88, "param_count": 269_322}


def make_front(n=6, *, metric="accuracy", finalised=False):
    rows = []
    for i in range(n):
        row = {
            "id": f"{i}",
            f"validation_{metric}": 0.7 + 0.02 * i,
            f"test_{metric}": 0.69 + 0.02 * i,
            "similarity_loss": 1.5 / (1 + i),
            "relative_width": 0.1 * (i + 1),
            "param_count": 3_000 * 2**i,
            "mac_count": 3_000 * 2**i,
            "widths": "20-10",
        }
        if finalised:
            row[f"test_{metric}_before"] = row[f"test_{metric}"] - 0.05
        rows.append(row)
    return rows


def make_rows(n=12, *, metric="accuracy", gaps=()):
    chapters = {metric: 1.0, "similarity_loss": 2.0, "relative_width": 1.0, "param_count": 1e5}
    rows = []
    for gen in range(n):
        row = {"gen": gen, "nevals": 10}
        for chapter, scale in chapters.items():
            mean = scale * (0.5 + 0.4 * gen / 12)
            values = (mean - 0.1 * scale, mean, mean + 0.1 * scale, 0.05 * scale)
            for statistic, value in zip(("min", "mean", "max", "std"), values, strict=True):
                row[f"{chapter}_{statistic}"] = None if gen in gaps else value
        rows.append(row)
    return rows


def size_of(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def is_near(pixels, color):
    """Tell for each pixel whether it has the colour, within 8 of 255 levels."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return (np.abs(pixels[..., :3] - wanted) < 8 / 255).all(axis=-1)


def pixels_of(path, color):
    return int(is_near(image.imread(path), color).sum())


@pytest.mark.parametrize("maximise", [True, False])
def test_steps_show_the_best_of_each_size(tmp_path, maximise):
    front = make_front(2)  # the larger child has more
    path = plot_front(front, None, tmp_path / "front.png", maximise=maximise)
    grey = np.abs(image.imread(path)[..., :3] - 0xB5 / 255).max(axis=-1) < 0.01
    assert (grey[:600].sum(axis=0).max() > 100) == maximise  # where the line rises


def test_write_plots_writes_four_figures(tmp_path):
    paths = write_plots(tmp_path / "plots", front=make_front(), parent=PARENT, rows=make_rows())
    names = ["front.png", "accuracy.png", "size.png", "similarity_loss.png"]
    assert [path.name for path in paths] == names
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == sorted(names)
    assert [size_of(path) for path in paths] == [(1200, 800)] * 4


def test_figures_are_the_same_byte_for_byte(tmp_path):
    first, second = (
        [
            p.read_bytes()
            for p in write_plots(
                tmp_path / run, front=make_front(finalised=True), parent=PARENT, rows=make_rows()
            )
        ]
        for run in ("a", "b")
    )
    assert first == second


def test_plots_leave_no_global_state(tmp_path):
    before = dict(matplotlib.rcParams)
    write_plots(tmp_path, front=make_front(), parent=PARENT, rows=make_rows())
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_imported():
    code = "import sys, ecomp_deap.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_plots_take_the_tasks_own_metric(tmp_path):
    parent = {"test_r2": 0.9, "param_count": 269_322}
    paths = write_plots(
        tmp_path,
        front=make_front(metric="r2"),
        parent=parent,
        rows=make_rows(metric="r2"),
        metric="r2",
    )
    assert [path.name for path in paths] == [
        "front.png",
        "r2.png",
        "size.png",
        "similarity_loss.png",
    ]


def test_arguments_are_left_as_they_are(tmp_path):
    front, rows = make_front(finalised=True), make_rows(gaps=(3,))
    write_plots(tmp_path, front=front, parent=PARENT, rows=rows)
    assert front == make_front(finalised=True)
    assert rows == make_rows(gaps=(3,))


# --- front ----------------------------------------------------------------------------------


def test_the_parent_is_marked_where_it_has_the_value_shown(tmp_path):
    with_parent = plot_front(make_front(), PARENT, tmp_path / "a.png")
    without = plot_front(make_front(), None, tmp_path / "b.png")
    no_value = plot_front(
        make_front(), {"validation_accuracy": 0.9, "param_count": 9}, tmp_path / "c.png"
    )
    assert pixels_of(with_parent, "#D55E00") > 500
    assert pixels_of(without, "#D55E00") == pixels_of(no_value, "#D55E00") == 0


def test_validation_stands_in_for_a_missing_test_value(tmp_path):
    tested = plot_front(make_front(), PARENT, tmp_path / "a.png")
    front = make_front()
    front[2]["test_accuracy"] = None
    some = plot_front(front, PARENT, tmp_path / "b.png")
    for row in front:
        row.pop("test_accuracy")
    none = plot_front(front, PARENT, tmp_path / "c.png")
    assert some.read_bytes() == none.read_bytes() != tested.read_bytes()


def test_finalising_shows(tmp_path):
    plain = plot_front(make_front(), PARENT, tmp_path / "a.png")
    finalised = plot_front(make_front(finalised=True), PARENT, tmp_path / "b.png")
    assert pixels_of(finalised, "#A6A6A6") > pixels_of(plain, "#A6A6A6") + 200


def test_picks_are_marked_by_their_words(tmp_path):
    def drawn(name, **picks):
        return plot_front(make_front(), PARENT, tmp_path / name, picks=picks)

    plain = plot_front(make_front(), PARENT, tmp_path / "a.png").read_bytes()
    one = drawn("b.png", best="3")
    two = drawn("c.png", best="3", knee="1")
    same = drawn("d.png", best="3", knee="3")
    ink = [pixels_of(path, "#222222") for path in (tmp_path / "a.png", one, two, same)]
    assert ink[0] + 200 < ink[1] < ink[3] < ink[2]
    assert drawn("e.png", best=None, knee="no such child").read_bytes() == plain


@pytest.mark.parametrize("place", [(3_000, 0.69), (24_000, 0.7), (96_000, 0.79)])
def test_names_of_picks_that_lie_together_do_not_cover_each_other(tmp_path, place):
    count, value = place
    front = make_front()
    front[1] |= {"param_count": count, "test_accuracy": value}
    front[4] |= {"param_count": round(1.3 * count), "test_accuracy": value}

    def drawn(**picks):
        return pixels_of(plot_front(front, None, tmp_path / "f.png", picks=picks), "#222222")

    plain = drawn()
    alone = drawn(knee_of_the_front="1") + drawn(best_of_all="4") - 2 * plain
    # Words that cover each other have less ink than each by itself.
    assert drawn(knee_of_the_front="1", best_of_all="4") - plain == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("parent", [None, PARENT])
def test_small_fronts_are_drawn(tmp_path, n, parent):
    path = plot_front(make_front(n, finalised=True), parent, tmp_path / "front.png")
    assert size_of(path) == (1200, 800)


def test_a_lone_child_has_the_middle_colour(tmp_path):
    pixels = image.imread(plot_front(make_front(1), None, tmp_path / "front.png"))
    assert is_near(pixels[:700, 100:1000], "#20918C").sum() > 50


def test_children_of_equal_size_and_loss_are_drawn(tmp_path):
    front = [
        row | {"param_count": 10, "similarity_loss": 0.0, "test_accuracy": 0.5}
        for row in make_front(3)
    ]
    assert size_of(plot_front(front, None, tmp_path / "front.png")) == (1200, 800)


@pytest.mark.parametrize("counts", [(100_000, 101_000), (1_000, 9_000), (10, 10_000_000)])
def test_any_range_of_sizes_is_drawn(tmp_path, counts):
    front = [row | {"param_count": c} for row, c in zip(make_front(2), counts, strict=True)]
    assert size_of(plot_front(front, None, tmp_path / "front.png")) == (1200, 800)


def test_front_faults_are_named(tmp_path):
    path = tmp_path / "front.png"
    missing = [{k: v for k, v in row.items() if k != "param_count"} for row in make_front()]
    with pytest.raises(ArgumentError, match=r"front\[0\]: expected a column 'param_count'"):
        plot_front(missing, PARENT, path)
    for value in (None, math.nan, math.inf):
        front = make_front()
        front[1]["similarity_loss"] = value
        with pytest.raises(ArgumentError, match=r"front\[1\] similarity_loss: expected a finite"):
            plot_front(front, PARENT, path)
    front = make_front()
    front[0]["param_count"] = "many"
    with pytest.raises(ArgumentError, match=r"front\[0\] param_count: expected a number"):
        plot_front(front, PARENT, path)
    front[0]["param_count"] = 0
    with pytest.raises(ArgumentError, match=r"param_count: expected counts greater than 0"):
        plot_front(front, PARENT, path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_leaves_nothing_behind(tmp_path):
    (tmp_path / "front.png").mkdir()
    with pytest.raises(DataError, match=r"front\.png: cannot be written \(Is a directory"):
        plot_front(make_front(), PARENT, tmp_path / "front.png")
    assert [p.name for p in tmp_path.iterdir()] == ["front.png"]


def test_svg_is_written_the_same_each_time(tmp_path):
    paths = [plot_front(make_front(), PARENT, tmp_path / name / "front.svg") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ElementTree.fromstring(paths[0].read_bytes()).tag.endswith("svg")


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"path: expected a file name that ends in \.png or"):
        plot_front(make_front(), PARENT, tmp_path / "front.pdf")


# --- history --------------------------------------------------------------------------------


def plain_columns(path):
    """Return which pixel columns show neither line nor band, between the first and last that do."""
    pixels = image.imread(path)[:640, :, :3]
    blue = (pixels[..., 2] - pixels[..., 0] > 0.05).any(axis=0)
    first, last = np.flatnonzero(blue)[[0, -1]]
    return ~blue[first : last + 1]


def test_generations_without_values_are_gaps(tmp_path):
    whole = plot_history(make_rows(), tmp_path / "a.png")
    gap = plot_history(make_rows(gaps=(4, 5, 6)), tmp_path / "b.png")
    assert not plain_columns(whole).any()
    assert plain_columns(gap).sum() > 300


def test_a_generation_between_gaps_is_visible(tmp_path):
    alone = plot_history(make_rows(gaps=(4, 6)), tmp_path / "a.png")
    edges = np.diff(plain_columns(alone).astype(int))
    assert (edges == 1).sum() == 2


@pytest.mark.parametrize("quantity", ["accuracy", "size", "similarity_loss"])
@pytest.mark.parametrize("rows", [make_rows(0), make_rows(1), make_rows(3, gaps=(0, 1, 2))])
def test_short_and_empty_histories_are_drawn(tmp_path, quantity, rows):
    path = plot_history(rows, tmp_path / "history.png", quantity=quantity)
    assert size_of(path) == (1200, 800)


def test_a_single_generation_is_visible(tmp_path):
    path = plot_history(make_rows(1), tmp_path / "history.png")
    assert is_near(image.imread(path)[:640], "#0072B2").sum() > 50


def test_a_history_without_values_says_so(tmp_path):
    path = plot_history(make_rows(3, gaps=(0, 1, 2)), tmp_path / "history.png")
    assert is_near(image.imread(path)[250:450, 500:800], "#767676").sum() > 20


def test_quantities_differ(tmp_path):
    files = {
        plot_history(make_rows(), tmp_path / f"{q}.png", quantity=q).read_bytes()
        for q in ("accuracy", "size", "similarity_loss")
    }
    assert len(files) == 3


def test_history_faults_are_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"quantity: expected one of accuracy, size"):
        plot_history(make_rows(), tmp_path / "a.png", quantity="latency")
    with pytest.raises(ArgumentError, match=r"rows\[0\]: expected a column 'r2_min'"):
        plot_history(make_rows(), tmp_path / "a.png", metric="r2")
