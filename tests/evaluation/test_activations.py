import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.activations import UnitActivations
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.task import Task
from tests.architectures import MAP_SHAPE, build, random_masks


def evaluator_for(parent, shape, **options):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, *shape, generator=generator)
    data = (inputs, torch.arange(60) % 2)
    return Evaluator(Task(parent, data, batch_size=20, **options))


def masks_for(evaluator):
    return MaskGenome(random_masks(evaluator.structure.widths, 3))


@pytest.mark.parametrize("prune_inputs", [False, True])
def test_they_are_what_the_childs_layers_put_out(prune_inputs):
    parent = build("activations", seed=5)
    evaluator = evaluator_for(parent, (6,), prune_inputs=prune_inputs)
    genome = masks_for(evaluator)
    found = list(UnitActivations(evaluator)(genome))
    if prune_inputs:
        assert found.pop(0) is None
    x, expected = evaluator.context(0).inputs, []
    with torch.no_grad():
        for module in list(evaluator.compile(genome))[:-1]:
            x = module(x)
            if not isinstance(module, nn.Linear):
                expected.append(x.numpy())
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_maps_are_told_by_their_means():
    evaluator = evaluator_for(build("visual", seed=5), MAP_SHAPE)
    genome = masks_for(evaluator)
    found = UnitActivations(evaluator)(genome)
    assert [one.shape for one in found] == [(20, width) for width in genome.widths]
    with torch.no_grad():
        maps = evaluator.compile(genome).features[:3](evaluator.context(0).inputs)
    np.testing.assert_allclose(found[0], maps.mean(dim=(2, 3)).numpy(), rtol=1e-5, atol=1e-7)


def test_the_batch_stays_that_of_generation_0():
    evaluator = evaluator_for(build("activations", seed=5), (6,))
    activations, genome = UnitActivations(evaluator), masks_for(evaluator)
    first = activations(genome)
    evaluator.context(3)
    for one, other in zip(first, activations(genome), strict=True):
        np.testing.assert_array_equal(one, other)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x) + self.second(x)))


def test_networks_that_are_no_stack_are_refused():
    evaluator = evaluator_for(Branches().eval(), (6,))
    with pytest.raises(ArgumentError, match="learnt: expected 'either' or 'mean' for a parent tha"):
        UnitActivations(evaluator)


def test_depthwise_convolutions_are_refused():
    parent = nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 4 * 3, 2)),
    )
    evaluator = evaluator_for(parent.eval(), MAP_SHAPE)
    with pytest.raises(ArgumentError, match="learnt: expected 'either' or 'mean' for a parent tha"):
        UnitActivations(evaluator)
