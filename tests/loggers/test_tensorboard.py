import json
import random
import sys
import warnings
from contextlib import closing

import numpy as np
import pytest
from deap import algorithms

import ecomp_deap as ed
from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.logbook import logbook_to_rows
from tests.report.made_runs import make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of tensorboard's own imports
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

SMALL = {"population": 8, "generations": 2, "finalise_count": 0}
PARAMS = {"population": 8, "note": "a|b", "dense": False}


def read(folder):
    """Return what TensorBoard shows of a folder."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def scalars(found, tag):
    return {event.step: event.value for event in found.Scalars(tag)}


class Messages(Callback):
    def __init__(self):
        self.texts = []

    def on_message(self, text):
        self.texts.append(text)


def test_a_search_is_the_same_and_its_figures_are_there(tiny_task, tmp_path):
    logger = ed.TensorBoardLogger(tmp_path / "tb")
    result = ed.compress(tiny_task(), **SMALL, callback=logger)
    assert result.digest() == ed.compress(tiny_task(), **SMALL).digest()
    found = read(tmp_path / "tb")  # before it is closed: what crashes loses nothing
    rows = logbook_to_rows(result.logbook)
    for tag, column in {
        "accuracy/max": "accuracy_max",
        "param_count/min": "param_count_min",
        "fitness/mean_0": "fitness_mean_0",
        "population/failed": "population_failed",
        "search/nevals": "nevals",
    }.items():
        wanted = {i: np.float32(row[column]) for i, row in enumerate(rows)}
        assert scalars(found, tag) == wanted
    assert "search/gen" not in found.Tags()["scalars"]
    logger.log_result(result)
    found = read(tmp_path / "tb")
    assert scalars(found, "search/hypervolume") == pytest.approx(
        dict(enumerate(result.generation_hypervolumes))
    )
    (best,) = scalars(found, "best/param_count").items()
    assert best == (2, result.best.validation.param_count)
    (image,) = found.Images("front")
    assert (image.width, image.height) == (1200, 800)
    (text,) = found.Tensors("found/text_summary")
    assert f"| {result.best.id} |" in text.tensor_proto.string_val[0].decode()


def test_a_result_alone_is_logged_as_a_whole(tiny_task, tmp_path):
    result = ed.compress(tiny_task(), **SMALL)
    with ed.TensorBoardLogger(tmp_path, params=PARAMS) as logger:
        logger.log_result(result)
    found = read(tmp_path)
    assert sorted(scalars(found, "accuracy/max")) == [0, 1, 2]
    assert {"front"} == set(found.Tags()["images"])
    (text,) = found.Tensors("config/text_summary")
    assert b"| note | a\\|b |" in text.tensor_proto.string_val[0]
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["population"].number_value == 8
    assert (hparams["note"].string_value, hparams["dense"].string_value) == ("a|b", "False")


def test_each_quantity_has_its_mean_and_range_in_one_chart(tiny_task, tmp_path):
    with ed.TensorBoardLogger(tmp_path) as logger:
        ed.compress(tiny_task(), **SMALL, callback=logger)
    found = read(tmp_path)
    (event,) = found.Tensors("custom_scalars__config__")
    (group,) = Layout.FromString(event.tensor_proto.string_val[0]).category
    names = ["accuracy", "similarity_loss", "relative_width"]
    names += ["param_count", "mac_count", "size_bytes"]
    assert [chart.title for chart in reversed(group.chart)] == names
    for chart in group.chart:
        (series,) = chart.margin.series
        tags = [f"{chart.title}/{part}" for part in ("mean", "min", "max")]
        assert [series.value, series.lower, series.upper] == tags
        assert {*tags} <= {*found.Tags()["scalars"]}


def test_charts_stay_where_a_run_is_resumed_after_its_search(tmp_path):
    run, logger = make_run(tmp_path / "runs"), ed.TensorBoardLogger(tmp_path / "tb")
    logger.on_run_start(1, 1, run, 3)
    logger.on_run_end(json.loads((run / "summary.json").read_text()))
    tags = read(tmp_path / "tb" / run.name).Tags()
    assert "search/hypervolume" in tags["scalars"]
    assert "custom_scalars__config__" not in tags["tensors"]


def test_another_search_in_the_folder_takes_the_place_of_the_first(tiny_task, tmp_path):
    for seed in (0, 1):
        with ed.TensorBoardLogger(tmp_path) as logger:
            result = ed.compress(tiny_task(), **SMALL, seed=seed, callback=logger)
    rows = logbook_to_rows(result.logbook)
    found = [(e.step, e.value) for e in read(tmp_path).Scalars("accuracy/mean")]
    assert found == [(i, np.float32(row["accuracy_mean"])) for i, row in enumerate(rows)]


def test_a_loop_of_deaps_can_be_logged(tiny_task, tmp_path):
    random.seed(1)
    toolbox = ed.make_toolbox(tiny_task(), objectives=("accuracy", "param_count"), seed=0)
    with (
        closing(ed.TensorBoardLogger(tmp_path)) as logger,
        ed.watched(toolbox, callback=[logger]) as watch,
    ):
        algorithms.eaMuPlusLambda(
            *(toolbox.population(n=8), toolbox, 8, 8, 0.7, 0.3, 2), stats=watch, verbose=False
        )
    assert sorted(scalars(read(tmp_path), "accuracy/max")) == [0, 1, 2]


def test_a_folder_that_is_lost_ends_no_search(tiny_task, tmp_path):
    class Meddler(Messages):
        def on_run_start(self, run_index, n_runs, directory, n_generations):
            (tmp_path / "tb" / directory.name).write_text("in its place")

    messages, logger = Meddler(), ed.TensorBoardLogger(tmp_path / "tb")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    callback = ed.Callbacks(messages, logger)
    callback.on_run_start(1, 1, run, 2)
    result = ed.compress(tiny_task(), **SMALL, callback=callback)
    assert result.digest() == ed.compress(tiny_task(), **SMALL).digest()
    (text,) = messages.texts
    assert text.startswith("TensorBoardLogger is left out of this run: FileExistsError: ")


def test_what_is_wrong_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        ed.TensorBoardLogger(tmp_path / "file")
    for folder in (3, None, ""):
        with pytest.raises(ArgumentError, match=r"^folder: expected a path, got "):
            ed.TensorBoardLogger(folder)
    with pytest.raises(ArgumentError, match=r"^params: expected a Mapping, got 3"):
        ed.TensorBoardLogger(tmp_path, params=3)
    with pytest.raises(ArgumentError, match=r"^result: expected a Result, got 3"):
        ed.TensorBoardLogger(tmp_path).log_result(3)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ArgumentError, match=r"\(pip install 'ecomp-deap\[tensorboard\]'\)"):
        ed.TensorBoardLogger(tmp_path / "tb")
    assert not (tmp_path / "tb").exists()
