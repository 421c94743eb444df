"""Children that cannot be measured: finite worst values, a flag, and no place among the sound."""

import math

import numpy as np
import pytest

from ecomp_deap import Metric, Recipe, make_toolbox, statistics
from ecomp_deap.fitness import OBJECTIVES
from ecomp_deap.search.archive import Archive
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import accuracy
from tests.toolbox.runs import SIZE, evolve, plus


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
    score(toolbox, population)
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
    score(toolbox, population)
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


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("selection", ["nsga2", "nsga3", "spea2"])
def test_a_run_with_many_failed_children_ends(selection, share, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights", selection=selection)
    calls = []

    def sometimes(individual):
        calls.append(individual)
        return spoil(individual) if len(calls) % 2 < 2 * share else (individual,)

    toolbox.register("mutate", sometimes)
    toolbox.register("mate", lambda one, two: (*sometimes(one), *sometimes(two)))
    population, rows = evolve(toolbox, plus, size=12, ngen=5)
    assert toolbox.counters.failed > 10
    assert not any(individual.measurement.failed for individual in population)
    assert all(row["population_failed"] == 0 for row in rows)


def test_a_run_whose_parents_all_failed_ends(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights")
    population = toolbox.population(n=SIZE)
    for individual in population:
        spoil(individual)
    toolbox.register("population", lambda n: population)
    found, rows = evolve(toolbox, plus, ngen=2)
    assert rows[0]["population_failed"] == SIZE
    assert rows[0]["accuracy_mean"] is None
    assert len(found) == SIZE
