import pytest
import torch

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation.batches import Batches
from ecomp_deap.network.lessons import Teacher
from ecomp_deap.task import Task, default_forward
from tests.architectures import build

TEACHER = Teacher(build("no bias"), default_forward)


def batches(*, name="no bias", seed=0, n=40, **options):
    """Batches of samples whose first input is their number."""
    inputs = torch.zeros(n, 6)
    inputs[:, 0] = torch.arange(n)
    samples = (inputs, torch.arange(n) % 2)
    task = Task(build(name), samples, validation=samples, **{"batch_size": 8, **options})
    return Batches(task, seed=seed)


def numbers(inputs):
    return inputs[:, 0].int().tolist()


def test_a_generation_trains_on_other_samples_than_it_is_scored_on():
    drawn = batches(train_steps=3)
    for generation in range(4):
        scored = numbers(drawn.scoring(generation)[0])
        steps = [numbers(lesson.inputs) for lesson in drawn.training(generation, TEACHER)]
        assert [len(step) for step in steps] == [8, 8, 8]
        assert not set(scored) & {number for step in steps for number in step}
    assert drawn.identity(3) == 3
    assert drawn.per_epoch == 5


def test_a_fixed_batch_is_the_same_throughout_and_never_trained_on():
    drawn = batches(train_steps=2, evaluation="fixed")
    scored = numbers(drawn.scoring(0)[0])
    for generation in range(1, 4):
        assert numbers(drawn.scoring(generation)[0]) == scored
        assert drawn.identity(generation) == 0
        for lesson in drawn.training(generation, TEACHER):
            assert not set(scored) & set(numbers(lesson.inputs))


def test_targets_are_those_of_the_inputs_and_draws_follow_the_seed():
    inputs, targets = batches().scoring(2)
    assert (inputs[:, 0] % 2 == targets).all()
    assert numbers(batches(seed=1).scoring(2)[0]) != numbers(inputs)
    assert numbers(batches().scoring(2)[0]) == numbers(inputs)


def test_spread_samples_reach_from_the_first_to_the_last():
    assert numbers(batches().spread(4)) == [0, 13, 26, 39]
    assert len(batches().spread(1000)) == 40


def test_only_batch_norms_are_calibrated():
    assert batches().calibration is None
    assert batches(name="batch norm", recalibration_samples=0).calibration is None
    assert len(batches(name="batch norm", recalibration_samples=9).calibration) == 9


def test_batches_beyond_the_data_are_refused():
    with pytest.raises(ArgumentError, match=r"at most 39 .* so that some are left to train on"):
        batches(batch_size=40, train_steps=1)
    match = "^batch_size: expected at most 40 of 40 search samples, got"
    with pytest.raises(ArgumentError, match=rf"{match} 41$"):
        batches(batch_size=41)
    with pytest.raises(ArgumentError, match=rf"{match} 100; 100 is the default$"):
        batches(batch_size=100)


def test_spread_batches_have_about_one_size():
    found = list(batches(n=41, batch_size=20).spread_batches(100))
    assert sorted(len(inputs) for inputs in found) == [13, 14, 14]
    assert len(torch.cat(found).unique(dim=0)) == 41
    assert [len(inputs) for inputs in batches(n=41, batch_size=20).spread_batches(10)] == [10]
