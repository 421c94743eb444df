import json
import math

import pytest
from deap import tools
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import DataError
from ecomp_deap.logbook import read_logbook
from ecomp_deap.runs.directory import RunDirectory, read_front

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
    with pytest.raises(DataError, match=r"exports: cannot be made \(File exists"):
        RunDirectory(tmp_path).export("007", "onnx")


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
