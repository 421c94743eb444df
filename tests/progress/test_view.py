import io
from dataclasses import replace

import pytest
from rich.console import Console

from ecomp_deap.progress.view import Shown, draw, sparkline, spread_by_size
from tests.progress.watched import front

SEARCH = Shown(
    title="first_2 (2 of 3)",
    started=100.0,
    generation=29,
    n_generations=60,
    durations=(0.5, 1.5),
    evaluated=(40, 60),
    rows=front(),
    hypervolumes=[i / 100 for i in range(30)],
)
TRAINING = Shown(phase="training the parent", phase_started=110.0, n_steps=8, step=2)
BOTH = replace(SEARCH, phase="finalising", phase_started=110.0, n_steps=8, step=2)


def lines_of(shown, *, width=80, height=24, now=120.0, whole=True, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None)
    console.print(draw(shown, now, width=width, height=height, whole=whole, **options))
    return stream.getvalue().splitlines()


def test_a_search_is_shown_with_its_front():
    lines = lines_of(SEARCH)
    assert lines[0].split() == ["first_2", "(2", "of", "3)", "generation", "29", "of", "60"]
    assert lines[1].endswith(" 49%")
    assert lines[2] == "0:20 passed, about 0:31 left, 50 evaluations/s"
    assert lines[3].startswith("hypervolume ▁")
    assert lines[3].endswith("█ 0.290")
    assert " ".join(lines[5].split()) == "accuracy parameters of the parent's similarity loss"
    assert lines[6].split() == ["0.350", "6,000", "0.00", "%", "1.900"]
    assert len(lines) == 6 + 8
    assert lines[-1].split() == ["0.850", "354,294,000", "100.0", "%", "0.900"]


def test_a_phase_is_a_bar_of_its_own():
    lines = lines_of(TRAINING)
    assert lines[0].split() == ["training", "the", "parent", "2", "of", "8"]
    assert lines[1].endswith(" 25%")
    assert lines[2] == "0:10 passed, about 0:30 left"
    both = lines_of(BOTH)
    assert both[:2] == lines_of(SEARCH)[:2]
    assert "finalising" in both[-3]
    assert "left" not in both[2]  # the search is over


def test_what_stays_has_no_table():
    assert lines_of(SEARCH, whole=False) == lines_of(SEARCH)[:4]
    assert len(lines_of(BOTH, whole=False)) == 4 + 1 + 3


@pytest.mark.parametrize("shown", [SEARCH, TRAINING, BOTH, Shown(), Shown(title="a")])
@pytest.mark.parametrize("size", [(80, 24), (40, 24), (20, 10), (10, 5), (1, 1), (300, 100)])
def test_it_fits_the_terminal(shown, size):
    width, height = size
    lines = lines_of(shown, width=width, height=height)
    assert all(len(line) <= min(width, 100) for line in lines)
    if height >= 10:
        assert len(lines) < height


@pytest.mark.parametrize("width", [40, 50, 80])
def test_forty_columns_hold_all_that_is_told(width):
    text = " ".join(" ".join(lines_of(BOTH, width=width)).split())
    for word in ("first_2 (2 of 3)", "29 of 60", "50", "0.290", "0.850", "354,294,000", "0.900"):
        assert word in text
    assert "2 of 8" in text


def test_letters_are_ascii_where_there_are_no_others():
    assert lines_of(SEARCH, ascii_only=True)[3].split()[1].isascii()


def test_search_without_generations_is_whole():
    only = replace(SEARCH, generation=0, n_generations=0)
    lines = lines_of(only)
    assert lines[0].endswith("generation 0")
    assert lines[1].endswith("100%")


def test_before_the_first_generation_nothing_is_promised():
    lines = lines_of(Shown(title="first_1", started=118.0, n_generations=60))
    assert lines[0].endswith("starting")
    assert lines[2] == "0:02 passed"


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 5, ""),
        ([0.3], 5, "▁"),
        ([0.3, 0.3], 5, "▁▁"),
        ([1, 0], 5, "█▁"),
        (list(range(100)), 3, "▁▄█"),
        (list(range(100)), 1, "▁"),
    ],
)
def test_sparklines(values, width, bars):
    assert sparkline(values, width) == bars


def test_the_most_accurate_child_of_each_size_is_chosen():
    rows = [
        {"accuracy": accuracy, "param_count": count}
        for accuracy, count in ((0.2, 100), (0.5, 110), (0.4, 120), (0.8, 9_000), (0.7, 10_000))
    ]
    assert [row["accuracy"] for row in spread_by_size(rows, 2)] == [0.5, 0.8]
    assert spread_by_size(rows, 5) == rows
    same = [{"accuracy": a, "param_count": 7} for a in (0.1, 0.3, 0.2)]
    assert spread_by_size(same, 2) == [same[1]]
