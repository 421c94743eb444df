import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.search import hypervolume, non_dominated
from ecomp_deap.search.front import first_of_parts, log_parts, spread

values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])  # few, so that ties are common


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[values] * n), max_size=25)))
def test_non_dominated_agrees_with_comparing_all_pairs(points):
    expected = [
        i
        for i, point in enumerate(points)
        if not any(dominates(other, point) for other in points) and point not in points[:i]
    ]
    assert non_dominated(points) == expected


def hypervolume_by_strips(accuracies, counts, parent_count, n_classes):
    """Cut the dominated area into strips of width 1 / 400 along the logarithm; a slow twin."""
    worst, n_strips = 1 - 1 / n_classes, 400
    area = 0.0
    for i in range(n_strips):
        middle = -3 + 3 * (i + 0.5) / n_strips
        errors = [
            min(max(1 - a, 0), worst)
            for a, count in zip(accuracies, counts, strict=True)
            if max(math.log10(count / parent_count), -3) <= middle
        ]
        area += 3 / n_strips * (worst - min(errors, default=worst))
    return area


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 20_000)), max_size=8),
    st.sampled_from([2, 10]),
)
def test_hypervolume_agrees_with_strips(children, n_classes):
    accuracies, counts = [a for a, _ in children], [c for _, c in children]
    found = hypervolume(accuracies, counts, parent_param_count=10_000, n_classes=n_classes)
    expected = hypervolume_by_strips(accuracies, counts, 10_000, n_classes)
    assert found == pytest.approx(expected, abs=3 / 400 * max(1, len(children)))


def test_hypervolume_by_hand():
    found = hypervolume([0.9, 0.5], [1000, 100], parent_param_count=10_000, n_classes=10)
    assert found == pytest.approx((0.9 - 0.1) * 1 + (0.9 - 0.5) * 1)


@pytest.mark.parametrize(
    ("accuracy", "count", "volume"),
    [(1.0, 10, 3 * 0.9), (1.0, 1, 3 * 0.9), (0.1, 10, 0.0), (0.05, 10, 0.0), (1.0, 10_000, 0.0)],
)
def test_hypervolume_stays_between_its_borders(accuracy, count, volume):
    found = hypervolume([accuracy], [count], parent_param_count=10_000, n_classes=10)
    assert found == pytest.approx(volume)


def test_no_children_have_no_volume():
    assert hypervolume([], [], parent_param_count=10, n_classes=2) == 0


def test_hypervolume_takes_pairs():
    with pytest.raises(ArgumentError, match="param_counts: expected 2 of them, got 1"):
        hypervolume([0.1, 0.2], [3], parent_param_count=10, n_classes=2)


@given(st.integers(0, 60), st.integers(0, 70))
def test_spread_takes_different_members_in_order_and_both_ends(n_members, n):
    members = list(range(n_members))
    chosen = spread(members, n)
    assert len(chosen) == min(n, n_members)
    assert chosen == sorted(set(chosen))
    if 2 <= n <= n_members:
        assert (chosen[0], chosen[-1]) == (0, n_members - 1)
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 2


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=40, unique=True), st.integers(2, 12))
def test_members_spread_by_size(sizes, n):
    sizes = sorted(sizes)
    chosen = spread(sizes, n, sizes)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(n, len(sizes))
    assert {sizes[0], sizes[-1]} <= set(chosen)


def test_members_are_even_by_the_logarithm_of_their_size():
    sizes = [100, 101, 102, 103, 104, 1000, 10_000, 99_000, 100_000]
    assert spread(sizes, 4, sizes) == [100, 1000, 10_000, 100_000]


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 12))
def test_the_first_of_parts_take_turns(parts, n):
    chosen = first_of_parts(parts, n)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(n, len(parts))
    turns = [parts[:i].count(part) for i, part in enumerate(parts)]
    order = sorted(range(len(parts)), key=lambda i: (turns[i], parts[i]))
    assert set(chosen) == set(order[:n])


@given(st.lists(st.integers(1, 3000), max_size=30), st.integers(1, 12))
def test_parts_are_equally_wide_in_the_logarithm(sizes, n):
    parts = log_parts(sizes, n)
    assert len(parts) == len(sizes)
    if not sizes:
        return
    ratio = (max(sizes) / min(sizes)) ** (1 / n)
    for part, size in zip(parts, sizes, strict=True):
        assert 0 <= part < n
        low = min(sizes) * ratio**part
        assert low * (1 - 1e-9) <= size <= low * ratio * (1 + 1e-9)
