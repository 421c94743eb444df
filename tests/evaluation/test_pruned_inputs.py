"""Children that read some of their parent's inputs, in every engine."""

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.masked import supports_masked
from ecomp_deap.task import Task
from tests.evaluation.dense_contexts import assert_as_in_the_loop, masks_for
from tests.evaluation.masked_contexts import assert_as_in_the_loop as assert_masked_as_in_the_loop


def network(*, norm_in_front=False):
    torch.manual_seed(3)
    front = [nn.Flatten(), *([nn.BatchNorm1d(6)] if norm_in_front else [])]
    return nn.Sequential(
        *(*front, nn.Linear(6, 14), nn.ReLU(), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3))
    )


def evaluator_for(parent, *, engine="batched", **options):
    inputs = torch.randn(80, 2, 3, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(next(parent.parameters()).dtype)
    task = Task(
        *(parent, (inputs, torch.arange(80) % 3)),
        **{"batch_size": 24, "prune_inputs": True, **options},
    )
    return Evaluator(task, engine=engine)


@pytest.mark.parametrize("train_steps", [0, 3])
@pytest.mark.parametrize("norm_in_front", [False, True])
def test_the_batched_engine_finds_what_the_loop_finds(train_steps, norm_in_front):
    parent = network(norm_in_front=norm_in_front)
    context = evaluator_for(parent, train_steps=train_steps).context(1)
    found = assert_as_in_the_loop(context, masks_for(context))
    assert len({measurement.similarity_loss for measurement in found}) == 5


def test_the_masked_engine_finds_what_the_loop_finds():
    context = evaluator_for(network().double(), engine="masked").context(1)
    genomes = masks_for(context)
    assert supports_masked(context, genomes)
    assert_masked_as_in_the_loop(context, genomes)


def test_what_was_learnt_with_fewer_inputs_is_measured_and_compiled_again():
    evaluator = evaluator_for(network(), train_steps=2, inherit=True)
    genomes = masks_for(evaluator.context(1))
    outcomes = evaluator.measure(genomes, 1, range(len(genomes)))
    for genome, outcome in zip(genomes, outcomes, strict=True):
        assert outcome.arrays.keys() == evaluator.structure.tensors.keys()
        genome.rebind(genome.masks, outcome.arrays)
    again = [o.measurement for o in evaluator.measure(genomes, 1, [0] * len(genomes), train=False)]
    assert again == [outcome.measurement for outcome in outcomes]
    child = evaluator.compile(genomes[0])
    np.testing.assert_array_equal(child[1].input_indices, np.flatnonzero(genomes[0].masks[0]))
    np.testing.assert_array_equal(child[1].weight.detach(), outcomes[0].arrays["1.weight"])


def test_children_are_scored_as_they_are_measured():
    evaluator = evaluator_for(network())
    samples = evaluator.task.splits.search
    for genome in masks_for(evaluator.context(1)):
        child = evaluator.compile(genome)
        dense = evaluator.scorer(samples).score(child, genome.widths)
        evaluator_by_modules = evaluator_for(network(), engine="loop")
        by_modules = evaluator_by_modules.scorer(samples).score(child, genome.widths)
        assert dense.metric == by_modules.metric
        assert dense.similarity_loss == pytest.approx(by_modules.similarity_loss, rel=1e-5)
