"""The loss as something to descend."""

import numpy as np
import pytest
import torch

from ecomp_deap.similarity import TSNELoss
from tests.similarity.references import child_of, relu_embedding

KERNELS = ["gaussian", "student"]


def double_child(seed, n_samples, n_units):
    return torch.randn(n_samples, n_units, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n_units", [1, 3])
def test_gradient_equals_finite_differences(kernel, n_units):
    loss = TSNELoss(double_child(0, 10, 4), perplexity=2.5, kernel=kernel)
    child = double_child(1, 10, n_units).requires_grad_()

    assert torch.autograd.gradcheck(loss, child, rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_of_a_batch_equals_finite_differences(kernel):
    loss = TSNELoss(double_child(0, 8, 4), perplexity=2.0, kernel=kernel)
    batch = torch.stack([double_child(seed, 8, 2) for seed in (1, 2)]).requires_grad_()

    assert torch.autograd.gradcheck(loss, batch, rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_with_ties_fewer_than_the_perplexity_equals_finite_differences(kernel):
    loss = TSNELoss(double_child(0, 13, 4), perplexity=4.0, kernel=kernel)
    child = double_child(1, 13, 2)
    child[1:3] = child[0]
    child.requires_grad_()

    # Around equal samples, the loss is curved at the scale of their distance: a small step.
    assert torch.autograd.gradcheck(loss, child, eps=1e-6, rtol=1e-3, atol=1e-4)


def test_gradient_reaches_children_of_different_widths():
    loss = TSNELoss(double_child(0, 10, 4), perplexity=2.5)
    children = [double_child(seed, 10, seed).requires_grad_() for seed in (1, 2, 3)]
    loss.of_children(children).sum().backward()
    for child in children:
        alone = child.detach().clone().requires_grad_()
        loss(alone).backward()
        torch.testing.assert_close(child.grad, alone.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_descending_makes_a_child_more_similar(kernel, dtype):
    origin = torch.as_tensor(relu_embedding(0, 50, 20)).to(dtype)
    loss = TSNELoss(origin, perplexity=12.0, kernel=kernel)
    child = torch.as_tensor(child_of(origin.numpy(), 1, 5, noise=1.0)).to(dtype).requires_grad_()
    optimiser = torch.optim.Adam([child], lr=0.05)
    before = float(loss(child).detach())
    for _ in range(25):
        optimiser.zero_grad()
        value = loss(child)
        value.backward()
        assert child.grad.dtype == dtype
        optimiser.step()

    assert float(loss(child).detach()) < 0.7 * before


def test_gradient_does_not_depend_on_the_scale_of_the_embedding():
    loss = TSNELoss(double_child(0, 40, 4), perplexity=12.0)
    child = double_child(1, 40, 3)
    gradients = []
    for scale in (1e-12, 1.0, 1e12):
        scaled = (scale * child).requires_grad_()
        loss(scaled).backward()
        gradients.append(scale * scaled.grad)

    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(gradients[2], gradients[1], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_moves_no_centre_of_mass(kernel):
    loss = TSNELoss(double_child(0, 40, 4), perplexity=12.0, kernel=kernel)
    child = double_child(1, 40, 3).requires_grad_()
    loss(child).backward()

    np.testing.assert_allclose(child.grad.sum(dim=0), 0.0, atol=1e-12)
    assert child.grad.abs().max() > 1e-3


def test_gradient_keeps_its_digits_under_a_common_offset():
    loss = TSNELoss(double_child(0, 40, 4), perplexity=12.0)
    child = double_child(1, 40, 3)
    gradients = []
    for offset in (0.0, 2.0**30):
        # Rounded as the offset will round it, so that the distances are the same.
        moved = ((child + 2.0**30) - 2.0**30 + offset).requires_grad_()
        loss(moved).backward()
        gradients.append(moved.grad)

    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-7, atol=1e-10)
