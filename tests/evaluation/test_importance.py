import numpy as np
import pytest
import torch

from ecomp_deap.defaults import IMPORTANCES
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import MaskGenome, WidthGenome
from ecomp_deap.network import l1_importance
from ecomp_deap.task import Task
from tests.architectures import build, inputs_for


def evaluator_for(importance, *, name="activations", seed=0, **options):
    parent = build(name, seed=5)
    data = (inputs_for(parent, n=90), torch.arange(90) % 2)
    return Evaluator(Task(parent, data, batch_size=30, **options), importance=importance, seed=seed)


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("name", ["activations", "visual"])
def test_every_importance_ranks_all_units(importance, name):
    evaluator = evaluator_for(importance, name=name)
    found = evaluator.importance
    assert [len(values) for values in found] == list(evaluator.structure.widths)
    for values, order in zip(found, evaluator.ranking, strict=True):
        assert np.isfinite(values).all()
        assert sorted(order) == list(range(len(order)))
        assert (np.diff(values[order]) <= 0).all()
        assert len(set(values)) > 1


def test_importances_differ():
    rankings = {
        tuple(np.concatenate(evaluator_for(importance).ranking)) for importance in IMPORTANCES
    }
    assert len(rankings) == len(IMPORTANCES)


def test_l1_is_the_weights():
    evaluator = evaluator_for("l1")
    expected = l1_importance(evaluator.structure, evaluator.arrays)
    for found, values in zip(evaluator.importance, expected, strict=True):
        np.testing.assert_array_equal(found, values)


def test_similarity_is_the_loss_of_the_child_without_the_unit():
    evaluator = evaluator_for("similarity")
    masks = [np.ones(n, dtype=bool) for n in evaluator.structure.widths]
    masks[1][3] = False
    (outcome,) = evaluator.measure([MaskGenome(masks)], 0, [0])
    assert evaluator.importance[1][3] == outcome.measurement.similarity_loss > 0


def test_random_follows_the_seed():
    def ranking(seed):
        return np.concatenate(evaluator_for("random", seed=seed).ranking).tolist()

    assert ranking(1) == ranking(1) != ranking(2)


def test_groups_that_cannot_lose_units_cost_no_evaluation():
    evaluator = evaluator_for("similarity", protect=["0"])
    assert not evaluator.importance[0].any()
    assert evaluator.importance[1].all()


def test_widths_are_measured_and_compiled_as_the_masks_of_their_most_important_units():
    evaluator = evaluator_for("l2")
    genome = WidthGenome([3, 2, 4])
    unfolded = evaluator.unfold(genome)
    assert unfolded == genome.unfold(evaluator.ranking)
    assert unfolded.widths == (3, 2, 4)
    assert evaluator.unfold(unfolded) is unfolded
    a, b = evaluator.measure([genome, unfolded], 1, [0, 0])
    assert a.measurement == b.measurement
    inputs = inputs_for(evaluator.task.parent, n=5)
    assert torch.equal(evaluator.compile(genome)(inputs), evaluator.compile(unfolded)(inputs))


def test_an_unknown_importance_is_refused():
    with pytest.raises(ArgumentError, match=r"importance: expected one of .*, got 'l0'"):
        evaluator_for("l0")
