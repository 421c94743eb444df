"""Importance by hand, and the first-order change as the derivative by a unit's strength."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import find_structure, parent_arrays
from ecomp_deap.network.importance import (
    IMPORTANCES,
    l1_importance,
    l2_importance,
    taylor_importance,
    unit_importance,
    variance_importance,
)
from ecomp_deap.network.proof import masked_parent
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, state_of
from tests.network.networks import NETWORKS, TEXTS, build_network, images, tokens

TARGETS = torch.tensor([0, 3, 1, 4, 2, 0])


def taylor(network, structure, inputs, targets=TARGETS, loss_fn=functional.cross_entropy):
    return taylor_importance(
        network, structure, inputs, targets, loss_fn=loss_fn, forward=default_forward
    )


def variance(network, structure, inputs):
    return variance_importance(network, structure, inputs, forward=default_forward)


def of(structure, name):
    return [group.name for group in structure.groups].index(name)


def strength_derivatives(network, structure, inputs, targets):
    """Return, for each group, ∂loss/∂(strength at which a unit is read), shape (1, n_units)."""
    strengths = [torch.ones(n, requires_grad=True) for n in structure.widths]
    weights = dict(network.named_parameters())
    for tensor, axes in structure.tensors.items():
        if len(axes) < 2 or axes[1] is None or tensor in structure.tables:
            continue
        size = structure.shapes[tensor][1]
        factors = torch.ones(size)
        for index in axes[1].groups:
            units = axes[1].units(index, size)
            own = torch.from_numpy(units >= 0)
            picked = strengths[index][torch.from_numpy(np.maximum(units, 0))]
            factors = torch.where(own, picked, factors)
        shape = [1, -1] + [1] * (len(axes) - 2)
        weights[tensor] = weights[tensor].detach() * factors.reshape(shape)
    outputs = functional_call(network, weights, (inputs,))
    return torch.autograd.grad(functional.cross_entropy(outputs, targets), strengths)


def test_norms_sum_incoming_weights_without_the_bias():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 0.5], [-3.0, 0.0]]))
        network[0].bias.fill_(100.0)
        network[2].weight.copy_(torch.tensor([[2.0, 2.0, -1.0], [0.25, 0.0, 0.0]]))
    structure = find_structure(network)
    arrays = parent_arrays(network, structure)
    first, second = l1_importance(structure, arrays)
    assert first.dtype == second.dtype == np.float64
    assert first.tolist() == [7.0, 0.5, 3.0]
    assert second.tolist() == [5.0, 0.25]
    first, second = l2_importance(structure, arrays)
    assert first.dtype == second.dtype == np.float64
    assert first.tolist() == [5.0, 0.5, 3.0]
    assert second.tolist() == [3.0, 0.25]


def test_norms_of_a_channel_are_those_of_its_filter():
    network = nn.Sequential(nn.Conv2d(2, 2, (1, 2)), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        network[0].weight.copy_(
            torch.tensor([[[[1.0, -2.0]], [[0.0, 2.0]]], [[[-3.0, 0.0]], [[4.0, 0.0]]]])
        )
    structure = find_structure(network)
    arrays = parent_arrays(network, structure)
    assert l1_importance(structure, arrays)[0].tolist() == [5.0, 7.0]
    assert l2_importance(structure, arrays)[0].tolist() == [3.0, 5.0]


def test_norms_of_input_features_are_those_of_their_outgoing_weights():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 0.0], [-4.0, 0.5]]))
    structure = find_structure(network, prune_inputs=True)
    arrays = parent_arrays(network, structure)
    inputs, first = l1_importance(structure, arrays)
    assert inputs.tolist() == [7.0, 0.5]
    assert first.tolist() == [3.0, 4.5]
    assert l2_importance(structure, arrays)[0].tolist() == [5.0, 0.5]


def test_norms_of_an_embedding_are_those_of_its_columns():
    network = nn.Sequential(nn.EmbeddingBag(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 0.0], [-4.0, 1.0], [0.0, -2.0]]))
        network[1].weight.fill_(100.0)
    structure = find_structure(network, torch.tensor([[0, 1], [2, 1]]))
    arrays = parent_arrays(network, structure)
    assert l1_importance(structure, arrays)[0].tolist() == [7.0, 3.0]
    assert l2_importance(structure, arrays)[0].tolist() == pytest.approx([5.0, 5.0**0.5])


def test_variance_of_an_embedding_is_that_of_what_layers_read_of_it():
    network, x = build_network("Positions"), tokens(6)
    structure = find_structure(network, x)
    (found,) = variance(network, structure, x)
    with torch.no_grad():
        first = network.tokens(x) + network.positions.weight
        second = (first + network.inner(first).relu()).mean(dim=1)
    read = [y.double().numpy().reshape(-1, 8).var(axis=0) for y in (first, second)]
    np.testing.assert_allclose(found, sum(read), rtol=1e-6)


def test_variance_is_that_of_what_is_read():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    inputs = torch.randn(7, 3)
    (found,) = variance(network, find_structure(network), inputs)
    assert found.dtype == np.float64
    expected = network[:3](inputs).detach().double().numpy().var(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_variance_of_input_features_is_that_of_the_inputs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    inputs = torch.randn(7, 3)
    found, _ = variance(network, find_structure(network, prune_inputs=True), inputs)
    np.testing.assert_allclose(found, inputs.double().numpy().var(axis=0), rtol=1e-6)


def test_variance_of_a_flattened_channel_is_the_mean_of_its_entries():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    (found,) = variance(network, find_structure(network), images(6))
    expected = network[:2](images(6)).detach().double().numpy().var(axis=0).mean(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_variance_is_summed_over_the_layers_that_read_a_unit():
    network, x = build_network("Grouped"), images(6)
    structure = find_structure(network, x)
    found = variance(network, structure, x)
    with torch.no_grad():
        first = network.first(x).relu()
        second = network.depthwise(network.grouped(first).relu())
        squeezed = network.squeeze(second.mean(dim=(2, 3), keepdim=True)).relu()
        scale = network.excite(squeezed).sigmoid()
    # The grouped convolution reads channels i, i + 3, i + 6 and i + 9 of unit i; a position is
    # one more sample.
    channels = first.double().numpy().var(axis=(0, 2, 3)).reshape(4, 3)
    np.testing.assert_allclose(found[of(structure, "first")], channels.mean(axis=0), rtol=1e-6)
    read = [second.mean(dim=(2, 3)), (second * scale).mean(dim=(2, 3))]
    expected = sum(x.double().numpy().var(axis=0).reshape(4, 2).mean(axis=0) for x in read)
    np.testing.assert_allclose(found[of(structure, "grouped")], expected, rtol=1e-5)


def test_variance_behind_a_concatenation_is_that_of_the_own_part():
    network, x = build_network("Concatenation"), images(6)
    structure = find_structure(network, x)
    found = variance(network, structure, x)
    with torch.no_grad():
        joined = torch.cat([network.left(x), network.right(x).relu()], dim=1)
        read = network.norm(joined).tanh().double().numpy().var(axis=(0, 2, 3))
    np.testing.assert_allclose(found[of(structure, "left")], read[:4], rtol=1e-6)
    np.testing.assert_allclose(found[of(structure, "right")], read[4:], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(NETWORKS | TEXTS))
def test_taylor_is_the_derivative_by_the_strength_at_which_units_are_read(name):
    network, inputs = build_network(name), tokens(6) if name in TEXTS else images(6)
    structure = find_structure(network, inputs)
    each = [
        strength_derivatives(network, structure, inputs[i : i + 1], TARGETS[i : i + 1])
        for i in range(6)
    ]
    for index, found in enumerate(taylor(network, structure, inputs)):
        expected = torch.stack([own[index].abs() for own in each]).mean(dim=0)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-7)


def test_taylor_is_exact_where_everything_is_linear():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Identity(), nn.Linear(5, 4))
    structure, inputs = find_structure(network), torch.randn(6, 3)

    def loss_fn(outputs, targets):
        return outputs[range(len(targets)), targets].mean()

    targets = TARGETS % 4
    (found,) = taylor(network, structure, inputs, targets, loss_fn)
    for unit in range(5):
        masked = masked_parent(network, structure, [np.arange(5) != unit])
        with torch.no_grad():
            change = (network(inputs) - masked(inputs))[range(6), targets].abs().mean()
        assert found[unit] == pytest.approx(float(change), rel=1e-4)


def test_taylor_of_input_features():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 5))
    inputs = torch.randn(6, 3)
    found, _ = taylor(network, find_structure(network, prune_inputs=True), inputs)
    leaf = inputs.clone().requires_grad_()
    functional.cross_entropy(network(leaf), TARGETS, reduction="sum").backward()
    expected = (inputs * leaf.grad).abs().mean(dim=0)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


class Laid(nn.Module):
    """A layer whose samples lie along another dimension than the first."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.first, self.last = nn.Linear(3, 7), nn.Linear(7, 5)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        if self.order == "folded":
            return self.last(self.first(x.reshape(-1, 3)).tanh()).view(len(x), -1, 5).mean(dim=1)
        back = np.argsort(self.order).tolist()
        x = self.last(self.first(x.permute(self.order)).tanh())
        return x.permute(back).mean(dim=(1, 2))


