"""``list``, ``show`` and ``compare``, and what other commands answer to ``--json``."""

import json

import pytest

from ecomp_deap.cli import main
from tests.progress.terminals import on_terminal, text_of
from tests.report.made_runs import HOSTILE, front_of, make_run
from tests.test_cli import SLOW_TO_IMPORT, in_new_process


@pytest.fixture(scope="module")
def finished(small_fashion, small_parent_file, tmp_path_factory):
    """Return the folder and the JSON of a small run, made by the command."""
    out = tmp_path_factory.mktemp("out")
    given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", out]
    size = ["--population", 4, "--generations", 2, "--finalise-count", 0, "--threads", 1]
    words = ["run", 2, "first", *given, *size, "--json", "--quiet"]
    code, output, errors, _ = in_new_process(*map(str, words))
    assert (code, errors) == (0, "")
    return out / "first_1", json.loads(output)


def answer(capsys, *words):
    """Run the command with ``--json``; return what it answers, which is all it prints."""
    assert main([*map(str, words), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def printed(capsys, *words):
    assert main([*map(str, words)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_runs_are_answered_with_their_summaries(finished):
    run, found = finished
    assert [one["run"] for one in found["runs"]] == [str(run), str(run.with_name("first_2"))]
    for one in found["runs"]:
        path = run.with_name(one["run"].rpartition("/")[2]) / "summary.json"
        assert one["summary"] == json.loads(path.read_text())


def test_progress_and_json_do_not_mix(finished, capsys):
    run, found = finished
    assert main(["resume", str(run), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"{run} is finished\n"
    assert json.loads(captured.out)["runs"] == found["runs"][:1]


def test_list_tells_of_runs(finished, capsys):
    run, _ = finished
    text = printed(capsys, "list", run.parent)
    assert [line.split()[:2] for line in text.splitlines()[1:]] == [
        ["first_1", "finished"],
        ["first_2", "finished"],
    ]
    rows = answer(capsys, "list", run.parent)["runs"]
    assert [row["generations"] for row in rows] == [2, 2]


def test_list_looks_where_runs_are_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "results")
    assert "first_1" in printed(capsys, "list")
    assert answer(capsys, "list")["runs"][0]["run"] == "results/first_1"


def test_what_is_shown_fits_the_terminal(finished):
    run, _ = finished
    words = ["-m", "ecomp_deap", "show", run]
    code, screen, written, _ = on_terminal(words, columns=60)
    assert code == 0
    assert "no room for: similarity" in "\n".join(text_of(screen))
    assert max(map(len, written.splitlines())) <= 60
    _, _, _, output = on_terminal(words, columns=60, stdout_is_file=True)
    assert "similarity" in output.splitlines()[3]
    assert "no room for" not in output


def test_the_table_at_the_end_of_a_run_fits_the_terminal(finished):
    run, _ = finished
    words = ["-m", "ecomp_deap", "resume", run]
    code, _, written, _ = on_terminal(words, columns=70)
    assert code == 0
    table = written[written.index("best") :].partition("more: ")[0]
    assert "s of testing" in written
    assert max(map(len, table.splitlines())) <= 70


def test_show_tells_of_a_run_and_its_children(finished, capsys):
    run, found = finished
    best = found["runs"][0]["summary"]["best"]["id"]
    assert f"child {best}\n" in printed(capsys, "show", run)
    assert answer(capsys, "show", run)["summary"] == found["runs"][0]["summary"]
    child = answer(capsys, "show", run, "--child", "best")
    assert child["child"]["id"] == best
    shapes = {tensor["name"]: tensor for tensor in child["tensors"]}
    weight = shapes["layer_1_linear.weight"]
    assert weight["child"][0] == child["groups"][0]["units"] <= weight["parent"][0]
    assert "layer_1_linear.weight" in printed(capsys, "show", "--child", best, run)


def test_compare_tells_of_several(finished, capsys):
    run, _ = finished
    both = [run, run.with_name("first_2")]
    text = printed(capsys, "compare", *both)
    assert "  seed  0 (first_1), 1 (first_2)" in text.splitlines()
    assert answer(capsys, "compare", *both)["options"]["seed"] == {"first_1": 0, "first_2": 1}


def test_words_may_stand_around_options(tmp_path, capsys):
    runs = [str(make_run(tmp_path)) for _ in range(3)]
    assert main(["compare", runs[0], "--json", *runs[1:]]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3
    assert main(["list", "--json", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3


def test_other_commands_answer_too(finished, tmp_path, capsys):
    run, _ = finished
    groups = answer(capsys, "inspect", run / "parent.safetensors")
    assert groups["groups"][0]["name"] == "layer_1_linear"
    assert groups["param_count"] > groups["groups"][1]["param_count"] > 0
    out = tmp_path / "child.pt2"
    written = answer(capsys, "export", run, "--out", out)
    assert (written["path"], written["run"]) == (str(out), str(run))
    assert out.exists()


def test_a_page_answers_with_its_paths(tmp_path, capsys):
    pytest.importorskip("bokeh")
    run, figures = make_run(tmp_path), tmp_path / "figures"
    found = answer(capsys, "report", run, "--figures", figures)
    assert found["page"] == str(run / "report.html")
    assert sorted(found["figures"]) == sorted(map(str, figures.iterdir()))


def test_names_in_files_cannot_steer_the_terminal(tmp_path, capsys):
    name = f"\x1b[2J{HOSTILE}"
    front = [{**row, "id": name if i == 1 else row["id"]} for i, row in enumerate(front_of(3))]
    run = make_run(tmp_path, front=front, picks={"best": name, f"\x1b]0;{HOSTILE}": "001"})
    for words in (["show", run], ["show", run, "--child", "001"], ["compare", run, run]):
        text = printed(capsys, *words)
        assert "\x1b" not in text
    assert "\\x1b[2J" in printed(capsys, "show", run)
    assert answer(capsys, "show", run)["picks"]["best"] == name


@pytest.mark.parametrize("command", ["list", "show", "compare"])
def test_numbers_that_json_has_not_are_refused(tmp_path, capsys, command):
    run = make_run(tmp_path)
    path = run / "summary.json"
    text = path.read_text().replace('"search": 3.0', '"search": 1.7e308')
    path.write_text(text.replace('"finalise": 1.0', '"finalise": 1.7e308'))
    words = {"list": [tmp_path], "show": [run], "compare": [run, run]}[command]
    assert printed(capsys, command, *words)
    code = main([command, *map(str, words), "--json"])
    captured = capsys.readouterr()
    if command == "show":  # has no sum
        assert code == 0
    else:
        assert code == 2
        assert json.loads(captured.err)["kind"] == "DataError"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "the following arguments are required: RUN"),
        (["show", ""], "RUN: expected a path, got ''"),
        (["show", "a", "b"], "expected no more than RUN, got also 'b'"),
        (["show", "a", "--chld", "1"], "unknown option '--chld'; did you mean '--child'?"),
        (["show", "a"], "a: expected the folder of a finished run, with front.csv\n"),
        (["compare"], "the following arguments are required: RUN"),
        (["compare", "a"], "RUN: expected at least two to compare, got a alone"),
        (["compare", "a", "b"], "a: expected the folder of a finished run"),
        (["compare", "a", "b", "--jsn"], "unknown option '--jsn'; did you mean '--json'?"),
        (["list", "a"], "a: expected a folder of runs, but there is none"),
        (["list", "a", "b"], "expected no more than OUT, got also 'b'"),
        (["list", ""], "OUT: expected a path, got ''"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ecomp-deap: error: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["list", "none"], ["show"], ["compare", "a"], ["list", "--help"]]
)
def test_help_and_errors_come_at_once(words):
    _, _, _, modules = in_new_process(*words)
    heavy = {"torch", "torchvision", "rich", "bokeh"} if "none" in words else SLOW_TO_IMPORT
    assert not modules & heavy


def test_looking_takes_no_torch(finished):
    run, _ = finished
    for words in (["list", run.parent], ["show", run], ["compare", run, run]):
        code, _, _, modules = in_new_process(*map(str, words))
        assert code == 0
        assert not modules & {"torch", "torchvision", "rich", "bokeh"}
