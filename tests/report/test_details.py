import json
import shlex

import pytest

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.report import child_details, child_text, run_details, run_text
from tests.report.made_runs import front_of, make_run, row_of

MANIFEST = {
    "kept": {"one": [0, 1], "two": [3]},
    "tensors": {"one.weight": "float32[21, 784]", "one.bias": "float32[21]"},
    "parent": {"tensors": {"one.weight": "float32[40, 784]", "one.bias": "float32[40]"}},
}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def manifest_of(run, identifier="003"):
    return run / "children" / f"{identifier}.json"


def test_a_run_is_told_in_a_sentence_and_a_table(run):
    lines = run_text(run_details(run)).splitlines()
    assert lines[0] == "first_1: 89.5 % test accuracy with 90.0 % of the parameters, child 003"
    assert lines[1] == (
        "3 generations, 1,200 evaluations, 3.0 s of search, 1.0 s of final training, seed 3"
    )
    assert lines[3].split() == [
        *("child", "test", "validation", "parameters", "share", "similarity", "picks")
    ]
    assert lines[4].split() == ["parent", "0.9050", "0.9100", "100,000", "100", "%", "0.180"]
    assert lines[-1].split() == ["003", "0.8950", "0.9000", "90,000", "90.0", "%", "0.200", "best"]
    assert len(lines) == 5 + 3


def test_a_run_that_trained_nothing_at_its_end_says_what_it_did(run):
    summary = json.loads((run / "summary.json").read_text())
    samples = {"search": 9, "finalise": 0}
    (run / "summary.json").write_text(json.dumps({**summary, "training_samples": samples}))
    assert ", 3.0 s of search, 1.0 s of testing, seed 3" in run_text(run_details(run))


@pytest.mark.parametrize(("width", "gone"), [(80, []), (50, ["similarity", "share"]), (20, None)])
def test_a_narrow_terminal_gets_the_columns_it_has_room_for(run, width, gone):
    lines = run_text(run_details(run), width=width).splitlines()
    columns = next(line.split() for line in lines if line.startswith("child  "))
    expected = ["child", "test", "validation", "parameters", "share", "similarity", "picks"]
    gone = ["similarity", "share", "validation"] if gone is None else gone
    assert columns == [column for column in expected if column not in gone]
    assert (f"no room for: {', '.join(gone)}" in lines) == bool(gone)
    if width > 40:
        assert max(map(len, lines)) <= width


def test_details_are_what_the_files_hold(run):
    details = run_details(run)
    assert [row["id"] for row in details["front"]] == ["001", "002", "003"]
    assert details["front"][-1]["share"] == 0.9
    assert details["picks"] == {"best": "003", "knee": "002"}
    assert details["summary"]["evaluations"] == 1200
    assert details["config"]["population"] == 20
    json.dumps(details, allow_nan=False)


def shown_of(run):
    """The ids of the children that the text about a run has, and its last line."""
    lines = run_text(run_details(run)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("parent"))
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    return [line.split()[0] for line in lines[start + 1 : end]], lines[-1]


def test_a_long_front_is_shown_in_part_with_its_picks(tmp_path):
    run = make_run(tmp_path, front=front_of(200), picks={"best": "150", "knee": "003"})
    shown, last = shown_of(run)
    assert len(shown) == 18
    assert {"001", "003", "150", "200"} <= set(shown)
    assert last == (
        "18 of 200 children: evenly from the 200 that no other beats in both size and validation "
        "accuracy; front.csv has all"
    )
    assert len(run_details(run)["front"]) == 200
    assert max(map(len, run_text(run_details(run), width=70).splitlines())) <= 70


def test_children_that_another_beats_are_left_out(tmp_path):
    # Each third one is worse than smaller ones.
    shares = [0.1 + 0.01 * i for i in range(60)]
    front = [
        row_of(f"{i:03d}", share, 0.2 if i % 3 == 2 else 0.5 + i / 200)
        for i, share in enumerate(shares)
    ]
    shown, last = shown_of(make_run(tmp_path, front=front, picks={"best": "058"}))
    assert len(shown) == 16
    assert all(int(name) % 3 != 2 for name in shown)
    assert {"000", "058"} <= set(shown)
    assert last.startswith("16 of 60 children: evenly from the 40 that no other beats in both size")
    few, last = shown_of(make_run(tmp_path, front=front[:6], picks={"best": "000"}))
    assert few == ["000", "001", "003", "004"]
    assert last.startswith("4 of 6 children: those that no other beats in both size and valid")
    picked, last = shown_of(make_run(tmp_path, front=front[:6], picks={"best": "002"}))
    assert picked == ["000", "001", "002", "003", "004"]
    assert last.startswith("5 of 6 children: picks, and those that no other beats")


