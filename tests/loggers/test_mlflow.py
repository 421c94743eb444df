import json
import sys
import warnings
from pathlib import Path

import pytest

import ecomp_deap as ed
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import logbook_to_rows
from tests.report.made_runs import make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import mlflow

# Of SQLAlchemy 2.1, about what MLflow asks of it.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

SMALL = {"population": 8, "generations": 2, "finalise_count": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The address of a database, whose tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def client(place, tmp_path, monkeypatch):
    """What reads the database; artifacts go to a folder of the test's."""
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient(tracking_uri=place)


def runs_of(client, experiment):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def history(client, run, name):
    return {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}


def artifacts(client, run, folder=""):
    return sorted(Path(f.path).name for f in client.list_artifacts(run.info.run_id, folder))


def test_a_search_is_the_same_and_all_of_it_is_there(tiny_task, place, client):
    logger = ed.MLflowLogger(place, "script", params={"population": 8, "nothing": None})
    result = ed.compress(tiny_task(), **SMALL, callback=logger)
    assert result.digest() == ed.compress(tiny_task(), **SMALL).digest()
    logger.log_result(result)
    (run,) = runs_of(client, "script")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "search")
    assert run.data.params == {"population": "8"}
    rows = logbook_to_rows(result.logbook)
    for tag, column in {
        "accuracy/max": "accuracy_max",
        "fitness/mean_0": "fitness_mean_0",
        "search/nevals": "nevals",
    }.items():
        assert history(client, run, tag) == {i: row[column] for i, row in enumerate(rows)}
    volumes = dict(enumerate(result.generation_hypervolumes))
    assert history(client, run, "search/hypervolume") == volumes
    assert run.data.metrics["best/param_count"] == result.best.validation.param_count
    assert run.data.metrics["summary/evaluations"] == result.toolbox.counters.evaluations
    assert run.data.tags["ecomp_deap.digest"] == result.digest()
    assert json.loads(run.data.tags["ecomp_deap.picks"])["best"] == result.best.id
    assert f"| {result.best.id} |" in run.data.tags["mlflow.note.content"]
    assert artifacts(client, run) == sorted(
        ["summary.json", "front.csv", "logbook.csv", "timings.csv", "children", "plots"]
    )
    assert "front.png" in artifacts(client, run, "plots")
    folder = Path(client.download_artifacts(run.info.run_id, "children"))
    loaded = ed.load_child(folder / f"{result.best.id}.safetensors")
    assert sum(p.numel() for p in loaded.parameters()) == result.best.validation.param_count


def test_a_run_has_its_configuration_and_a_resumed_one_goes_on(tmp_path, place, client):
    run = make_run(tmp_path, config={"mlflow": place, "objectives": ["accuracy", "param_count"]})
    for name in ("001", "002", "003"):
        (run / "children" / f"{name}.safetensors").write_bytes(b"tensors")
    summary = json.loads((run / "summary.json").read_text())
    first, second = ed.MLflowLogger(place, "runs"), ed.MLflowLogger(place, "runs")
    first.on_run_start(1, 1, run, 3)
    first.on_generation(0, 3, {"gen": 0, "accuracy_max": 0.5, "accuracy_min": None})
    (found,) = runs_of(client, "runs")
    assert found.info.status == "RUNNING"
    first.close()
    (found,) = runs_of(client, "runs")
    assert found.info.status == "KILLED"
    second.on_run_start(1, 1, run, 3)
    second.on_generation(1, 3, {"gen": 1, "accuracy_max": 0.75})
    second.on_run_end(summary)
    (found,) = runs_of(client, "runs")
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first_1")
    assert history(client, found, "accuracy/max") == {0: 0.5, 1: 0.75}
    assert history(client, found, "accuracy/min") == {}
    objectives = "['accuracy', 'param_count']"
    assert found.data.params == {"population": "20", "objectives": objectives}
    assert "config.json" in artifacts(client, found)
    second.on_run_start(1, 1, run, 3)  # a finished one is not gone on with
    second.on_generation(0, 3, {"gen": 0, "accuracy_max": 0.5})
    second.close()
    assert len(runs_of(client, "runs")) == 2


def test_what_mlflow_does_meanwhile_is_left_alone(place, client):
    before = mlflow.get_tracking_uri()
    with ed.MLflowLogger(place, "alone") as logger:
        logger.on_generation(0, 3, {"size %_max": 0.5})
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    (run,) = runs_of(client, "alone")
    assert run.data.metrics == {"size _/max": 0.5}
    assert run.info.status == "FINISHED"


def test_a_run_that_was_deleted_meanwhile_ends_no_search(tiny_task, place, client):
    class Deleting(ed.Callback):
        def on_generation(self, generation, n_generations, record):
            for run in runs_of(client, "deleted"):
                client.delete_run(run.info.run_id)

        def on_message(self, text):
            texts.append(text)

    texts: list[str] = []
    logger = ed.MLflowLogger(place, "deleted")
    result = ed.compress(tiny_task(), **SMALL, callback=[Deleting(), logger])
    assert result.digest() == ed.compress(tiny_task(), **SMALL).digest()
    (text,) = texts
    assert text.startswith("MLflowLogger is left out of this run: MlflowException: ")


def test_what_is_wrong_is_refused_at_once(tmp_path, place, client, monkeypatch):
    with pytest.raises(DataError, match=r"^MLflow cannot keep runs in 'nonsense://x': "):
        ed.MLflowLogger("nonsense://x")
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    with pytest.raises(DataError, match="the experiment 'gone' was deleted"):
        ed.MLflowLogger(place, "gone")
    for options in ({"tracking_uri": 3}, {"tracking_uri": ""}, {"experiment": 3}):
        with pytest.raises(ArgumentError, match=rf"^{next(iter(options))}: expected a text"):
            ed.MLflowLogger(**options)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ArgumentError, match=r"\(pip install 'ecomp-deap\[mlflow\]'\)"):
        ed.MLflowLogger(place)
