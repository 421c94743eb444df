"""Alignment: which units of two individuals act alike, whatever parent's units they stem from."""

from collections.abc import Callable, Sequence

import numpy as np

from ecomp_deap.checks import check_callable
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Axis, MaskGenome, Structure
from ecomp_deap.operators.arguments import check_masked

__all__ = ["align_units"]

#: Returns, for each group, what a child's kept units give for a batch, shape
#: ``(n_samples, n_kept)``; None for input features.
Activations = Callable[[MaskGenome], Sequence[np.ndarray | None]]

# What a unit's own name is worth, as a correlation: it decides where nothing else does.
_OWN_NAME = 1e-9
# Spreads below this part of the largest activation are rounding.
_CONSTANT = 1e-9


def align_units(
    structure: Structure,
    reference: MaskGenome,
    individual: MaskGenome,
    activations: Activations,
) -> MaskGenome:
    """Return ``individual`` with its units renamed after the units of ``reference`` that act alike.

    A unit's name is the unit of the parent that it stands for. In each group as many units as
    possible are matched one to one, so that the sum of their activations' correlations is the
    largest (Hungarian algorithm); units that nothing tells apart, such as dead ones, keep their
    names where they can. What is left over keeps its name, or takes one that has become free.
    Input features are what they are and keep theirs. The child computes what it did, to rounding:
    its units are only in another order, in all tensors alike.

    Args:
        structure: The parent's groups, none of which shares a dimension with others.
        reference: A genome with learnt arrays.
        individual: Likewise; it is not changed.
        activations: Tells what units of a child do on a batch that is the same for both.

    Raises:
        ArgumentError: Genomes of other groups, or that have not learnt; a tensor in which groups
            are mixed.

    Source: Li et al. (2015), "Convergent Learning"; Uriot and Izzo (2020), "Safe Crossover of
    Neural Networks Through Neuron Alignment"; Ainsworth et al. (2023), "Git Re-Basin", section 3.1.
    """
    for name, genome in (("reference", reference), ("individual", individual)):
        check_masked(name, genome, structure)
        if genome.arrays is None:
            raise argument_error(name, "a genome with learnt arrays", genome)
    check_callable("activations", activations, "a function of a genome")
    assert individual.arrays is not None
    masks, orders = [], []
    for group, theirs, own, wanted, found in zip(
        structure.groups,
        reference.kept,
        individual.kept,
        activations(reference),
        activations(individual),
        strict=True,
    ):
        if wanted is not None and found is not None:
            own = _renamed(theirs, own, _correlations(wanted, found))
        mask = np.zeros(group.n_units, dtype=bool)
        mask[own] = True
        masks.append(mask)
        orders.append(np.argsort(own))
    arrays = {
        name: _reordered(structure, name, array, orders)
        for name, array in individual.arrays.items()
    }
    return MaskGenome(masks, arrays)


def _renamed(theirs: np.ndarray, own: np.ndarray, correlations: np.ndarray) -> np.ndarray:
    """Return new names for the units ``own``, in their order.

    Args:
        theirs: Names of the reference's units.
        own: Names of the individual's units.
        correlations: Shape ``(len(theirs), len(own))``.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and rarely needed

    likeness = correlations + _OWN_NAME * (theirs[:, None] == own)
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    names = own.copy()
    names[columns] = theirs[rows]
    rest = np.setdiff1d(np.arange(own.size), columns)
    # If any are left over, all of the reference's names are taken.
    homeless = rest[np.isin(own[rest], theirs)]
    free = np.setdiff1d(own, np.concatenate([theirs, own[rest]]))
    names[homeless] = free[: homeless.size]
    return names


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson correlations of columns, 0 where one is constant or not finite."""
    return _standardised(first).T @ _standardised(second)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return columns of mean 0 and length 1, or of zeros."""
    values = values.astype(np.float64)
    values[:, ~np.isfinite(values).all(axis=0)] = 0
    centred = values - values.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    varies = lengths > _CONSTANT * np.linalg.norm(values, axis=0)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=varies)


def _reordered(
    structure: Structure, name: str, array: np.ndarray, orders: Sequence[np.ndarray]
) -> np.ndarray:
    """Return a child's tensor with the units of each group in a new order.

    Args:
        structure: The groups.
        name: Of the tensor.
        array: The tensor.
        orders: For each group the old place of the unit at each new place.
    """
    for dim, axis in enumerate(structure.tensors[name]):
        if axis is None:
            continue
        if not isinstance(axis, Axis):
            expected = "'either' or 'mean' for a network that mixes groups in a tensor"
            raise argument_error("learnt", expected, f"'aligned' and {name!r}")
        array = array.take(axis.entries(orders), axis=dim)
    return array
