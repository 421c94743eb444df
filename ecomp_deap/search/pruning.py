"""Pruning by hand: the children that one rule makes at a given size, without any search."""

from collections.abc import Callable, Sequence

import numpy as np

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import MaskGenome, Structure, WidthGenome, ranked
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.operators.initialisation import pruned_widths

__all__ = [
    "Widths",
    "global_widths",
    "keep",
    "largest_within",
    "log_sizes",
    "magnitudes",
    "random_widths",
    "uniform_widths",
]

Widths = tuple[int, ...]

# Rates that are told apart when a size is looked for: finer than a unit of any layer.
_RATES = 2**20


def log_sizes(low: int, high: int, n: int, among: Sequence[int] = ()) -> list[int]:
    """Return n numbers of parameters, evenly spaced by their logarithm, ascending.

    Args:
        low: The first of them.
        high: The last of them.
        n: How many; 1 gives ``high``.
        among: Numbers that have to be among them if they lie between the two: each takes the place
            of the nearest that is left, of the ends only where nothing else is.

    >>> log_sizes(100, 10_000, 5), log_sizes(100, 10_000, 5, among=(2000, 150, 50))
    ([100, 316, 1000, 3162, 10000], [100, 150, 1000, 2000, 10000])
    """
    sizes = [round(size) for size in np.geomspace(high, low, n)][::-1]
    inner, ends = list(range(1, n - 1)), sorted({0, n - 1})
    for wanted in among:
        free = inner or ends
        if free and low <= wanted <= high:
            nearest = min(free, key=lambda i: abs(np.log(sizes[i] / wanted)))
            sizes[nearest] = wanted
            free.remove(nearest)
    return sorted(sizes)


def largest_within(
    param_count: int, widths_at: Callable[[int], Widths], n: int, evaluator: Evaluator
) -> Widths | None:
    """Return the widths of the largest child with so many parameters at most, None if none is.

    Args:
        param_count: The most parameters.
        widths_at: ``i`` from 0 to n − 1 to widths, none wider than those of the next smaller i.
        n: Number of steps.
        evaluator: Knows what children cost.
    """

    def fits(i: int) -> bool:
        return evaluator.cost_model(widths_at(i)).param_count <= param_count

    if not fits(n - 1):
        return None
    low, high = 0, n - 1  # the first that fits lies between them
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return widths_at(low)


def uniform_widths(param_count: int, evaluator: Evaluator, *, inputs: bool) -> Widths | None:
    """Return the widths that keep the same fraction of the units of each group.

    That is the largest such child with so many parameters at most, None if there is none.

    Args:
        param_count: The most parameters.
        evaluator: Knows the groups.
        inputs: Whether input features count as a group; all stay if not.
    """
    groups = evaluator.structure.groups

    def widths_at(i: int) -> Widths:
        widths = pruned_widths(evaluator.structure, i / _RATES)
        return tuple(
            g.n_units if g.is_input and not inputs else width
            for g, width in zip(groups, widths, strict=True)
        )

    return largest_within(param_count, widths_at, _RATES, evaluator)


def magnitudes(evaluator: Evaluator) -> list[np.ndarray]:
    """Return, for each group, the mean absolute value of each unit's weights, see `l1_importance`.

    The mean and not the sum, so that units of layers of any fan-in compare.
    """
    structure, arrays = evaluator.structure, evaluator.arrays
    ones = {name: np.ones_like(array) for name, array in arrays.items()}
    pairs = zip(l1_importance(structure, arrays), l1_importance(structure, ones), strict=True)
    return [sums / np.maximum(counts, 1) for sums, counts in pairs]


def global_widths(param_count: int, evaluator: Evaluator) -> Widths | None:
    """Return the widths left when the units of all groups go in one order, the smallest first.

    Units are ordered by `magnitudes`. A group that is down to its minimum keeps it, and one whose
    number is not allowed keeps the nearest that is. That is the largest such child with so many
    parameters at most, None if there is none.
    """
    groups, found = evaluator.structure.groups, magnitudes(evaluator)
    owners = np.repeat(np.arange(len(groups)), [len(values) for values in found])
    # Of equal units the earlier goes first, as in `ranked`.
    order = owners[np.argsort(np.concatenate(found), kind="stable")]
    removed = np.zeros((len(order) + 1, len(groups)), dtype=int)
    removed[1:] = np.cumsum(order[:, None] == np.arange(len(groups)), axis=0)

    def widths_at(i: int) -> Widths:
        return tuple(g.nearest(g.n_units - n) for g, n in zip(groups, removed[i], strict=True))

    return largest_within(param_count, widths_at, len(removed), evaluator)


def random_widths(structure: Structure, generator: np.random.Generator) -> Widths:
    """Return for each group an allowed number of units, drawn evenly by its logarithm."""
    return tuple(
        g.nearest(float(np.exp(generator.uniform(np.log(g.allowed[0]), np.log(g.n_units)))))
        for g in structure.groups
    )


def keep(widths: Widths, importance: Sequence[np.ndarray]) -> MaskGenome:
    """Return the genome that keeps the most important units of each group."""
    return WidthGenome(widths).unfold(ranked(importance))