@pytest.mark.parametrize(("order", "size"), [("folded", 8), ((1, 0, 2, 3), 12), ((1, 2, 0, 3), 8)])
def test_taylor_tells_samples_apart_wherever_they_lie(order, size):
    torch.manual_seed(0)
    network, inputs = Laid(order), images(6, size=size)
    structure = find_structure(network, inputs)
    (found,) = taylor(network, structure, inputs)
    each = [
        strength_derivatives(network, structure, inputs[i : i + 1], TARGETS[i : i + 1])[0]
        for i in range(6)
    ]
    if order == (1, 2, 0, 3):  # where it cannot, the batch counts as one sample
        expected = torch.stack(each).mean(dim=0).abs()
    else:
        expected = torch.stack(each).abs().mean(dim=0)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", IMPORTANCES)
def test_importance_changes_nothing_and_is_the_same_again(name, frozen):
    network, inputs = build_network("Residual"), images(6)
    structure = find_structure(network, inputs)
    if frozen:
        network.requires_grad_(False)
    else:
        network.last.weight.grad = torch.ones_like(network.last.weight)
    state, arrays = state_of(network), parent_arrays(network, structure)
    before = {key: array.copy() for key, array in arrays.items()}
    first, again = (
        unit_importance(
            name,
            network,
            structure,
            arrays,
            inputs=inputs,
            targets=TARGETS,
            loss_fn=functional.cross_entropy,
            forward=default_forward,
        )
        for _ in range(2)
    )
    for group, a, b in zip(structure.groups, first, again, strict=True):
        assert a.shape == (group.n_units,)
        assert np.isfinite(a).all()
        assert a.any()
        assert np.array_equal(a, b)
    assert equal_states(state_of(network), state)
    assert all(np.array_equal(arrays[key], before[key]) for key in before)
    assert not network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    for key, parameter in network.named_parameters():
        assert parameter.requires_grad is not frozen
        if key == "last.weight" and not frozen:
            assert torch.equal(parameter.grad, torch.ones_like(parameter))
        else:
            assert parameter.grad is None


