"""Children that take gradient steps before they are scored."""

import numpy as np
import pytest
import torch

from ecomp_deap import Recipe, Task, make_toolbox
from tests.toolbox.runs import SIZE, comma, evolve, plus, simple


class Recorder:
    """A task's forward that notes which samples are trained on and which are scored on."""

    def __init__(self):
        self.toolbox = None
        self.seen = {}
        self.training_steps = 0

    def __call__(self, module, inputs):
        if self.toolbox is not None:
            kind = "training" if module.training else "scoring"
            self.training_steps += module.training
            rows = self.seen.setdefault((self.toolbox.generation, kind), set())
            rows.update(row.tobytes() for row in inputs.numpy())
        return module(inputs)


@pytest.fixture
def recorded(tiny_task):
    def make(loop, *, selection="nsga2", ngen=3, **options):
        recorder = Recorder()
        toolbox = make_toolbox(tiny_task(forward=recorder, **options), selection=selection)
        recorder.toolbox = toolbox
        population, _ = evolve(toolbox, loop, ngen=ngen)
        recorder.toolbox = None
        return recorder, toolbox, population

    return make


@pytest.mark.parametrize("evaluation", ["fresh", "fixed"])
@pytest.mark.parametrize("inherit", [False, True])
@pytest.mark.parametrize(
    ("loop", "selection"), [(plus, "nsga2"), (comma, "nsga2"), (simple, "roulette")]
)
def test_nobody_is_scored_on_what_it_trained_on(loop, selection, inherit, evaluation, recorded):
    recorder, _, _ = recorded(
        loop, selection=selection, train_steps=4, inherit=inherit, evaluation=evaluation
    )
    for generation in range(4):
        trained = recorder.seen[generation, "training"]
        scored = recorder.seen[generation, "scoring"]
        assert len(scored) == 30
        assert len(trained) == 120
        assert not trained & scored


def test_survivors_that_keep_what_they_learnt_are_not_trained_again(recorded):
    recorder, toolbox, population = recorded(plus, train_steps=2, inherit=True)
    counters = toolbox.counters
    assert counters.rescored > 0
    offspring = 4 * SIZE - counters.duplicates
    assert recorder.training_steps == 2 * offspring
    assert all(individual.arrays is not None for individual in population)


def test_survivors_that_forget_are_trained_again(recorded):
    recorder, toolbox, _ = recorded(plus, train_steps=2)
    assert toolbox.counters.rescored > 0
    assert recorder.training_steps == 2 * toolbox.counters.evaluations


def test_rescoring_changes_no_learnt_array(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=3, inherit=True))
    population = toolbox.population(n=4)

    def score(individuals):
        for individual, values in zip(
            individuals, toolbox.map(toolbox.evaluate, individuals), strict=True
        ):
            individual.fitness.values = values

    score(population)
    learnt = [{n: a.copy() for n, a in i.arrays.items()} for i in population]
    before = [individual.measurement for individual in population]
    score([toolbox.clone(individual) for individual in population])
    chosen = toolbox.select(population, 3)
    assert {individual.batch for individual in chosen} == {1}
    assert [individual.measurement for individual in population] != before
    for individual, arrays in zip(population, learnt, strict=True):
        for name, array in arrays.items():
            np.testing.assert_array_equal(individual.arrays[name], array)


def test_what_was_learnt_is_the_child_that_was_scored(tiny_task):
    toolbox = make_toolbox(tiny_task(train_steps=3, inherit=True))
    population = toolbox.population(n=4)
    toolbox.map(toolbox.evaluate, population)
    context = toolbox.evaluator.context(0)
    for individual in population:
        child = toolbox.compile(individual)
        with torch.no_grad():
            right = child(context.inputs).argmax(dim=1) == context.targets
        assert individual.measurement["accuracy"] == pytest.approx(right.double().mean().item())
        whole = dict(toolbox.evaluator.arrays)
        cut = toolbox.evaluator.structure.slice(whole, individual.kept)
        assert any(not np.array_equal(individual.arrays[name], cut[name]) for name in cut)


def test_training_leaves_the_genome_alone_where_children_do_not_keep_it(tiny_task):
    for genome in ("mask", "weights"):
        toolbox = make_toolbox(tiny_task(train_steps=3), genome=genome)
        population = toolbox.population(n=3)
        before = [individual.key() for individual in population]
        toolbox.map(toolbox.evaluate, population)
        for individual, key in zip(population, before, strict=True):
            individual._key = None
            assert individual.key() == key


def test_training_helps(tiny_parent, tiny_splits):
    def mean_accuracy(**options):
        task = Task(tiny_parent, tiny_splits, batch_size=60, evaluation="fixed", **options)
        toolbox = make_toolbox(task, importance="random")
        values = toolbox.map(toolbox.evaluate, toolbox.population(n=10))
        return np.mean([accuracy for accuracy, *_ in values])

    untrained = mean_accuracy()
    assert mean_accuracy(train_steps=20, training=Recipe(learning_rate=0.01)) > untrained + 0.02
