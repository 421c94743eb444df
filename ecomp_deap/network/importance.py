"""Importance: how much a unit matters to the parent, so that the least important can go first.

Weights tell it without data. With data, what counts is what the layers that read a unit get of
it, since a unit that is removed is read as 0.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure, making_dim
from ecomp_deap.network.attention import with_open_heads
from ecomp_deap.network.hooks import intercepting
from ecomp_deap.network.reading import entries_last, layer_of, readers

__all__ = [
    "IMPORTANCES",
    "l1_importance",
    "l2_importance",
    "taylor_importance",
    "unit_importance",
    "variance_importance",
]

#: The measures that `unit_importance` knows.
IMPORTANCES = ("l1", "l2", "variance", "taylor")

Forward = Callable[[nn.Module, Any], Any]
Loss = Callable[[Any, torch.Tensor], torch.Tensor]


def unit_importance(
    name: str,
    parent: nn.Module,
    structure: Structure,
    arrays: Mapping[str, np.ndarray],
    *,
    inputs: Any,
    targets: torch.Tensor,
    loss_fn: Loss,
    forward: Forward,
) -> list[np.ndarray]:
    """Return the importance of every unit; more is more important.

    Args:
        name: One of `IMPORTANCES`.
        parent: The network, in eval mode; it is not changed.
        structure: Its groups.
        arrays: Its arrays by name.
        inputs: A batch, on the parent's device; weights do not need it.
        targets: Of the batch.
        loss_fn: ``(outputs, targets) -> scalar``, a mean over samples.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        One double array of shape ``(n_units,)`` per group, finite.

    Raises:
        ArgumentError: An unknown name, or importances that are not finite.
    """
    if name == "l1":
        found = l1_importance(structure, arrays)
    elif name == "l2":
        found = l2_importance(structure, arrays)
    elif name == "variance":
        found = variance_importance(parent, structure, inputs, forward=forward)
    elif name == "taylor":
        found = taylor_importance(
            parent, structure, inputs, targets, loss_fn=loss_fn, forward=forward
        )
    else:
        raise argument_error("importance", f"one of {IMPORTANCES}", name)
    for group, values in zip(structure.groups, found, strict=True):
        if not np.isfinite(values).all():
            expected = f"finite values for the units of {group.name!r}"
            raise argument_error(f"importance {name!r}", expected, "NaN or Inf")
    return found


def l1_importance(structure: Structure, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return, for each group, the L1 norm of each unit's incoming weights, without the bias.

    A unit of an embedding counts by its column. Units that no layer makes, as the input features,
    count by their outgoing weights.

    Args:
        structure: The parent's groups.
        arrays: The parent's arrays by name.

    Returns:
        One double array of shape ``(n_units,)`` per group.

    Source: the original EComp; Li et al. (2017), "Pruning Filters for Efficient ConvNets".
    """
    return _weight_sums(structure, arrays, np.abs)


