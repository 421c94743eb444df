"""Embedding: what probe layers make of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.network.hooks import watching

__all__ = ["Probe", "as_embedding", "embed", "first_tensor"]


@dataclass(frozen=True)
class Probe:
    """A layer whose outputs are compared between parent and child, and how they lie.

    Attributes:
        name: Of the layer.
        sample_dim: The dimension of its outputs that counts the samples.
        unit_dim: The one that counts the units. Over all others an embedding is averaged.
    """

    name: str
    sample_dim: int = 0
    unit_dim: int = 1


def embed(
    module: nn.Module,
    inputs: Any,
    probes: Sequence[Probe],
    *,
    forward: Callable[[nn.Module, Any], Any],
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the outputs and each probe layer's embedding for a batch.

    Args:
        module: The network.
        inputs: A batch.
        probes: The probe layers, see `find_probe_layers`.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        The outputs, and by layer an embedding of shape ``(n_samples, n_units)``.

    Raises:
        ArgumentError: A layer that the forward pass does not use, or see `as_embedding`.
    """
    found: dict[str, torch.Tensor] = {}
    by_name = {probe.name: probe for probe in probes}

    def record(name: str, _module: nn.Module, output: Any) -> None:
        # A copy: an activation with inplace=True behind the probe would overwrite it.
        found[name] = as_embedding(by_name[name], output)

    with watching([(name, module.get_submodule(name)) for name in by_name], record):
        outputs = forward(module, inputs)
    for name in by_name:
        if name not in found:
            raise argument_error("probe_layers", "layers that the forward pass uses", name)
    return outputs, {name: found[name] for name in by_name}


def as_embedding(probe: Probe, output: Any) -> torch.Tensor:
    """Return a layer's output as an embedding of its own memory, shape ``(n_samples, n_units)``.

    Args:
        probe: Says which dimensions count samples and units; the mean is taken over all others,
            as the positions of maps and the tokens of sequences.
        output: A tensor, or a tuple or list that begins with one.

    Raises:
        ArgumentError: An output without these dimensions.
    """
    tensor = first_tensor(output)
    dims = (probe.sample_dim, probe.unit_dim)
    if tensor is None or tensor.ndim <= max(dims):
        raise argument_error(
            f"probe layer {probe.name!r}",
            f"a tensor whose dimension {dims[0]} counts samples and {dims[1]} units",
            type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}",
        )
    rows = tensor.movedim(dims, (0, 1))
    return rows.clone() if rows.ndim == 2 else rows.flatten(2).mean(dim=2)


def first_tensor(output: Any) -> torch.Tensor | None:
    """Return what an output is known by: the tensor, or the first one of a tuple or list.

    Sequences of different lengths, which encoders make where there is padding, end in zeros. It is
    None if there is no tensor of floating-point numbers.
    """
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        return None
    return output.to_padded_tensor(0.0) if output.is_nested else output
