"""What a graph says of a network is believed only where a child proves it."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure
from ecomp_deap.network.groups import OUTPUTS
from ecomp_deap.network.proof import masked_parent
from tests.architectures import equal_states, state_of
from tests.network.networks import Auxiliary, Fading, build_network, images, tokens


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


@dataclass
class Outputs:
    logits: torch.Tensor


class Named(dict):
    """A dict that torch does not know."""


class Mixing(nn.Module):
    """Divides its units by their norm, so that none can go; a graph of layers does not show it."""

    def __init__(self, wrap):
        super().__init__()
        self.first, self.last = nn.Linear(10, 16), nn.Linear(16, 3)
        self.wrap = wrap

    def forward(self, x):
        x = self.first(x)
        return self.wrap(self.last(x / x.norm(dim=1, keepdim=True)))


def as_named(x):
    return Named(logits=x)


@pytest.mark.parametrize("wrap", [as_named, Outputs, torch.fft.rfft, torch.fft.fft])
def test_outputs_of_any_form_are_compared(wrap):
    torch.manual_seed(0)
    with pytest.raises(ArgumentError, match="first: removing a unit changes what others compute"):
        find_structure(Mixing(wrap).eval(), torch.randn(4, 10))


def argmax(x):
    return x.argmax(dim=1)


def not_a_number(x):
    return x * float("nan")


@pytest.mark.parametrize("wrap", [argmax, not_a_number, torch.Tensor.tolist])
def test_outputs_with_nothing_to_compare_prove_nothing(wrap):
    torch.manual_seed(0)
    with pytest.raises(ArgumentError, match="its outputs hold no finite floating-point numbers"):
        find_structure(Mixing(wrap).eval(), torch.randn(4, 10))


class Plain(nn.Module):
    """Three layers, and what a test does in front of them and behind."""

    def __init__(self, before=nn.Identity(), after=nn.Identity()):  # noqa: B008
        super().__init__()
        self.before, self.after = before, after
        self.first, self.second, self.last = nn.Linear(10, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.second(self.first(self.before(x)).relu()).relu()
        return self.after(self.last(x))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def masked(x):
    return x.masked_fill(torch.tensor([False, False, True]), float("-inf"))


def with_noise(x):
    return x + torch.randn_like(x)


def with_nothing(x):
    return x, x.new_zeros(0), None


def normalised(x):
    return x.sub_(0.5).div_(0.25)


@pytest.mark.parametrize(
    "options",
    [
        {"after": Function(masked)},
        {"after": Function(with_noise)},
        {"after": Function(with_nothing)},
        {"after": Function(Outputs)},
        {"before": Function(normalised)},
        {"before": nn.ReLU(inplace=True)},
    ],
)
def test_what_networks_do_besides_costs_no_groups(options):
    torch.manual_seed(0)
    network, inputs = Plain(**options).eval(), torch.randn(4, 10)
    before, generator = inputs.clone(), torch.get_rng_state()
    structure = find_structure(network, inputs)
    assert structure.widths == (8, 6)
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), generator)


def test_masked_outputs_are_compared_where_they_are_finite():
    torch.manual_seed(0)
    with pytest.raises(ArgumentError, match="first: removing a unit changes what others compute"):
        find_structure(Mixing(masked).eval(), torch.randn(4, 10))


def test_what_is_read_in_training_alone_stays():
    torch.manual_seed(0)
    network, inputs = Auxiliary().eval(), torch.randn(4, 10)
    structure = find_structure(network, inputs)
    assert [group.name for group in structure.groups] == ["second"]
    assert "does not run in training" in structure.left_alone["first"]
    child = compile_child(network, structure, MaskGenome([np.arange(6) < 2])).train()
    assert [len(output) for output in child(inputs)] == [4, 4]


class Features(nn.Module):
    """Gives its hidden units too in training, as a teacher's are."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(10, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x).relu()
        y = self.last(self.second(x).relu())
        return (y, x) if self.training else y


def test_outputs_in_training_keep_their_shapes():
    torch.manual_seed(0)
    structure = find_structure(Features().eval(), torch.randn(4, 10))
    assert [group.name for group in structure.groups] == ["second"]
    assert structure.left_alone["first"] == OUTPUTS


class Counting(nn.Module):
    """Has statistics of several kinds, which training changes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.norm = nn.BatchNorm2d(8)
        self.instances = nn.InstanceNorm2d(3, track_running_stats=True)
        self.register_buffer("n_runs", torch.zeros(()))

    def forward(self, x):
        self.n_runs += 1
        return self.last(self.norm(self.first(self.instances(x))).mean(dim=(2, 3)))


def test_the_parents_own_buffers_are_not_touched():
    torch.manual_seed(0)
    network = Counting().eval()
    state = copy.deepcopy(network.state_dict())
    assert find_structure(network, images()).widths == (8,)
    assert equal_states(state, state_of(network))


class BehindInputs(nn.Module):
    """Units behind the inputs themselves, which a graph of layers does not count."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(10, 8), nn.Linear(18, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.second(torch.cat([x, self.first(x).relu()], dim=1)).relu())


def test_inputs_in_front_of_units_are_passed_over():
    torch.manual_seed(0)
    network = BehindInputs().eval()
    structure = find_structure(network, torch.randn(4, 10))
    assert structure.widths == (8, 6)
    masks = [np.arange(8) >= 3, np.ones(6, dtype=bool)]
    child = compile_child(network, structure, MaskGenome(masks))
    weight = network.second.weight
    assert torch.equal(child.second.weight, torch.cat([weight[:, :10], weight[:, 13:]], dim=1))


class Keeping(Plain):
    def forward(self, x):
        self.hidden = self.first(x).relu()
        return self.last(self.second(self.hidden).relu())


def test_activations_that_a_network_keeps_are_in_nobodys_way():
    torch.manual_seed(0)
    network, inputs = Keeping().eval(), torch.randn(4, 10)
    network(inputs)
    structure = find_structure(network, inputs)
    assert structure.widths == (8, 6)
    masks = [np.arange(8) < 3, np.arange(6) < 3]
    child = compile_child(network, structure, MaskGenome(masks))
    with torch.no_grad():
        torch.testing.assert_close(child(inputs), masked_parent(network, structure, masks)(inputs))


def test_units_of_weights_that_hooks_compute_stay():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)),
        *(nn.ReLU(), nn.Linear(5, 3)),
    ).eval()
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(network[0])
    network(torch.randn(4, 10))
    structure = find_structure(network, torch.randn(4, 10))
    assert [group.name for group in structure.groups] == ["2", "4"]
    assert structure.left_alone["0"] == "the weight of '0' is computed from others"
    child = compile_child(network, structure, MaskGenome([np.arange(6) < 3, np.arange(5) < 3]))
    assert child(torch.randn(4, 10)).shape == (4, 3)


class SumInTraining(nn.Module):
    """Two layers whose units are added in training alone, as no graph shows."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = nn.Linear(10, 8), nn.Linear(10, 8), nn.Linear(16, 3)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        y = self.last(torch.cat([left, right], dim=1))
        return (y, (left + right).mean(dim=1)) if self.training else y


def test_groups_lose_different_numbers_of_units():
    torch.manual_seed(0)
    with pytest.raises(ArgumentError, match="left: without its units the network does not run in"):
        find_structure(SumInTraining().eval(), torch.randn(4, 10))
