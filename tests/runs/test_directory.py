"""Seen to fail without what protects: experiments/reliability/protections.py."""

import json
import math
import os
from pathlib import Path

import pytest
from deap import tools
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import DataError
from ecomp_deap.logbook import read_logbook
from ecomp_deap.runs.directory import RunDirectory, metric_of, read_front

COLUMNS = ("id", "test_accuracy", "param_count", "mac_count", "size_bytes", "widths")


def test_runs_take_the_first_free_number(tmp_path):
    out = tmp_path / "a" / "b"
    paths = [RunDirectory.create(out, "first").path for _ in range(3)]
    assert [path.name for path in paths] == ["first_1", "first_2", "first_3"]
    assert all((path / "children").is_dir() for path in paths)
    assert RunDirectory.create(out, "second").path == out / "second_1"
    (paths[1] / "children").rmdir()
    paths[1].rmdir()
    assert RunDirectory.create(out, "first").path == paths[1]


def test_a_file_in_the_way_is_passed_over(tmp_path):
    (tmp_path / "x_1").write_text("")
    assert RunDirectory.create(tmp_path, "x").path.name == "x_2"


def test_an_out_that_is_a_file_is_refused(tmp_path):
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(DataError, match=r"out: .*out.*"):
        RunDirectory.create(out, "x")
    assert out.read_text() == "mine"


def test_files_have_their_places(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.parent == tmp_path / "parent.safetensors"
    assert directory.child("007") == tmp_path / "children" / "007.safetensors"
    assert directory.export("007", "onnx") == tmp_path / "exports" / "007.onnx"


def test_a_file_in_the_way_of_exports_is_named(tmp_path):
    (tmp_path / "exports").write_text("")
    with pytest.raises(DataError, match=r"exports: expected a folder, but it is none"):
        RunDirectory(tmp_path).export("007", "onnx")


@pytest.mark.parametrize("name", ["children", "exports"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path, name):
    run, other = RunDirectory(tmp_path / "run"), tmp_path / "other"
    run.path.mkdir()
    other.mkdir()
    (run.path / name).symlink_to(other)
    with pytest.raises(DataError, match=rf"{name}: expected a folder, but it is a link"):
        run.folder(name)


def test_places_that_are_free_or_hold_what_they_may_are_fine(tmp_path):
    (tmp_path / "front.csv").touch()
    (tmp_path / "children").mkdir()
    files, folders = ("front.csv", "summary.json"), ("children", "plots")
    RunDirectory(tmp_path).check_places(files, folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["children", "front.csv"]


@pytest.mark.parametrize("kind", ["a link", "a link to nowhere", "a pipe", "a folder", "a file"])
def test_what_is_in_the_place_of_a_file_or_a_folder_is_named(tmp_path, kind):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (tmp_path / "other").touch()
    path = run.path / "taken"
    if kind.startswith("a link"):
        path.symlink_to(tmp_path / ("nowhere" if "nowhere" in kind else "other"))
    else:
        {"a pipe": os.mkfifo, "a folder": os.mkdir, "a file": Path.touch}[kind](path)
    reason = "it is a link" if "link" in kind else "it is none"
    if kind != "a file":
        with pytest.raises(DataError, match=rf"run/taken: expected a file, but {reason}"):
            run.check_places(["taken"], [])
    if kind != "a folder":
        with pytest.raises(DataError, match=rf"run/taken: expected a folder, but {reason}"):
            run.check_places([], ["taken"])


def test_a_name_that_is_too_long_is_no_run(tmp_path):
    run = RunDirectory(tmp_path / ("x" * 5000))
    assert not run.is_finished
    with pytest.raises(DataError, match="expected the folder of a finished run"):
        RunDirectory.open(run.path)
    with pytest.raises(DataError, match=r"config\.json: cannot be read \(File name too long"):
        run.config()


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ecomp_deap.files.os.replace", full)
    with pytest.raises(DataError, match=r"summary\.json: cannot be written \(No space left on d"):
        RunDirectory(tmp_path).write_json("summary.json", {})
    assert [*tmp_path.iterdir()] == []


def test_finished_runs_are_opened(tmp_path):
    with pytest.raises(DataError, match="expected the folder of a finished run, with front"):
        RunDirectory.open(tmp_path)
    rows = [{"id": "001", "param_count": 3}]
    RunDirectory(tmp_path).write_rows("front.csv", ("id", "param_count"), rows)
    directory = RunDirectory.open(tmp_path)
    assert directory.path == tmp_path
    assert directory.front() == rows
    summary = {"parent": {}, "best": {"id": "001"}, "picks": {"best": "001"}, "seed": 3}
    directory.write_json("summary.json", summary)
    assert directory.summary() == summary
    # As older versions left it.
    directory.write_json("summary.json", {"parent": {}, "best": {"id": "001"}})
    assert directory.summary()["picks"] == {"best": "001"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"parent": {}, "best": null, "picks": {}}', '{"parent": {}, "best": {}}'],
)
def test_a_damaged_summary_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"summary\.json: cannot be read"):
        RunDirectory(tmp_path).summary()
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(DataError, match=r"summary\.json: expected a run's summary, but"):
        RunDirectory(tmp_path).summary()


def test_a_summary_tells_of_the_metric(tmp_path):
    told = {"name": "error", "maximise": False, "tolerance": 0.02}
    summary = {"parent": {"validation_error": 0.1}, "best": {"id": "1"}, "picks": {}}
    assert metric_of(summary) == {"name": "error", "maximise": True, "tolerance": None}
    RunDirectory(tmp_path).write_json("summary.json", {**summary, "metric": told})
    assert metric_of(RunDirectory(tmp_path).summary()) == told
    assert metric_of({"parent": {}}) == {"name": "accuracy", "maximise": True, "tolerance": 0.01}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (3, "'metric' is 3, expected an object"),
        ({"maximise": True}, "KeyError"),
        ({"name": "error"}, "KeyError"),
        ({"name": "", "maximise": True}, "'metric.name' is '', expected a name"),
        ({"name": ["x"], "maximise": True}, "'metric.name' is a list, expected a name"),
        ({"name": "x", "maximise": 1}, "'metric.maximise' is 1, expected true or false"),
        ({"name": "x", "maximise": True, "tolerance": "x"}, "'metric.tolerance' is 'x', expected"),
    ],
)
def test_a_damaged_metric_is_named(tmp_path, metric, message):
    summary = {"parent": {}, "best": {"id": "1"}, "picks": {}, "metric": metric}
    RunDirectory(tmp_path).write_json("summary.json", summary)
    with pytest.raises(DataError, match=rf"summary\.json: expected a run's summary, .*{message}"):
        RunDirectory(tmp_path).summary()


