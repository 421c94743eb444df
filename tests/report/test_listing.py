import json
import os
from datetime import datetime, timezone

import pytest

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import listing, listing_text
from ecomp_deap.runs.lock import locked
from tests.report.made_runs import HOSTILE, make_run


def unfinished(run, generation=12):
    """Make of a finished run one that was interrupted."""
    for name in ("summary.json", "front.csv", "timings.csv"):
        (run / name).unlink()
    for number in (generation - 5, generation):
        (run / "checkpoints" / f"{number:06d}").mkdir(parents=True)
    return run


def test_runs_are_listed_with_what_they_found(tmp_path):
    run = make_run(tmp_path, generations=5, config={"generations": 4})
    moment = datetime(2026, 3, 4, 5, 6, 7).astimezone()
    os.utime(run / "summary.json", times=(moment.timestamp(), moment.timestamp()))
    assert listing(tmp_path) == [
        {
            "run": str(run),
            "name": "first_1",
            "state": "finished",
            "problem": None,
            "metric": "accuracy",
            "value": pytest.approx(0.895),
            "share": 0.9,
            "generations": 4,
            "generations_asked": 4,
            "seconds": 4.0,
            "date": moment.isoformat(),
        }
    ]
    assert listing_text(listing(tmp_path), tmp_path).splitlines() == [
        "run      state     accuracy   share  generations  seconds              date",
        "first_1  finished    0.8950  90.0 %            4      4.0  2026-03-04 05:06",
    ]


def test_each_metric_has_a_column(tmp_path):
    unfinished(make_run(tmp_path, "a"))
    only = [line.split() for line in listing_text(listing(tmp_path), tmp_path).splitlines()]
    assert only[0][:4] == ["run", "state", "accuracy", "share"]
    make_run(tmp_path, "b", metric="mean_error", maximise=False)
    alone = listing_text(listing(tmp_path), tmp_path).splitlines()[0]
    assert alone.split()[:5] == ["run", "state", "mean", "error", "share"]
    make_run(tmp_path, "c")
    lines = [line.split() for line in listing_text(listing(tmp_path), tmp_path).splitlines()]
    assert lines[0][:5] == ["run", "state", "mean", "error", "accuracy"]
    assert lines[1][:5] == ["a_1", "unfinished", "-", "-", "-"]
    assert lines[2][:5] == ["b_1", "finished", "0.1050", "-", "90.0"]
    assert lines[3][:5] == ["c_1", "finished", "-", "0.8950", "90.0"]


def test_an_unfinished_run_tells_how_far_it_is(tmp_path):
    run = unfinished(make_run(tmp_path, config={"generations": 60}))
    (run / "checkpoints" / "000099.tmp").mkdir()
    (row,) = listing(tmp_path)
    assert (row["state"], row["generations"], row["generations_asked"]) == ("unfinished", 12, 60)
    assert row["value"] is row["metric"] is row["share"] is row["seconds"] is None
    assert " 12 of 60 " in listing_text([row], tmp_path)


def test_a_run_that_is_searching_is_told_from_one_that_was_interrupted(tmp_path):
    run = unfinished(make_run(tmp_path))
    with locked(run / "checkpoints"):
        assert listing(tmp_path)[0]["state"] == "running"
    assert listing(tmp_path)[0]["state"] == "unfinished"


def test_a_narrow_terminal_gets_what_it_has_room_for(tmp_path):
    make_run(tmp_path, generations=5, config={"generations": 4})
    lines = listing_text(listing(tmp_path), tmp_path, width=60).splitlines()
    assert lines[0].split() == ["run", "state", "accuracy", "share", "generations"]
    assert lines[-1] == "no room for: seconds, date"
    assert max(map(len, lines)) <= 60


def test_a_run_that_ended_early_tells_what_was_asked(tmp_path):
    make_run(tmp_path, generations=5, config={"generations": 60})
    assert " 4 of 60 " in listing_text(listing(tmp_path), tmp_path)


def test_names_are_in_the_order_of_their_numbers(tmp_path):
    for _ in range(11):
        make_run(tmp_path)
    make_run(tmp_path, "another")
    names = [row["name"] for row in listing(tmp_path)]
    assert names == ["another_1", *(f"first_{k}" for k in range(1, 12))]


def test_what_is_no_run_is_left_out(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "note.txt").write_text("text")
    (tmp_path / "odd_1").mkdir()
    (tmp_path / "odd_1" / "summary.json").mkdir()
    assert listing(tmp_path) == []
    assert listing_text([], tmp_path) == f"{tmp_path}: no runs"


def test_one_without_test_data_tells_its_validation_accuracy(tmp_path):
    run = make_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    summary["best"]["test_accuracy"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    assert listing(tmp_path)[0]["value"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{}"),
        ("summary.json", "not JSON"),
        ("summary.json", "[" * 100_000),
        ("timings.csv", "seconds\nnan\n"),
        ("config.json", "\x00"),
    ],
)
def test_a_damaged_run_is_called_so_and_hides_no_other(tmp_path, name, content):
    damaged, _ = make_run(tmp_path), make_run(tmp_path)
    (damaged / name).write_text(content)
    first, second = listing(tmp_path)
    assert (first["state"], second["state"]) == ("damaged", "finished")
    assert str(damaged / name) in first["problem"]
    text = listing_text([first, second], tmp_path)
    assert f"first_1: {damaged / name}: " in text


def test_a_pipe_in_the_place_of_a_file_is_not_read(tmp_path):
    run = make_run(tmp_path)
    (run / "timings.csv").unlink()
    os.mkfifo(run / "timings.csv")
    assert listing(tmp_path)[0]["state"] == "damaged"


@pytest.mark.parametrize("time", [-(2**40), 2**40])
def test_a_time_that_is_no_date_is_left_out(tmp_path, time):
    run = make_run(tmp_path)
    for name in ("summary.json", "config.json", "front.csv"):
        os.utime(run / name, times=(time, time))
    (row,) = listing(tmp_path)
    assert row["state"] == "finished"
    year = datetime.fromtimestamp(0, tz=timezone.utc).year
    assert row["date"] is None or int(row["date"][:4]) != year


def test_names_from_outside_are_text(tmp_path):
    make_run(tmp_path, name=HOSTILE.replace("/", ""))
    assert HOSTILE.replace("/", "") in listing_text(listing(tmp_path), tmp_path)


@pytest.mark.parametrize("case", ["missing", "file", "run"])
def test_other_folders_are_refused(tmp_path, case):
    path = tmp_path / "out"
    if case == "file":
        path.write_text("text")
    elif case == "run":
        path = make_run(tmp_path)
    expected = "is a run itself; to see it: ecomp-deap show" if case == "run" else "expected a fold"
    with pytest.raises(DataError, match=expected):
        listing(path)
    with pytest.raises(ArgumentError, match="out: expected a path"):
        listing(3)
