import json

import pytest

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import compared, compared_text
from tests.report.made_runs import front_of, make_run, row_of


def run_with(out, name, accuracy, share, **options):
    """A run whose best child has a test accuracy and a share of the parameters."""
    front = [row_of("001", 0.01, 0.3), row_of("002", share, accuracy + 0.005)]
    return make_run(out, name, front=front, picks={"best": "002"}, **options)


@pytest.fixture
def runs(tmp_path):
    return [
        run_with(tmp_path, "first", 0.80, 0.20, config={"seed": 0, "population": 60}),
        run_with(tmp_path, "first", 0.84, 0.30, config={"seed": 1, "population": 60}),
        run_with(tmp_path, "other", 0.70, 0.10, config={"seed": 0, "population": 20}),
    ]


def test_runs_are_beside_each_other(runs):
    found = compared(runs)
    assert [row["name"] for row in found["runs"]] == ["first_1", "first_2", "other_1"]
    assert [row["value"] for row in found["runs"]] == pytest.approx([0.8, 0.84, 0.7])
    assert [row["share"] for row in found["runs"]] == [0.2, 0.3, 0.1]
    assert found["runs"][1]["differences"]["value"] == pytest.approx(0.04)
    assert found["runs"][2]["differences"]["share"] == pytest.approx(-0.1)
    assert found["runs"][0]["hypervolume"] == 0.503
    assert found["runs"][0]["generations"] == 3
    lines = [line.split() for line in compared_text(found).splitlines()]
    assert lines[3][:4] == ["first_1", "0.8000", "20.0", "%"]
    assert lines[4][:6] == ["first_2", "0.8400", "(+4.0)", "30.0", "%", "(+10.0)"]
    assert lines[5][:6] == ["other_1", "0.7000", "(−10.0)", "10.0", "%", "(−10.0)"]


def test_runs_of_a_metric_of_which_less_is_better_are_beside_each_other(tmp_path):
    of = {"metric": "error", "maximise": False}
    first, other = (run_with(tmp_path, "first", a, 0.2, **of) for a in (0.8, 0.84))
    found = compared([first, other])
    assert (found["metric"], found["maximise"]) == ("error", False)
    assert found["runs"][1]["differences"]["value"] == pytest.approx(-0.04)
    text = compared_text(found)
    title = "best children, test error (less is better); in brackets: how much more"
    assert " ".join(text.split()).startswith(title)
    lines = [line.split() for line in text.splitlines()]
    assert ["run", "error", "share"] in [line[:3] for line in lines]
    assert ["first_2", "0.1600", "(−0.04)", "20.0", "%", "(±0.0)"] in [line[:6] for line in lines]
    assert ["name", "runs", "error", "share"] in [line[:4] for line in lines]


def test_runs_of_different_metrics_are_refused(tmp_path):
    runs = [
        run_with(tmp_path, "a", 0.8, 0.2, **of)
        for of in ({"metric": "error", "maximise": False}, {"metric": "error"}, {})
    ]
    message = r"a_2: expected the metric 'error \(less is better\)', as of .*a_1, got 'error'"
    with pytest.raises(DataError, match=message):
        compared(runs[:2])
    with pytest.raises(DataError, match=r"a_3: expected the metric 'error', .* got 'accuracy'"):
        compared(runs[1:])


def test_runs_of_a_name_have_mean_and_spread(runs):
    found = compared(runs)
    first, other = found["groups"]
    assert (first["name"], first["n_runs"]) == ("first", 2)
    assert first["value"]["mean"] == pytest.approx(0.82)
    assert first["value"]["std"] == pytest.approx(0.04 / 2**0.5)
    assert other["value"]["std"] is None
    text = " ".join(compared_text(found).split())
    assert "first 2 0.8200 ± 0.0283 25.0 ± 7.1 %" in text
    assert "other 1 0.7000 10.0 %" in text
    assert "mean" not in compared_text(compared([runs[0], runs[2]]))
    assert all(len(line) <= 80 for line in compared_text(found).splitlines())


def test_a_narrow_terminal_gets_the_columns_it_has_room_for(runs):
    lines = compared_text(compared(runs), width=50).splitlines()
    assert max(map(len, lines)) <= 50
    assert lines.count("no room for: seconds, generations, hypervolume") == 1