def test_of_a_metric_of_which_less_is_better_the_least_are_unbeaten(tmp_path):
    front = [row_of("a", 0.1, 0.8), row_of("b", 0.2, 0.7), row_of("c", 0.3, 0.9)]
    of = {"metric": "error", "maximise": False, "picks": {"best": "c"}}
    run = make_run(tmp_path, front=front, **of)
    shown, last = shown_of(run)
    assert shown == ["a", "c"]
    assert "in both size and validation error; front.csv has all" in last
    assert [child_details(run, word)["child"]["id"] for word in ("within:0.15", "under:25000")] == [
        *("a", "a")
    ]
    with pytest.raises(ArgumentError, match=r"points: expected at least 0\.01, from the parent's"):
        child_details(run, "within:0.001")


def test_children_go_by_test_data_where_nothing_else_is_known(tmp_path):
    front = [row_of("a", 0.1, 0.8), row_of("b", 0.2, 0.7), row_of("c", 0.3, 0.9)]
    front[0]["validation_accuracy"] = None
    shown, last = shown_of(make_run(tmp_path, front=front, picks={"best": "c"}))
    assert shown == ["a", "c"]
    assert "in both size and test accuracy" in last


def test_many_generations_are_counted_whole(tmp_path):
    run = make_run(tmp_path, generations=1201)
    assert run_details(run)["generations"] == 1200
    assert "1,200 generations, " in run_text(run_details(run))


def test_a_pick_that_no_child_is_is_told(tmp_path):
    run = make_run(tmp_path, picks={"best": "003", "under:900": None})
    assert run_text(run_details(run)).endswith("none: Most accurate under 900 parameters")


def test_without_test_data_there_is_no_such_column(tmp_path):
    front = [{**row, "test_accuracy": None} for row in front_of(3)]
    run = make_run(tmp_path, front=front)
    text = run_text(run_details(run))
    assert text.startswith("first_1: 90.0 % validation accuracy")
    assert " test " not in text


def test_what_an_older_run_lacks_is_left_out(run):
    for name in ("logbook.csv", "timings.csv", "config.json"):
        (run / name).unlink()
    summary = json.loads((run / "summary.json").read_text())
    for name in ("picks", "seconds", "evaluations", "seed"):
        del summary[name]
    (run / "summary.json").write_text(json.dumps(summary))
    assert run_text(run_details(run)).splitlines()[1] == ""


def test_a_child_is_beside_its_parent(run):
    manifest_of(run).write_text(json.dumps(MANIFEST))
    lines = [line.split() for line in child_text(child_details(run, "best")).splitlines()]
    assert lines[0] == ["child", "003", "of", "first_1:", "Best", "on", "validation", "data"]
    assert ["test", "accuracy", "0.8950", "0.9050", "test:", "−1.0", "points"] in lines
    of_validation = ["validation", "accuracy", "0.9000", "0.9100", "validation:", "−1.0", "points"]
    assert of_validation in lines
    assert ["parameters", "90,000", "100,000", "90.0", "%"] in lines
    assert ["one", "37", "40", "92.5", "%"] in lines
    assert ["two", "46", "50", "92.0", "%"] in lines
    assert ["one.weight", "21", "×", "784", "40", "×", "784"] in lines
    assert not any("one.bias" in line for line in lines)
    assert lines[-1][-7:] == [
        *("ecomp-deap", "export", str(run), "--child", "003", "--format", "pt2")
    ]


@pytest.mark.parametrize(
    ("accuracy", "options", "best_is", "told"),
    [
        (0.9, {}, "smallest within 0.01", None),
        (0.95, {"config": {"loss_weights": None}}, "smallest within 0.01", None),
        (
            0.89,
            {"config": {"loss_weights": None}},
            "most accurate",
            "best: the most accurate child on validation data, as none is within 1 point of the "
            "parent",
        ),
        (
            0.89,
            {"config": {"loss_weights": [1, 2, 1]}},
            "highest fitness",
            "best: the child of the highest weighted fitness",
        ),
        (
            0.905,
            {"metric": "r2"},
            "smallest within 0.0091",
            "best: the smallest child whose validation r2 is at most 0.0091 below the parent's",
        ),
        (
            0.89,
            {"metric": "error", "maximise": False},
            "smallest within 0.02",
            "best: the smallest child whose validation error is at most 0.02 above the parent's",
        ),
        (
            0.88,
            {"metric": "error", "maximise": False},
            "best error",
            "best: the child of the best validation error, as none is within 0.02 of the parent",
        ),
        (
            0.91,
            {"maximise": False, "tolerance": 0.05},
            "smallest within 0.05",
            "best: the smallest child whose validation accuracy is at most 5 points above the "
            "parent's",
        ),
    ],
)
def test_it_is_told_what_the_best_is_where_it_is_not_as_a_rule(
    tmp_path, accuracy, options, best_is, told
):
    front = [*front_of(3)[:2], row_of("003", 0.9, accuracy)]
    picks = {"best": "003", "knee": "002"}
    run = make_run(tmp_path, front=front, picks=picks, **options)
    details, best = run_details(run), child_details(run, "best")
    assert details["best_is"] == best["best_is"] == best_is
    for text in (run_text(details), child_text(best)):
        assert [line for line in text.splitlines() if line.startswith("best:")] == (
            [] if told is None else [told]
        )
    assert "best:" not in child_text(child_details(run, "002"))


