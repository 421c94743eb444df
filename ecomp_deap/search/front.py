"""The front: who is not dominated, how good a front is, and members spread along it."""

import math
from collections.abc import Sequence
from typing import TypeVar

import moocore
import numpy as np

from ecomp_deap.errors import argument_error

__all__ = ["first_of_parts", "hypervolume", "log_parts", "non_dominated", "spread"]

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


def first_of_parts(parts: Sequence[int], n: int) -> list[int]:
    """Return the places of n members, the first of each part; then the second of each, and so on.

    Args:
        parts: The part that each member belongs to, from the best member to the worst.
        n: How many to take; all if there are not more.

    >>> first_of_parts([0, 0, 2, 0, 2, 1], 4)
    [0, 1, 2, 5]
    """
    taken: dict[int, int] = {}
    turns = []
    for place, part in enumerate(parts):
        turns.append((taken.get(part, 0), part, place))
        taken[part] = taken.get(part, 0) + 1
    return sorted(place for *_, place in sorted(turns)[:n])


def log_parts(sizes: Sequence[float], n: int) -> list[int]:
    """Return for each size its part of the range of sizes, cut into n, evenly by the logarithm.

    >>> log_parts([100, 2000, 110, 10_000], 2)
    [0, 1, 0, 1]
    """
    if not sizes:
        return []
    logs = [math.log(size) for size in sizes]
    low, span = min(logs), max(logs) - min(logs)
    return [min(int(n * (log - low) / span), n - 1) if span else 0 for log in logs]
