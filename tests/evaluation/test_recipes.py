"""Recipes inside a search: every option in both engines, and what is refused before any work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import Metric, Task
from tests.architectures import equal_states, state_of
from tests.evaluation.dense_contexts import (
    assert_as_in_the_loop,
    context_for,
    learnt_for,
    masks_for,
)
from tests.network.dense_stacks import double_behind_norms, fill
from tests.network.recipes import OPTIONS, recipe_of


def parent(*, norm=False):
    layers = [nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3)]
    if norm:
        layers.insert(1, nn.BatchNorm1d(12))
    network = nn.Sequential(*layers).eval()
    fill(network, 3)
    return double_behind_norms(network)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_engines_train_alike(name, norm):
    network = parent(norm=norm)
    before = state_of(network)
    options = {"train_steps": 3, "training": recipe_of(name), "inherit": True}
    context = context_for(network, **options)
    genomes = [*masks_for(context, 3), *learnt_for(context, 2)]
    assert_as_in_the_loop(context, genomes)
    assert equal_states(state_of(network), before)


@pytest.mark.parametrize("engine", ["batched", "loop"])
def test_each_generation_draws_its_own_and_repeats(engine, tiny_task):
    recipe = recipe_of("everything", batch_size=17)
    task = tiny_task(train_steps=2, training=recipe)
    first, again = (Evaluator(task, seed=4, engine=engine) for _ in range(2))
    other = Evaluator(task, seed=5, engine=engine)
    lessons = first.context(1).training
    assert [len(lesson.inputs) for lesson in lessons] == [17, 17]
    for a, b in zip(lessons, again.context(1).training, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert (a.share, a.logits.tolist()) == (b.share, b.logits.tolist())
    shares = [evaluator.context(g).training[0].share for evaluator, g in ((first, 2), (other, 1))]
    assert lessons[0].share not in shares
    assert shares[0] != shares[1]


def test_without_training_nothing_is_asked_of_a_recipe(tiny_splits, tiny_parent):
    recipe = Recipe(loss={"similarity": 1.0})
    task = Task(tiny_parent, tiny_splits, batch_size=30, training=recipe, similarity="knn_jaccard")
    assert Evaluator(task).context(0).training == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"training": Recipe(loss={"similarity": 1.0}), "similarity": "knn_jaccard"},
            "training.loss: expected a similarity measure that has a gradient",
        ),
        (
            {"training": Recipe(loss={"similarity": 1.0}, batch_size=4)},
            "training.batch_size: expected at least 5",
        ),
        (
            {
                "training": Recipe(loss={"distillation": 1.0}),
                "forward": lambda module, inputs: module(inputs)[:, :, None],
                "loss_fn": lambda outputs, targets: outputs.mean(),
                "metric": Metric(lambda outputs, targets: 0.5, "half"),
            },
            "distillation: expected a parent whose outputs are logits",
        ),
    ],
)
def test_what_does_not_suit_the_task_is_refused_before_any_work(options, message, tiny_task):
    with pytest.raises(ArgumentError, match=message):
        Evaluator(tiny_task(train_steps=1, **options))


def test_mixup_of_tokens_is_refused_before_any_work():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.inner = nn.Embedding(9, 6), nn.Linear(6, 8)
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            return self.last(self.inner(self.table(x).mean(dim=1)).relu())

    torch.manual_seed(0)
    data = (torch.randint(9, (60, 4)), torch.arange(60) % 3)
    options = {"batch_size": 20, "train_steps": 1}
    with pytest.raises(ArgumentError, match=r"training.mixup: .* no floating-point"):
        Evaluator(Task(Tokens(), data, training=Recipe(mixup=0.2), **options))


def test_training_by_a_measure_brings_children_nearer_to_the_parent(tiny_task):
    half = MaskGenome([np.arange(16) < 8, np.arange(12) < 6])
    for similarity in ("tsne", "cka", "pkt"):
        recipe = Recipe(learning_rate=0.01, loss={"similarity": 1.0})
        task = tiny_task(similarity=similarity, training=recipe, train_steps=20)
        evaluator = Evaluator(task)
        losses = [
            evaluator.measure([half], 1, [0], train=train)[0].measurement.similarity_loss
            for train in (False, True)
        ]
        assert losses[1] < losses[0]
        few = replace(task, batch_size=40, training=replace(recipe, batch_size=20))
        assert Evaluator(few).context(0).training[0].targets.shape == (20,)
