"""Children that cannot be measured: finite worst values, a flag, and no place among the sound.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import math

import numpy as np
import pytest

from ecomp_deap import (
    Callback,
    EvaluationError,
    Metric,
    Recipe,
    compress,
    make_toolbox,
    statistics,
)
from ecomp_deap.fitness import OBJECTIVES
from ecomp_deap.search.archive import Archive
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import accuracy
from tests.toolbox.runs import SIZE, comma, evolve, plus, simple


def spoil(individual, value=np.inf):
    """Give the last layer weights that are not finite (in place)."""
    name, (weight, bias) = list(individual.layers.items())[-1]
    individual.rebind({**individual.layers, name: (np.full_like(weight, value), bias)})
    return (individual,)


def score(toolbox, population):
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values


def score_each(toolbox, population):
    """Score individuals one by one, which no failure stops."""
    for individual in population:
        individual.fitness.values = toolbox.evaluate(individual)


@pytest.fixture
def mixed(tiny_task):
    """A toolbox and a scored population, of which every second individual has failed."""
    toolbox = make_toolbox(tiny_task(), genome="weights", selection="roulette")
    population = toolbox.population(n=SIZE)
    for individual in population[::2]:
        spoil(individual)
    score(toolbox, population)
    return toolbox, population


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_child_with_outputs_that_are_not_finite_gets_the_worst_values(value, tiny_task):
    objectives = ("accuracy", *(name for name in OBJECTIVES if name != "latency_ms"))
    toolbox = make_toolbox(tiny_task(), genome="weights", objectives=objectives)
    failed, sound = population = toolbox.population(n=2)
    spoil(failed, value)
    score(toolbox, population)
    found = failed.measurement
    assert found.failed
    assert found.reason == "outputs are not finite"
    assert all(math.isfinite(v) for v in failed.fitness.values)
    parent = 12 * 16 + 16 * 12 + 12 * 3
    n_probes = len(toolbox.evaluator.probe_layers)
    costs = (parent + 31, parent, 4 * (parent + 31))
    assert failed.fitness.values == (0.0, n_probes * WORST_LOSS, 1.0, *costs)
    assert not sound.measurement.failed
    assert sound.fitness.dominates(failed.fitness)
    assert toolbox.counters.failed == 1


def test_training_that_diverges_fails_the_child(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=3, training=Recipe(learning_rate=1e30)))
    population = toolbox.population(n=3)
    score_each(toolbox, population)
    assert all(individual.measurement.failed for individual in population)
    assert toolbox.counters.failed == 3


def test_a_metric_that_is_not_finite_fails_the_child(tiny_task):
    calls = []

    def undefined(outputs, targets):
        calls.append(1)
        # The first call is the parent's, which must be sound.
        return accuracy(outputs, targets) if len(calls) == 1 else math.nan

    toolbox = make_toolbox(tiny_task(metric=Metric(undefined, "area", worst=-1.0)))
    population = toolbox.population(n=2)
    score_each(toolbox, population)
    assert [i.fitness.values[0] for i in population] == [-1.0, -1.0]
    assert all(i.measurement.failed for i in population)


def test_failed_children_are_left_out_of_the_statistics(mixed):
    _, population = mixed
    record = statistics().compile(population)
    sound = [i for i in population if not i.measurement.failed]
    assert record["population"]["failed"] == SIZE // 2
    assert record["accuracy"]["min"] == min(i.measurement["accuracy"] for i in sound)
    assert record["similarity_loss"]["max"] < WORST_LOSS
    assert record["fitness"]["min"] == min(i.fitness.values[0] for i in sound)


def test_failed_children_stay_out_of_the_archive(mixed):
    _, population = mixed
    archive = Archive()
    archive.update(population)
    assert len(archive) > 0
    assert not any(individual.measurement.failed for individual in archive)
    everyone_failed = Archive()
    everyone_failed.update(population[::2])
    assert len(everyone_failed) == 0


def test_roulette_takes_no_failed_child_while_a_sound_one_exists(mixed):
    toolbox, population = mixed
    chosen = toolbox.select(population, 500)
    assert not any(individual.measurement.failed for individual in chosen)
    assert len(toolbox.select(population[::2], 5)) == 5


@pytest.mark.parametrize("selection", ["nsga2", "nsga3", "spea2"])
def test_a_run_with_many_failed_children_ends(selection, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights", selection=selection)
    calls = []

    def sometimes(individual):
        calls.append(individual)
        return spoil(individual) if len(calls) % 3 == 0 else (individual,)

    toolbox.register("mutate", sometimes)
    toolbox.register("mate", lambda one, two: (*sometimes(one), *sometimes(two)))
    population, rows = evolve(toolbox, plus, size=12, ngen=5)
    assert toolbox.counters.failed > 5
    assert not any(individual.measurement.failed for individual in population)
    assert all(row["population_failed"] == 0 for row in rows)


@pytest.mark.parametrize("selection", ["roulette", "tournament", "nsga2", "nsga3", "spea2"])
@pytest.mark.parametrize("k", [SIZE // 4, SIZE, 2 * SIZE])
def test_no_selection_takes_a_failed_child_while_a_sound_one_exists(selection, k, tiny_task):
    # Without the boundary's rule tournaments among failed children are won by one of them, and
    # whatever selects without replacement takes failed ones for want of others.
    toolbox = make_toolbox(tiny_task(), genome="weights", selection=selection)
    population = toolbox.population(n=SIZE)
    for individual in population[: SIZE // 2]:
        spoil(individual)
    score(toolbox, population)
    chosen = toolbox.select(population, k)
    assert len(chosen) == k
    assert not any(individual.measurement.failed for individual in chosen)
    everyone_failed = population[: SIZE // 2]
    assert len(toolbox.select(everyone_failed, 3)) == 3


@pytest.mark.parametrize("loop", [simple, plus, comma])
def test_more_than_half_failing_stops_any_loop_with_the_commonest_reason(loop, tiny_task):
    selection = "tournament" if loop is simple else "nsga2"
    toolbox = make_toolbox(tiny_task(), genome="weights", selection=selection)
    toolbox.register("mutate", spoil)
    toolbox.register("mate", lambda one, two: (*spoil(one), *spoil(two)))
    expected = r"generation 1: (\d+) of \1 children failed, .*; \1 of them: outputs are not finite"
    with pytest.raises(EvaluationError, match=expected):
        evolve(toolbox, loop, ngen=2)


def test_just_half_failing_goes_on(mixed):
    _, population = mixed
    assert sum(individual.measurement.failed for individual in population) == SIZE // 2


def test_the_commonest_reason_is_named(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights")
    population = toolbox.population(n=7)
    for individual, value in zip(population, [np.nan] * 4, strict=False):
        spoil(individual, value)
    with pytest.raises(EvaluationError, match=r"4 of 7 children failed, .*; 4 of them: outputs"):
        score(toolbox, population)
    assert all(individual.measurement is None for individual in population)


def test_a_few_children_of_a_loop_that_varies_few_may_fail(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights")
    score(toolbox, toolbox.population(n=SIZE))
    late = toolbox.population(n=2)
    for individual in late:
        spoil(individual)
    score(toolbox, late)
    assert all(individual.measurement.failed for individual in late)


def test_a_search_that_stopped_with_failures_goes_on_when_they_have_ceased(tiny_task, tmp_path):
    broken = {}

    def metric(outputs, targets):
        if broken.get("now"):
            broken["calls"] = broken.get("calls", 0) + 1
            if broken["calls"] > 1:  # the first is the parent's, which must be sound
                raise OSError("the labels' disk is gone")
        return accuracy(outputs, targets)

    class Breaks(Callback):
        def on_generation(self, generation, n_generations, record):
            broken["now"] = generation == 2 and broken.get("ever")

    def search(**options):
        task = tiny_task(metric=Metric(metric, "share"))
        options = {"population": 8, "generations": 4, "finalise_count": 0, "seed": 1, **options}
        return compress(task, callback=Breaks(), **options)

    untouched = search()
    broken["ever"] = True
    with pytest.raises(EvaluationError, match=r"8 of them: OSError: the labels' disk is gone"):
        search(checkpoint=tmp_path)
    broken.clear()
    # Had the failures gone into the journal, they would be taken from it now.
    assert search(checkpoint=tmp_path, resume=True).digest() == untouched.digest()
