"""What may be pruned, and how units are ranked, from the task to the children of a search."""

import numpy as np
import pytest
from deap import algorithms

from ecomp_deap import WidthGenome, compress, make_toolbox, statistics
from ecomp_deap.errors import ArgumentError
from ecomp_deap.network.layers import InputLinear


def run(toolbox, n=12, ngen=4):
    return algorithms.eaMuPlusLambda(
        *(toolbox.population(n=n), toolbox),
        **{"mu": n, "lambda_": n, "cxpb": 0.6, "mutpb": 0.4, "ngen": ngen},
        stats=statistics(),
        verbose=False,
    )


@pytest.mark.parametrize("genome", ["mask", "width"])
def test_widths_stay_allowed_throughout_a_search(genome, tiny_task):
    task = tiny_task(round_to=4, min_units={"layer_1_linear": 5}, prune_inputs=True)
    often = {"mutation": "flips", "flip_probability": 0.2} if genome == "mask" else {}
    toolbox = make_toolbox(task, genome=genome, seed=3, **often)
    assert [group.allowed for group in toolbox.evaluator.structure.groups] == [
        (4, 8, 12),
        (8, 12, 16),
        (4, 8, 12),
    ]
    population, _ = run(toolbox)
    for individual in population:
        for group, width in zip(toolbox.evaluator.structure.groups, individual.widths, strict=True):
            assert width in group.allowed
    assert len({individual.widths for individual in population}) > 3


@pytest.mark.parametrize("genome", ["mask", "width"])
def test_protected_layers_stay_whole_throughout_a_search(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(protect=["layer_2_linear"]), genome=genome, seed=3)
    population, _ = run(toolbox)
    assert {individual.widths[1] for individual in population} == {12}
    assert len({individual.widths[0] for individual in population}) > 3


def test_a_search_over_widths_is_reproducible_and_measures_equal_widths_once(tiny_task):
    def digest():
        toolbox = make_toolbox(tiny_task(), genome="width", seed=4)
        population, logbook = run(toolbox)
        return [i.widths for i in population], str(logbook), toolbox.counters

    first = digest()
    assert first == digest()
    assert first[2].duplicates > 0


def test_the_units_that_stay_are_the_most_important(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="width", importance="variance", seed=4)
    individual = toolbox.population(n=4)[-1]
    assert isinstance(individual, WidthGenome)
    evaluator = toolbox.evaluator
    masks = evaluator.unfold(individual.plain()).masks
    for values, mask in zip(evaluator.importance, masks, strict=True):
        assert values[mask].min() >= values[~mask].max()


def test_compress_prunes_inputs_and_its_children_take_what_the_parent_takes(tiny_task):
    task = tiny_task(prune_inputs=True)
    result = compress(task, genome="width", population=8, generations=2, finalise_count=1)
    smallest = result.front[0]
    first = smallest.module[0]
    assert isinstance(first, InputLinear)
    assert first.in_features == smallest.widths[0] < 12
    inputs, _ = task.splits.test.batch(np.arange(5))
    assert smallest.module(inputs).shape == (5, 3)
    assert smallest.validation.param_count == sum(p.numel() for p in smallest.module.parameters())
    # The parent's inputs are all 12.
    assert result.parent.widths == (12, 16, 12)


@pytest.mark.parametrize(
    ("task_options", "options", "message"),
    [
        ({"prune_inputs": True}, {"genome": "weights"}, "prune_inputs: expected genome='mask' or"),
        ({"inherit": True, "train_steps": 1}, {"genome": "width"}, "inherit: expected genome='mas"),
        ({}, {"genome": "width", "step_probability": 2}, r"step_probability: expected a number in"),
        ({}, {"step_probability": 0.2}, "step_probability: expected genome='width' to go with it"),
        ({}, {"genome": "width", "flip_probability": 0.1}, "flip_probability: expected genome='m"),
        (
            {},
            {"flip_probability": 0.1},
            "flip_probability: expected a mutation of .* got .*'resize'",
        ),
        ({}, {"genome": "weights", "engine": "masked"}, "engine: expected 'auto', 'batched' or"),
        ({}, {"genome": "width", "recombination_layers": ["output"]}, "expected genome='weights'"),
    ],
)
def test_what_does_not_go_together_is_refused(task_options, options, message, tiny_task):
    with pytest.raises(ArgumentError, match=message):
        make_toolbox(tiny_task(**task_options), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protect": "output"}, "protect: expected a sequence of names, got 'output'"),
        ({"protect": 5}, "protect: expected a sequence of names, got 5"),
        ({"training": 0.1}, "training: expected a Recipe, got 0.1"),
        ({"max_latency_ms": True}, "max_latency_ms: expected a finite number greater than 0"),
        ({"recalibration_samples": 1}, "recalibration_samples: expected 0, or at least 2"),
        ({"recalibration_samples": -1}, "recalibration_samples: expected a whole number"),
    ],
)
def test_options_of_a_task_out_of_range_are_refused(options, message, tiny_task):
    with pytest.raises(ArgumentError, match=message):
        tiny_task(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 301}, "batch_size: expected at most 300 of 300 search samples, got 301"),
        (
            {"batch_size": 300, "train_steps": 1, "evaluation": "fixed"},
            "batch_size: expected at most 299 of 300 search samples, so that some are left",
        ),
    ],
)
def test_batches_that_the_data_do_not_allow_are_refused(options, message, tiny_task):
    with pytest.raises(ArgumentError, match=message):
        make_toolbox(tiny_task(**options))
