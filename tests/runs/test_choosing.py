import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.runs.choosing import best, choose, unbeaten, words
from ecomp_deap.search import (
    compress,
    knee,
    most_accurate_under,
    non_dominated,
    smallest_within,
)

COUNTS = [10, 20, 30, 40]
VALUES = [0.50, 0.80, 0.895, 0.95]
IDS = ["001", "002", "003", "004"]

# Few values, so that ties are common.
fronts = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 0.88, 0.89, 0.9]), st.integers(1, 6)), min_size=1
).map(lambda children: tuple(zip(*children, strict=True)))


def mirrored(values):
    return [1 - value for value in values]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (VALUES, 2),
        ([0.50, 0.80, 0.85, 0.84], 2),  # none is good enough: the most accurate
        ([0.95, 0.96, 0.97, 0.98], 0),
        ([0.50, 0.89, 0.90, 0.91], 1),  # exactly a point below
        ([0.85, 0.85, 0.80, 0.85], 0),  # equally accurate: the smallest
    ],
)
def test_best_is_the_smallest_good_child_or_the_most_accurate(values, expected):
    options = {"param_counts": COUNTS, "tolerance": 0.01}
    assert best(values, parent_value=0.90, **options) == expected
    found = best(mirrored(values), parent_value=0.10, maximise=False, **options)
    assert found == expected


@pytest.mark.parametrize(("parent_value", "expected"), [(200.0, 2), (-200.0, 0)])
def test_best_tolerates_a_hundredth_of_the_parents_metric(parent_value, expected):
    assert best([100.0, 197.9, 198.1], [1, 2, 3], parent_value=parent_value) == expected


def test_within_a_point_holds_whatever_the_rounding():
    for hundredths in range(1, 101):
        values = [(hundredths - 1) / 100, hundredths / 100]
        assert smallest_within(0.01, values, [1, 2], parent_value=hundredths / 100) == 0
        within = smallest_within(0.0099, values, [1, 2], parent_value=hundredths / 100)
        assert within == 1


def test_fewer_points_than_none_ask_for_a_better_child():
    assert smallest_within(-0.04, VALUES, COUNTS, parent_value=0.9) == 3


@given(fronts, st.sampled_from([0.0, 0.01, 0.02, 0.5]))
def test_the_smallest_within_agrees_with_trying_all(front, points):
    values, counts = front
    good = [
        (counts[i], -values[i], i)
        for i in range(len(values))
        if round(0.9 - values[i], 6) <= points
    ]
    if good:
        assert smallest_within(points, values, counts, parent_value=0.9) == min(good)[2]
    else:
        with pytest.raises(ArgumentError, match="points: expected"):
            smallest_within(points, values, counts, parent_value=0.9)


@given(fronts, st.integers(0, 7))
def test_the_most_accurate_under_agrees_with_trying_all(front, limit):
    values, counts = front
    small = [(-values[i], counts[i], i) for i in range(len(values)) if counts[i] <= limit]
    if small:
        assert most_accurate_under(limit, values, counts) == min(small)[2]
        found = most_accurate_under(limit, mirrored(values), counts, maximise=False)
        assert found == min(small)[2]
    else:
        with pytest.raises(ArgumentError, match="param_count: expected at least"):
            most_accurate_under(limit, values, counts)


def test_if_nothing_qualifies_the_nearest_is_told():
    with pytest.raises(
        ArgumentError,
        match=r"points: expected at least 0\.04, from the parent's 0\.99 to the nearest child's "
        r"0\.95 \(with 40 parameters\), got 0\.01$",
    ):
        smallest_within(0.01, VALUES, COUNTS, parent_value=0.99)
    with pytest.raises(
        ArgumentError,
        match=r"param_count: expected at least 1,000, the parameters of the smallest child "
        r"\(at 0\.8\), got 27$",
    ):
        most_accurate_under(27, [0.9, 0.8], [1001, 1000])


@pytest.mark.parametrize(
    ("values", "counts", "expected"),
    [
        ([0.7], [10], 0),
        ([0.7, 0.9], [10, 100], 1),  # two ends, and nothing between them
        ([0.4, 0.8, 0.9], [10, 100, 10_000], 1),
        ([0.9, 0.4, 0.8], [10_000, 10, 100], 2),  # in any order
        ([0.1, 0.5, 0.7, 0.88, 0.9], [10, 20, 40, 80, 100_000], 3),
        ([0.4, 0.45, 0.9], [10, 9_000, 10_000], 2),  # above the line: no knee
        ([0.4, 0.3, 0.8, 0.9], [10, 50, 100, 10_000], 2),  # the second is beaten in both
    ],
)
def test_the_knee_is_farthest_below_the_line_between_the_ends(values, counts, expected):
    assert knee(values, counts) == expected
    assert knee(mirrored(values), counts, maximise=False) == expected


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