def test_frozen_parents_have_the_same_taylor_importance():
    network, inputs = build_network("Residual"), images(6)
    structure = find_structure(network, inputs)
    expected = taylor(network, structure, inputs)
    for found, own in zip(
        taylor(network.requires_grad_(False), structure, inputs), expected, strict=True
    ):
        np.testing.assert_allclose(found, own, rtol=1e-6)


def test_what_cannot_be_is_refused():
    network, inputs = build_network("Residual"), images(6)
    structure = find_structure(network, inputs)
    arrays = parent_arrays(network, structure)

    def ask(name, inputs=inputs, loss_fn=functional.cross_entropy):
        return unit_importance(
            name,
            network,
            structure,
            arrays,
            inputs=inputs,
            targets=TARGETS,
            loss_fn=loss_fn,
            forward=default_forward,
        )

    with pytest.raises(ArgumentError, match=r"importance: expected one of \('l1', .*got 'l3'"):
        ask("l3")
    with pytest.raises(ArgumentError, match="expected a loss and a forward that can be diff"):
        ask("taylor", loss_fn=lambda outputs, targets: outputs.detach().mean())
    with pytest.raises(ArgumentError, match="importance 'variance': expected finite values for"):
        ask("variance", inputs=inputs * float("inf"))
    with pytest.raises(RuntimeError, match="expected input"):
        ask("taylor", inputs=inputs[:, :2])
    assert not any(module._forward_pre_hooks for module in network.modules())
