"""Runs of the command that are logged, and what becomes of them where that fails."""

import signal
import sys
import warnings

import pytest

from ecomp_deap.cli import main
from ecomp_deap.logbook import read_logbook
from tests.test_cli_resume import contents, interrupted

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of their own imports
    import mlflow
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture(scope="module")
def command(small_fashion, small_parent_file):
    """Return the words of small runs that leave their folders in ``out``."""

    def words(out, *more, n_runs=1, generations=2):
        given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", out]
        size = ["--population", 8, "--generations", generations, "--finalise-count", 0]
        return [str(w) for w in ("run", n_runs, "first", *given, *size, "--threads", 1, *more)]

    return words


def scalars(folder, tag):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_each_run_has_a_folder_and_is_what_it_is_without(command, tmp_path):
    place = tmp_path / "tb"
    assert main(command(tmp_path / "a", "--quiet", n_runs=2)) == 0
    assert main(command(tmp_path / "b", "--quiet", "--tensorboard", place, n_runs=2)) == 0
    assert sorted(path.name for path in place.iterdir()) == ["first_1", "first_2"]
    for name in ("first_1", "first_2"):
        assert contents(tmp_path / "a" / name) == contents(tmp_path / "b" / name)
        rows = read_logbook(tmp_path / "b" / name / "logbook.csv")
        found = scalars(place / name, "accuracy/max")
        assert found == [(i, pytest.approx(row["accuracy_max"])) for i, row in enumerate(rows)]
        assert len(scalars(place / name, "best/test_accuracy")) == 1


def test_a_resumed_run_goes_on_with_its_log(command, tmp_path):
    place, run = tmp_path / "tb", tmp_path / "a" / "first_1"
    words = command(tmp_path / "a", "--tensorboard", place, generations=60)
    code, errors = interrupted(words, run, signal.SIGINT)
    assert code == 130
    assert "stopping after this generation" in errors
    assert main(["resume", str(run), "--quiet"]) == 0
    assert [step for step, _ in scalars(place / "first_1", "accuracy/max")] == list(range(61))
    assert main(["resume", str(run), "--quiet"]) == 0  # finished: nothing is logged twice
    assert len(scalars(place / "first_1", "best/test_accuracy")) == 1


@pytest.mark.parametrize("quiet", [True, False])
def test_a_log_that_cannot_be_written_is_said_once_and_ends_no_run(
    command, tmp_path, capsys, caplog, quiet
):
    place = tmp_path / "tb"
    place.mkdir()
    (place / "first_1").write_text("in its place")
    words = command(tmp_path / "a", "--tensorboard", place, *["--quiet"] * quiet)
    assert main(words) == 0
    assert (tmp_path / "a" / "first_1" / "summary.json").exists()
    text = caplog.text if quiet else capsys.readouterr().err
    assert text.count("TensorBoardLogger is left out of this run: FileExistsError: ") == 1


@pytest.mark.parametrize(
    ("option", "value", "package"),
    [("tensorboard", "tb", "tensorboard"), ("mlflow", "sqlite:///mlflow.db", "mlflow")],
)
def test_what_is_not_installed_is_said_before_any_work(
    command, tmp_path, capsys, monkeypatch, option, value, package
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(command("out", f"--{option}", value)) == 2
    error = capsys.readouterr().err
    assert f"expected {package} to be installed (pip install 'ecomp-deap[{option}]')" in error
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_written_down(command, tmp_path, capsys):
    assert main(command(tmp_path / "out", "--mlflow", "postgresql://user:word@host/db")) == 2
    assert "--mlflow: expected a URI such as sqlite:///mlflow.db, wi" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_runs_are_in_an_experiment_of_their_name(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = command("out", "--quiet", "--mlflow", place, "--tensorboard", "tb", n_runs=2)
    assert main(words) == 0
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("first").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(runs) == ["first_1", "first_2"]
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.params["population"] == "8"
        assert "mlflow" not in run.data.params
        rows = read_logbook(tmp_path / "out" / name / "logbook.csv")
        found = client.get_metric_history(run.info.run_id, "accuracy/max")
        assert [metric.value for metric in found] == [row["accuracy_max"] for row in rows]
        assert "best/test_accuracy" in run.data.metrics
