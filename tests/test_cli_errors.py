"""What is said where a command ends before its end: on a terminal, in a log and as JSON."""

import errno
import json
import os
import sys

import pytest

from ecomp_deap import cli
from ecomp_deap.cli import main
from ecomp_deap.cli.parser import make_parser
from ecomp_deap.errors import DataError
from tests.progress.terminals import on_terminal, text_of


@pytest.fixture(autouse=True)
def no_debug(monkeypatch):
    monkeypatch.delenv("ECOMP_DEAP_DEBUG", raising=False)


def failing(monkeypatch, error, command="schema"):
    def fail(words):
        raise error

    monkeypatch.setitem(cli.COMMANDS, command, fail)


def told(capsys, *words):
    """Run the command; return its exit code and what it says on stderr, nothing else."""
    code = main(list(words))
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


def test_a_fault_of_ours_is_called_so(monkeypatch, capsys):
    failing(monkeypatch, KeyError("x"))
    code, text = told(capsys, "schema")
    assert code == 70
    assert text.count("\n") == 1
    assert text.startswith("ecomp-deap: a fault of ecomp-deap: KeyError: 'x' (test_cli_errors.py")
    assert "Please report it, with what --debug adds" in text
    assert "ecomp-deap version --verbose" in text


def test_a_fault_without_end_is_cut(monkeypatch, capsys):
    failing(monkeypatch, RuntimeError("y" * 10_000))
    code, text = told(capsys, "schema")
    assert code == 70
    assert len(text) < 1000


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory: try fewer --workers"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (ImportError("libfoo.so.1: cannot open"), "missing or broken (ImportError: libfoo"),
        (OSError(errno.ENOSPC, "No space left on device", "f"), "f: No space left on device; --de"),
        (DataError("f: is damaged"), "f: is damaged\n"),
    ],
)
def test_what_is_no_fault_of_ours_is_an_error(monkeypatch, capsys, error, message):
    failing(monkeypatch, error)
    code, text = told(capsys, "schema")
    assert code == 2
    assert text.startswith("ecomp-deap: error: ")
    assert message in text


def test_other_errors_of_the_system_are_faults(monkeypatch, capsys):
    failing(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file", "f"))
    assert told(capsys, "schema")[0] == 70


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (DataError('f: is "damaged"'), "DataError", 2),
        (KeyError("x"), "KeyError", 70),
        (KeyboardInterrupt(), "KeyboardInterrupt", 130),
    ],
)
def test_errors_are_json_where_the_answer_would_be(monkeypatch, capsys, error, kind, code):
    failing(monkeypatch, error, "list")
    assert main(["list", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    found = json.loads(captured.err)
    assert found["kind"] == kind
    assert set(found) == {"error", "kind"}
    if kind == "DataError":
        assert found["error"] == 'f: is "damaged"'


def test_a_wrong_command_line_is_json_too(capsys):
    code, text = told(capsys, "run", "1", "a", "--popluation", "5", "--json")
    assert code == 2
    assert json.loads(text)["kind"] == "ArgumentError"
    assert "did you mean '--population'" in json.loads(text)["error"]


@pytest.mark.parametrize(
    "words",
    [["--debug", "list", "no"], ["list", "--debug", "no"], ["list", "no", "--debug"]],
)
def test_debug_shows_the_traceback_wherever_it_stands(capsys, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = told(capsys, *words)
    assert code == 2
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("\necomp-deap: error: no: expected a folder of runs, but there is none\n")
    assert told(capsys, *[word for word in words if word != "--debug"]) == (
        2,
        "ecomp-deap: error: no: expected a folder of runs, but there is none\n",
    )


@pytest.mark.parametrize(
    ("value", "shown"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_debug_can_stand_in_the_environment(monkeypatch, capsys, value, shown):
    monkeypatch.setenv("ECOMP_DEAP_DEBUG", value)
    code, text = told(capsys, "run")
    assert code == 2
    assert ("Traceback" in text) is shown


def test_debug_shows_where_an_interrupt_came(monkeypatch, capsys):
    failing(monkeypatch, KeyboardInterrupt())
    code, text = told(capsys, "schema", "--debug")
    assert code == 130
    assert text.startswith("Traceback")
    assert text.endswith("\necomp-deap: interrupted\n")


def test_debug_after_two_dashes_is_a_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = told(capsys, "show", "--", "--debug")
    assert code == 2
    assert text.startswith("ecomp-deap: error: --debug: expected the folder")


def commands():
    (action,) = (a for a in make_parser()._actions if isinstance(a.choices, dict))
    return action.choices


@pytest.mark.parametrize("name", commands())
def test_every_command_takes_debug_and_tells_of_it(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help", "--debug"])
    assert "--debug" in capsys.readouterr().out


def test_every_command_but_two_answers_in_json():
    without = {name for name, parser in commands().items() if "--json" not in parser.format_help()}
    assert without == {"schema", "completion"}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_errors_fit_the_terminal(columns):
    words = ["-m", "ecomp_deap", "run", "1", "a", "--loss-weights", "1,2,1"]
    code, screen, _, _ = on_terminal(words, columns=columns)
    assert code == 2
    lines = [line for line in text_of(screen) if line]
    assert lines[0].startswith("ecomp-deap: error: loss_weights:")
    assert len(lines) == {40: 4, 80: 2, 200: 1}[columns]
    # Words are whole.
    assert " ".join(lines).endswith("got selection 'nsga2' (which takes --objectives)")


def test_a_path_is_not_broken(tmp_path):
    path = tmp_path / ("long-" * 15)
    words = ["-m", "ecomp_deap", "show", path]
    _, _, written, _ = on_terminal(words, columns=60)
    assert f"\r\n{path}:" in written


def test_a_terminal_without_a_size_gets_a_line():
    _, _, written, _ = on_terminal(["-m", "ecomp_deap", "run"], columns=0, lines=0)
    assert written.startswith("ecomp-deap: error: N_RUNS is missing")


def test_names_in_errors_cannot_steer_the_terminal(capsys):
    code, text = told(capsys, "list", "\x1b[2Jno")
    assert code == 2
    assert "\\x1b[2Jno: expected a folder" in text


def test_errors_outlive_a_closed_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["list", os.devnull]) == 2
