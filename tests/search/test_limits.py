"""Searches with limits: whoever keeps them comes first, under every selection and loop."""

import numpy as np
import pytest
from deap import tools

from ecomp_deap import compress, evolve, make_toolbox
from ecomp_deap.errors import ArgumentError, EcompError
from tests.toolbox.runs import FITTING, plus

SMALL = {"population": 8, "generations": 3, "finalise_count": 1, "finalise_epochs": 1}
# The parent has 451 parameters; pruned by 0.8 it has 82.
TIGHT = {"max_params": 60}


def evaluated(toolbox, population):
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
    return population


@pytest.mark.parametrize("genome", ["mask", "width", "weights"])
@pytest.mark.parametrize(
    ("limits", "cost", "limit"),
    [
        (TIGHT, "param_count", 60),
        ({"max_macs": 100}, "mac_count", 100),
        ({"max_size_bytes": 1200}, "size_bytes", 1200),
    ],
)
def test_the_whole_front_keeps_the_limit(genome, limits, cost, limit, tiny_task):
    result = compress(tiny_task(**limits), genome=genome, **SMALL)
    assert result.front
    assert all(child.validation[cost] <= limit for child in result.front)
    assert result.best.validation[cost] <= limit
    assert result.parent.validation[cost] > limit
    assert result.parent.validation.violation > 0


@pytest.mark.parametrize("selection", ["roulette", "tournament"])
def test_a_weighted_search_keeps_the_limit(selection, tiny_task):
    result = compress(tiny_task(**TIGHT), selection=selection, loss_weights=(1, 2, 0), **SMALL)
    assert all(child.validation.param_count <= 60 for child in result.front)


def test_the_best_within_the_limits_is_found_again_after_a_weighted_search(tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT), selection="tournament", loss_weights=(1, 2, 0))

    def grow(individual):
        individual.rebind([np.ones(n, bool) for n in toolbox.evaluator.structure.widths])
        return (individual,)

    toolbox.register("mutate", grow)
    options = {**SMALL, "generations": 1, "crossover_rate": 0.0, "mutation_rate": 1.0}
    result = evolve(toolbox, **options)
    assert all(individual.measurement.violation > 0 for individual in result.population)
    assert all(child.validation.violation == 0 for child in result.front)


@pytest.mark.parametrize(("loop", "selection"), FITTING)
def test_stock_loops_end_within_the_limits(loop, selection, tiny_task):
    weights = {"loss_weights": (1, 2, 0)} if selection in ("roulette", "tournament") else {}
    toolbox = make_toolbox(tiny_task(**TIGHT), selection=selection, **weights)
    population, _ = loop(toolbox, toolbox.population(n=8), ngen=4)
    assert sum(individual.measurement.violation == 0 for individual in population) >= 4


def test_roulette_draws_none_beyond_the_limits_while_one_is_within(tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT), loss_weights=(1, 0, 0), selection="roulette")
    population = evaluated(toolbox, toolbox.population(n=10))
    beyond = [i for i in population if i.measurement.violation]
    assert 0 < len(beyond) < 10
    assert not any(i.measurement.violation for i in toolbox.select(population, 50))
    # Of those beyond, everyone has a chance.
    assert len({id(i) for i in toolbox.select(beyond, 50)}) > 1


@pytest.mark.parametrize("select", [tools.selNSGA2, tools.selSPEA2])
def test_deaps_selections_take_those_within_the_limits_first(select, tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT))
    population = evaluated(toolbox, toolbox.population(n=10))
    within = {id(i) for i in population if i.measurement.violation == 0}
    assert 0 < len(within) < 10
    assert {id(i) for i in select(population, len(within))} == within
    beyond = [i for i in population if id(i) not in within]
    least = min(i.measurement.violation for i in beyond)
    assert select(beyond, 1)[0].measurement.violation == least


def test_a_tournament_is_won_by_who_keeps_the_limits(tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT), loss_weights=(1, 0, 0), selection="tournament")
    population = evaluated(toolbox, toolbox.population(n=6))
    chosen = tools.selTournament(population, 6, tournsize=50)
    assert all(individual.measurement.violation == 0 for individual in chosen)


def test_deaps_pareto_front_holds_none_beyond_the_limits(tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT))
    front = tools.ParetoFront()
    plus(toolbox, toolbox.population(n=8), halloffame=front)
    assert all(individual.measurement.violation == 0 for individual in front)
    assert all(found.violation == 0 for found in toolbox.validate(front))


@pytest.mark.parametrize("limit", [25, 60, 150, 400])
@pytest.mark.parametrize("genome", ["mask", "width", "weights"])
def test_half_of_the_first_population_keeps_the_limits(limit, genome, tiny_task):
    toolbox = make_toolbox(tiny_task(max_params=limit), genome=genome)
    population = evaluated(toolbox, toolbox.population(n=10))
    assert sum(individual.measurement.violation == 0 for individual in population) >= 5


def test_limits_that_need_no_more_pruning_change_no_first_population(tiny_task):
    free, limited = (
        make_toolbox(tiny_task(**o)).population(n=6) for o in ({}, {"max_params": 440})
    )
    assert [i.key() for i in free] == [i.key() for i in limited]


def test_the_logbook_counts_those_beyond_the_limits(tiny_task):
    result = compress(tiny_task(**TIGHT), **SMALL)
    counted = result.logbook.chapters["population"].select("infeasible")
    assert counted[0] == 4
    assert max(result.logbook.chapters["param_count"].select("max")) <= 60


def test_a_search_without_a_child_within_the_limits_says_how_close_it_came(tiny_task):
    toolbox = make_toolbox(tiny_task(**TIGHT))
    sizes = iter((0.2, 0.3, 0.4, 0.5))
    toolbox.register("population", lambda n: [toolbox.individual(rate=r) for r in sizes])
    with pytest.raises(EcompError, match=r"no child keeps the limits \(max_params=60: the closest"):
        evolve(toolbox, **{**SMALL, "population": 4, "generations": 0})


def test_an_impossible_limit_is_refused_before_the_search(tiny_task):
    with pytest.raises(ArgumentError, match=r"max_params: expected at least 21, .* got 20"):
        compress(tiny_task(max_params=20), **SMALL)


def test_latency_as_an_objective(tiny_task):
    result = compress(tiny_task(), objectives=("accuracy", "latency_ms"), **SMALL)
    for child in (*result.front, result.parent):
        assert child.as_row()["latency_ms"] == child.validation.latency_ms > 0
    assert len(result.generation_latency_ms) == 4
    for figures in result.generation_latency_ms:
        assert 0 < figures["min"] <= figures["mean"] <= figures["max"]
    assert not any("latency" in chapter for chapter in result.logbook.chapters)


def test_latency_as_a_limit(tiny_task):
    result = compress(tiny_task(max_latency_ms=1e6, latency_batch_size=4), **SMALL)
    assert all(0 < child.validation.latency_ms < 1e6 for child in result.front)


def test_what_is_not_timed_has_no_latency(tiny_task):
    result = compress(tiny_task(max_params=440), **SMALL)
    assert result.generation_latency_ms == []
    assert "latency_ms" not in result.best.as_row()
