from xml.etree import ElementTree

import pytest
from matplotlib import image

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import write_figures
from tests.report.made_runs import HOSTILE, front_of, make_run, row_of

OF_ONE = {
    *("front", "accuracy", "size", "similarity_loss"),
    *("parallel", "embeddings", "hypervolume", "seconds"),
}


def check_figures(paths, folder, names):
    assert {path.name for path in paths} == {f"{n}{s}" for n in names for s in (".png", ".svg")}
    assert sorted(paths) == sorted(folder.iterdir())
    for path in paths:
        if path.suffix == ".png":
            assert image.imread(path).std() > 0.01
        else:
            assert ElementTree.fromstring(path.read_bytes()).tag.endswith("}svg")


def test_each_figure_is_written_in_both_formats(tmp_path):
    folder = tmp_path / "for" / "a paper"
    check_figures(write_figures([make_run(tmp_path)], folder), folder, OF_ONE)


def test_figures_are_the_same_each_time(tmp_path):
    run = make_run(tmp_path)
    first, second = (
        {path.name: path.read_bytes() for path in write_figures([run], tmp_path / name)}
        for name in "ab"
    )
    assert first == second


def test_several_runs_have_figures_of_their_own(tmp_path):
    runs = [make_run(tmp_path, front=front_of(n)) for n in (3, 5)]
    paths = write_figures(runs, tmp_path / "figures")
    check_figures(paths, tmp_path / "figures", {"attainment", "fronts"})


def test_what_an_older_run_lacks_is_left_out(tmp_path):
    run = make_run(tmp_path)
    for name in ("logbook.csv", "timings.csv", "embeddings.json"):
        (run / name).unlink()
    paths = write_figures([run], tmp_path / "figures")
    check_figures(paths, tmp_path / "figures", {"front", "parallel"})


def test_names_are_drawn_as_they_are(tmp_path):
    front = [row_of(HOSTILE, 0.1, 0.8), row_of("$x$", 0.2, 0.9)]
    run = make_run(tmp_path, front=front, groups=("$\\frac{", HOSTILE), picks={"best": HOSTILE})
    check_figures(write_figures([run], tmp_path / "figures"), tmp_path / "figures", OF_ONE)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"runs: expected at least one, got \[\]"):
        write_figures([], tmp_path / "figures")
    run = make_run(tmp_path)
    (tmp_path / "taken").touch()
    with pytest.raises(DataError, match=r"taken: cannot be made \(File exists\)"):
        write_figures([run], tmp_path / "taken")
    rows = [{k: v for k, v in row.items() if k != "similarity_loss"} for row in front_of(3)]
    run = make_run(tmp_path, front=rows)
    with pytest.raises(DataError, match=r"first_2: its files hold what cannot be drawn: "):
        write_figures([run], tmp_path / "figures")


def test_a_metric_of_which_less_is_better_is_drawn(tmp_path):
    of = {"metric": "error", "maximise": False}
    runs = [make_run(tmp_path, front=front_of(n), **of) for n in (3, 5)]
    names = {"error" if name == "accuracy" else name for name in OF_ONE}
    check_figures(write_figures(runs[:1], tmp_path / "one"), tmp_path / "one", names)
    both = tmp_path / "both"
    check_figures(write_figures(runs, both), both, {"attainment", "fronts"})


def test_another_metric_is_drawn(tmp_path):
    names = {"r2" if name == "accuracy" else name for name in OF_ONE}
    run = make_run(tmp_path, metric="r2")
    check_figures(write_figures([run], tmp_path / "figures"), tmp_path / "figures", names)