def test_what_was_asked_is_in_either_file(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.asked() is None
    directory.write_json("settings.json", {"evolve.population": 8})
    assert directory.asked() == {"evolve.population": 8}
    directory.write_json("config.json", {"population": 20})
    assert directory.asked() == {"population": 20}
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DataError, match=r"config\.json: expected a run's configuration, but it is"):
        directory.asked()


def test_json_is_written_as_it_is_read(tmp_path):
    content = {"seed": 3, "seconds": {"search": 0.1 + 0.2}, "best": None}
    RunDirectory(tmp_path).write_json("summary.json", content)
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text) == content
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_holds_no_nan(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory(tmp_path).write_json("summary.json", {"best": value})
    assert [*tmp_path.iterdir()] == []


rows = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[0-9]{3}", fullmatch=True),
        "test_accuracy": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "param_count": st.integers(0, 10**12),
        "mac_count": st.integers(0, 10**12),
        "size_bytes": st.integers(0, 10**12),
        "widths": st.lists(st.integers(1, 999), min_size=1).map(lambda w: "-".join(map(str, w))),
    }
)


@given(st.lists(rows, max_size=4))
def test_fronts_come_back_bit_by_bit(tmp_path_factory, front):
    folder = tmp_path_factory.mktemp("front")
    RunDirectory(folder).write_rows("front.csv", COLUMNS, front)
    found = read_front(folder / "front.csv")
    assert found == front
    assert all(
        type(a[name]) is type(b[name]) for a, b in zip(found, front, strict=True) for name in a
    )


def test_tables_have_a_header_and_plain_line_ends(tmp_path):
    RunDirectory(tmp_path).write_rows("front.csv", ("id", "x"), [{"id": "1", "x": None}])
    assert (tmp_path / "front.csv").read_bytes() == b"id,x\n1,\n"


def test_a_row_with_unknown_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows: expected columns among id, got \['x'\]"):
        RunDirectory(tmp_path).write_rows("front.csv", ("id",), [{"id": "1", "x": 2}])
    assert [*tmp_path.iterdir()] == []


def test_one_width_alone_stays_text(tmp_path):
    front = [{"id": "001", "widths": "231"}]
    RunDirectory(tmp_path).write_rows("front.csv", ("id", "widths"), front)
    assert read_front(tmp_path / "front.csv") == front


def test_a_missing_front_is_named(tmp_path):
    with pytest.raises(DataError, match=r"front\.csv: cannot be read \(No such file"):
        read_front(tmp_path / "front.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"id,param_count\n001,many\n",
        b"id,test_accuracy\n001,0.5,0.7\n",
        b"id,test_accuracy\n\xff\xfe,0.5\n",
        b"id,param_count\n001,1.5\n",
        b"id,test_accuracy\n001\n",
        b"",
    ],
)
def test_a_damaged_front_is_refused(tmp_path, content):
    path = tmp_path / "front.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"front\.csv: expected a front, but"):
        read_front(path)


def test_logbooks_are_written_in_two_formats(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, nevals=4, accuracy={"max": 0.5})
    logbook.record(gen=1, nevals=3, accuracy={"max": 0.1 + 0.2})
    RunDirectory(tmp_path).write_logbook(logbook)
    for name in ("logbook.csv", "logbook.json"):
        found = read_logbook(tmp_path / name)
        assert [row["accuracy_max"] for row in found] == [0.5, 0.1 + 0.2]


def test_groups_have_the_names_that_a_manifest_tells(tmp_path):
    directory, row = RunDirectory.create(tmp_path, "a"), {"id": "001", "widths": "3-4"}
    assert directory.groups(row) == ["group 1", "group 2"]
    path = directory.child("001").with_suffix(".json")
    for kept, names in (
        ({"one": [0], "two": [1]}, ["one", "two"]),
        ({"one": [0]}, ["group 1", "group 2"]),
        (None, ["group 1", "group 2"]),
    ):
        path.write_text(json.dumps({"kept": kept}))
        assert directory.groups(row) == names
    assert directory.groups({"id": "../001", "widths": "3-4"}) == ["group 1", "group 2"]
    assert directory.groups({"id": "001", "widths": ""}) == []
    path.write_text("{")
    with pytest.raises(DataError, match="expected a child's manifest"):
        directory.groups(row)
