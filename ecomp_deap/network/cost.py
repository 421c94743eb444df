"""Costs: what a network takes to store and to run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.genomes import Structure
from ecomp_deap.network.hooks import watching

__all__ = ["mac_count", "param_count", "size_bytes", "widths_cost", "with_positions"]


def param_count(module: nn.Module) -> int:
    """Return the number of parameters; a parameter used twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def size_bytes(module: nn.Module) -> int:
    """Return the bytes of the parameters and buffers in the state dict; a shared one counts once.

    Buffers that are not persistent are not in it.
    """
    # keep_vars gives the tensors themselves: without it, each name has an object of its own.
    values = module.state_dict(keep_vars=True).values()
    tensors = {id(value): value for value in values if isinstance(value, torch.Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


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
    """Return (parameters, MACs for one sample) of a child, from its widths alone.

    Running means and variances of batch norms are no parameters. The MACs of convolutions need
    a structure that knows their positions, see `with_positions`.
    """
    params = macs = 0
    # Of every child of every generation: no shapes are built.
    for name, axes in structure.tensors.items():
        if name.endswith((".running_mean", ".running_var")):
            continue
        size = 1
        for n, axis in zip(structure.shapes[name], axes, strict=True):
            size *= n if axis is None else axis.size(widths)
        params += size
        if len(axes) >= 2:
            macs += size * structure.positions.get(name, 1)
    return params, macs


def with_positions(
    structure: Structure,
    parent: nn.Module,
    inputs: Any,
    *,
    n_samples: int,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> Structure:
    """Return the structure with the number of positions at which each weight is applied.

    The parent is run once. Positions depend on the size of the inputs, and not on widths.

    Args:
        structure: The parent's groups; it is not changed.
        parent: The parent, in eval mode.
        inputs: A batch of ``n_samples`` samples; one is enough.
        n_samples: Size of the batch.
        forward: ``(module, inputs) -> outputs``, by default ``module(inputs)``.
    """

    modules = dict(parent.named_modules())
    # What no such layer holds makes no products of its own.
    counts = {name: 0 for name, shape in structure.shapes.items() if len(shape) >= 2}
    layers = [(name, modules.get(name.removesuffix(".weight"))) for name in counts]

    def count(name: str, _module: nn.Module, output: torch.Tensor) -> None:
        counts[name] += output.numel()

    cut = [
        (name, layer)
        for name, layer in layers
        if isinstance(layer, (nn.Linear, _ConvNd)) and not isinstance(layer, _ConvTransposeNd)
    ]
    with watching(cut, count), torch.no_grad():
        parent(inputs) if forward is None else forward(parent, inputs)
    found = {n: count // (n_samples * structure.shapes[n][0]) for n, count in counts.items()}
    return replace(structure, positions={n: times for n, times in found.items() if times != 1})
