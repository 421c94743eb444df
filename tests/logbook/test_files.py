"""Seen to fail without what protects: experiments/reliability/protections.py."""

import json
import math

import numpy as np
import pandas
import pytest
from deap import tools
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import export_logbook, logbook_to_rows, read_logbook, statistics
from tests.logbook.populations import (
    ParetoGenome,
    run_ea_simple,
    scored,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("abcdefgh-é,\"' ", min_size=1, max_size=5)
# No digits and no "\r": CSV refuses text that would not come back, see below.
TEXTS = st.text("abcxyz-é,;\"'\n\t ", min_size=1, max_size=8)
NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), FINITE)
VALUES = st.one_of(NUMBERS, TEXTS, st.tuples(FINITE, st.none() | FINITE), FINITE.map(np.float64))
CHAPTERS = st.dictionaries(NAMES, VALUES, max_size=4)


@st.composite
def logbooks(draw):
    logbook = tools.Logbook()
    scalars = draw(st.lists(NAMES.map("s{}".format), max_size=3, unique=True))
    chapters = draw(st.lists(NAMES.map("c{}".format), max_size=3, unique=True))
    for gen in range(draw(st.integers(0, 5))):
        infos = {name: draw(VALUES) for name in scalars}
        infos |= {name: draw(CHAPTERS) for name in chapters}
        logbook.record(gen=gen, nevals=draw(st.integers()), **infos)
    return logbook


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
@settings(deadline=None)
@given(logbook=logbooks())
def test_every_logbook_reads_back_bit_for_bit(tmp_path_factory, suffix, logbook):
    path = tmp_path_factory.getbasetemp() / f"logbook.{suffix}"
    rows = logbook_to_rows(logbook)
    assert export_logbook(logbook, path) == path
    back = read_logbook(path)
    # repr tells 1 from 1.0 and True, and 0.0 from -0.0, and shows every bit of a float.
    assert repr(back) == repr(rows)
    assert b"\r" not in path.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_extreme_floats_read_back(tmp_path, suffix):
    values = [5e-324, -5e-324, 1.7976931348623157e308, 0.1, 1e16, -0.0, 1 / 3, 2.0, 1e-7]
    logbook = tools.Logbook()
    for gen, value in enumerate(values):
        logbook.record(gen=gen, value=value)
    rows = read_logbook(export_logbook(logbook, tmp_path / f"l.{suffix}"))
    assert [row["value"].hex() for row in rows] == [value.hex() for value in values]


def test_a_run_reads_back_from_every_format(tmp_path):
    logbook = run_ea_simple()
    for suffix in ("csv", "json", "jsonl"):
        path = export_logbook(logbook, tmp_path / "new" / f"logbook.{suffix}")
        assert read_logbook(path) == logbook_to_rows(logbook)


def test_csv_is_plain(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, nevals=np.int64(4), acc={"mean": 0.1, "max": None})
    path = export_logbook(logbook, str(tmp_path / "logbook.csv"))
    assert path.read_bytes() == b"gen,nevals,acc_mean,acc_max\n0,4,0.1,\n"
    assert pandas.read_csv(path)["acc_mean"].tolist() == [0.1]


def test_json_holds_the_chapters_and_parses_strictly(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, acc={"mean": 0.1, "max": None})
    logbook.record(gen=1, acc={"mean": 0.2, "max": 0.5})
    text = export_logbook(logbook, tmp_path / "l.json").read_text()
    assert text == (
        '[\n{"gen": 0, "acc_mean": 0.1, "acc_max": null},\n'
        '{"gen": 1, "acc_mean": 0.2, "acc_max": 0.5}\n]\n'
    )
    lines = export_logbook(logbook, tmp_path / "l.jsonl").read_text().splitlines()
    assert [json.loads(line)["gen"] for line in lines] == [0, 1]


def test_the_format_can_be_named(tmp_path):
    path = export_logbook(run_ea_simple(), tmp_path / "log.txt", format="csv")
    assert len(path.read_text().splitlines()) == 6
    assert read_logbook(path, format="csv") == logbook_to_rows(run_ea_simple())


@pytest.mark.parametrize("act", [lambda p, **o: export_logbook([], p, **o), read_logbook])
def test_unknown_formats_are_refused(tmp_path, act):
    with pytest.raises(ArgumentError, match=r"path: expected a suffix of \.csv, \.json, \.jsonl"):
        act(tmp_path / "logbook.pkl")
    with pytest.raises(ArgumentError, match=r"format: expected one of csv, json, jsonl.*'xml'"):
        act(tmp_path / "logbook.csv", format="xml")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("format", ["csv", "json", "jsonl"])