def l2_importance(structure: Structure, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return, for each group, the L2 norm of each unit's weights, see `l1_importance`."""
    return [np.sqrt(sums) for sums in _weight_sums(structure, arrays, np.square)]


def variance_importance(
    parent: nn.Module, structure: Structure, inputs: Any, *, forward: Forward
) -> list[np.ndarray]:
    """Return, for each group, how much the activations of each unit vary over a batch.

    That is the variance over samples and positions of what a layer reads, averaged over the
    entries that belong to the unit, and summed over the layers that read it.

    Args:
        parent: The network, in eval mode; it is not changed.
        structure: Its groups.
        inputs: A batch.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        One double array of shape ``(n_units,)`` per group.
    """
    found = [np.zeros(group.n_units) for group in structure.groups]

    def record(tensor: str, read: torch.Tensor) -> torch.Tensor:
        values = entries_last(structure, tensor, read)
        variances = values.reshape(-1, values.shape[-1]).var(dim=0, correction=0).numpy()
        for index, sums, counts in _by_unit(structure, tensor, variances[None]):
            found[index] += sums[0] / np.maximum(counts, 1)
        return read

    network = with_open_heads(parent, structure)
    with intercepting(readers(network, structure), record), torch.no_grad():
        forward(network, inputs)
    return found


def taylor_importance(
    parent: nn.Module,
    structure: Structure,
    inputs: Any,
    targets: torch.Tensor,
    *,
    loss_fn: Loss,
    forward: Forward,
) -> list[np.ndarray]:
    """Return, for each group, by how much the loss changes without a unit, to first order.

    For one sample that is the sum of activation × ∂loss/∂activation over all that layers read of
    the unit. Its absolute value is averaged over samples.

    Args:
        parent: The network, in eval mode; it is not changed, and may be frozen.
        structure: Its groups.
        inputs: A batch.
        targets: Of the batch, shape ``(n_samples, ...)``.
        loss_fn: ``(outputs, targets) -> scalar``, a mean over samples: one backward pass then
            gives the gradient of every sample's own loss.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        One double array of shape ``(n_units,)`` per group.

    Raises:
        ArgumentError: A loss that gradients do not reach.

    Source: Molchanov et al. (2017), "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", section 2.2; with the sum over a unit's positions before the absolute value, as in
    Molchanov et al. (2019), "Importance Estimation for Neural Network Pruning".
    """
    reads: list[tuple[str, torch.Tensor]] = []

    def record(tensor: str, read: torch.Tensor) -> torch.Tensor:
        # A tensor of its own, so that its gradient is what comes by this layer alone.
        own = read.clone() if read.requires_grad else read.detach().clone().requires_grad_()
        reads.append((tensor, own))
        return own

    network = with_open_heads(parent, structure)
    with intercepting(readers(network, structure), record), torch.enable_grad():
        loss = loss_fn(forward(network, inputs), targets)
    if not loss.requires_grad:
        expected = "a loss and a forward that can be differentiated"
        raise argument_error("importance 'taylor'", expected, "a loss without a gradient")
    # Not backward(), which would leave gradients at the parent's parameters.
    gradients = torch.autograd.grad(loss, [read for _, read in reads], allow_unused=True)
    n_samples = len(targets)
    changes = [np.zeros((n_samples, group.n_units)) for group in structure.groups]
    for (tensor, read), gradient in zip(reads, gradients, strict=True):
        if gradient is None:
            continue
        values = entries_last(structure, tensor, read.detach() * gradient)
        for index, sums, _ in _by_unit(structure, tensor, _per_sample(values, n_samples).numpy()):
            changes[index][: len(sums)] += sums
    # Not the mean: the loss is one already.
    return [np.abs(change).sum(axis=0) for change in changes]


def _weight_sums(
    structure: Structure,
    arrays: Mapping[str, np.ndarray],
    size: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Return, for each group, the sum of ``size`` over the weights of each unit."""
    found = [np.zeros(group.n_units) for group in structure.groups]
    for tensor, axes in structure.tensors.items():
        for dim, axis in enumerate(axes[:2] if len(axes) >= 2 else ()):
            if axis is None:
                continue
            sizes = np.moveaxis(size(arrays[tensor].astype(np.float64)), dim, -1)
            rows = sizes.reshape(-1, sizes.shape[-1]).sum(axis=0)[None]
            for index, sums, _ in _by_unit(structure, tensor, rows, dim):
                group = structure.groups[index]
                is_maker = dim == making_dim(tensor, structure.tables)
                if not is_maker if group.is_input else is_maker and layer_of(tensor) == group.name:
                    found[index] += sums[0]
    return found


def _per_sample(values: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Return the sums over positions, shape ``(n_samples, n_entries)``.

    Of values that are not laid out by samples it is the sum over all, shape ``(1, n_entries)``.
    """
    shape = values.shape[:-1]
    if len(shape) > 1 and shape[0] != n_samples == shape[1]:  # positions first
        rows = values.movedim(1, 0).flatten(1, -2)
    elif shape and shape[0] % n_samples == 0:
        rows = values.reshape(n_samples, -1, values.shape[-1])
    else:
        rows = values.reshape(1, -1, values.shape[-1])
    return rows.sum(dim=1)


def _by_unit(
    structure: Structure, tensor: str, values: np.ndarray, dim: int = 1
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each group that owns entries its index, sums by unit, and entries of each unit.

    Args:
        structure: The groups.
        tensor: The weight whose dimension ``dim`` the entries are.
        values: Shape ``(n_rows, n_entries)``. A grouped convolution numbers the inputs of each of
            its groups from 0, so that there may be several times the weight's entries.
        dim: Of the weight.

    Returns:
        The sums have the shape ``(n_rows, n_units)``, the numbers of entries ``(n_units,)``.
    """
    axis = structure.tensors[tensor][dim]
    assert axis is not None
    size = structure.shapes[tensor][dim]
    for index in axis.groups:
        units = np.tile(axis.units(index, size), values.shape[1] // size)
        own, n_units = units >= 0, structure.groups[index].n_units
        sums = np.zeros((n_units, len(values)))
        np.add.at(sums, units[own], values[:, own].T)
        yield index, sums.T, np.bincount(units[own], minlength=n_units)
