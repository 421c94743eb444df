"""The whole job on networks that are no sequential stacks."""

import pytest
import torch
from torch import nn

from ecomp_deap import ArgumentError, Task, compress, make_toolbox
from ecomp_deap.network import embed, param_count
from tests.network.layouts import (
    AmongSamples,
    ChannelsLast,
    Padded,
    Series,
    TokensFirst,
    Volumes,
    build_layout,
    samples_for,
)
from tests.network.networks import TEXTS, build_network, images, tokens


def task_for(name, **options):
    network = build_network(name)
    inputs = tokens(240) if name in TEXTS else images(240)
    with torch.no_grad():
        targets = network(inputs).argmax(dim=1)
    return Task(network, (inputs, targets), batch_size=40, **options)


@pytest.mark.parametrize("name", ["Residual", "Grouped", "Transformer", "Bag", "Positions"])
def test_a_front_of_smaller_networks_of_the_parents_class(name):
    task = task_for(name, train_steps=1, inherit=True)
    results = [
        compress(task, population=8, generations=2, seed=3, finalise_epochs=1) for _ in range(2)
    ]
    front = results[0].front
    assert front
    assert [c.validation for c in front] == [c.validation for c in results[1].front]
    whole = param_count(task.parent)
    for child in front:
        assert type(child.module) is type(task.parent)
        assert child.validation.param_count == param_count(child.module) <= whole
        assert child.module(task.splits.validation.span(0, 2)[0]).shape == (2, 5)
    assert min(child.validation.param_count for child in front) < whole


def layout_task(make, **options):
    network = build_layout(make)
    inputs = tokens(240) if make is Padded else samples_for(network, 240)
    with torch.no_grad():
        targets = network(inputs).argmax(dim=1)
    return Task(network, (inputs, targets), batch_size=40, **options)


# The layers that make the units of a probe layer, where it does not itself.
MAKERS = {"act": "first", "last_act": "second"}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("make", [Series, Volumes, TokensFirst, ChannelsLast, Padded])
def test_children_are_compared_by_sample_and_unit_wherever_these_are(make):
    task = layout_task(make)
    toolbox = make_toolbox(task, seed=3)
    groups = [group.name for group in toolbox.evaluator.structure.groups]
    probes = toolbox.evaluator.probes
    compared = 0
    for individual in toolbox.population(n=3):
        inputs = task.splits.search.span(0, 11)[0]
        with torch.no_grad():
            _, found = embed(toolbox.compile(individual), inputs, probes, forward=task.apply)
        for name, embedding in found.items():
            assert len(embedding) == 11
            maker = MAKERS.get(name, name)
            if not maker.endswith("self_attn"):  # all units of which stay, of whichever heads
                assert embedding.shape[1] == individual.widths[groups.index(maker)]
                compared += 1
    assert compared >= 3
    front = compress(task, population=8, generations=1, seed=3).front
    losses = [child.validation.similarity_loss for child in front]
    assert len(set(losses)) == len({child.widths for child in front}) > 1
    assert min(losses) >= 0
    assert max(losses) > 0.01


def test_without_anything_to_compare_a_search_goes_without_similarity():
    task = layout_task(AmongSamples)
    for options in (
        {},
        {"loss_weights": (1, 1, 1)},
        {"objectives": ("accuracy", "param_count"), "importance": "similarity"},
    ):
        with pytest.raises(ArgumentError, match="probe_layers: expected names of layers"):
            make_toolbox(task, **options)
    for options in (
        {"objectives": ("accuracy", "param_count")},
        {"selection": "roulette", "loss_weights": (1, 0, 1)},
    ):
        toolbox = make_toolbox(task, **options)
        assert toolbox.evaluator.probe_layers == ()
    result = compress(
        task, population=6, generations=1, objectives=("accuracy", "param_count"), finalise_epochs=0
    )
    assert {child.validation.similarity_loss for child in result.front} == {0.0}


def test_a_stack_with_tied_layers_is_measured_as_any_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
    network[2].weight = network[0].weight
    network.extend([nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)])
    inputs = torch.randn(120, 6)
    task = Task(network, (inputs, torch.arange(120) % 3), batch_size=30)
    toolbox = make_toolbox(task)
    assert toolbox.evaluator.engine == "loop"
    assert [group.name for group in toolbox.evaluator.structure.groups] == ["4"]
    individual = toolbox.population(n=4)[-1]
    child = toolbox.compile(individual)
    assert child[2].weight is child[0].weight
    assert child[4].out_features == individual.widths[0] < 9


def test_weights_are_for_stacks():
    match = "genome: expected 'mask' or 'width' for a parent that is no sequential stack"
    with pytest.raises(ArgumentError, match=match):
        make_toolbox(task_for("Tied"), genome="weights")
    for genome in ("mask", "width"):
        assert make_toolbox(task_for("Tied"), genome=genome).population(n=4)
