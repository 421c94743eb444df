"""Seen to fail without what protects: experiments/reliability/protections.py."""

import shutil

import numpy as np
import pytest
from deap import algorithms

from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError
from ecomp_deap.logbook import logbook_to_rows
from ecomp_deap.search import compress
from ecomp_deap.search.loop import watched
from ecomp_deap.search.stopping import (
    Progress,
    Stalled,
    TargetMet,
    TimeBudget,
    objective_hypervolume,
)
from ecomp_deap.toolbox import make_toolbox

SMALL = {"population": 8, "generations": 6, "finalise_count": 1, "finalise_epochs": 1}


class After:
    """A rule that ends a search after a generation, and keeps what it was told."""

    def __init__(self, generation):
        self.generation, self.seen = generation, []

    def __call__(self, progress):
        self.seen.append(progress)
        return "enough" if progress.generation >= self.generation else None


class Messages(Callback):
    def __init__(self):
        self.texts = []

    def on_message(self, text):
        self.texts.append(text)


def progress(**options):
    given = {"generation": 3, "seconds": 10.0, "individuals": [], "maximise": True}
    return Progress(**{**given, "hypervolumes": [1.0], **options})


@pytest.mark.parametrize("options", [{}, {"selection": "tournament", "loss_weights": (1, 1, 1)}])
def test_a_search_that_is_stopped_is_a_shorter_search(tiny_task, options):
    short = compress(tiny_task(), **{**SMALL, "generations": 2}, **options)
    stopped = compress(tiny_task(), **SMALL, **options, stop=[After(9), After(2)])
    assert stopped.digest() == short.digest()
    assert (stopped.stopped, short.stopped) == ("enough", None)


def test_a_stop_is_told_of(tiny_task):
    callback = Messages()
    compress(tiny_task(), **SMALL, stop=[After(1)], callback=callback)
    assert callback.texts == ["the search ended early: enough"]


def test_rules_are_told_how_far_a_search_is(tiny_task):
    rule = After(9)
    result = compress(tiny_task(), **SMALL, stop=[rule])
    assert [p.generation for p in rule.seen] == list(range(7))
    assert rule.seen[-1].seconds == pytest.approx(sum(result.generation_seconds))
    volumes = rule.seen[-1].hypervolumes
    assert len(volumes) == 7
    assert list(volumes) == sorted(volumes)  # an archive only gets better
    assert volumes[-1] > volumes[0] > 0
    assert all(not i.measurement.failed for i in rule.seen[-1].individuals)


def test_a_stopped_search_stays_stopped_when_it_is_resumed(tiny_task, tmp_path):
    class Break(Callback):
        def on_phase(self, name, total):
            raise KeyboardInterrupt

    options = {**SMALL, "stop": [Stalled(2, by=0.5)]}
    untouched = compress(tiny_task(), **options)
    saved = {"checkpoint": tmp_path / "saves", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        compress(tiny_task(), **options, **saved, callback=Break())
    resumed = compress(tiny_task(), **options, **saved)
    assert resumed.stopped == untouched.stopped is not None
    assert len(untouched.logbook) < 7
    assert resumed.digest() == untouched.digest()
    shutil.rmtree(tmp_path / "saves")


def test_stock_loops_are_stopped_likewise(tiny_task):
    def run(n_generations, stop=()):
        toolbox = make_toolbox(tiny_task(), seed=2)
        with watched(toolbox, stop=stop, n_generations=n_generations) as watch:
            algorithms.eaMuPlusLambda(
                toolbox.population(n=8),
                toolbox,
                *(8, 8, 0.7, 0.3, n_generations),
                stats=watch,
                halloffame=watch.archive,
                verbose=False,
            )
        return watch

    stopped, short = run(6, [After(2)]), run(2)
    assert [i.key() for i in stopped.population] == [i.key() for i in short.population]
    assert logbook_to_rows(stopped.logbook) == logbook_to_rows(short.logbook)
    assert [i.key() for i in stopped.archive] == [i.key() for i in short.archive]
    assert (stopped.stopped, short.stopped) == ("enough", None)


def test_time_budgets():
    assert TimeBudget(11)(progress()) is None
    assert TimeBudget(9.5)(progress()) == "10 s have passed, of 9.5"


def test_targets(tiny_task):
    toolbox = make_toolbox(tiny_task())
    individuals = toolbox.population(n=4)
    for individual, values in zip(
        individuals, toolbox.map(toolbox.evaluate, individuals), strict=True
    ):
        individual.fitness.values = values
    found = individuals[2].measurement
    now = progress(individuals=individuals)
    assert TargetMet(found.metric, found.param_count)(now) is not None
    assert TargetMet(found.metric, individuals[3].measurement.param_count - 1)(now) is None
    assert TargetMet(1.01, 10**9)(now) is None
    assert TargetMet(-1, 10**9)(progress(individuals=individuals, maximise=False)) is None


@pytest.mark.parametrize(
    ("volumes", "stalls"),
    [
        ([1, 1], False),
        ([1, 1, 1], True),
        ([1, 1, 1.2], False),
        ([1, 1, 1.05], True),
        ([0] * 3, True),
    ],
)
def test_stalls(volumes, stalls):
    assert (Stalled(2, by=0.1)(progress(hypervolumes=volumes)) is not None) == stalls


def test_hypervolume_of_objectives():
    worst = [1.0, 100.0]
    assert objective_hypervolume(np.array([[0.5, 50.0]]), worst) == 0.25
    assert objective_hypervolume(np.array([[0.5, 50.0], [0.25, 100.0]]), worst) == 0.25
    assert objective_hypervolume(np.array([[2.0, 50.0]]), worst) == 0
    assert objective_hypervolume(np.empty((0, 2)), worst) == 0
    # Maximised objectives come as negative costs.
    assert objective_hypervolume(np.array([[-0.9, 50.0]]), [-0.6, 100.0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: TimeBudget(0), "seconds"),
        (lambda: TimeBudget(float("nan")), "seconds"),
        (lambda: TargetMet(float("inf"), 5), "metric"),
        (lambda: TargetMet(0.5, 0), "max_params"),
        (lambda: Stalled(0), "generations"),
        (lambda: Stalled(5, by=-1), "by"),
    ],
)
def test_rules_check_their_numbers(make, name):
    with pytest.raises(ArgumentError, match=f"{name}: expected"):
        make()


def test_what_is_no_rule_is_refused(tiny_task):
    with pytest.raises(ArgumentError, match="stop: expected a sequence of functions"):
        compress(tiny_task(), **SMALL, stop=[5])
