"""Training: gradient steps for children, and the longer training of parents and chosen children."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.data import Samples

__all__ = ["fit", "predict", "train"]

# The order of the samples, apart from every other stream of the same seed.
_ORDER = 0xF17

Loss = Callable[[Any, torch.Tensor], torch.Tensor]
Forward = Callable[[nn.Module, Any], Any]


def train(
    module: nn.Module,
    batches: Iterable[tuple[Any, torch.Tensor]],
    *,
    loss_fn: Loss,
    forward: Forward,
    learning_rate: float,
    seed: int,
) -> None:
    """Take one Adam step per batch (changes ``module``, which ends in eval mode).

    Args:
        module: The network.
        batches: ``(inputs, targets)`` on the module's device.
        loss_fn: ``(outputs, targets) -> scalar``.
        forward: ``(module, inputs) -> outputs``.
        learning_rate: Of Adam.
        seed: Of torch's generator for the duration, for dropout.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        module.train()
        for inputs, targets in batches:
            optimizer.zero_grad(set_to_none=True)
            loss_fn(forward(module, inputs), targets).backward()
            optimizer.step()
    module.eval()


def fit(
    module: nn.Module,
    samples: Samples,
    *,
    epochs: int,
    loss_fn: Loss,
    forward: Forward,
    seed: int,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    device: str = "cpu",
    on_epoch: Callable[[], None] | None = None,
) -> None:
    """Train for whole epochs with Adam under a one-cycle schedule (changes ``module``).

    The one-cycle schedule (Smith & Topin 2018, "Super-Convergence") reaches in ten epochs what a
    constant rate needs twice as many for.

    Args:
        module: The network; it ends in eval mode.
        samples: What to train on; each epoch sees every sample once, in an order of its own.
        epochs: Number of epochs.
        loss_fn: ``(outputs, targets) -> scalar``.
        forward: ``(module, inputs) -> outputs``.
        seed: Of the order of the samples and of torch's generator for the duration.
        batch_size: Samples per step.
        learning_rate: The highest rate of the schedule.
        device: Where the module is.
        on_epoch: Called after each epoch.
    """
    n_batches = -(-len(samples) // batch_size)
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=max(2, epochs * n_batches)
    )
    rng = np.random.default_rng([seed, _ORDER])
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        module.train()
        for _ in range(epochs):
            order = rng.permutation(len(samples))
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                if len(indices) == 1 < len(order):
                    continue  # batch norm cannot normalise a lone last sample
                inputs, targets = samples.batch(indices)
                optimizer.zero_grad(set_to_none=True)
                outputs = forward(module, to_device(inputs, device))
                loss_fn(outputs, targets.to(device)).backward()
                optimizer.step()
                schedule.step()
            if on_epoch is not None:
                on_epoch()
    module.eval()


def predict(
    module: nn.Module,
    samples: Samples,
    *,
    metric: Callable[[Any, torch.Tensor], float],
    forward: Forward,
    device: str = "cpu",
    batch_size: int = 1000,
) -> float:
    """Return the metric of a network on all samples, as a mean weighted by batch sizes."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(samples), batch_size):
            indices = np.arange(start, min(start + batch_size, len(samples)))
            inputs, targets = samples.batch(indices)
            outputs = forward(module, to_device(inputs, device))
            total += metric(outputs, targets.to(device)) * len(indices)
    return total / len(samples)


def to_device(inputs: Any, device: str) -> Any:
    """Return a batch of inputs (a tensor, or nested tuples, lists and dicts) on ``device``."""
    return torch.utils._pytree.tree_map(
        lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, inputs
    )
