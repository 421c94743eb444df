"""Batch norms of children have statistics of their own, in every engine and in what is compiled."""

import numpy as np
import pytest
import torch

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.masked import supports_masked
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import has_statistics
from ecomp_deap.task import Task
from tests.architectures import build, inputs_for, random_masks


def evaluator_for(name="batch norm", *, seed=0, **options):
    parent = build(name, seed=5)
    data = (inputs_for(parent, n=90), torch.arange(90) % 2)
    return Evaluator(Task(parent, data, **{"batch_size": 30, **options}), seed=seed)


def moved(child, parent, layer):
    """Whether a child's statistics are others than the kept units' were in the parent."""
    found, before = child.get_submodule(layer), parent.get_submodule(layer)
    return not np.isin(found.running_mean.numpy(), before.running_mean.numpy()).any()


def test_a_compiled_child_has_statistics_of_its_own():
    evaluator = evaluator_for()
    child = evaluator.compile(MaskGenome(random_masks(evaluator.structure.widths, 1)))
    assert moved(child, evaluator.task.parent, "6")
    assert not any(module.training for module in child.modules())


def test_the_parent_keeps_its_own():
    evaluator = evaluator_for()
    whole = MaskGenome([np.ones(n, dtype=bool) for n in evaluator.structure.widths])
    child = evaluator.compile(whole)
    inputs = inputs_for(child, n=8)
    torch.testing.assert_close(child(inputs), evaluator.task.parent(inputs), rtol=0, atol=0)


def test_the_parents_statistics_can_be_kept():
    evaluator = evaluator_for(recalibration_samples=0)
    child = evaluator.compile(MaskGenome(random_masks(evaluator.structure.widths, 1)))
    assert not moved(child, evaluator.task.parent, "6")


@pytest.mark.parametrize("name", ["batch norm", "visual"])
def test_a_child_is_scored_as_it_is_compiled(name):
    evaluator = evaluator_for(name, evaluation="fixed")
    genomes = [MaskGenome(random_masks(evaluator.structure.widths, seed)) for seed in range(4)]
    found = [o.measurement for o in evaluator.measure(genomes, 0, [0] * 4)]
    context = evaluator.context(0)
    for genome, measurement in zip(genomes, found, strict=True):
        with torch.no_grad():
            outputs = evaluator.compile(genome)(context.inputs)
        hits = (outputs.argmax(dim=1) == context.targets).double().mean()
        assert measurement.metric == pytest.approx(float(hits))


def test_the_samples_are_the_same_throughout_and_follow_the_seed():
    def calibration(seed, generation):
        return evaluator_for(seed=seed, recalibration_samples=20).context(generation).calibration

    assert torch.equal(calibration(1, 1), calibration(1, 2))
    assert not torch.equal(calibration(1, 1), calibration(2, 1))
    assert len(calibration(1, 1)) == 20
    # Of fewer search samples all.
    assert len(evaluator_for().context(0).calibration) == 75


def test_without_norms_there_is_nothing_to_take():
    evaluator = evaluator_for("activations")
    assert not has_statistics(evaluator.task.parent)
    assert evaluator.context(0).calibration is None


def test_children_with_statistics_of_their_own_are_not_the_masked_parent():
    context = evaluator_for("visual").context(0)
    assert not supports_masked(context, [MaskGenome(random_masks(context.structure.widths, 1))])
