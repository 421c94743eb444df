"""What the masked engine leaves to the loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.masked import supports_masked
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.task import Task
from tests.architectures import build, inputs_for
from tests.evaluation.masked_contexts import context_for, genomes_for


def test_a_forward_that_looks_into_the_network_is_left_to_the_loop():
    context = context_for(build("visual", seed=1), forward=lambda m, x: m.output(m[:-1](x)))
    assert not supports_masked(context, genomes_for(context))


def test_a_forward_that_does_without_the_network_is_left_to_the_loop():
    context = context_for(build("pooled", seed=1))
    context = replace(context, forward=lambda m, x: x.flatten(1)[:, :3])
    assert not supports_masked(context, genomes_for(context))


def test_training_is_left_to_the_loop():
    context = context_for(build("pooled", seed=1), train_steps=1)
    assert not supports_masked(context, genomes_for(context))
    assert supports_masked(replace(context, training=[]), genomes_for(context))


def test_genomes_with_weights_of_their_own_are_left_to_the_loop():
    context = context_for(build("one hidden layer", seed=1))
    genome = MaskGenome([np.ones(5, bool)])
    learnt = MaskGenome(genome.masks, context.arrays)
    weights = WeightGenome({"0": (np.ones((2, 6)), None), "2": (np.ones((2, 2)), None)})
    assert supports_masked(context, [genome])
    assert not supports_masked(context, [genome, learnt])
    assert not supports_masked(context, [weights])


def no_statistics(network):
    network[1] = nn.BatchNorm2d(5, track_running_stats=False).eval()


def hooked(network):
    network[2].register_forward_hook(lambda module, inputs, outputs: outputs * 2)


def in_training(network):
    network[2].train()


@pytest.mark.parametrize("change", [no_statistics, hooked, in_training])
def test_networks_that_mix_samples_or_do_more_are_left_to_the_loop(change):
    context = context_for(build("pooled", seed=1))
    assert supports_masked(context, genomes_for(context))
    change(context.parent)
    assert not supports_masked(context, genomes_for(context))


def test_another_kind_of_network_is_left_to_the_loop():
    context = context_for(build("pooled", seed=1))
    context = replace(context, parent=nn.ModuleDict({"0": context.parent}).eval())
    assert not supports_masked(context, genomes_for(context))


@pytest.mark.parametrize(
    ("name", "options"),
    [("pooled", {"train_steps": 1}), ("visual", {"recalibration_samples": 100})],
)
def test_the_masked_engine_is_refused_where_it_does_not_apply(name, options):
    network = build(name)
    task = Task(
        network, (inputs_for(network, n=60), torch.arange(60) % 2), batch_size=24, **options
    )
    with pytest.raises(
        ArgumentError, match="engine: expected 'auto' or 'loop' for this task: 'mas"
    ):
        Evaluator(task, engine="masked")
