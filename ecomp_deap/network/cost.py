"""Costs: what a network takes to store and to run."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.genomes import Structure

__all__ = ["mac_count", "param_count", "widths_cost"]


def param_count(module: nn.Module) -> int:
    """Return the number of parameters; a parameter used twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def mac_count(
    module: nn.Module,
    inputs: Any,
    *,
    n_samples: int,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> int:
    """Return multiply-accumulate operations for one sample: half of torch's counted FLOPs.

    Args:
        module: The network.
        inputs: A batch of ``n_samples`` samples.
        n_samples: Size of the batch, which the count is divided by.
        forward: ``(module, inputs) -> outputs``, by default ``module(inputs)``.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(inputs) if forward is None else forward(module, inputs)
    return counter.get_total_flops() // (2 * n_samples)


def widths_cost(structure: Structure, widths: Sequence[int]) -> tuple[int, int]:
    """Return (parameters, MACs for one sample) of a dense child, from its widths alone.

    Running means and variances of batch norms are no parameters.
    """
    params = macs = 0
    for name, shape in structure.child_shapes(widths).items():
        if name.endswith((".running_mean", ".running_var")):
            continue
        size = math.prod(shape)
        params += size
        macs += size if len(shape) == 2 else 0
    return params, macs
