"""Reconstruction: units ranked so that those that stay stand in for those that go.

Norms and variances judge every unit by itself, and keep several that say the same. What matters of
a set of units is how much of all units can be told from them, which is a column subset selection.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure
from ecomp_deap.network.attention import with_open_heads
from ecomp_deap.network.hooks import intercepting
from ecomp_deap.network.reading import entries_last, readers

__all__ = ["reconstruction_importance"]

# Of the units' variance in all: what is left below that is rounding.
_NOTHING = 1e-10


def reconstruction_importance(
    parent: nn.Module,
    structure: Structure,
    arrays: Mapping[str, np.ndarray],
    batches: Iterable[Any],
    *,
    forward: Callable[[nn.Module, Any], Any],
) -> list[np.ndarray]:
    """Return, for each group, units ranked by how much of all units they add to what is known.

    The first unit is the one from which all can best be reconstructed linearly, in the least
    squares sense; each next one adds most to those before it. A unit counts by what the layers that
    read it make of it: its activations times the L2 norm of the weights that they meet. Those that
    add nothing follow, the ones with more variance first.

    It takes a number of operations that grows with the cube of a group's units.

    Args:
        parent: The network, in eval mode; it is not changed.
        structure: Its groups.
        arrays: Its arrays by name.
        batches: Inputs; more samples than a group has units tell its units apart.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        One double array of shape ``(n_units,)`` per group: the number of units that a unit comes
        before, itself counted.

    Raises:
        ArgumentError: Values that are not finite.

    Source: the greedy algorithm of Farahat, Ghodsi and Kamel (2011), "An efficient greedy method
    for unsupervised feature selection". Pruning by linear reconstruction: Chee et al. (2022),
    "Model preserving compression for neural networks".
    """
    sums = _Sums(structure, arrays)
    network = with_open_heads(parent, structure)
    with intercepting(readers(network, structure), sums.add), torch.no_grad():
        for inputs in batches:
            forward(network, inputs)
    found = []
    for group, covariance in zip(structure.groups, sums.covariances(), strict=True):
        if not np.isfinite(covariance).all():
            expected = f"finite values for the units of {group.name!r}"
            raise argument_error("importance 'reconstruction'", expected, "NaN or Inf")
        order = _greedy(covariance)
        importance = np.empty(len(order))
        importance[order] = np.arange(len(order), 0, -1)
        found.append(importance)
    return found


class _Sums:
    """Sums over samples and positions of what layers read, and of its products, unit by unit.

    Where several entries belong to a unit, as behind a flatten, units are compared entry by entry.
    """

    def __init__(self, structure: Structure, arrays: Mapping[str, np.ndarray]) -> None:
        self._structure, self._arrays = structure, arrays
        # By tensor, group and entry of the unit: number of rows, sums, sums of products, first row.
        self._found: dict[tuple[str, int, int], list[Any]] = {}

    def add(self, tensor: str, read: torch.Tensor) -> torch.Tensor:
        """Add what a layer reads, and return it."""
        values = entries_last(self._structure, tensor, read)
        values = values.reshape(-1, values.shape[-1])
        axis = self._structure.tensors[tensor][1]
        assert axis is not None
        weight = np.square(self._arrays[tensor].astype(np.float64))
        size = weight.shape[1]
        # A grouped convolution numbers the inputs of each of its groups from 0, and an input meets
        # its own group's filters alone.
        times = values.shape[1] // size
        squares = np.moveaxis(weight.reshape(times, -1, *weight.shape[1:]), 2, -1)
        norms = np.sqrt(squares.reshape(times, -1, size).sum(axis=1)).ravel()
        values = values * torch.from_numpy(norms)
        for group in axis.groups:
            units = np.tile(axis.units(group, size), times)
            n_units = self._structure.groups[group].n_units
            for entry, columns in enumerate(_by_entry(units, n_units)):
                own = values[:, torch.from_numpy(columns)]
                # From the first row on, so that what is constant is exactly 0.
                start = [0, 0.0, 0.0, own[0].clone()]
                found = self._found.setdefault((tensor, group, entry), start)
                own = own - found[3]
                found[0] += len(own)
                found[1] = found[1] + own.sum(dim=0)
                found[2] = found[2] + own.T @ own
        return read

    def covariances(self) -> list[np.ndarray]:
        """Return the units' covariance for each group, summed over all that read them."""
        total = [np.zeros((group.n_units,) * 2) for group in self._structure.groups]
        for (_, group, _), (n, sums, products, _) in self._found.items():
            total[group] += (products / n - torch.outer(sums, sums) / n**2).numpy()
        return total


def _by_entry(units: np.ndarray, n_units: int) -> list[np.ndarray]:
    """Return the columns of each unit's first entry, of each one's second, and so on.

    Args:
        units: The unit that each column belongs to, −1 for none. All own as many.
        n_units: Number of units.
    """
    columns = np.flatnonzero(units >= 0)
    columns = columns[np.argsort(units[columns], kind="stable")]
    return list(columns.reshape(n_units, -1).T)


def _greedy(covariance: np.ndarray) -> list[int]:
    """Return all units' indices, those from which the others follow best first."""
    rest = covariance.copy()
    nothing = _NOTHING * max(float(np.trace(covariance)), 0.0)
    order: list[int] = []
    for _ in range(len(covariance)):
        left = np.diagonal(rest).copy()
        left[order] = 0.0
        able = left > nothing
        if not able.any():
            break
        gains = np.einsum("ij,ij->j", rest, rest)
        gains = np.divide(gains, left, out=np.full_like(left, -np.inf), where=able)
        best = int(gains.argmax())
        order.append(best)
        rest -= np.outer(rest[:, best], rest[best] / left[best])
    others = sorted(set(range(len(covariance))) - set(order))
    return order + sorted(others, key=lambda unit: (-covariance[unit, unit], unit))
