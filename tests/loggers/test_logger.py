import json

import pytest

import ecomp_deap as ed
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.loggers.logger import tag
from tests.report.made_runs import make_run


class Listing(ed.Logger):
    """A logger of a user's own, into a list."""

    def __init__(self, **options):
        super().__init__(**options)
        self.calls = []

    def open(self, directory, params, step):
        self.calls.append(("open", directory and directory.name, dict(params), step))

    def scalars(self, values, step):
        self.calls.append(("scalars", dict(values), step))

    def finish(self, run, summary):
        self.calls.append(("finish", run.path.name, summary["best"]["id"]))

    def end(self):
        self.calls.append(("end",))


def steps(logger, name):
    return [c[2] for c in logger.calls if c[0] == "scalars" and name in c[1]]


def test_columns_are_grouped_by_what_they_are_of():
    assert tag("population_duplicates") == "population/duplicates"
    assert tag("similarity_loss_std") == "similarity_loss/std"
    assert tag("fitness_max_12") == "fitness/max_12"
    assert tag("hypervolume") == "search/hypervolume"


def test_a_run_is_logged_from_its_folder(tmp_path):
    run = make_run(tmp_path, config={"population": 30, "tensorboard": "tb", "mlflow": "uri"})
    logger = Listing(params={"note": 1})
    logger.on_run_start(1, 1, run, 3)
    logger.on_phase("training the parent", 3)
    assert logger.calls == []
    logger.on_generation(2, 3, {"gen": 2, "a_max": 1, "a_min": None, "b": True, "c": "text"})
    params = {"note": 1, "population": 30, "factory": None}
    assert logger.calls == [("open", "first_1", params, 2), ("scalars", {"a/max": 1.0}, 2)]
    logger.on_run_end(json.loads((run / "summary.json").read_text()))
    assert steps(logger, "search/hypervolume") == [0, 1, 2, 3]
    assert logger.calls[-2:] == [("finish", "first_1", "003"), ("end",)]
    logger.close()
    assert logger.calls.count(("end",)) == 1


def test_a_run_that_was_resumed_after_its_search_is_finished(tmp_path):
    run, logger = make_run(tmp_path), Listing()
    logger.on_run_start(1, 1, run, 3)
    logger.on_run_end(json.loads((run / "summary.json").read_text()))
    assert logger.calls[0][3] == 4  # what was logged of the generations stays
    assert steps(logger, "accuracy/max") == []
    assert logger.calls[-2:] == [("finish", "first_1", "003"), ("end",)]


def test_a_figure_of_the_generations_is_not_written_again_at_the_end(tmp_path):
    run, logger = make_run(tmp_path), Listing()
    logger.on_run_start(1, 1, run, 3)
    for generation in range(4):
        logger.on_generation(generation, 3, {"hypervolume": 0.5})
    logger.on_run_end(json.loads((run / "summary.json").read_text()))
    assert steps(logger, "search/hypervolume") == [0, 1, 2, 3]
    assert steps(logger, "search/seconds") == [0, 1, 2, 3]


def test_a_result_is_logged_with_all_its_generations(tiny_task):
    options = {"population": 8, "generations": 2, "finalise_count": 0}
    with Listing() as logger:
        result = ed.compress(tiny_task(), **options)
        logger.log_result(result)
    assert logger.calls[0] == ("open", None, {}, 0)
    assert steps(logger, "accuracy/max") == steps(logger, "search/hypervolume") == [0, 1, 2]
    assert logger.calls[-2][2] == result.best.id
    with Listing() as logger:  # told of them by the search, it does not repeat them
        logger.log_result(ed.compress(tiny_task(), **options, callback=logger))
    assert steps(logger, "accuracy/max") == [0, 1, 2]


def test_an_unreadable_configuration_is_named(tmp_path):
    run, logger = make_run(tmp_path), Listing()
    for content in ("{", "[]"):
        (run / "config.json").write_text(content)
        logger.on_run_start(1, 1, run, 3)
        with pytest.raises(DataError, match=r"config\.json: expected a run's configuration"):
            logger.on_generation(0, 3, {})


def test_arguments_are_checked():
    with pytest.raises(ArgumentError, match="params: expected a Mapping, got 3"):
        Listing(params=3)
    with pytest.raises(ArgumentError, match="result: expected a Result, got None"):
        Listing().log_result(None)
