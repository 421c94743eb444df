import json

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.report import run_table
from ecomp_deap.runs.directory import RunDirectory
from tests.report.made_runs import make_run, row_of


@pytest.fixture
def folder(tmp_path):
    """A run directory made by hand, without a search."""
    names = ("id", "validation_accuracy", "test_accuracy", "relative_width", "param_count")
    front = [
        dict(zip(names, values, strict=True))
        for values in (("001", 0.7, 0.71, 0.1, 1000), ("002", 0.88, 0.87, 0.5, 20_000))
    ]
    directory = RunDirectory.create(tmp_path, "first")
    directory.write_rows("front.csv", names, front)
    parent = dict(zip(names, ("parent", 0.89, 0.88, 1.0, 100_000), strict=True))
    summary = {
        "parent": parent,
        "best": front[1],
        "picks": {"best": "002", "knee": "001", "within:0.01": "002", "under:900": None},
        "seconds": {"search": 3.0, "finalise": 1.0},
        "evaluations": 1200,
    }
    directory.write_json("summary.json", summary)
    return directory.path


def test_each_child_has_a_line_with_the_words_that_pick_it(folder):
    lines = run_table(folder).splitlines()
    assert lines[0] == f"{folder}: 1,200 evaluations, 3.0 s of search, 1.0 s of final training"
    assert [line.split() for line in lines[1:]] == [
        ["child", "validation", "test", "width", "parameters", "share"],
        ["parent", "-", "0.8900", "0.8800", "1.000", "100,000", "100", "%"],
        ["best,", "within:0.01", "002", "0.8800", "0.8700", "0.500", "20,000", "20.0", "%"],
        ["knee", "001", "0.7000", "0.7100", "0.100", "1,000", "1.0", "%"],
        ["under:900", "-", "-", "-", "-", "-", "-"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_another_metric_is_named(tmp_path):
    picks = {"best": "002", "knee": "001"}
    front = [row_of("001", 0.1, 0.7), row_of("002", 0.5, 0.9999999)]
    run = make_run(tmp_path, front=front, metric="error", maximise=False, picks=picks)
    lines = run_table(run).splitlines()
    assert lines[1].split()[:5] == ["child", "validation", "error", "test", "error"]
    assert lines[3].split()[:4] == ["best", "002", "1e-07", "0.0050"]


@pytest.fixture
def agreed(folder):
    """A run all of whose picks are one child."""
    summary = json.loads((folder / "summary.json").read_text())
    picks = dict.fromkeys(("best", "knee", "within:0.01", "under:26932"), "002")
    (folder / "summary.json").write_text(json.dumps({**summary, "picks": picks}))
    return folder


def test_what_does_not_fit_the_terminal_is_broken_over_lines(agreed):
    lines = run_table(agreed, width=80).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(" "))
    assert " ".join(lines[:start]) == run_table(agreed).splitlines()[0]
    assert [line.split() for line in lines[start:]] == [
        ["child", "validation", "test", "parameters", "share"],
        ["parent", "-", "0.8900", "0.8800", "100,000", "100", "%"],
        ["best,", "knee,", "within:0.01,", "002", "0.8800", "0.8700", "20,000", "20.0", "%"],
        ["under:26932"],
        ["no", "room", "for:", "width"],
    ]
    assert (
        lines[start + 3].index("under") + len("under:26932") == lines[start + 2].index(",   ") + 1
    )


def test_what_fits_the_terminal_stays_as_it_is(agreed):
    assert run_table(agreed, width=200) == run_table(agreed)


@pytest.mark.parametrize("width", [62, 70, 80, 90])
def test_any_terminal_of_some_columns_is_enough(agreed, width):
    lines = run_table(agreed, width=width).splitlines()
    assert max(len(line) for line in lines if line.startswith(" ")) <= width


def test_a_run_that_trained_nothing_at_its_end_says_what_it_did(folder):
    summary = json.loads((folder / "summary.json").read_text())
    samples = {"search": 0, "finalise": 0}
    (folder / "summary.json").write_text(json.dumps({**summary, "training_samples": samples}))
    assert run_table(folder).splitlines()[0].endswith(", 3.0 s of search, 1.0 s of testing")


def test_a_run_without_its_summary_is_refused(folder):
    summary = json.loads((folder / "summary.json").read_text())
    del summary["best"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(DataError, match=r"summary\.json: expected a run's summary, but KeyError"):
        run_table(folder)
