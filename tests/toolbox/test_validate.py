"""Figures on the whole validation data, for individuals that were scored on one batch."""

from copy import deepcopy

import pytest
from deap import algorithms, tools

from ecomp_deap import make_toolbox


def test_validation_is_the_scorers_and_changes_nothing(tiny_task):
    toolbox = make_toolbox(tiny_task())
    population, _ = algorithms.eaMuPlusLambda(
        toolbox.population(n=8), toolbox, 8, 8, 0.7, 0.3, 2, verbose=False
    )
    before = deepcopy(population)
    found = toolbox.validate(population)
    scorer = toolbox.evaluator.scorer(toolbox.evaluator.task.splits.validation)
    assert found == [scorer.score(toolbox.compile(i), i.widths) for i in population]
    assert population == before
    assert [i.measurement for i in population] == [i.measurement for i in before]
    assert toolbox.generation == 2


def test_validation_of_a_front_is_less_lucky_than_its_batches(tiny_task):
    toolbox = make_toolbox(tiny_task(), objectives=("accuracy", "param_count"))
    front = tools.ParetoFront()
    algorithms.eaMuPlusLambda(
        toolbox.population(n=16), toolbox, 16, 16, 0.7, 0.3, 8, halloffame=front, verbose=False
    )
    claimed = sum(individual.measurement["accuracy"] for individual in front) / len(front)
    held = sum(found["accuracy"] for found in toolbox.validate(front)) / len(front)
    assert held < claimed


def test_no_individuals_no_figures(tiny_task):
    assert make_toolbox(tiny_task()).validate([]) == []


@pytest.mark.parametrize("selection", ["nsga2", "nsga3", "spea2"])
def test_mere_copies_do_not_take_over(tiny_task, selection):
    # With cxpb + mutpb < 1 DEAP's varOr puts the very same objects into the offspring.
    toolbox = make_toolbox(tiny_task(), selection=selection)
    population, _ = algorithms.eaMuPlusLambda(
        toolbox.population(n=12), toolbox, 12, 12, 0.4, 0.1, 6, verbose=False
    )
    assert len({id(individual) for individual in population}) == 12