def test_what_is_proposed_can_be_typed(tmp_path):
    run = make_run(tmp_path / "my runs", config={"factory": "my_nets.py:small"})
    last = child_text(child_details(run, "best")).splitlines()[-1]
    assert shlex.split(last.partition(": ")[2]) == [
        *("ecomp-deap", "export", str(run), "--child", "003", "--format", "pt2"),
        *("--factory", "my_nets.py:small"),
    ]


def test_a_child_is_found_by_id_and_by_pick(run):
    details = child_details(run, "knee")
    assert details == child_details(run, "002")
    assert details["picks"] == ["knee"]
    assert details["groups"][0] == {"name": "one", "units": 5, "of": 40}
    manifest_of(run).write_text(json.dumps(MANIFEST))
    assert child_details(run, "003")["tensors"][0] == {
        "name": "one.weight",
        "child": [21, 784],
        "parent": [40, 784],
    }


def test_a_finalised_child_tells_what_it_was_before(tmp_path):
    front = [row_of("a", 0.1, 0.8, before=0.5, latency=1.25), row_of("b", 0.2, 0.9)]
    run = make_run(tmp_path, front=front)
    text = " ".join(child_text(child_details(run, "a")).split())
    assert "before training 0.5000" in text
    assert "latency in ms 1.250 -" in text
    assert "before" not in child_text(child_details(run, "b"))


@pytest.mark.parametrize(
    ("word", "name"),
    [("3", "003"), ("02", "002"), ("within:0.05", "003"), ("under:30000", "002")],
)
def test_a_child_is_found_by_the_words_of_an_export(run, word, name):
    assert child_details(run, word) == child_details(run, name)


def test_a_pick_is_the_one_that_the_summary_has(tmp_path):
    run = make_run(tmp_path, picks={"best": "003", "within:0.05": "001"})
    assert child_details(run, "within:0.05")["child"]["id"] == "001"
    assert child_details(run, "within:0.050")["child"]["id"] == "003"


@pytest.mark.parametrize("word", ["004", "", "above:900", "../001"])
def test_another_child_is_refused(tmp_path, word):
    run = make_run(tmp_path, picks={"best": "003", "under:900": None})
    words = "best, knee, within:POINTS, under:PARAMETERS"
    with pytest.raises(
        ArgumentError, match=f"--child: expected {words} or an id such as 001 or 003"
    ):
        child_details(run, word)
    with pytest.raises(ArgumentError, match="expected at least 1,000, the parameters of the small"):
        child_details(run, "under:900")


def test_a_pick_that_is_not_there_is_damage(tmp_path):
    run = make_run(tmp_path, picks={"best": "003", "knee": "005"})
    with pytest.raises(DataError, match="it lacks '005', which the summary calls 'knee'"):
        child_details(run, "knee")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        '{"tensors": 3}',
        '{"tensors": {}, "parent": 3}',
        '{"tensors": {}, "parent": {"tensors": 3}}',
        '{"tensors": {"a": 3}}',
        '{"tensors": {"a": "float32[1e9]"}}',
        '{"tensors": {"a": "float32[' + "1, " * 10_000 + '1]"}}',
        '{"tensors": {"a": "x[99999999999999999999]"}}',
    ],
)
def test_a_damaged_manifest_is_refused(run, content):
    manifest_of(run).write_text(content)
    with pytest.raises(DataError, match=r"003\.json: expected "):
        child_details(run, "003")


def test_runs_that_are_not_finished_or_damaged_are_refused(run):
    (run / "front.csv").write_text("id\n'\n")
    with pytest.raises(DataError, match=r"expected"):
        run_details(run)
    (run / "summary.json").unlink()
    with pytest.raises(DataError, match="is not finished; to go on: ecomp-deap resume"):
        run_details(run)
    with pytest.raises(DataError, match="for those there are: ecomp-deap list"):
        run_details(run.parent / "none_1")


def test_another_metric_goes_by_its_own_name(tmp_path):
    run = make_run(tmp_path, metric="r2")
    lines = run_text(run_details(run)).splitlines()
    assert lines[0] == "first_1: test r2 0.895 with 90.0 % of the parameters, child 003"
    assert lines[5].split()[1:3] == ["0.9050", "0.9100"]
    lines = child_text(child_details(run, "best")).splitlines()
    assert lines[4].split() == ["test", "r2", "0.8950", "0.9050", "test:", "−0.01"]
