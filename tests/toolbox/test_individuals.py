"""What a toolbox makes: individuals, populations and children."""

import random

import numpy as np
import pytest
import torch
from deap import tools
from torch import nn

from ecomp_deap import make_toolbox
from ecomp_deap.errors import ArgumentError
from ecomp_deap.operators import initial_rates
from tests.architectures import masked_outputs

genomes = pytest.mark.parametrize("genome", ["mask", "width", "weights"])


# Random units are others in every individual of masks and the same in all of widths.
@pytest.mark.parametrize(
    ("genome", "importance"),
    [("mask", "l1"), ("width", "l1"), ("weights", "l1"), ("mask", "random"), ("weights", "random")],
)
def test_a_child_computes_what_the_masked_parent_does(genome, importance, tiny_task):
    task = tiny_task()
    options = {"importance": importance, "seed": 8}
    toolbox = make_toolbox(task, genome=genome, **options)
    # All genomes begin with the same units for the same seed.
    same = make_toolbox(task, genome="mask", **options).population(n=10)
    masks = [[mask.copy() for mask in individual.masks] for individual in same]
    inputs = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    for individual, kept in zip(toolbox.population(n=10), masks, strict=True):
        child = toolbox.compile(individual)
        assert [m.out_features for m in child if isinstance(m, nn.Linear)] == [
            *individual.widths,
            3,
        ]
        with torch.no_grad():
            found = child(inputs)
        torch.testing.assert_close(
            found, masked_outputs(task.parent, kept, inputs), rtol=1e-6, atol=1e-6
        )
        assert sum(p.numel() for p in child.parameters()) < sum(
            p.numel() for p in task.parent.parameters()
        )


@genomes
def test_a_child_has_tensors_of_its_own(genome, tiny_task):
    task = tiny_task()
    toolbox = make_toolbox(task, genome=genome)
    individual = toolbox.individual()
    before = {name: tensor.clone() for name, tensor in task.parent.state_dict().items()}
    key = individual.key()
    with torch.no_grad():
        for parameter in toolbox.compile(individual).parameters():
            parameter.fill_(7.0)
    for name, tensor in task.parent.state_dict().items():
        assert torch.equal(tensor, before[name])
    individual._key = None
    assert individual.key() == key


@genomes
def test_a_population_is_pruned_at_the_initial_rates(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome=genome)
    population = toolbox.population(n=20)
    expected = [(16 - int(rate * 16), 12 - int(rate * 12)) for rate in initial_rates(20)]
    assert [individual.widths for individual in population] == expected
    assert not any(individual.fitness.valid for individual in population)
    assert all(individual.measurement is None for individual in population)


@genomes
def test_the_smallest_individuals_can_be_smaller(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome=genome, highest_rate=0.95)
    rates = initial_rates(20, (0.1, 0.95))
    expected = [(16 - int(rate * 16), 12 - int(rate * 12)) for rate in rates]
    assert [individual.widths for individual in toolbox.population(n=20)] == expected
    rates = [1 - toolbox.individual().widths[0] / 16 for _ in range(60)]
    assert max(rates) > 0.8


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_the_highest_rate_has_to_leave_a_range(rate, tiny_task):
    with pytest.raises(ArgumentError, match="highest_rate: expected above"):
        make_toolbox(tiny_task(), highest_rate=rate)


def test_l1_keeps_the_units_with_the_largest_incoming_weights(tiny_task):
    task = tiny_task()
    toolbox = make_toolbox(task)
    weights = [m.weight.detach().numpy() for m in task.parent if isinstance(m, nn.Linear)]
    for individual in toolbox.population(n=6):
        for mask, weight in zip(individual.masks, weights[:-1], strict=True):
            norms = np.abs(weight.astype(np.float64)).sum(axis=1)
            assert norms[mask].min() > norms[~mask].max()


def test_random_importance_follows_the_seed(tiny_task):
    def draw(seed):
        random.seed()
        toolbox = make_toolbox(tiny_task(), importance="random", seed=seed)
        return [individual.key() for individual in toolbox.population(n=6)]

    assert draw(1) == draw(1) != draw(2)
    l1 = make_toolbox(tiny_task(), seed=1).population(n=6)
    assert [individual.key() for individual in l1] != draw(1)


@genomes
def test_single_individuals_spread_over_the_initial_range(genome, tiny_task):
    toolbox = make_toolbox(tiny_task(), genome=genome)
    random.seed(0)
    widths = [toolbox.individual().widths[0] for _ in range(300)]
    assert max(widths) == 15
    # int(rate × 16) with a rate below 0.8 removes at most 12 units.
    assert min(widths) == 4
    random.seed(0)
    assert [toolbox.individual().widths[0] for _ in range(300)] == widths


def test_deaps_own_repeat_makes_a_population_of_individuals(tiny_task):
    toolbox = make_toolbox(tiny_task())
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    population = toolbox.population(n=5)
    assert len(toolbox.map(toolbox.evaluate, population)) == 5


def test_a_population_needs_someone(tiny_task):
    toolbox = make_toolbox(tiny_task())
    with pytest.raises(ValueError, match="n: expected a whole number of at least 1, got 0"):
        toolbox.population(n=0)


def test_recombination_layers_alone_are_crossed_and_mutated(tiny_task):
    task = tiny_task()
    names = [name for name, m in task.parent.named_children() if isinstance(m, nn.Linear)]
    toolbox = make_toolbox(task, genome="weights", recombination_layers=[names[1]])
    one, two = toolbox.population(n=2)
    before = [dict(i.layers) for i in (one, two)]
    toolbox.mate(one, two)
    toolbox.mutate(one)
    for name in (names[0], names[2]):
        assert one.layers[name][0] is before[1][name][0]
        assert two.layers[name][0] is before[0][name][0]
    assert not np.array_equal(one.layers[names[1]][0], before[1][names[1]][0])
