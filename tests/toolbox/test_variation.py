"""Mutations and crossovers by name, throughout searches by DEAP's own loop."""

import numpy as np
import pytest

from ecomp_deap import make_toolbox
from ecomp_deap.defaults import LEARNT, MUTATIONS
from ecomp_deap.errors import ArgumentError
from tests.toolbox.runs import evolve, trace

EACH = [(g, name) for g in ("mask", "width") for name in MUTATIONS[g]]


@pytest.mark.parametrize(("genome", "mutation"), EACH)
def test_widths_stay_allowed_by_every_mutation(genome, mutation, tiny_task):
    task = tiny_task(round_to=4, min_units={"layer_1_linear": 5}, prune_inputs=True)
    toolbox = make_toolbox(task, genome=genome, mutation=mutation, seed=3)
    population, _ = evolve(toolbox, size=12, ngen=4)
    for individual in population:
        for group, width in zip(toolbox.evaluator.structure.groups, individual.widths, strict=True):
            assert width in group.allowed
    assert len({individual.widths for individual in population}) > 3


@pytest.mark.parametrize("learnt", LEARNT)
@pytest.mark.parametrize("mutation", MUTATIONS["mask"])
def test_same_seed_same_search_with_what_was_learnt(mutation, learnt, tiny_task):
    def run(seed):
        task = tiny_task(inherit=True, train_steps=2, prune_inputs=True)
        return trace(make_toolbox(task, mutation=mutation, learnt=learnt, seed=seed))

    assert run(5) == run(5) != run(6)


def test_choices_of_weights_make_different_children(tiny_task):
    task = tiny_task(inherit=True, train_steps=5)
    found = {
        learnt: trace(make_toolbox(task, learnt=learnt, seed=5))[0] for learnt in (None, *LEARNT)
    }
    assert found[None] == found[LEARNT[0]]
    assert found["either"] != found["mean"]


@pytest.mark.parametrize("genome", ["mask", "width"])
def test_mutations_by_name_are_different(genome, tiny_task):
    def mutants(mutation):
        toolbox = make_toolbox(tiny_task(), genome=genome, mutation=mutation, seed=5)
        population = toolbox.population(n=20)
        return tuple(toolbox.mutate(individual)[0].key() for individual in population)

    names = MUTATIONS[genome]
    assert mutants(None) == mutants(names[0])
    assert len({mutants(name) for name in names}) == len(names)


def test_moves_of_the_mix_keep_the_number_of_parameters(tiny_task):
    toolbox = make_toolbox(tiny_task(prune_inputs=True), mutation="mixed", seed=5)
    cost, moves = toolbox.evaluator.cost_model, 0
    for _ in range(300):
        individual = toolbox.individual(0.5)
        before = individual.widths
        (mutant,) = toolbox.mutate(individual)
        signs = np.sign(np.subtract(mutant.widths, before)).tolist()
        if sorted(signs) == [-1, 0, 1]:
            moves += 1
            assert abs(cost(mutant.widths).param_count / cost(before).param_count - 1) < 0.5
    assert moves > 10


@pytest.mark.parametrize("inherit", [True, False])
def test_noise_is_in_the_mix_where_children_keep_what_they_learnt(inherit, tiny_task):
    task = tiny_task(inherit=inherit, train_steps=1)
    toolbox = make_toolbox(task, mutation="mixed", seed=5)
    population = toolbox.population(n=2)
    toolbox.map(toolbox.evaluate, population)
    masks = population[0].masks
    noisy = 0
    for _ in range(100):
        (mutant,) = toolbox.mutate(toolbox.clone(population[0]))
        same = all(np.array_equal(a, b) for a, b in zip(mutant.masks, masks, strict=True))
        noisy += same and mutant.key() != population[0].key()
    assert (noisy > 0) == inherit


@pytest.mark.parametrize(
    ("task_options", "options", "message"),
    [
        ({}, {"mutation": "steps"}, r"mutation: expected one of \(.*\) for genome='mask', got"),
        ({}, {"genome": "width", "mutation": "flips"}, r"mutation: .* for genome='width', got 'f"),
        ({}, {"genome": "weights", "mutation": "mixed"}, r"mutation: .* genome='weights', got 'm"),
        ({}, {"learnt": "mean"}, "learnt: expected inherit=True to go with it"),
        (
            {"inherit": True, "train_steps": 1},
            {"learnt": "best"},
            r"learnt: expected one of \('either', 'mean', 'aligned'\), got 'best'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(task_options, options, message, tiny_task):
    with pytest.raises(ArgumentError, match=message):
        make_toolbox(tiny_task(**task_options), **options)
