"""DEAP's creator: types made once, never rebound; and what DEAP's fitness does with them."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from deap import base, creator, tools

import ecomp_deap.toolbox.types
from ecomp_deap import MaskGenome, make_toolbox
from ecomp_deap.measurement import Measurement


def test_two_toolboxes_share_their_types(tiny_task):
    one, other = make_toolbox(tiny_task()), make_toolbox(tiny_task(), seed=9)
    assert one.individual_class is other.individual_class
    assert issubclass(one.individual_class, MaskGenome)


def test_other_signs_or_genomes_make_other_types(tiny_task):
    types = {
        make_toolbox(tiny_task(), **options).individual_class
        for options in (
            {},
            {"genome": "weights"},
            {"selection": "roulette"},
            {"objectives": ("param_count", "accuracy")},
        )
    }
    assert len(types) == 4


def test_importing_again_makes_nothing_anew():
    before = {name: getattr(creator, name) for name in dir(creator) if name.startswith("Ecomp")}
    assert before
    importlib.reload(ecomp_deap.toolbox.types)
    assert {name: getattr(creator, name) for name in before} == before


def test_a_taken_name_is_an_error(tiny_task, monkeypatch):
    class Other(base.Fitness):
        weights = (1.0,)

    monkeypatch.setattr(creator, "EcompFitnessMinMin", Other, raising=False)
    with pytest.raises(RuntimeError, match="EcompFitnessMinMin exists already and is something"):
        make_toolbox(tiny_task(), objectives=("relative_width", "mac_count"))


def test_a_name_taken_with_other_weights_is_an_error(tiny_task, monkeypatch):
    monkeypatch.delattr(creator, "EcompFitnessMinMin", raising=False)
    creator.create("EcompFitnessMinMin", base.Fitness, weights=(-1.0, -0.5))
    try:
        with pytest.raises(RuntimeError, match="EcompFitnessMinMin exists already"):
            make_toolbox(tiny_task(), objectives=("relative_width", "mac_count"))
    finally:
        del creator.EcompFitnessMinMin


@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_individuals_survive_pickling_and_other_toolboxes_can_still_be_made(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome=genome)
    population = toolbox.population(n=2)
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
    for individual in population:
        # Reading this rebinds creator's names.
        back = pickle.loads(pickle.dumps(individual))
        assert back == individual
        assert back.fitness.values == individual.fitness.values
        assert back.measurement == individual.measurement
        assert back.batch == 0
    for options in ({"genome": "mask"}, {"genome": "weights"}, {"selection": "roulette"}):
        make_toolbox(tiny_task(), **options)


def test_pickled_individuals_are_read_by_a_new_process(tiny_task, tmp_path):
    toolbox = make_toolbox(tiny_task(), selection="tournament")
    (individual,) = toolbox.population(n=1)
    individual.fitness.values = toolbox.evaluate(individual)
    path = tmp_path / "individual.pickle"
    path.write_bytes(pickle.dumps(individual))
    code = (
        "import pickle, sys, ecomp_deap.toolbox\n"
        "individual = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(individual.widths, individual.fitness.values[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(ecomp_deap.__file__).parents[1],
    )
    assert done.stdout.strip() == f"{individual.widths} {individual.fitness.values[0]}"


def test_weights_are_plus_or_minus_one_and_values_read_back_bit_equal(tiny_task):
    toolbox = make_toolbox(tiny_task(), objectives=("accuracy", "similarity_loss", "mac_count"))
    assert toolbox.individual_class([[True]]).fitness.weights == (1.0, -1.0, -1.0)
    population = toolbox.population(n=4)
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
        assert individual.fitness.values == values
        assert individual.measurement["similarity_loss"] == values[1]


def test_why_weights_are_signs_only():
    class Zero(base.Fitness):
        weights = (0.0,)

    class Fraction(base.Fitness):
        weights = (0.3,)

    with pytest.raises(ZeroDivisionError, match="division by zero"):
        _ = Zero((1.0,)).values
    read = [Fraction((value / 7,)).values[0] == value / 7 for value in range(1, 100)]
    assert not all(read)


def test_why_several_objectives_need_more_than_a_comparison(tiny_task):
    # DEAP compares lexicographically: a hair of accuracy outweighs any number of parameters.
    fitness = type(make_toolbox(tiny_task()).population(n=1)[0].fitness)
    hair, small = fitness((0.9000001, 30.0, 1e9)), fitness((0.9, 0.0, 1.0))
    assert hair > small
    individuals = [creator.EcompMaskGenomeMaxMinMin([[True]]) for _ in range(2)]
    for individual, values in zip(individuals, ((0.91, 30.0, 1e9), (0.9, 0.0, 1.0)), strict=True):
        individual.fitness.values = values
    assert tools.selBest(individuals, 1)[0] is individuals[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["metric", "similarity_loss", "relative_width"])
def test_a_number_that_is_not_finite_never_enters(name, value):
    numbers = {
        "metric": 0.5,
        "similarity_loss": 0.1,
        "relative_width": 0.5,
        "param_count": 10,
        "mac_count": 10,
        "size_bytes": 40,
    }
    Measurement(**numbers)
    with pytest.raises(ValueError, match="expected a finite number"):
        Measurement(**{**numbers, name: value})
