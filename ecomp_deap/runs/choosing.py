"""Choosing: which child of a front to take.

All rules look at the children's metric on the validation data and their parameters, and return
the index of one child. Of children that a rule holds for equally good, the smaller one is taken,
then the one with the better metric, then the first. `find_child` goes by the files of a run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from ecomp_deap.checks import check_count, check_flag, check_number, check_sequence, check_type
from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.runs.directory import RunDirectory, metric_of

__all__ = [
    "best",
    "choose",
    "find_child",
    "knee",
    "most_accurate_under",
    "picked",
    "smallest_within",
    "unbeaten",
    "words",
]

# Metrics are means over samples: what is exactly as far from the parent's as allowed must not be
# lost to rounding.
_SLACK = 1e-9


def best(
    values: Sequence[float],
    param_counts: Sequence[int],
    *,
    parent_value: float,
    maximise: bool = True,
    tolerance: float | None = None,
) -> int:
    """Return the index of the smallest child about as good as the parent.

    That is `smallest_within` the tolerance, or the most accurate child if there is none.

    Args:
        values: The children's metrics.
        param_counts: Their parameters.
        parent_value: The parent's metric.
        maximise: Whether more of the metric is better.
        tolerance: A child is about as good if it is worse by at most this; None is 1 % of the
            parent's metric.

    Raises:
        ArgumentError: No children, or not as many values as counts.

    >>> best([0.80, 0.885, 0.90], [10, 20, 30], parent_value=0.89, tolerance=0.01)
    1
    """
    losses = _losses(values, param_counts, parent_value, maximise)
    allowed = 0.01 * abs(parent_value)
    if tolerance is not None:
        allowed = check_number("tolerance", tolerance, minimum=0.0)
    if min(losses) > allowed + _SLACK:
        return min(range(len(losses)), key=lambda i: (losses[i], param_counts[i]))
    return smallest_within(
        allowed, values, param_counts, parent_value=parent_value, maximise=maximise
    )


def smallest_within(
    points: float,
    values: Sequence[float],
    param_counts: Sequence[int],
    *,
    parent_value: float,
    maximise: bool = True,
) -> int:
    """Return the index of the smallest child whose metric is at most ``points`` from the parent's.

    Args:
        points: How much worse than the parent's the metric may be, in the metric's unit: 0.01 is
            one point of accuracy. Less than 0 asks for children that are better.
        values: See `best`, like the rest.
        param_counts: See there.
        parent_value: See there.
        maximise: See there.

    Raises:
        ArgumentError: No child is that good: the message has the one that comes nearest. Or as
            `best`.

    >>> smallest_within(0.05, [0.80, 0.885, 0.90], [10, 20, 30], parent_value=0.89)
    1
    """
    check_number("points", points)
    losses = _losses(values, param_counts, parent_value, maximise)
    good = [i for i, loss in enumerate(losses) if loss <= points + _SLACK]
    if not good:
        nearest = min(range(len(losses)), key=lambda i: (losses[i], param_counts[i]))
        expected = (
            f"at least {losses[nearest]:.4g}, from the parent's {parent_value:.4g} to the nearest "
            f"child's {values[nearest]:.4g} (with {param_counts[nearest]:,d} parameters)"
        )
        raise argument_error("points", expected, points)
    return min(good, key=lambda i: (param_counts[i], losses[i]))


def most_accurate_under(
    param_count: float,
    values: Sequence[float],
    param_counts: Sequence[int],
    *,
    maximise: bool = True,
) -> int:
    """Return the index of the child with the best metric of those with so many parameters at most.

    Args:
        param_count: The most parameters that it may have.
        values: See `best`, like the rest.
        param_counts: See there.
        maximise: See there.

    Raises:
        ArgumentError: All children are larger: the message has the smallest. Or as `best`.

    >>> most_accurate_under(25, [0.80, 0.885, 0.90], [10, 20, 30])
    1
    """
    check_number("param_count", param_count)
    losses = _losses(values, param_counts, 0.0, maximise)
    small = [i for i, count in enumerate(param_counts) if count <= param_count]
    if not small:
        nearest = min(range(len(losses)), key=lambda i: (param_counts[i], losses[i]))
        expected = (
            f"at least {param_counts[nearest]:,d}, the parameters of the smallest child "
            f"(at {values[nearest]:.4g})"
        )
        raise argument_error("param_count", expected, param_count)
    return min(small, key=lambda i: (losses[i], param_counts[i]))


def knee(values: Sequence[float], param_counts: Sequence[int], *, maximise: bool = True) -> int:
    """Return the index of the knee of a front: where a little more of one costs much of the other.

    That is the member that lies farthest below the straight line between the front's ends, the
    smallest and the most accurate member, in error and log10 of the parameters, both scaled to
    [0, 1] between the ends (Das 1999, "On characterizing the 'knee' of the Pareto curve"). Members
    that another one beats in both do not count; where none lies below the line, it is the most
    accurate end.

    Args:
        values: See `best`, like the rest.
        param_counts: See there.
        maximise: See there.

    Raises:
        ArgumentError: As `best`.

    >>> knee([0.4, 0.8, 0.9], [10, 100, 10_000])
    1
    """
    losses = _losses(values, param_counts, 0.0, maximise)
    points = [(e, math.log10(max(n, 1))) for e, n in zip(losses, param_counts, strict=True)]
    members = _non_dominated(points)
    (low_error, high_size), (high_error, low_size) = points[members[0]], points[members[-1]]
    if len(members) < 3:
        return members[0]
    return max(
        members,
        key=lambda i: (
            (high_error - points[i][0]) / (high_error - low_error)
            + (high_size - points[i][1]) / (high_size - low_size)
        ),
    )


def unbeaten(
    values: Sequence[float], param_counts: Sequence[int], *, maximise: bool = True
) -> list[int]:
    """Return the indices of the children that no other beats, from the smallest.

    Another one beats a child if it is better in metric or size, and no worse in the other. Of equal
    ones the first stays.

    Args:
        values: See `best`, like the rest.
        param_counts: See there.
        maximise: See there.

    Raises:
        ArgumentError: As `best`.

    >>> unbeaten([0.80, 0.70, 0.90], [10, 20, 30])
    [0, 2]
    """
    losses = _losses(values, param_counts, 0.0, maximise)
    return _non_dominated(list(zip(losses, param_counts, strict=True)))[::-1]


def choose(
    word: str,
    values: Sequence[float],
    param_counts: Sequence[int],
    *,
    ids: Sequence[str],
    parent_value: float,
    maximise: bool = True,
) -> int:
    """Return the index of the child that a word of the command's ``--child`` asks for.

    Only ``"best"`` is not known here: with a weighted fitness it is none of these rules.

    Args:
        word: ``"knee"``, ``"within:POINTS"`` (see `smallest_within`), ``"under:PARAMETERS"`` (see
            `most_accurate_under`) or one of the ids, ``"3"`` for ``"003"``.
        values: See `best`, like the next one.
        param_counts: See there.
        ids: The children's.
        parent_value: See `best`, like the next one.
        maximise: See there.

    Raises:
        ArgumentError: Another word, or a child that is not there.

    >>> front = {"values": [0.80, 0.885, 0.90], "param_counts": [10, 20, 30]}
    >>> choose("under:25", **front, ids=["001", "002", "003"], parent_value=0.89)
    1
    """
    check_type("word", word, str)
    if len(check_sequence("ids", ids, "names")) != len(check_sequence("values", values, "numbers")):
        raise argument_error("ids", f"{len(values)}, one per child", ids)
    index = _with_id(word, ids)
    if index is not None:
        return index
    if word == "knee":
        return knee(values, param_counts, maximise=maximise)
    rule, _, text = word.partition(":")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if rule not in ("within", "under") or not math.isfinite(number):
        such = " or ".join(dict.fromkeys([*ids[:1], *ids[-1:]]))
        expected = f"best, knee, within:POINTS, under:PARAMETERS or an id such as {such}"
        raise argument_error("--child", expected, word)
    if rule == "under":
        return most_accurate_under(number, values, param_counts, maximise=maximise)
    return smallest_within(
        number, values, param_counts, parent_value=parent_value, maximise=maximise
    )


def find_child(directory: RunDirectory, word: str) -> str:
    """Return the id of the child of a finished run that a word of ``--child`` asks for.

    Args:
        directory: The run's folder.
        word: One of its picks, as its summary has them, ``"best"`` among them, or a word of
            `choose`.

    Raises:
        ArgumentError: Another word, or a child that is not there.
        DataError: A file is damaged.
    """
    path, rows = directory.path / "front.csv", directory.front()
    if not rows:
        raise DataError(f"{path}: it has no rows")
    ids = [str(row["id"]) for row in rows]
    index = _with_id(word, ids)
    if index is not None:  # the rest of the files has no say in it
        return ids[index]
    summary = directory.summary()
    metric = metric_of(summary)
    column = f"validation_{metric['name']}"
    try:
        picked = summary["best"]["id"] if word == "best" else summary["picks"].get(word)
        if picked is not None:
            if picked not in ids:
                raise DataError(f"{path}: it lacks {picked!r}, which the summary calls {word!r}")
            return str(picked)
        index = choose(
            word,
            [row[column] for row in rows],
            [row["param_count"] for row in rows],
            ids=ids,
            parent_value=summary["parent"][column],
            maximise=metric["maximise"],
        )
    except (KeyError, TypeError) as error:
        expected = f"id, {column} and param_count of children and parent"
        raise DataError(f"{path}: choosing takes {expected}") from error
    return ids[index]


def picked(picks: Mapping[str, str | None], ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the words that pick each child, by its id.

    Args:
        picks: Of a run's summary: an id by each word, None where there is no such child.
        ids: The children that there are; others are left out.

    >>> picked({"best": "002", "knee": "001", "within:0.01": "002", "under:9": None}, ["002"])
    {'002': ['best', 'within:0.01']}
    """
    known, found = set(ids), dict[str, list[str]]()
    for word, name in picks.items():
        if name is not None and name in known:
            found.setdefault(name, []).append(word)
    return found