def test_nan_and_infinities_are_refused(tmp_path, format, value):
    logbook = tools.Logbook()
    logbook.record(gen=0, acc={"mean": 0.5})
    logbook.record(gen=1, acc={"mean": value})
    with pytest.raises(ArgumentError, match=r"logbook\[1\] acc_mean: expected a finite number"):
        export_logbook(logbook, tmp_path / f"l.{format}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [object(), 1j, b"bytes"])
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(ArgumentError, match=r"logbook\[0\] x: expected a number, text or None"):
        export_logbook([{"x": value}], tmp_path / "l.json")


@pytest.mark.parametrize("text", ["12", "1.5", "1e+16", "2.5e-07", "True", "", "a\rb"])
def test_text_that_csv_would_change_is_refused(tmp_path, text):
    with pytest.raises(ArgumentError, match=r"values that CSV can tell apart \(or json\)"):
        export_logbook([{"gen": 0, "x": text}], tmp_path / "l.csv")
    path = export_logbook([{"gen": 0, "x": text}], tmp_path / "l.json")
    assert read_logbook(path) == [{"gen": 0, "x": text}]


@pytest.mark.parametrize(
    "text", ["007", "nan", "inf", "1e5", "12e5", "1e999", "-0", "231-201", "1_000", "１２"]
)
def test_text_that_is_no_number_stays_text(tmp_path, text):
    path = export_logbook([{"x": text}], tmp_path / "l.csv")
    assert read_logbook(path) == [{"x": text}]


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = export_logbook(run_ea_simple(), tmp_path / "l.csv")
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match="finite"):
        export_logbook([{"x": math.nan}], path)
    with pytest.raises(ArgumentError, match=r"logbook\[0\] x: expected text that UTF-8 can write"):
        export_logbook([{"x": "\ud800"}], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["l.csv"]


def test_a_failed_replacement_leaves_nothing_behind(tmp_path):
    (tmp_path / "l.csv").mkdir()
    with pytest.raises(DataError, match=r"l\.csv: cannot be written \(Is a directory"):
        export_logbook([{"gen": 0}], tmp_path / "l.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["l.csv"]


def test_an_open_reader_keeps_the_old_file(tmp_path):
    path = export_logbook([{"gen": 0}], tmp_path / "l.csv")
    with path.open() as reader:
        export_logbook([{"gen": 0}, {"gen": 1}], path)
        assert reader.read() == "gen\n0\n"
    assert len(read_logbook(path)) == 2


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("l.csv", b"a,b\n1\n", "row 1 has 1 fields for 2 columns"),
        ("l.csv", b"a,a\n1,2\n", "names a column twice"),
        ("l.csv", b'a,b\n1,"2\n', "unexpected end of data"),
        ("l.csv", b"a\n\xff\n", "can't decode"),
        ("l.json", b'[{"gen": 0}', "delimiter"),
        ("l.json", b'[{"gen": NaN}]', "NaN is not a finite number"),
        ("l.json", b'[{"gen": 1e999}]', "1e999 is not a finite number"),
        ("l.json", b'{"gen": 0}', "does not hold rows"),
        ("l.jsonl", b"[1]\n", "does not hold rows"),
        ("l.jsonl", b'{"gen": 0}\n{"gen"', "delimiter"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: expected a logbook as .*{complaint}"):
        read_logbook(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("x" * 300, r"x: cannot be written \(File name too long"),
        (".", r": cannot be written \("),
        ("file/a.csv", r"file: cannot be made \(File exists"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, error):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=error):
        export_logbook([{"a": 1}], tmp_path / name, format="csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        read_logbook(tmp_path / "none.csv")


def test_ecomp_layout(tmp_path):
    logbook = tools.Logbook()
    for genomes in ([[1, 0, 0, 0], [1, 1, 1, 1]], [[0, 0]]):
        logbook.record(gen=len(logbook), **statistics().compile(scored(*genomes)))
    path = export_logbook(
        logbook,
        tmp_path / "results.json",
        format="ecomp",
        name="121",
        configs={"population_size": 2},
        best_test_accuracy=np.float64(0.875),
    )
    assert json.loads(path.read_text()) == {
        "name": "121",
        "configs": {"population_size": 2},
        "results": {
            "fitness": {"averages": [0.625, None], "best": [1.0, None], "worst": [0.25, None]},
            "accuracy": {"averages": [0.625, None], "best": [1.0, None], "worst": [0.25, None]},
            "loss": {"averages": [0.375, None], "best": [0.0, None], "worst": [0.75, None]},
            "compression": {"averages": [0.625, None], "best": [0.25, None], "worst": [1.0, None]},
        },
        "best_test_acc": 0.875,
    }


def test_ecomp_layout_from_rows_read_back(tmp_path):
    logbook = run_ea_simple()
    direct = export_logbook(logbook, tmp_path / "a.json", format="ecomp")
    rows = read_logbook(export_logbook(logbook, tmp_path / "l.csv"))
    later = export_logbook(rows, tmp_path / "b.json", format="ecomp")
    assert direct.read_bytes() == later.read_bytes()


def test_ecomp_layout_names_the_missing_chapter(tmp_path):
    logbook = tools.Logbook()
    record = statistics(metric="r2").compile(scored([1, 0], metric="r2"))
    logbook.record(gen=0, **record)
    with pytest.raises(ArgumentError, match=r"expected a chapter 'accuracy' with min, mean"):
        export_logbook(logbook, tmp_path / "r.json", format="ecomp")
    with pytest.raises(ArgumentError, match=r"expected a chapter 'fitness'"):
        export_logbook(tools.Logbook(), tmp_path / "r.json", format="ecomp")


def test_ecomp_layout_needs_a_weighted_fitness(tmp_path):
    logbook = tools.Logbook()
    logbook.record(gen=0, **statistics().compile(scored([1, 0], kind=ParetoGenome)))
    with pytest.raises(ArgumentError, match=r"expected a weighted fitness .* got a Pareto"):
        export_logbook(logbook, tmp_path / "r.json", format="ecomp")


@pytest.mark.parametrize("configs", [{"x": math.nan}, {"x": object()}])
def test_ecomp_layout_refuses_configs_outside_of_json(tmp_path, configs):
    with pytest.raises(ArgumentError, match=r"expected values that JSON can carry"):
        export_logbook(run_ea_simple(), tmp_path / "r.json", format="ecomp", configs=configs)


@pytest.mark.parametrize("extra", [{"name": "x"}, {"configs": {}}, {"best_test_accuracy": 0.5}])
def test_the_originals_fields_need_its_format(tmp_path, extra):
    with pytest.raises(ArgumentError, match=r"expected nothing unless format is 'ecomp'"):
        export_logbook(run_ea_simple(), tmp_path / "l.json", **extra)
