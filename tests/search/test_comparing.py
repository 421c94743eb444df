import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.search import hypervolume
from ecomp_deap.search.comparing import chosen_rows, comparison, markdown


def rows(*points):
    names = ("param_count", "validation_accuracy", "test_accuracy")
    return [dict(zip(names, point, strict=True)) for point in points]


FRONTS = {
    "search": [
        rows((100, 0.70, 0.71), (300, 0.80, 0.79)),
        rows((110, 0.72, 0.70), (310, 0.81, 0.80)),
    ],
    "uniform_l1": [
        rows((90, 0.75, 0.74), (300, 0.78, 0.77)),
        rows((100, 0.76, 0.75), (330, 0.78, 0.77)),
    ],
}
OPTIONS = {"parent_param_count": 1000, "n_classes": 10}


def by_method(lines, figure):
    return {line["method"]: line for line in lines if line["figure"] == figure}


def test_validation_chooses_whatever_test_says():
    found = chosen_rows(rows((300, 0.8, 0.1), (100, 0.7, 0.9), (200, 0.6, 0.99), (301, 0.8, 1.0)))
    assert [row["param_count"] for row in found] == [100, 300]


def test_accuracy_under_a_limit_is_the_test_accuracy_of_the_child_that_validation_picks():
    fronts = {"search": [rows((100, 0.7, 0.75), (200, 0.8, 0.70), (900, 0.9, 0.99))]}
    line = by_method(comparison(fronts, limits=[250], **OPTIONS), "test_accuracy_under_250")
    assert line["search"] == {
        "figure": "test_accuracy_under_250",
        "method": "search",
        "mean": 0.70,
        "std": None,
        "min": 0.70,
        "max": 0.70,
        "n": 1,
        "wins": True,
    }


def test_figures_are_means_with_their_spread():
    lines = comparison(FRONTS, limits=[300], **OPTIONS)
    found = by_method(lines, "test_accuracy_under_300")
    assert found["search"]["mean"] == pytest.approx((0.79 + 0.70) / 2)
    assert found["search"]["std"] == pytest.approx(0.09 / 2**0.5)
    assert (found["search"]["min"], found["search"]["max"]) == (0.70, 0.79)
    assert [found[name]["wins"] for name in FRONTS] == [False, True]
    volumes = by_method(lines, "test_hypervolume")
    expected = hypervolume([0.74, 0.77], [90, 300], **OPTIONS)
    assert volumes["uniform_l1"]["max"] == pytest.approx(
        max(expected, hypervolume([0.75, 0.77], [100, 330], **OPTIONS))
    )
    volume = hypervolume([0.75, 0.78], [90, 300], **OPTIONS)
    other = hypervolume([0.76, 0.78], [100, 330], **OPTIONS)
    found = by_method(lines, "validation_hypervolume")["uniform_l1"]
    assert found["mean"] == pytest.approx((volume + other) / 2)


def test_children_that_validation_does_not_choose_add_no_hypervolume():
    front = rows((100, 0.7, 0.6))
    lines = comparison(
        {"search": [[*front, *rows((150, 0.65, 0.99))]], "scratch": [front]}, limits=[], **OPTIONS
    )
    found = by_method(lines, "test_hypervolume")
    assert found["search"]["mean"] == found["scratch"]["mean"]


def test_a_figure_for_fewer_seeds_does_not_win():
    fronts = {"search": FRONTS["search"], "lucky": [rows((100, 0.99, 0.99)), rows((999, 1, 1))]}
    lines = comparison(fronts, limits=[300, 50], **OPTIONS)
    found = by_method(lines, "test_accuracy_under_300")
    assert (found["lucky"]["n"], found["lucky"]["wins"]) == (1, False)
    assert found["search"]["wins"]
    none = by_method(lines, "test_accuracy_under_50")
    assert [(line["mean"], line["n"], line["wins"]) for line in none.values()] == [
        (None, 0, False)
    ] * 2


def test_the_table_says_which_method_wins_where():
    lines = comparison(FRONTS, limits=[120, 320, 50], **OPTIONS)
    text = markdown(lines, note="A note.")
    assert text.endswith("\nA note.\n")
    first, rule, ours, theirs = text.splitlines()[:4]
    assert first.startswith("| method | test hypervolume | validation hypervolume | test accuracy")
    assert rule.count("---") == 6
    assert ours.startswith("| search | ")
    assert theirs.startswith("| uniform l1 | ")
    assert "| 0.7050 ± 0.0071 | **0.7950 ± 0.0071** | – |" in ours
    assert "| **0.7450 ± 0.0071** | 0.7600 ± 0.0141 | – |" in theirs
    assert (
        "- test accuracy under 120: **uniform l1** wins; the search is 0.0400 below uniform l1, "
        "the best baseline.\n" in text
    )
    assert (
        "- test accuracy under 320: **search** wins; the search is 0.0350 above uniform l1, "
        "the best baseline.\n" in text
    )
    assert "- test accuracy under 50: no method has a child.\n" in text


def test_ties_and_missing_children_are_told():
    front = rows((100, 0.7, 0.7))
    lines = comparison({"search": [front], "scratch": [front]}, limits=[100], **OPTIONS)
    text = markdown(lines, note="")
    assert "test accuracy under 100: **search and scratch** win; the search is 0.0000 above" in text
    far = rows((200, 0.7, 0.7))
    lines = comparison({"search": [far], "scratch": [front]}, limits=[100], **OPTIONS)
    assert "under 100: **scratch** wins; the search has no child." in markdown(lines, note="")
    lines = comparison({"search": [front], "scratch": [far]}, limits=[100], **OPTIONS)
    text = markdown(lines, note="")
    assert "under 100: **search** wins; no other method has a child." in text


@pytest.mark.parametrize("fronts", [{}, {"search": []}])
def test_nothing_to_compare_is_refused(fronts):
    with pytest.raises(ArgumentError, match="fronts: expected methods, each with at least one"):
        comparison(fronts, limits=[], **OPTIONS)
