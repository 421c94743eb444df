"""Completion, in the shells themselves where they are installed."""

import shutil
import subprocess

import pytest

from ecomp_deap.cli import main
from ecomp_deap.cli.parser import SHELLS, make_parser
from tests.test_cli import SLOW_TO_IMPORT, in_new_process

COMMANDS = (
    *("run", "resume", "list", "show", "compare", "report", "export", "to-optuna"),
    *("baselines", "inspect", "schema", "version", "completion"),
)
# COMP_WORDS as bash fills them, with the word under the cursor last.
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p ecomp-deap | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" ecomp-deap "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        _, output, _, _ = in_new_process("completion", shell)
        (folder / shell).write_text(output)
    return folder


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def output_of(*words, cwd=None):
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, cwd=cwd, check=True
    )
    return done.stdout.split("\n")[:-1]


@needs("bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([""], COMMANDS),
        (["re"], ("resume", "report")),
        (["run", "--pop"], ("--population",)),
        (["run", "1", "first", "--genome", ""], ("mask", "width", "weights")),
        (["run", "1", "first", "--genome", "wi"], ("width",)),
        (["run", "1", "first", "--no-q"], ("--no-quiet",)),
        (["export", "a", "--format", ""], ("safetensors", "pt2", "onnx")),
        (["show", "first_1", "--ch"], ("--child",)),
        (["show", "fi"], ("first_1", "first_2")),
        (["compare", "first_1", "fi"], ("first_1", "first_2")),
        (["run", "--config", "my"], ("my.toml",)),
        (["completion", ""], SHELLS),
        (["--deb"], ("--debug",)),
        (["list", "--js"], ("--json",)),
    ],
)
def test_bash_completes(scripts, tmp_path, words, found):
    for name in ("first_1", "first_2"):
        (tmp_path / name).mkdir()
    (tmp_path / "my.toml").touch()
    given = ["bash", "--norc", "-c", BASH, "bash", scripts / "bash", "ecomp-deap", *words]
    assert sorted(output_of(*given, cwd=tmp_path)) == sorted(found)


@needs("bash")
@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_every_option_of_every_command(scripts, command):
    (action,) = (a for a in make_parser()._actions if isinstance(a.choices, dict))
    options = {o for a in action.choices[command]._actions for o in a.option_strings}
    given = ["bash", "--norc", "-c", BASH, "bash", scripts / "bash", "ecomp-deap", command, "-"]
    assert set(output_of(*given)) == options


@needs("fish")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ecomp-deap re", ["report", "resume"]),
        ("ecomp-deap run --pop", ["--population"]),
        ("ecomp-deap run 1 a --genome ", ["mask", "weights", "width"]),
    ],
)
def test_fish_completes(scripts, line, found):
    script = f"source {scripts / 'fish'}; complete -C '{line}'"
    lines = output_of("fish", "--no-config", "-c", script)
    assert sorted(line.split("\t")[0] for line in lines) == found


@needs("zsh")
def test_zsh_takes_the_script(scripts):
    assert output_of("zsh", "-f", "-n", scripts / "zsh") == []


def test_scripts_tell_of_commands_in_a_line(scripts):
    assert "run:'compress a network, once or several times'" in (scripts / "zsh").read_text()
    assert (scripts / "zsh").read_text().startswith("#compdef ecomp-deap")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "SHELL is missing: one of bash, zsh, fish"),
        (["tcsh"], "SHELL: expected one of 'bash', 'zsh', 'fish', got 'tcsh'"),
        (["bash", "zsh"], "expected no more than SHELL, got also 'zsh'"),
        (["bash", "--jsn"], "unknown option '--jsn'"),
    ],
)
def test_wrong_command_lines_are_refused(words, message, capsys):
    assert main(["completion", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_it_comes_at_once():
    code, _, _, modules = in_new_process("completion", "bash")
    assert code == 0
    assert not modules & SLOW_TO_IMPORT
    assert "shtab" not in in_new_process("--help")[3]
