"""The front: who is not dominated, how good a front is, and members spread along it."""

import math
from collections.abc import Sequence
from typing import TypeVar

import moocore
import numpy as np

from ecomp_deap.errors import argument_error

__all__ = ["best_of_parts", "hypervolume", "non_dominated", "spread"]

T = TypeVar("T")

# Parameter fractions below 10^-3 gain nothing more.
_LOWEST_LOG_FRACTION = -3.0


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of points that no other dominates; all values are minimised.

    Of equal points the first stays.

    >>> non_dominated([(1, 2), (2, 1), (2, 2), (1, 2)])
    [0, 1]
    """
    if not points:
        return []
    keep = moocore.is_nondominated(np.asarray(points, dtype=float))
    return [int(i) for i in np.flatnonzero(keep)]


def hypervolume(
    accuracies: Sequence[float],
    param_counts: Sequence[int],
    *,
    parent_param_count: int,
    n_classes: int,
) -> float:
    """Return the hypervolume of a front in error and log10 of the parameter fraction.

    Error lies in [0, 1 − 1/classes] and the logarithm in [−3, 0]; values outside are moved to the
    border. The reference point is the worst corner, so the volume lies in
    [0, 3 · (1 − 1/classes)], and more is better.

    Args:
        accuracies: Of the front's children.
        param_counts: Likewise.
        parent_param_count: Parameters of the parent.
        n_classes: Number of classes.
    """
    if len(accuracies) != len(param_counts):
        raise argument_error("param_counts", f"{len(accuracies)} of them", len(param_counts))
    worst_error = 1 - 1 / n_classes
    points = [
        (
            min(max(1 - accuracy, 0.0), worst_error),
            min(max(math.log10(count / parent_param_count), _LOWEST_LOG_FRACTION), 0.0),
        )
        for accuracy, count in zip(accuracies, param_counts, strict=True)
    ]
    if not points:
        return 0.0
    return float(moocore.hypervolume(np.asarray(points), ref=[worst_error, 0.0]))


def spread(members: Sequence[T], n: int, sizes: Sequence[float] | None = None) -> list[T]:
    """Return n members at even distances of an ordered sequence, both ends among them.

    Args:
        members: Ordered by size, if there are sizes.
        n: How many to take; all if there are not more.
        sizes: Numbers of parameters, above 0, that distances are taken of, by their logarithms. By
            default members are counted.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    >>> spread("abcdefg", 3, [100, 110, 120, 130, 1000, 9000, 10_000])
    ['a', 'e', 'g']
    """
    if n >= len(members):
        return list(members)
    if n <= 1:
        return list(members[len(members) // 2 :][:n])
    if sizes is None:
        return [members[round(i * (len(members) - 1) / (n - 1))] for i in range(n)]
    places = [math.log(size) for size in sizes]
    left = list(range(len(members)))
    chosen = []
    for i in range(n):
        wanted = places[0] + i * (places[-1] - places[0]) / (n - 1)
        chosen.append(min(left, key=lambda j: abs(places[j] - wanted)))
        left.remove(chosen[-1])
    return [members[j] for j in sorted(chosen)]


def best_of_parts(members: Sequence[T], sizes: Sequence[float], n: int) -> list[T]:
    """Return n members spread by size: the first of each of n parts of the range of sizes.

    Parts are equally wide in the logarithm. Where some are empty, the others give their second, and
    so on.

    Args:
        members: From the best to the worst.
        sizes: Their numbers of parameters, above 0.
        n: How many to take; all if there are not more.

    Returns:
        Members from the smallest to the largest.

    >>> best_of_parts("abcdef", [100, 1000, 950, 101, 102, 500], 3)
    ['a', 'f', 'b']
    >>> best_of_parts("abcdef", [100, 1000, 950, 101, 102, 900], 3)
    ['a', 'd', 'b']
    """
    if not members or n < 1:
        return []
    logs = [math.log(size) for size in sizes]
    low, high = min(logs), max(logs)
    taken: dict[int, int] = {}
    turns = []
    for i, log in enumerate(logs):
        part = min(int(n * (log - low) / (high - low)), n - 1) if high > low else 0
        turns.append((taken.get(part, 0), part, i))
        taken[part] = taken.get(part, 0) + 1
    chosen = [i for *_, i in sorted(turns)[:n]]
    return [members[i] for i in sorted(chosen, key=lambda i: (sizes[i], i))]
