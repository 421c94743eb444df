"""What a graph says of a network is believed only where a child proves it."""

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure
from ecomp_deap.network.proof import masked_parent
from tests.architectures import equal_states, state_of
from tests.network.networks import Fading, build_network, images, tokens


class Reversed(nn.Module):
    """Reads its units in another order, which a graph of layers does not show."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.other, self.end = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.last(self.first(x).flip(1)) + self.end(self.other(x).relu())


class InARow(nn.Module):
    """Reads the units of all positions side by side, which a graph of layers takes for maps."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4 * 64, 2)

    def forward(self, x):
        return self.last(self.first(x.flatten(2).transpose(1, 2)).relu().flatten(1))


def test_positions_that_are_flattened_may_lie_outside():
    torch.manual_seed(0)
    network = InARow().eval()
    structure = find_structure(network, images())
    assert structure.widths == (4,)
    child = compile_child(network, structure, MaskGenome([np.array([True, False, True, False])]))
    expected = network.last.weight.detach().view(2, 64, 4)[..., ::2].flatten(1)
    assert torch.equal(child.last.weight, expected)


def test_what_the_graph_gets_wrong_is_left_alone():
    torch.manual_seed(0)
    structure = find_structure(Reversed().eval(), torch.randn(3, 4))
    assert [group.name for group in structure.groups] == ["other"]
    assert "changes what others compute" in structure.left_alone["first"]


def test_outputs_that_do_not_depend_on_units_prove_nothing():
    torch.manual_seed(0)
    # In eval mode it gives the same for all inputs, but for rounding, so that any child would pass.
    network = Fading().eval()
    with torch.no_grad():
        outputs = network(images())
    assert (outputs[0] - outputs[1]).abs().max() < 1e-5 * outputs.abs().max()
    with pytest.raises(ArgumentError, match="changes what others compute"):
        find_structure(network, images())


def test_a_masked_parent_reads_removed_units_as_0():
    network = build_network("Residual")
    structure = find_structure(network, images())
    state = state_of(network)
    masks = [np.ones(n, dtype=bool) for n in structure.widths]
    index = [group.name for group in structure.groups].index("inner")
    masks[index][[1, 4]] = False
    masked = masked_parent(network, structure, masks)
    assert type(masked) is type(network)
    assert masked.inner.bias is network.inner.bias
    weight = network.outer.weight.detach().clone()
    weight[:, [1, 4]] = 0
    assert torch.equal(masked.outer.weight, weight)
    assert torch.equal(masked.inner.weight, network.inner.weight)
    assert equal_states(state_of(network), state)


def test_units_of_an_embedding_are_0_where_they_are_read():
    network = build_network("Positions")
    structure = find_structure(network, tokens())
    masked = masked_parent(network, structure, [np.arange(8) >= 3])
    assert masked.tokens.weight is network.tokens.weight
    for layer in ("inner", "last"):
        weight = network.get_submodule(layer).weight.detach().clone()
        weight[:, :3] = 0
        assert torch.equal(masked.get_submodule(layer).weight, weight)
