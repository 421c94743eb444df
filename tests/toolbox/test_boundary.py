"""The generation boundary: one batch for everyone, scored once, and nothing else."""

import copy
import random

import numpy as np
import pytest
import torch
from deap import algorithms

from ecomp_deap import Evaluator, make_toolbox, statistics
from tests.toolbox.runs import SIZE, comma, evolve, plus, simple

LOOPS = [(simple, "roulette"), (simple, "tournament"), (plus, "nsga2"), (comma, "spea2")]


def score(toolbox, population):
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values


@pytest.mark.parametrize("genome", ["mask", "weights"])
@pytest.mark.parametrize(("loop", "selection"), LOOPS)
def test_everyone_was_scored_on_the_current_batch(loop, selection, genome, tiny_task):
    task = tiny_task()
    toolbox = make_toolbox(task, genome=genome, selection=selection, seed=5)
    population, _ = evolve(toolbox, loop, ngen=3)
    # Nothing of the run's own evaluator is used: it is a function of seed and generation.
    evaluator = Evaluator(task, seed=5)
    inputs, targets = evaluator.context(3).inputs, evaluator.context(3).targets
    outcomes = evaluator.measure([i.plain() for i in population], 3, [0] * SIZE)
    for individual, outcome in zip(population, outcomes, strict=True):
        assert individual.batch == 3
        measured = individual.measurement
        for name, value in outcome.measurement.items():
            assert measured[name] == pytest.approx(value, rel=1e-9), name
        with torch.no_grad():
            right = toolbox.compile(individual)(inputs).argmax(dim=1) == targets
        assert measured["accuracy"] == pytest.approx(right.double().mean().item())


def test_batches_differ_between_generations_and_seeds(tiny_task):
    toolbox, other = (make_toolbox(tiny_task(), seed=seed) for seed in (0, 1))
    batches = {toolbox.evaluator.context(g).inputs.numpy().tobytes() for g in range(5)} | {
        other.evaluator.context(0).inputs.numpy().tobytes()
    }
    assert len(batches) == 6


def test_clones_are_scored_anew_and_their_originals_keep_everything(tiny_task):
    toolbox = make_toolbox(tiny_task())
    (individual,) = population = toolbox.population(n=1)
    score(toolbox, population)
    values, found, key = individual.fitness.values, individual.measurement, individual.key()
    clone = toolbox.clone(individual)
    assert clone == individual
    assert not clone.fitness.valid
    assert clone.measurement is clone.batch is None
    for _ in range(5):
        toolbox.mutate(clone)
        toolbox.mate(clone, toolbox.clone(individual))
    assert (individual.fitness.values, individual.measurement) == (values, found)
    assert individual.batch == 0
    assert individual.key() == key


def test_other_things_are_cloned_as_they_are(tiny_task):
    toolbox = make_toolbox(tiny_task())
    things = [1, {"a": [2]}]
    cloned = toolbox.clone(things)
    assert cloned == things
    assert cloned[1] is not things[1]


def test_simple_loop_scores_every_clone_and_rescores_nobody(tiny_task):
    toolbox = make_toolbox(tiny_task(), selection="roulette", genome="weights")
    _, logbook = algorithms.eaSimple(
        toolbox.population(n=SIZE), toolbox, 0.0, 0.0, 3, verbose=False
    )
    assert logbook.select("nevals") == [SIZE] * 4
    assert toolbox.counters.evaluations == 4 * SIZE
    assert toolbox.counters.rescored == 0


