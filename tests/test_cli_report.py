import os

import pytest

from ecomp_deap.cli import main
from tests.report.made_runs import Page, front_of, make_run
from tests.test_cli import SLOW_TO_IMPORT, in_new_process


def test_a_page_is_written_and_named(tmp_path, capsys):
    run = make_run(tmp_path)
    assert main(["report", str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{run / 'report.html'}\n"
    assert captured.err == ""
    assert len(Page(run / "report.html").all("article")) == 3


def test_several_runs_go_where_they_are_told(tmp_path, capsys):
    runs = [str(make_run(tmp_path, front=front_of(n))) for n in (3, 4)]
    out = tmp_path / "both.html"
    assert main(["report", *runs, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "the medians of 2 runs, each by itself" in Page(out).text("h1")


def test_figures_are_written_beside_it(tmp_path, capsys):
    run, folder = make_run(tmp_path), tmp_path / "figures"
    assert main(["report", str(run), "--figures", str(folder)]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == str(run / "report.html")
    assert sorted(others) == sorted(map(str, folder.iterdir()))
    assert str(folder / "front.svg") in others


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: RUN"),
        (["nothing"], "nothing: expected the folder of a finished run, with front.csv"),
        (["nothing", "--figure", "x"], "unknown option '--figure'; did you mean '--figures'?"),
        (["nothing", "--out", ""], "--out: expected a path, got ''"),
        (["nothing", ""], "RUN: expected a path, got ''"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ecomp-deap: error: {message}")
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_help_tells_of_everything(capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("RUN...", "--out FILE", "--figures FOLDER", "ecomp-deap[report]"):
        assert word in text


@pytest.mark.parametrize("words", [["--help"], [], ["a", "--nothing"]])
def test_help_and_errors_come_at_once(words):
    _, _, _, modules = in_new_process("report", *words)
    assert modules & {*SLOW_TO_IMPORT, "bokeh"} == set()
