from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.report._flags import flags

POINTS = st.lists(st.tuples(st.integers(0, 240), st.text("abc de", max_size=60)), max_size=6)


def clashes(points, found, scale=1.0, *, lines=True):
    """Count the texts that cover another one, or its line, in a figure that is so much wider."""
    shown = [(x * scale, flag) for (x, _), flag in zip(points, found, strict=True)]
    count = 0
    for (x, flag), (other_x, other) in permutations(shown, 2):
        apart = x + flag.end <= other_x + other.begin or other_x + other.end <= x + flag.begin
        count += not apart and flag.lane < other.top and other.lane < flag.top
        end = other.lane if other.is_over else other.top
        count += lines and x + flag.begin < other_x < x + flag.end and flag.lane < end
    return count


def test_points_far_apart_have_their_texts_in_one_line():
    found = flags([(100, "one"), (200, "two"), (300, "three")], width=400)
    assert [flag.lane for flag in found] == [0, 0, 0]
    assert all(flag.end < 0 for flag in found)


def test_points_close_together_have_texts_that_do_not_cover_each_other():
    points = [(105, "under 26.9k"), (70, "knee"), (150, "best and within 1 point"), (235, "parent")]
    found = flags(points, width=240)
    assert clashes(points, found) == 0
    assert max(flag.top for flag in found) <= 4


def test_points_of_one_place_have_texts_of_their_own():
    points = [(120, name) for name in ("best", "knee", "within 1 point")]
    assert clashes(points, flags(points, width=240)) == 0


def test_long_texts_are_broken():
    (flag,) = flags([(120, "best, within 1 point, knee and under 26.9k")], width=240)
    assert flag.rows == ("best, within 1", "point, knee and", "under 26.9k")
    assert flag.top == 3
    (flag,) = flags([(0, "word " * 100)], width=240)
    assert len(flag.rows) == 4
    assert flag.rows[-1].endswith("…")


@given(POINTS)
def test_texts_stay_within_the_figure_and_never_cover_each_other(points):
    found = flags(points, width=240)
    for (x, _), flag in zip(points, found, strict=True):
        assert -1e-6 <= x + flag.begin <= x + flag.end <= 240 + 1e-6
    assert clashes(points, found, lines=False) == 0


@given(POINTS, st.floats(1, 6))
def test_what_is_apart_stays_apart_in_a_wider_figure(points, scale):
    found = flags(points, width=240)
    assert clashes(points, found, scale) <= clashes(points, found)


def test_many_points_are_placed_at_once():
    found = flags([(i, f"pick {i}") for i in range(200)], width=240)
    assert sorted(flag.lane for flag in found) == list(range(200))