def test_options_that_differ_are_told(runs):
    found = compared(runs)
    assert found["options"] == {
        "population": {"first_1": 60, "first_2": 60, "other_1": 20},
        "seed": {"first_1": 0, "first_2": 1, "other_1": 0},
    }
    lines = compared_text(found).splitlines()
    assert lines[-2:] == [
        "  population  60 (first_1, first_2), 20 (other_1)",
        "  seed  0 (first_1, other_1), 1 (first_2)",
    ]


def test_equal_options_are_called_so(tmp_path):
    runs = [run_with(tmp_path, name, 0.8, 0.2, config={"name": name}) for name in ("a", "b")]
    assert compared(runs)["options"] == {}
    assert compared_text(compared(runs)).endswith("the options are the same")


@pytest.mark.parametrize(
    ("both", "option"),
    [
        ({"parent": "mine.pt"}, "parent_epochs"),
        ({"finalise_count": 0}, "finalise_epochs"),
        ({"finalise_count": 0}, "finalise_mixup"),
        ({"finalise_epochs": 0}, "finalise_count"),
    ],
)
def test_an_option_without_effect_makes_no_difference(tmp_path, both, option):
    def options(*configs):
        runs = [run_with(tmp_path, "a", 0.8, 0.2, config=config) for config in configs]
        return list(compared(runs)["options"])

    assert options({**both, option: 3}, {**both, option: 4}) == []
    # Where one of the runs had an effect of it, it may be why they differ.
    assert option in options({**both, option: 3}, {option: 4})
    assert options({"finalise_count": 0}, {"finalise_count": 8}) == ["finalise_count"]


def test_an_option_that_an_older_run_has_not_is_none(tmp_path):
    runs = [run_with(tmp_path, "a", 0.8, 0.2), run_with(tmp_path, "a", 0.8, 0.2)]
    (runs[1] / "config.json").write_text('{"seed": 4}')
    (runs[1] / "timings.csv").unlink()
    found = compared(runs)
    assert found["options"] == {
        "population": {"a_1": 20, "a_2": None},
        "seed": {"a_1": None, "a_2": 4},
    }
    assert found["runs"][1]["hypervolume"] is None
    assert found["runs"][1]["differences"]["hypervolume"] is None
    assert found["groups"][0]["hypervolume"] == {"mean": 0.503, "std": None}
    assert "  population  20 (a_1), none (a_2)" in compared_text(found).splitlines()


def test_folders_of_one_name_are_told_apart(tmp_path):
    runs = [run_with(tmp_path / folder, "a", 0.8, 0.2) for folder in ("x", "y")]
    assert [row["name"] for row in compared(runs)["runs"]] == list(map(str, runs))
    assert compared(runs)["groups"][0]["n_runs"] == 2


def test_long_values_are_cut_and_wrapped(tmp_path):
    runs = [
        run_with(tmp_path, "a", 0.8, 0.2, config={"protect": [f"layer_{i}" for i in range(n)]})
        for n in (50, 60)
    ]
    text = compared_text(compared(runs))
    assert "…" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_figures_beyond_floats_are_no_fault(tmp_path):
    huge = 1.7e308
    runs = [run_with(tmp_path, "a", 0.8, 0.2) for _ in range(2)]
    for run in runs:
        summary = json.loads((run / "summary.json").read_text())
        summary["seconds"] = {"search": huge, "finalise": huge}
        (run / "summary.json").write_text(json.dumps(summary))
    assert "inf" in compared_text(compared(runs))


def test_few_or_unequal_runs_are_refused(tmp_path):
    one = run_with(tmp_path, "a", 0.8, 0.2)
    with pytest.raises(ArgumentError, match="runs: expected at least two"):
        compared([one])
    other = make_run(tmp_path, front=[{**row, "test_accuracy": None} for row in front_of(3)])
    with pytest.raises(DataError, match=r"first_1: expected test accuracies, as of .*a_1"):
        compared([one, other])
    deep = run_with(tmp_path, "deep", 0.8, 0.2)
    (deep / "config.json").write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(DataError, match="nested too deeply"):
        compared([one, deep])
