"""What the README shows must run, and what it names must exist."""

import re

import pytest

from ecomp_deap import load_child, read_logbook
from ecomp_deap.cli import COMMANDS
from tests.markdown import ROOT, blocks, broken_links, missing_paths, run_python, unknown_options

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Everything that the README's Python blocks leave behind, run in order in one folder."""
    folder = tmp_path_factory.mktemp("readme")
    namespace: dict = {}
    printed = run_python(blocks(README, "python"), folder, namespace, "README.md")
    return folder, namespace, printed


def test_python_examples_run_and_do_what_they_say(shown):
    folder, names, printed = shown
    assert "Measurement(metric=" in printed
    child, parent = names["child"], names["parent"]
    assert sum(p.numel() for p in child.parameters()) < sum(p.numel() for p in parent.parameters())
    assert child(names["torch"].zeros(2, 784)).shape == (2, 10)
    assert len(read_logbook(folder / "logbook.csv")) == 6
    assert (folder / "original.json").exists()
    assert names["frame"].to_dict("records") == names["rows"]
    assert list((folder / "tb").iterdir())
    assert len(names["study"].trials) == len(names["logged"].front)
    assert names["compressed"].grad is not None
    smaller = load_child(folder / "smaller.safetensors")
    best = names["result"].best
    assert sum(p.numel() for p in smaller.parameters()) == best.validation.param_count


def test_first_example_has_twenty_lines_of_code():
    lines = [line for line in blocks(README, "python")[0].splitlines() if line.strip()]
    assert len(lines) <= 22


def test_commands_are_single_lines():
    commands = blocks(README, "bash")
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)


def test_linked_files_and_sections_exist():
    assert broken_links(ROOT / "README.md") == []


def test_named_paths_exist():
    assert missing_paths(README) == []


def test_named_options_exist():
    text = " ".join(blocks(README, "bash"))
    text += " ".join(re.findall(r"`([^`\n]*--[^`\n]*)`", README))
    assert unknown_options(text, COMMANDS) == []
