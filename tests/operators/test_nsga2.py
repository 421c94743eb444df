"""Ours against DEAP's own `selNSGA2`, which is slow and obvious."""

import functools
import math
import random

import numpy as np
import pytest
from deap import base, tools
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.operators import selNSGA2


@functools.cache
def fitness_class(weights):
    return type("AnyFitness", (base.Fitness,), {"weights": weights})


class Individual:
    def __init__(self, values, weights=None):
        self.fitness = fitness_class(weights or (1.0,) * len(values))(values)


def forget_crowding(population):
    for individual in population:
        vars(individual.fitness).pop("crowding_dist", None)


def outcome(select, population, k):
    """Who is selected, in order, and everyone's crowding distance, None where it is not set."""
    forget_crowding(population)
    chosen = [id(individual) for individual in select(population, k)]
    return chosen, [getattr(i.fitness, "crowding_dist", None) for i in population]


weights_of = st.lists(st.sampled_from([1.0, -1.0, -0.7, 3]), min_size=1, max_size=4).map(tuple)


@st.composite
def tie_free_populations(draw):
    weights = draw(weights_of)
    n = draw(st.integers(1, 40))
    column = st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n, unique=True)
    columns = [draw(column) for _ in weights]
    return [Individual(values, weights) for values in zip(*columns, strict=True)]


@st.composite
def populations_with_ties(draw):
    weights = draw(weights_of)
    point = st.tuples(*[st.integers(0, 3) for _ in weights])
    everyone = [Individual(v, weights) for v in draw(st.lists(point, min_size=1, max_size=30))]
    return everyone + draw(st.lists(st.sampled_from(everyone), max_size=5))


@given(tie_free_populations(), st.integers(0, 45))
def test_it_picks_whom_deap_picks_in_the_same_order(population, k):
    assert outcome(selNSGA2, population, k) == outcome(tools.selNSGA2, population, k)


@given(populations_with_ties(), st.integers(0, 40))
def test_ties_and_repeated_individuals_come_as_deap_has_them(population, k):
    assert outcome(selNSGA2, population, k) == outcome(tools.selNSGA2, population, k)


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [1, 150, 299, 300])
def test_larger_populations_come_as_deap_has_them(n_objectives, k):
    rng = np.random.default_rng(n_objectives)
    population = [Individual(v) for v in rng.standard_normal((300, n_objectives)).tolist()]
    assert outcome(selNSGA2, population, k) == outcome(tools.selNSGA2, population, k)


def test_fronts_of_many_members_come_as_deap_has_them():
    # Each of the second front is dominated by one of the first, anywhere in it.
    n = 400
    values = [(i - drop, n - i - drop) for i in range(n) for drop in (0.0, 0.25)]
    random.Random(3).shuffle(values)
    population = [Individual(v) for v in values]
    assert outcome(selNSGA2, population, 700) == outcome(tools.selNSGA2, population, 700)


def test_better_fronts_come_first_and_the_ends_of_the_last_are_kept():
    best, left, middle, crowded, right = (
        Individual(v) for v in [(9, 9), (0, 8), (4, 4), (4.1, 3.9), (8, 0)]
    )
    assert selNSGA2([crowded, left, middle, right, best], 4) == [best, left, right, middle]


def test_a_stock_tournament_on_crowding_works_afterwards():
    random.seed(0)
    population = [Individual((i % 7, i % 5)) for i in range(20)]
    assert len(tools.selTournamentDCD(selNSGA2(population, 20), 20)) == 20


def test_values_are_left_as_they_are():
    population = [Individual((float(i), float(-i)), (1.0, -1.0)) for i in range(6)]
    before = list(population)
    selNSGA2(population, 3)
    assert population == before
    assert [i.fitness.values for i in population] == [(float(i), float(-i)) for i in range(6)]


def test_a_range_beyond_the_largest_double_counts_for_nothing():
    population = [Individual(v) for v in [(-1e308, 2.0), (0.0, 1.0), (1e308, 0.0)]]
    selNSGA2(population, 3)
    assert [i.fitness.crowding_dist for i in population] == [math.inf, 0.5, math.inf]


@pytest.mark.parametrize("k", [0, 1])
def test_nobody_is_selected_from_nobody(k):
    assert selNSGA2([], k) == []


def test_a_negative_number_is_refused():
    with pytest.raises(ArgumentError, match="k: expected a whole number of at least 0, got -1"):
        selNSGA2([Individual((1.0, 2.0))], -1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_by_the_individual(bad):
    population = [Individual((1.0, 2.0)), Individual((2.0, bad)), Individual((bad, bad))]
    match = rf"individuals\[1\]\.fitness\.wvalues: expected finite values, got \(2\.0, {bad}\)"
    with pytest.raises(ArgumentError, match=match):
        selNSGA2(population, 2)


@pytest.mark.parametrize("index", [0, 2])
def test_individuals_that_were_not_evaluated_are_refused(index):
    population = [Individual((1.0, 2.0)) for _ in range(3)]
    del population[index].fitness.values
    match = rf"individuals\[{index}\].* expected one value for each of 2 objectives, got \(\)"
    with pytest.raises(ArgumentError, match=match):
        selNSGA2(population, 2)
