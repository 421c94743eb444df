"""Same seed, same run, whatever a user's code draws meanwhile."""

import random

import numpy as np
import pytest
from deap import tools

from ecomp_deap import make_toolbox
from tests.toolbox.runs import FITTING, disturb, plus, trace

TRAINING = [{}, {"train_steps": 2, "inherit": True}]


def disturbed(function):
    def wrapper(*args, **kargs):
        disturb()
        result = function(*args, **kargs)
        disturb()
        return result

    return wrapper


@pytest.mark.parametrize(("loop", "selection"), FITTING)
@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_same_seed_same_run(loop, selection, genome, tiny_task):
    found = []
    for _ in range(2):
        disturb()
        toolbox = make_toolbox(tiny_task(), genome=genome, selection=selection, seed=4)
        disturb()
        found.append(trace(toolbox, loop))
    assert found[0] == found[1]


@pytest.mark.parametrize("training", TRAINING)
@pytest.mark.parametrize("selection", ["nsga2", "nsga3"])
def test_draws_while_children_are_evaluated_change_nothing(selection, training, tiny_task):
    quiet = make_toolbox(tiny_task(**training), selection=selection)
    noisy = make_toolbox(tiny_task(**training), selection=selection)
    noisy.decorate("evaluate", disturbed)
    noisy.decorate("map", disturbed)
    found = trace(noisy, plus)
    assert found == trace(quiet, plus)
    assert quiet.counters.rescored > 0


def test_draws_between_two_generations_change_only_what_they_precede(tiny_task):
    # After a map the streams stand where the seed puts them, so a later one is as it was.
    states = []
    for draws in (0, 5):
        toolbox = make_toolbox(tiny_task())
        for _ in range(2):
            population = toolbox.population(n=3)
            toolbox.map(toolbox.evaluate, population)
            states.append((random.random(), np.random.random()))  # noqa: NPY002
            for _ in range(draws):
                disturb()
    assert states[:2] == states[2:]
    assert states[0] != states[1]


@pytest.mark.parametrize("selection", ["roulette", "nsga2"])
def test_another_seed_gives_another_run(selection, tiny_task):
    one, other = (
        trace(make_toolbox(tiny_task(), selection=selection, seed=seed)) for seed in (0, 1)
    )
    assert one[0] != other[0]
    assert one[2] != other[2]


def test_training_is_seeded_by_the_run(tiny_task):
    found = {}
    for seed in (0, 0, 1):
        run = trace(make_toolbox(tiny_task(train_steps=2, inherit=True), seed=seed))
        assert found.setdefault(seed, run) == run
    assert found[0][0] != found[1][0]


def test_individuals_made_one_by_one_follow_the_seed_too(tiny_task):
    keys = []
    for disturbance in (1, 2):
        random.seed(disturbance)
        toolbox = make_toolbox(tiny_task(), seed=5, importance="random")
        population = tools.initRepeat(list, toolbox.individual, 6)
        keys.append([individual.key() for individual in population])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) > 1
