"""DEAP's own loops run unchanged with everything that a toolbox offers."""

import math

import pytest
from deap import algorithms, tools

from ecomp_deap import make_toolbox, statistics
from tests.toolbox.runs import FITTING, GENERATIONS, SIZE, comma, plus, simple

CHILDREN = [
    ("mask", {}),
    ("weights", {}),
    ("mask", {"train_steps": 1}),
    ("weights", {"train_steps": 1}),
    ("mask", {"train_steps": 1, "inherit": True}),
]
OFFSPRING = {simple: SIZE, plus: SIZE, comma: 2 * SIZE}


@pytest.mark.parametrize("evaluation", ["fresh", "fixed"])
@pytest.mark.parametrize(("genome", "training"), CHILDREN)
@pytest.mark.parametrize(("loop", "selection"), FITTING)
def test_every_fitting_combination_runs(loop, selection, genome, training, evaluation, tiny_task):
    toolbox = make_toolbox(
        tiny_task(evaluation=evaluation, **training), genome=genome, selection=selection
    )
    population = toolbox.population(n=SIZE)
    hall = tools.HallOfFame(3)
    found, logbook = loop(toolbox, population, stats=statistics(), halloffame=hall)
    assert found is population
    assert len(population) == SIZE
    assert toolbox.generation == GENERATIONS
    current = toolbox.evaluator.batch_id(toolbox.generation)
    for individual in population:
        assert individual.batch == current
        assert individual.fitness.values == toolbox.fitness.values(individual.measurement)
        assert all(math.isfinite(value) for value in individual.fitness.values)
        learnt = getattr(individual, "arrays", None) is not None
        assert learnt == training.get("inherit", False)
    assert logbook.select("gen") == [0, 1, 2]
    assert logbook.select("nevals") == [SIZE, *[OFFSPRING[loop]] * GENERATIONS]
    last = logbook.chapters["accuracy"][-1]
    accuracies = [individual.measurement["accuracy"] for individual in population]
    assert last["max"] == max(accuracies)
    assert last["mean"] == pytest.approx(sum(accuracies) / SIZE)
    assert hall[0].fitness.valid


@pytest.mark.parametrize("selection", ["roulette", "nsga2"])
def test_statistics_and_halls_of_fame_work_as_deap_has_them(selection, tiny_task):
    toolbox = make_toolbox(tiny_task(), selection=selection)
    loop = simple if selection == "roulette" else plus
    stats = tools.MultiStatistics(
        fitness=tools.Statistics(lambda i: i.fitness.values[0]),
        units=tools.Statistics(lambda i: sum(i.widths)),
    )
    stats.register("max", max)
    best, front = tools.HallOfFame(2), tools.ParetoFront()
    everyone = []

    class Both:
        """Updates two halls at once, and keeps all that it has seen."""

        def update(self, population):
            everyone.extend(toolbox.fitness.values(i.measurement) for i in population)
            best.update(population)
            front.update(population)

    population, logbook = loop(toolbox, toolbox.population(n=SIZE), stats=stats, halloffame=Both())
    assert logbook.chapters["units"].select("max")[-1] == max(sum(i.widths) for i in population)
    signs = toolbox.fitness.signs

    def wins(a, b):
        pairs = [(s * x, s * y) for s, x, y in zip(signs, a, b, strict=True)]
        return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

    expected = {a for a in everyone if not any(wins(b, a) for b in everyone)}
    assert {i.fitness.values for i in front} == expected
    assert best[0].fitness.wvalues == max(
        tuple(s * v for s, v in zip(signs, values, strict=True)) for values in everyone
    )
    assert all(i.measurement is not None for i in (*best, *front))


def test_plain_statistics_record_tuples_of_one_value_per_objective(tiny_task):
    toolbox = make_toolbox(tiny_task())
    stats = tools.Statistics(lambda individual: individual.fitness.values)
    stats.register("widest", lambda values: max(len(v) for v in values))
    _, logbook = plus(toolbox, toolbox.population(n=SIZE), stats=stats)
    assert logbook.select("widest") == [3, 3, 3]


def test_deaps_own_nsga2_recipe_runs(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=3)
    n = 12
    population = toolbox.population(n=n)
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
    population = toolbox.select(population, n)
    for _ in range(3):
        offspring = [toolbox.clone(i) for i in tools.selTournamentDCD(population, n)]
        for one, two in zip(offspring[::2], offspring[1::2], strict=True):
            toolbox.mate(one, two)
            toolbox.mutate(one)
            toolbox.mutate(two)
            del one.fitness.values, two.fitness.values
        invalid = [i for i in offspring if not i.fitness.valid]
        for individual, values in zip(invalid, toolbox.map(toolbox.evaluate, invalid), strict=True):
            individual.fitness.values = values
        population = toolbox.select(population + offspring, n)
    assert toolbox.generation == 3
    assert {i.batch for i in population} == {3}
    assert all(hasattr(i.fitness, "crowding_dist") for i in population)


def test_reproduction_without_variation_rescores_what_it_passes_on(tiny_task):
    # varOr's reproduction appends the parent object itself, still with its old fitness.
    toolbox = make_toolbox(tiny_task())
    population, logbook = algorithms.eaMuCommaLambda(
        toolbox.population(n=SIZE), toolbox, SIZE, 2 * SIZE, 0.0, 0.0, 2, verbose=False
    )
    assert logbook.select("nevals") == [SIZE, 0, 0]
    assert {i.batch for i in population} == {2}
    assert toolbox.counters.rescored > 0