def test_plus_loop_keeps_parents_that_are_better_than_all_offspring(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights")

    def spoil(individual):
        name, (weight, bias) = list(individual.layers.items())[-1]
        individual.rebind({**individual.layers, name: (np.full_like(weight, np.inf), bias)})
        return (individual,)

    toolbox.register("mutate", spoil)
    toolbox.register("mate", lambda one, two: (*spoil(one), *spoil(two)))
    population = toolbox.population(n=SIZE)
    founders = {id(individual) for individual in population}
    # Few enough are varied that the search is not stopped.
    found, _ = algorithms.eaMuPlusLambda(
        population, toolbox, SIZE, SIZE // 2, 0.7, 0.3, 4, verbose=False
    )
    assert {id(individual) for individual in found} == founders
    assert {individual.batch for individual in found} == {4}
    assert toolbox.counters.rescored == 4 * SIZE
    assert toolbox.counters.failed > 0


def test_plus_loop_compares_parents_by_their_new_figures(tiny_task):
    toolbox = make_toolbox(tiny_task())
    pools = []

    def watched(select):
        def function(individuals, k):
            pools.append([(i.batch, i.fitness.values, i.measurement) for i in individuals])
            return select(individuals, k)

        return function

    toolbox.decorate("select", watched)
    evolve(toolbox, plus, ngen=3)
    assert len(pools) == 3
    for generation, pool in enumerate(pools, start=1):
        assert len(pool) == 2 * SIZE
        for batch, values, measurement in pool:
            assert batch == generation
            assert values == toolbox.fitness.values(measurement)


def test_a_fixed_evaluation_never_rescores(tiny_task):
    toolbox = make_toolbox(tiny_task(evaluation="fixed"))
    population, rows = evolve(toolbox, plus, ngen=3)
    counters = toolbox.counters
    assert counters.rescored == 0
    assert counters.evaluations + counters.duplicates == sum(row["nevals"] for row in rows)
    assert {individual.batch for individual in population} == {0}
    contexts = [toolbox.evaluator.context(g).inputs for g in (0, 1, 7)]
    assert torch.equal(contexts[0], contexts[1])
    assert torch.equal(contexts[0], contexts[2])


def test_counters_add_up_with_a_fresh_batch(tiny_task):
    toolbox = make_toolbox(tiny_task())
    _, rows = evolve(toolbox, plus, ngen=3)
    counters = toolbox.counters
    assert counters.rescored > 0
    scored = sum(row["nevals"] for row in rows) + counters.rescored
    assert counters.evaluations + counters.duplicates == scored
    assert counters.failed == 0


@pytest.mark.parametrize("training", [{}, {"train_steps": 2}, {"train_steps": 2, "inherit": True}])
def test_equal_genomes_are_measured_once_and_get_the_same(training, tiny_task):
    toolbox = make_toolbox(tiny_task(**training))
    one, other = toolbox.population(n=2)
    population = [one, other, toolbox.clone(one), toolbox.clone(other), toolbox.clone(one)]
    score(toolbox, population)
    assert (toolbox.counters.evaluations, toolbox.counters.duplicates) == (2, 3)
    assert statistics().compile(population)["population"] == {
        "failed": 0,
        "infeasible": 0,
        "duplicates": 3,
    }
    assert one.measurement == population[2].measurement == population[4].measurement
    assert other.measurement == population[3].measurement != one.measurement
    if training.get("inherit"):
        assert one == population[4]
        assert one.arrays is not None


def test_weights_that_train_are_measured_once_as_well(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=1), genome="weights")
    (one,) = toolbox.population(n=1)
    population = [one, toolbox.clone(one)]
    score(toolbox, population)
    assert toolbox.counters.duplicates == 1
    assert population[0].measurement == population[1].measurement


def test_a_map_of_another_function_passes_through(tiny_task):
    toolbox = make_toolbox(tiny_task())
    state = random.getstate()
    assert list(toolbox.map(pow, [2, 3], [3, 2])) == [8, 9]
    assert toolbox.generation == -1
    assert random.getstate() == state


def test_evaluate_alone_scores_on_the_current_batch(tiny_task):
    toolbox = make_toolbox(tiny_task())
    population = toolbox.population(n=3)
    alone = copy.deepcopy(population)
    score(toolbox, population)
    before = toolbox.evaluate(alone[1])
    assert before == population[1].fitness.values
    assert alone[1].batch == 0
    score(toolbox, [toolbox.clone(i) for i in population])
    assert toolbox.generation == 1
    assert toolbox.evaluate(alone[1]) != before
    assert alone[1].batch == 1


def test_pythons_own_map_over_evaluate_works(tiny_task):
    toolbox = make_toolbox(tiny_task())
    population = toolbox.population(n=4)
    values = list(map(toolbox.evaluate, population))
    score(toolbox, population)
    assert [i.fitness.values for i in population] == values
    assert toolbox.generation == 0
