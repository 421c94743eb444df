import shlex

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.report import write_report
from ecomp_deap.report._found import found_in
from ecomp_deap.report._several import several_context
from tests.report.made_runs import check_sound, front_of, make_run, page_of, row_of


def test_several_runs_are_compared(tmp_path):
    folders = [make_run(tmp_path, front=front_of(n)) for n in (3, 5, 4)]
    page = page_of(*folders)
    check_sound(page)
    assert page.text("h1") == (
        "89.5 % accuracy with 90.0 % of the parameters, the medians of 3 runs, each by itself"
    )
    assert "from 89.5 % to 89.5 % test accuracy" in page.text("p", cls="lede")
    names = [e["text"] for e in page.all("a") if "th" in e["in"] and "details" not in e["in"]]
    assert names == ["first_1", "first_2", "first_3"]
    assert page.texts("summary") == [
        "first_1: 3 children",
        "first_2: 5 children",
        "first_3: 4 children",
    ]


def test_each_child_of_several_runs_has_a_row_and_a_card(tmp_path):
    folders = [make_run(tmp_path, front=front_of(n)) for n in (3, 2)]
    page = page_of(*folders)
    links = [e["href"] for e in page.all("a") if "th" in e["in"] and "details" in e["in"]]
    names = [f"run-{run}-child-00{i}" for run, n in ((1, 3), (2, 2)) for i in range(1, n + 1)]
    assert links == [f"#{name}" for name in names]
    assert [e["id"] for e in page.all("article", cls="card")] == names
    card = page.texts("article")[4]
    assert "Child 002 of first_2 Best and knee 89.50 % test accuracy with 90.0 % of" in card
    assert "one 37 of 40" in card
    code = [e["text"] for e in page.all("code") if "pre" in e["in"]]
    assert shlex.split(code[-2])[:5] == ["ecomp-deap", "export", str(folders[1]), "--child", "002"]
    best = [e["href"] for e in page.all("a") if e["in"][-2:] == ["tr", "td"]]
    assert best == ["#run-1-child-003", "#run-2-child-002"]


def test_the_page_of_several_runs_is_small(tmp_path):
    folders = [make_run(tmp_path, front=front_of(100)) for _ in range(5)]
    path = write_report(folders, out=tmp_path / "several.html")
    assert path.stat().st_size < 3e6


def test_several_runs_of_another_metric_go_by_its_name(tmp_path):
    folders = [make_run(tmp_path, front=front_of(n), metric="r2") for n in (3, 5)]
    page = page_of(*folders)
    check_sound(page)
    assert page.text("h1").startswith("R2 0.895 with 90.0 % of the parameters, the median")
    assert "from 0.895 to 0.895 test r2, with" in page.text("p", cls="lede")
    assert page.texts("th", scope="col")[3] == "Test r2"
    other = make_run(tmp_path)
    message = r"first_3: expected the metric 'r2', as of .*first_1, got 'accuracy'"
    with pytest.raises(DataError, match=message):
        write_report([*folders, other])


def test_of_a_metric_of_which_less_is_better_runs_attain_the_least(tmp_path):
    fronts = [
        [row_of("001", 0.1, 0.6), row_of("002", 0.4, 0.9)],
        [row_of("001", 0.2, 0.7), row_of("002", 0.4, 0.5)],
    ]
    folders = [make_run(tmp_path, front=f, metric="error", maximise=False) for f in fronts]
    page = page_of(*folders)
    check_sound(page)
    said = " ".join(page.text("main").split())
    assert "Less error is better. The line is what half of the runs attain" in said
    assert "and up to the top where some have no child as small" in said
    plot = several_context([found_in(folder) for folder in folders])["plots"]["attained"]
    data = {type(r.glyph).__name__: r.data_source.data for r in plot.renderers}
    # From the smallest: one run alone has a child, then both, then one is better, up to the parent.
    top = plot.yaxis[0].bounds[1]
    assert list(data["VAreaStep"]["x"]) == pytest.approx([0.1, 0.2, 0.4, 1])
    assert list(data["VAreaStep"]["y1"]) == pytest.approx([top, 0.405, 0.305, 0.305])
    assert list(data["VAreaStep"]["y2"]) == pytest.approx([0.405, 0.305, 0.105, 0.105])


def test_runs_of_other_samples_are_not_compared(tmp_path):
    folder = make_run(tmp_path)
    other = make_run(tmp_path, front=[{**row, "test_accuracy": None} for row in front_of(3)])
    with pytest.raises(DataError, match=r"first_2: expected test accuracies, as of .*first_1"):
        write_report([folder, other])
