import os

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.runs.places import hint, is_run
from tests.report.made_runs import make_run

LIST = "; for those there are: ecomp-deap list"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path.__class__(".")


def test_a_run_is_a_folder_with_a_file_of_one(folder):
    run = make_run(folder)
    assert is_run(run)
    for name in ("summary.json", "config.json"):
        (run / name).unlink()
        assert is_run(run)
    (run / "front.csv").unlink()
    assert not is_run(run)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("first_1", "; did you mean results/first_1?"),
        ("first_2", f"{LIST} results"),
        ("results", "; for the runs in it: ecomp-deap list results"),
        ("results/first_2", f"{LIST} results"),
        ("results/first_1/front.csv", "; did you mean the run that it is in, results/first_1?"),
        ("results/first_1/children", "; did you mean the run that it is in, results/first_1?"),
        ("results/first_1", ""),  # where else
        ("empty", f"{LIST} results"),
        ("a\0b/c", f"{LIST} results"),
    ],
)
def test_what_is_near_is_told(folder, path, where):
    make_run(folder / "results")
    (folder / "empty").mkdir()
    assert hint(folder / path) == where


def test_runs_beside_a_name_are_told_before_those_of_the_usual_folder(folder):
    make_run(folder / "results")
    make_run(folder / "others")
    assert hint(folder / "others" / "frist_1") == f"{LIST} others"


def test_nothing_is_told_where_nothing_is(folder):
    assert hint(folder / "first_1") == hint(folder / "none" / "first_1") == hint(folder) == ""


def test_a_folder_that_nobody_may_read_has_no_runs(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    assert hint(folder / "first_1") == ""


def test_a_run_that_is_not_finished_can_be_gone_on_with(folder):
    run = make_run(folder)
    for name in ("summary.json", "front.csv"):
        (run / name).unlink()
    with pytest.raises(
        DataError, match=r"with front\.csv; to go on with it: ecomp-deap resume firs"
    ):
        RunDirectory.open(run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "results",
            "results: expected the folder of a run, but it is none; for the runs in it: ec",
        ),
        ("first_1", "first_1: expected the folder of a run, but there is none; did you mean resul"),
    ],
)
def test_a_folder_that_is_no_run_is_called_so(folder, name, message):
    make_run(folder / "results")
    with pytest.raises(DataError, match=f"^{message}"):
        RunDirectory(folder / name).config()


def test_the_configuration_is_what_a_run_lacks(folder):
    run = make_run(folder)
    (run / "config.json").unlink()
    with pytest.raises(DataError, match=r"^first_1/config\.json: cannot be read"):
        RunDirectory(run).config()
