"""Importance: how much a unit matters to the parent, so that the least important can go first."""

from collections.abc import Mapping

import numpy as np

from ecomp_deap.genomes import Structure

__all__ = ["l1_importance"]


def l1_importance(structure: Structure, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return, for each group, the L1 norm of each unit's incoming weights, without the bias.

    Args:
        structure: The parent's groups.
        arrays: The parent's arrays by name.

    Returns:
        One double array of shape ``(n_units,)`` per group.

    Source: the original EComp; Li et al. (2017), "Pruning Filters for Efficient ConvNets".
    """
    importance = []
    for index, group in enumerate(structure.groups):
        name = f"{group.name}.weight"
        weight = np.abs(arrays[name])
        norms = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.float64)
        axis = structure.tensors[name][0]
        assert axis is not None  # the group's layer makes its units
        units = axis.units(index, len(norms))
        importance.append(np.bincount(units[units >= 0], norms[units >= 0], group.n_units))
    return importance