wide_fronts = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**7)), min_size=1, max_size=20)


@given(wide_fronts, st.randoms(use_true_random=False))
def test_the_knee_is_a_member_that_no_other_beats_whatever_their_order(front, random):
    values, counts = zip(*front, strict=True)
    index = knee(values, counts)
    costs = [(-v, n) for v, n in front]
    assert not any(dominates(other, costs[index]) for other in costs)
    shuffled = random.sample(front, len(front))
    assert shuffled[knee(*zip(*shuffled, strict=True))] == front[index]


@given(fronts | wide_fronts.map(lambda front: tuple(zip(*front, strict=True))))
def test_the_unbeaten_agree_with_the_front_of_any_number_of_costs(front):
    values, counts = front
    found = unbeaten(values, counts)
    assert sorted(found) == non_dominated([(-v, n) for v, n in zip(values, counts, strict=True)])
    assert [counts[i] for i in found] == sorted(counts[i] for i in found)
    assert unbeaten([-v for v in values], counts, maximise=False) == found


@pytest.mark.parametrize(("values", "counts"), [([], []), ([0.1], [1, 2])])
@pytest.mark.parametrize(
    "rule",
    [
        knee,
        unbeaten,
        lambda *figures: best(*figures, parent_value=0.9),
        lambda *figures: smallest_within(0.1, *figures, parent_value=0.9),
        lambda *figures: most_accurate_under(9, *figures),
    ],
)
def test_every_rule_takes_as_many_values_as_counts(rule, values, counts):
    with pytest.raises(ArgumentError, match=r"values: expected \d of them, at least 1"):
        rule(values, counts)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("002", 1),
        ("2", 1),
        ("0004", 3),
        ("knee", knee(VALUES, COUNTS)),
        ("within:0.01", 2),
        ("within:0", 3),
        ("under:35", 2),
        ("under:1e1", 0),
    ],
)
def test_words_are_understood(word, expected):
    assert choose(word, VALUES, COUNTS, ids=IDS, parent_value=0.9) == expected


@pytest.mark.parametrize("word", ["", "5", "within", "within:", "under:x", "under:nan", "over:3"])
def test_other_words_are_refused(word):
    words = "best, knee, within:POINTS, under:PARAMETERS"
    with pytest.raises(
        ArgumentError, match=f"--child: expected {words} or an id such as 001 or 004, got '{word}'"
    ):
        choose(word, VALUES, COUNTS, ids=IDS, parent_value=0.9)


def test_zeros_are_left_out_only_where_that_leaves_no_doubt():
    ids = ["3", "03", "07", "x7"]
    assert choose("3", VALUES, COUNTS, ids=ids, parent_value=0.9) == 0
    assert choose("03", VALUES, COUNTS, ids=ids, parent_value=0.9) == 1
    assert choose("7", VALUES, COUNTS, ids=ids, parent_value=0.9) == 2
    with pytest.raises(ArgumentError, match=r"--child: expected .*, got '003'"):
        choose("003", VALUES, COUNTS, ids=ids, parent_value=0.9)


def test_all_words_that_a_run_shows_are_understood():
    for word in words(400):
        assert 0 <= choose(word, VALUES, COUNTS, ids=IDS, parent_value=0.9) < 4


def test_a_result_chooses_by_validation(tiny_task):
    result = compress(tiny_task(), population=8, generations=2, finalise_count=0)
    values = [child.validation.metric for child in result.front]
    counts = [child.validation.param_count for child in result.front]
    parent_value = result.parent.validation.metric
    assert result.knee is result.front[knee(values, counts)]
    index = best(values, counts, parent_value=parent_value, tolerance=0.01)
    assert result.best is result.front[index]
    limit = sorted(counts)[len(counts) // 2]
    chosen = result.most_accurate_under(limit)
    assert chosen.validation.param_count <= limit
    assert chosen.validation.metric == max(
        v for v, n in zip(values, counts, strict=True) if n <= limit
    )
    points = parent_value - sorted(values)[len(values) // 2]
    good = [n for v, n in zip(values, counts, strict=True) if v >= parent_value - points - 1e-9]
    assert result.smallest_within(points).validation.param_count == min(good)
    with pytest.raises(ArgumentError, match="param_count: expected at least"):
        result.most_accurate_under(min(counts) - 1)
    with pytest.raises(ArgumentError, match=r"points: expected at least .*, from the parent's"):
        result.smallest_within(parent_value - 1.1)