def words(parent_param_count: int) -> tuple[str, ...]:
    """Return the words of choices that a run shows beside the best child.

    >>> words(269_322)
    ('knee', 'within:0.01', 'under:26932')
    """
    return ("knee", "within:0.01", f"under:{parent_param_count // 10}")


def _losses(
    values: Sequence[float], param_counts: Sequence[int], parent_value: float, maximise: bool
) -> list[float]:
    """Return by how much each child's metric is worse than the parent's."""
    check_sequence("values", values, "numbers")
    check_sequence("param_counts", param_counts, "whole numbers")
    check_flag("maximise", maximise)
    check_number("parent_value", parent_value)
    if not values or len(values) != len(param_counts):
        raise argument_error("values", f"{len(param_counts)} of them, at least 1", len(values))
    for i, (value, count) in enumerate(zip(values, param_counts, strict=True)):
        check_number(f"values[{i}]", value)
        check_count(f"param_counts[{i}]", count, minimum=0)
    return [parent_value - v if maximise else v - parent_value for v in values]


def _with_id(word: str, ids: Sequence[str]) -> int | None:
    """Return the index of an id, which may lack zeros before it if that leaves no doubt."""
    if word in ids:
        return ids.index(word)
    if not _is_number(word):
        return None
    found = [
        i for i, name in enumerate(ids) if _is_number(name) and name.lstrip("0") == word.lstrip("0")
    ]
    return found[0] if len(found) == 1 else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _non_dominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of pairs that no other dominates, ordered by the first number.

    As `ecomp_deap.search.front.non_dominated`, for two costs alone, and without numpy.
    """
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not found or points[i][1] < points[found[-1]][1]:
            found.append(i)
    return found
