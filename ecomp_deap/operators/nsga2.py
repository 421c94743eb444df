"""NSGA-II selection: `deap.tools.selNSGA2`, ranked by moocore and computed in arrays.

Source: Deb, Pratap, Agarwal and Meyarivan (2002), "A fast and elitist multiobjective genetic
algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2). A *front* here is one of
its ranks; a *point* is one distinct tuple of fitness values.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import moocore
import numpy as np

from ecomp_deap.checks import check_count
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.operators.arguments import wvalues_of

__all__ = ["selNSGA2"]

# Members of a front that are compared with the next front at once: bounds the memory.
_BLOCK = 256


def selNSGA2(individuals: Sequence[Any], k: int) -> list[Any]:
    """Select the k individuals of the best fronts, of the last front the least crowded.

    Returns the same individuals in the same order as `deap.tools.selNSGA2`, ties and repeated
    individuals included, and as that does sets ``fitness.crowding_dist`` of everyone in the fronts
    that are reached (in place). Less than k individuals are all returned.

    Unlike DEAP's it goes by the values alone, whatever a fitness class makes of comparisons, takes
    all ``fitness.weights`` to be those of the first individual, and has no ``nd``.

    Args:
        individuals: Evaluated, with finite fitness values.
        k: Number to select, at least 0.

    Raises:
        ArgumentError: A negative k; an individual without a value for each objective, or with NaN
            or Inf, which would make DEAP's loop for ever.

    Source: Deb et al. (2002), section III.
    """
    k = check_count("k", k, minimum=0)
    wvalues = wvalues_of(individuals)
    if k == 0 or not wvalues:
        return []
    weights = np.asarray(individuals[0].fitness.weights, dtype=float)
    array = _as_array(wvalues, len(weights))
    # As DEAP does, individuals of equal values stand side by side where the first of them would.
    numbers: dict[tuple[float, ...], int] = {}
    point_of = np.array([numbers.setdefault(values, len(numbers)) for values in wvalues])
    points = array if len(numbers) == len(wvalues) else np.array(list(numbers), dtype=float)
    ranks = moocore.pareto_rank(-points)

    stops = np.cumsum(np.bincount(ranks[point_of]))
    last = int(np.searchsorted(stops, min(k, len(individuals))))
    place = np.full(len(points), len(points))
    reached = _in_deaps_order(points, ranks, last + 1)
    place[reached] = np.arange(len(reached))
    members = np.argsort(place[point_of], kind="stable")[: stops[last]]

    values = array[members] / weights
    distances = _crowding_distances(values, ranks[point_of[members]])
    chosen = [individuals[i] for i in members.tolist()]
    for individual, distance in zip(chosen, distances.tolist(), strict=True):
        individual.fitness.crowding_dist = distance
    start = int(stops[last - 1]) if last else 0
    # From the individuals: one that occurs twice has kept the distance it was given last.
    crowded = sorted(chosen[start:], key=lambda i: i.fitness.crowding_dist, reverse=True)
    return chosen[:start] + crowded[: k - start]


def _as_array(wvalues: Sequence[tuple[float, ...]], n_objectives: int) -> np.ndarray:
    """Return sound values as doubles, shape ``(n_individuals, n_objectives)``."""
    if any(len(values) != n_objectives for values in wvalues):
        wrong = next(i for i, values in enumerate(wvalues) if len(values) != n_objectives)
        raise _unfit(wrong, f"one value for each of {n_objectives} objectives", wvalues[wrong])
    flat = np.fromiter(chain.from_iterable(wvalues), float, len(wvalues) * n_objectives)
    array = flat.reshape(len(wvalues), n_objectives)
    finite = np.isfinite(array)
    if not finite.all():
        wrong = int(finite.all(axis=1).argmin())
        raise _unfit(wrong, "finite values", tuple(array[wrong].tolist()))
    return array


def _unfit(index: int, expected: str, got: tuple[float, ...]) -> ArgumentError:
    # ``()`` are those of a fitness that is not evaluated.
    return argument_error(f"individuals[{index}].fitness.wvalues", expected, got)


def _in_deaps_order(points: np.ndarray, ranks: np.ndarray, n_fronts: int) -> np.ndarray:
    """Return the indices of the points of the first fronts, ordered as DEAP finds them.

    The first front is in the order given. DEAP then goes through a front, and adds to the next
    one each point whose last dominating point it has just passed.
    """
    stops = np.cumsum(np.bincount(ranks)[:n_fronts])
    fronts = np.split(np.argsort(ranks, kind="stable")[: stops[-1]], stops[:-1])
    ordered = fronts[:1]
    for front in fronts[1:]:
        if len(front) > 1:
            found_after = _last_dominating(points[ordered[-1]], points[front])
            front = front[np.argsort(found_after, kind="stable")]
        ordered.append(front)
    return np.concatenate(ordered)


def _last_dominating(front: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Return for each point of ``following`` the last index in ``front`` that dominates it.

    Takes distinct, maximised points of shapes ``(n, n_objectives)``; some point of ``front``
    dominates each of ``following``. Most are found in the first block, which is the front's last.
    """
    if len(front) == 1:
        return np.zeros(len(following), dtype=int)
    found = np.empty(len(following), dtype=int)
    missing = np.arange(len(following))
    stop = len(front)
    while len(missing):
        # Backwards, so that the last one comes first and `argmax` finds it.
        block = front[max(stop - _BLOCK, 0) : stop][::-1]
        dominates = block[:, 0] >= following[missing, 0, None]
        for objective in range(1, front.shape[1]):
            dominates &= block[:, objective] >= following[missing, objective, None]
        nearest = dominates.argmax(axis=1)
        is_found = dominates[np.arange(len(missing)), nearest]
        found[missing[is_found]] = stop - 1 - nearest[is_found]
        missing = missing[~is_found]
        stop -= _BLOCK
    return found


def _crowding_distances(values: np.ndarray, fronts: np.ndarray) -> np.ndarray:
    """Return the crowding distance of each point within its front, shape ``(n,)``.

    Args:
        values: Shape ``(n, n_objectives)``.
        fronts: Number of each point's front, ascending.
    """
    n, n_objectives = values.shape
    is_first = np.ones(n, dtype=bool)
    is_first[1:] = fronts[1:] != fronts[:-1]
    is_end = is_first.copy()
    is_end[:-1] |= is_first[1:]
    is_end[-1] = True
    starts = np.flatnonzero(is_first)
    ends = np.append(starts[1:], n) - 1
    inner = np.flatnonzero(~is_end)
    front_of_inner = np.searchsorted(starts, inner, side="right") - 1

    distances = np.zeros(n)
    order = np.arange(n)
    # Ties keep the order of the objective before, as they do in DEAP.
    for column in values.T:
        order = order[np.lexsort((column[order], fronts))]
        ascending = column[order]
        distances[order[is_end]] = np.inf
        # A range beyond the largest double counts for nothing.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            widths = n_objectives * (ascending[ends] - ascending[starts])
            shares = (ascending[inner + 1] - ascending[inner - 1]) / widths[front_of_inner]
        # Of a front whose points are all equal here, 0 / 0.
        distances[order[inner]] += np.where(np.isnan(shares), 0.0, shares)
    return distances
