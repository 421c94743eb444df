"""What layers read of the units of groups."""

from collections.abc import Iterator

import torch
from torch import nn

from ecomp_deap.genomes import Structure

__all__ = ["entries_last", "layer_of", "readers"]


def layer_of(tensor: str) -> str:
    """Return the name of the layer that a tensor belongs to."""
    return tensor.rpartition(".")[0]


def readers(parent: nn.Module, structure: Structure) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers that read units, each under the name of its weight."""
    for tensor in structure.tensors:
        if structure.read_along(tensor) is not None:
            yield tensor, parent.get_submodule(layer_of(tensor))


def entries_last(structure: Structure, tensor: str, read: torch.Tensor) -> torch.Tensor:
    """Return what a layer reads in double precision on the CPU, shape ``(..., n_entries)``."""
    # A linear layer reads the last dimension, a convolution the one before the positions.
    dim = 1 - len(structure.shapes[tensor])
    return read.detach().cpu().double().movedim(dim, -1)
