import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ecomp_deap.cli import main, parse
from ecomp_deap.errors import ArgumentError
from ecomp_deap.exports import export
from ecomp_deap.network import inspect, make_parent
from tests.architectures import MAP_SHAPE, build
from tests.test_cli import SLOW_TO_IMPORT, in_new_process

SHAPE = ",".join(map(str, MAP_SHAPE))


@pytest.fixture
def convolutional(tmp_path):
    """A file of a network with convolutions, with its manifest beside it."""
    return export(build("visual"), tmp_path / "child.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_dense_parent_needs_no_manifest(tmp_path, capsys, suffix):
    parent = make_parent((8, 5), n_inputs=12, n_outputs=3)
    path = tmp_path / f"parent{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(parent.state_dict(), path)
    assert main(["inspect", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{inspect(parent)}\n"
    assert captured.err == ""


def test_a_manifest_belongs_to_the_safetensors_alone(tmp_path, capsys):
    export(build("visual"), tmp_path / "parent.safetensors")
    parent = make_parent((8, 5), n_inputs=12, n_outputs=3)
    torch.save(parent.state_dict(), tmp_path / "parent.pt")
    assert main(["inspect", str(tmp_path / "parent.pt")]) == 0
    assert capsys.readouterr().out == f"{inspect(parent)}\n"


def test_a_child_is_read_by_its_manifest(convolutional, capsys):
    assert main(["inspect", str(convolutional)]) == 0
    assert capsys.readouterr().out == f"{inspect(build('visual'))}\n"


@pytest.mark.parametrize("name", ["visual", "double convolution"])
@pytest.mark.parametrize("option_first", [False, True])
def test_an_example_gives_macs_of_convolutions(tmp_path, capsys, name, option_first):
    network = build(name)
    path = export(network, tmp_path / "child.safetensors")
    option = ["--example", SHAPE]
    words = [*option, str(path)] if option_first else [str(path), *option]
    assert main(["inspect", *words]) == 0
    zeros = torch.zeros(1, *MAP_SHAPE, dtype=next(network.parameters()).dtype)
    assert capsys.readouterr().out == f"{inspect(network, zeros)}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "PARENT is missing, and so is a --factory"),
        ([""], "PARENT: expected a path, got ''"),
        (["a", "b", "c"], "expected no more than PARENT, got also 'b c'"),
        (["a", "--exampel", SHAPE], "unknown option '--exampel'; did you mean '--example'?"),
        (["a", "--exam=1"], "unknown option '--exam'; did you mean '--example'?"),
        (["a", "--seed", "1"], "unknown option '--seed'"),
        (["a", "--example"], "--example: expected one argument"),
        *(
            (["a", f"--example={word}"], f"--example: expected integers of at least 1, {rest}")
            for word, rest in {
                "": "such as 1,28,28, got ''",
                "1,0": "such as 1,28,28, got '1,0'",
                "1,,2": "such as 1,28,28, got '1,,2'",
                "2,x": "such as 1,28,28, got '2,x'",
                "2.5": "such as 1,28,28, got '2.5'",
                "--": "such as 1,28,28, got '--'",
            }.items()
        ),
    ],
)
def test_wrong_command_lines_are_refused_at_once(words, message, capsys):
    assert main(["inspect", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ecomp-deap: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ("3,8,7", "example: expected a batch that the parent takes, but "),
        ("7", "example: expected a batch that the parent takes, but "),
        ("1000000000,1000000000,1000000000", "--example: "),
        (str(10**30), "--example: "),
    ],
)
def test_examples_that_do_not_fit_are_refused_in_one_line(convolutional, capsys, example, message):
    assert main(["inspect", str(convolutional), "--example", example]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ecomp-deap: error: {message}")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 250


def test_files_that_cannot_be_read_are_refused_in_one_line(convolutional, tmp_path, capsys):
    def error_of(path):
        assert main(["inspect", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "no such file" in error_of(tmp_path / "none.safetensors")
    assert "expected a .safetensors, .pt or .pth file" in error_of(tmp_path / "child.json")
    convolutional.write_bytes(b"damaged")
    assert "damaged, its SHA-256" in error_of(convolutional)
    convolutional.with_suffix(".json").write_text("{}")
    assert "expected the manifest of a child" in error_of(convolutional)
    convolutional.with_suffix(".json").unlink()
    assert "cannot read" in error_of(convolutional)


@pytest.mark.parametrize("example", [[], ["--example", "4"]])
@pytest.mark.parametrize("network", [nn.Sequential(nn.ReLU()), nn.Sequential(nn.Linear(4, 2))])
def test_a_network_with_nothing_to_prune_is_refused(tmp_path, capsys, network, example):
    path = export(network, tmp_path / "child.safetensors")
    assert main(["inspect", str(path), *example]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ecomp-deap: error: parent: expected at least one ")
    assert error.count("\n") == 1


def test_parse_reads_runs_alone():
    with pytest.raises(ArgumentError, match="COMMAND: expected 'run', got 'inspect'"):
        parse(["inspect", "parent.safetensors"])


def test_help_says_what_it_takes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert " inspect " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: ecomp-deap inspect PARENT [options]")
    assert "--example N,N,..." in text


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), ([], 2), (["a.safetensors", "--example", "x"], 2)]
)
def test_help_and_errors_import_nothing_slow(words, code):
    got, _, _, modules = in_new_process("inspect", *words)
    assert got == code
    assert not modules & SLOW_TO_IMPORT
