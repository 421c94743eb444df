"""Recalibration: the statistics of batch norms, taken anew from a child's own activations.

What a removed unit gave to the next layers is missing from their activations, so that means and
variances that were the parent's fit a child no more.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["has_statistics", "recalibrate"]


def has_statistics(module: nn.Module) -> bool:
    """Return whether a network has batch norms with statistics of their own."""
    return any(True for _ in _norms(module))


def recalibrate(
    module: nn.Module, inputs: Any, *, forward: Callable[[nn.Module, Any], Any]
) -> None:
    """Give batch norms the statistics of one batch (changes ``module``, which is in eval mode).

    One that is used several times gets the means over its uses. One that is not used keeps what it
    has, and all do if the network raises an error.

    Args:
        module: The network, all in eval mode; but for its batch norms it stays in it.
        inputs: A batch of at least two samples.
        forward: ``(module, inputs) -> outputs``.

    Source: Li et al. (2020), "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network
    Pruning", section 3.3.
    """
    norms = list(_norms(module))
    before = [(norm.momentum, _statistics(norm)) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    used: set[nn.Module] = set()
    try:
        with torch.no_grad():
            forward(module, inputs)
        used = {norm for norm in norms if norm.num_batches_tracked}
    finally:
        for norm, (momentum, statistics) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()
            if norm not in used:
                for name, buffer in norm.named_buffers(recurse=False):
                    buffer.copy_(statistics[name])


def _statistics(norm: _BatchNorm) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)}


def _norms(module: nn.Module) -> Iterator[_BatchNorm]:
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            yield part
