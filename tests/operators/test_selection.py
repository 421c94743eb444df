import math
import random

import numpy as np
import pytest
from deap import base, tools
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError, SelectionError
from ecomp_deap.measurement import Measurement
from ecomp_deap.operators import check_pairing, selNSGA2, selSoftmaxRoulette
from ecomp_deap.operators.selection import make_selection


class Maximised(base.Fitness):
    weights = (1.0,)


class Minimised(base.Fitness):
    weights = (-1.0,)


class Individual:
    def __init__(self, value, *, failed=False, fitness=Maximised):
        self.fitness = fitness((value,))
        self.measurement = Measurement(0.5, 0.1, 0.5, 10, 10, 40, failed=failed)


def frequencies(individuals, *, k=20_000, **options):
    random.seed(11)
    chosen = selSoftmaxRoulette(individuals, k, **options)
    ids = [id(individual) for individual in chosen]
    return np.array([ids.count(id(individual)) / k for individual in individuals])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_frequencies_follow_the_softmax_of_fitness(temperature):
    values = np.array([-1.5, 0.0, 0.3, 1.0])
    found = frequencies([Individual(v) for v in values], temperature=temperature)
    expected = np.exp(values / temperature) / np.exp(values / temperature).sum()
    # Chi-square with 3 degrees of freedom, p = 0.001.
    assert (20_000 * (found - expected) ** 2 / expected).sum() < 16.27


def test_a_constant_added_to_every_fitness_changes_nothing():
    near, far = ([Individual(v + shift) for v in (0.0, 1.0, 2.0)] for shift in (0.0, -512.0))
    np.testing.assert_array_equal(frequencies(near, k=500), frequencies(far, k=500))


@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("values", [(1e308, -1e308, 0.0), (-1e308, -1e308), (1e5, 1e5 - 1)])
def test_huge_fitness_is_taken(values, temperature):
    individuals = [Individual(v) for v in values]
    found = frequencies(individuals, k=100, temperature=temperature)
    assert found[0] > 0
    assert found.sum() == pytest.approx(1)


def test_a_minimised_value_is_selected_for_the_smallest():
    individuals = [Individual(v, fitness=Minimised) for v in (0.0, 30.0)]
    assert frequencies(individuals, k=100)[0] == 1


def test_failed_individuals_are_left_out_while_one_is_sound():
    failed = [Individual(1e6, failed=True) for _ in range(5)]
    found = frequencies([*failed, Individual(-1e6)], k=100)
    assert found[-1] == 1
    assert frequencies(failed, k=1000).min() > 0


def test_individuals_without_a_measurement_are_sound():
    individual = Individual(0.0)
    del individual.measurement
    assert selSoftmaxRoulette([individual], 2) == [individual, individual]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8), st.integers(0, 20), st.integers())
def test_k_individuals_come_from_the_population_and_follow_the_seed(values, k, seed):
    individuals = [Individual(v) for v in values]
    found = []
    for _ in range(2):
        random.seed(seed)
        found.append([id(i) for i in selSoftmaxRoulette(individuals, k)])
    assert found[0] == found[1]
    assert len(found[0]) == k
    assert set(found[0]) <= {id(i) for i in individuals}
    assert [i.fitness.values for i in individuals] == [(v,) for v in values]


def test_nobody_to_select_from_is_an_error():
    with pytest.raises(ArgumentError, match="individuals: expected at least one"):
        selSoftmaxRoulette([], 1)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_the_temperature_must_be_positive(temperature):
    with pytest.raises(ArgumentError, match="temperature: expected a finite number greater than 0"):
        selSoftmaxRoulette([Individual(0.0)], 1, temperature=temperature)


lexicographic = [
    selSoftmaxRoulette,
    tools.selBest,
    tools.selDoubleTournament,
    tools.selRoulette,
    tools.selStochasticUniversalSampling,
    tools.selTournament,
    tools.selWorst,
]


@pytest.mark.parametrize("function", lexicographic)
def test_what_compares_one_value_is_refused_for_several(function):
    with pytest.raises(SelectionError, match=f"{function.__name__}.*'nsga2', 'nsga3' or 'spea2'"):
        check_pairing(function, 2)
    check_pairing(function, 1)


@pytest.mark.parametrize(
    "function",
    [selNSGA2, tools.selNSGA2, tools.selNSGA3, tools.selSPEA2, tools.selTournamentDCD],
)
def test_what_ranks_objectives_is_refused_for_one_value(function):
    with pytest.raises(SelectionError, match=f"{function.__name__}.*'roulette' or 'tournament'"):
        check_pairing(function, 1)
    check_pairing(function, 3)


@pytest.mark.parametrize("n_values", [1, 3])
def test_anything_else_suits_any_fitness(n_values):
    check_pairing(tools.selRandom, n_values)
    check_pairing(lambda individuals, k: individuals[:k], n_values)


def test_an_unknown_selection_is_refused_with_the_known_ones():
    with pytest.raises(ArgumentError, match=r"selection: expected one of .*'nsga2'.* got 'best'"):
        make_selection("best", 3)


def test_nsga2_is_the_one_of_this_package():
    assert make_selection("nsga2", 2) == (selNSGA2, {})


@pytest.mark.parametrize(("n_objectives", "n_points"), [(2, 13), (3, 91), (5, 70)])
def test_reference_points_lie_on_the_simplex(n_objectives, n_points):
    function, options = make_selection("nsga3", n_objectives)
    assert function is tools.selNSGA3
    points = options["ref_points"]
    assert points.shape == (n_points, n_objectives)
    np.testing.assert_allclose(points.sum(axis=1), 1)
