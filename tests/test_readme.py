"""What the README shows must run, and what it names must exist."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from ecomp_deap import cli, load_child, read_logbook

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Everything that the README's Python blocks leave behind, run in order in one folder."""
    folder = tmp_path_factory.mktemp("readme")
    namespace: dict = {}
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), namespace)
    return folder, namespace, printed.getvalue()


def test_python_examples_run_and_do_what_they_say(shown):
    folder, names, printed = shown
    assert "Measurement(metric=" in printed
    child, parent = names["child"], names["parent"]
    assert sum(p.numel() for p in child.parameters()) < sum(p.numel() for p in parent.parameters())
    assert child(names["torch"].zeros(2, 784)).shape == (2, 10)
    assert len(read_logbook(folder / "logbook.csv")) == 6
    assert (folder / "original.json").exists()
    assert names["compressed"].grad is not None
    smaller = load_child(folder / "smaller.safetensors")
    best = names["result"].best
    assert sum(p.numel() for p in smaller.parameters()) == best.validation.param_count


def test_first_example_has_twenty_lines_of_code():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 22


def test_commands_are_single_lines():
    commands = blocks("bash")
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)


def test_linked_files_and_sections_exist():
    sections = {
        re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in sections, target
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_named_paths_exist():
    for path in re.findall(r"`(experiments/[\w./]+|ecomp_deap/[\w./]+)`", README):
        assert (ROOT / path).exists(), path


def test_named_options_exist():
    text = " ".join(blocks("bash")) + " ".join(re.findall(r"`([^`\n]*--[^`\n]*)`", README))
    out = io.StringIO()
    for command in ("run", "inspect", "export"):
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            cli.main([command, "--help"])
    for option in set(re.findall(r"--[a-z][a-z-]+", text)):
        assert option in out.getvalue(), option
