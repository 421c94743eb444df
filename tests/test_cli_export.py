import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from ecomp_deap.cli import main
from ecomp_deap.exports import export, load_child
from ecomp_deap.network import make_parent
from ecomp_deap.runs.directory import RunDirectory
from tests.architectures import build
from tests.network.networks import Residual, images
from tests.test_cli import SLOW_TO_IMPORT, in_new_process

# Of the front's members the second bends the most.
FIGURES = {"001": (0.50, 10), "002": (0.88, 100), "003": (0.90, 1000), "004": (0.91, 10_000)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What a run leaves behind, as far as exports read it; the last child is of another class."""
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "first_1")
    directory.child("").parent.mkdir(parents=True)
    rows = []
    for seed, (name, (accuracy, count)) in enumerate(FIGURES.items()):
        row = {"id": name, "validation_accuracy": accuracy, "param_count": count}
        if name == "004":
            module, example = Residual().eval(), images(2)
        else:
            module = make_parent((5, 4), n_inputs=12, n_outputs=3, seed=seed)
            example = torch.randn(2, 12)
        child = SimpleNamespace(module=module, kept={"a": (0, seed)}, parent=None)
        export(child, directory.child(name), example=example, metadata=row)
        rows.append(row)
    directory.write_rows("front.csv", list(rows[0]), rows)
    parent = {"validation_accuracy": 0.906, "param_count": 20_000}
    directory.write_json("summary.json", {"parent": parent, "best": rows[2], "picks": {}})
    return directory.path


@pytest.fixture
def run(finished, tmp_path):
    """A run of one's own."""
    return shutil.copytree(finished, tmp_path / "first_1")


def error_of(words, capsys):
    """Run the command; return its one line of errors."""
    assert main(["export", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ecomp-deap: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *(([], "003"), (["--child", "best"], "003")),
        *((["--child", "knee"], "002"), (["--child", "001"], "001")),
        (["--child", "1"], "001"),
        *((["--child", "within:0.03"], "002"), (["--child", "within:0.01"], "003")),
        *((["--child", "under:1500"], "003"), (["--child", "under:999"], "002")),
    ],
)
def test_a_child_is_found_and_lies_beside_the_run(run, capsys, words, name):
    assert main(["export", str(run), *words, "--format", "pt2"]) == 0
    captured = capsys.readouterr()
    path = run / "exports" / f"{name}.pt2"
    assert captured.out == (
        f"{path}: child {name} of {run}\n"
        "checked: outputs of 1, 2, 3 samples to 1e-05 of the largest, by torch.export.load\n"
    )
    assert captured.err == ""
    child = load_child(run / "children" / f"{name}.safetensors")
    inputs = torch.randn(5, 12)
    assert torch.allclose(torch.export.load(path).module()(inputs), child(inputs))
    extra = {"ecomp_deap": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["ecomp_deap"])["metadata"]["id"] == name


def test_onnx_is_written(run, tmp_path, capfd):
    out = tmp_path / "small.onnx"
    assert main(["export", str(run), "--child", "001", "--out", str(out)]) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith(f"{out}: child 001 of {run}\nchecked: outputs of 1, 2, 3 ")
    assert captured.err == ""
    inputs = torch.randn(4, 12)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    child = load_child(run / "children" / "001.safetensors")
    assert np.allclose(found, child(inputs).detach(), atol=1e-5)
    assert not (run / "exports").exists()


def test_safetensors_are_copied_with_their_manifest(run, capsys):
    assert main(["export", str(run), "--child", "002", "--format", "safetensors"]) == 0
    assert "checked: SHA-256 and " in capsys.readouterr().out
    for suffix in (".safetensors", ".json"):
        copied = (run / "exports" / "002").with_suffix(suffix).read_bytes()
        assert copied == (run / "children" / "002").with_suffix(suffix).read_bytes()


MODELS = """
from tests.network.networks import Residual

class Zoo:
    small = Residual

broken = 3
"""


@pytest.mark.parametrize("kind", ["module", "file", "current folder"])
@pytest.mark.parametrize("format", ["pt2", "safetensors"])
def test_networks_of_other_classes_take_a_factory(run, tmp_path, monkeypatch, kind, format):
    monkeypatch.chdir(tmp_path)
    name = f"models_{format}"  # no module is imported twice
    (tmp_path / f"{name}.py").write_text(MODELS)
    factory = {
        "module": "tests.network.networks:Residual",
        "file": f"{tmp_path / name}.py:Zoo.small",
        "current folder": f"{name}:Zoo.small",
    }[kind]
    words = [str(run), "--child", "004", "--format", format, "--factory", factory]
    assert main(["export", *words]) == 0
    path = run / "exports" / f"004.{format}"
    child = load_child(run / "children" / "004.safetensors", Residual)
    again = load_child(path, Residual) if format != "pt2" else torch.export.load(path).module()
    assert torch.allclose(again(images()), child(images()), rtol=1e-4, atol=1e-6)


def test_networks_of_other_classes_are_named_without_one(run, capsys):
    error = error_of([run, "--child", "004", "--format", "pt2"], capsys)
    assert "a network of the class tests.network.networks:Residual" in error
    assert "--factory" in error


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("LeNet5", "--factory: expected MODULE:NAME or FILE.py:NAME, got 'LeNet5'"),
        ("models:", "--factory: expected MODULE:NAME or FILE.py:NAME, got 'models:'"),
        (
            "no_such_module:LeNet5",
            "--factory: expected code that makes a network (ModuleNotFoundError",
        ),
        (
            "no_such_file.py:LeNet5",
            "--factory: expected code that makes a network (FileNotFoundError",
        ),
        ("torch.nn:NoSuchLayer", "--factory: expected code that makes a network (AttributeError: "),
        ("math:pi", "factory: expected a torch.nn.Module, or a callable that returns one"),
        ("torch.nn:ReLU", "factory: expected a network like the parent of the tests.network."),
        ("torch.nn:Linear", "but it raised TypeError: "),
    ],
)
def test_factories_of_no_use_are_refused(run, capsys, factory, message):
    words = [run, "--child", "004", "--format", "pt2", "--factory", factory]
    assert message in error_of(words, capsys)
    assert not (run / "exports" / "004.pt2").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: RUN (try ecomp-deap export --help)"),
        (["", "--format", "pt2"], "RUN: expected a path, got ''"),
        (["a"], "--format is missing, and no --out tells it"),
        (["a", "--out", "b"], "--format is missing"),
        (["a", "b", "--format", "pt2"], "expected no more than RUN, got also 'b'"),
        (["a", "--format", "pickle"], "--format: expected one of 'safetensors', 'pt2', 'onnx', go"),
        (["a", "--out", "b.pt"], "--out: the ending: expected one of 'safetensors', 'pt2', 'onnx'"),
        (["a", "--fromat", "pt2"], "unknown option '--fromat'; did you mean '--format'?"),
        (["a", "--format"], "--format: expected one argument"),
        (["a", "--out", "b.pt2", "--format", ""], "--format: expected one of 'safetensors', 'pt2'"),
        (["a", "--format=--"], "--format: expected one of 'safetensors', 'pt2', 'onnx', got '--'"),
    ],
)
def test_wrong_command_lines_are_refused(words, message, capsys):
    assert message in error_of(words, capsys)


def test_what_is_not_there_is_named(run, tmp_path, capsys):
    assert "expected the folder of a finished run" in error_of([tmp_path, "--format=pt2"], capsys)
    assert "expected the folder of a finished run" in error_of(["none", "--format=pt2"], capsys)
    error = error_of([run, "--format", "pt2", "--child", "9"], capsys)
    words = "best, knee, within:POINTS, under:PARAMETERS"
    assert f"--child: expected {words} or an id such as 001 or 004, got '9'" in error
    assert "child: expected " in error_of([run, "--format", "pt2", "--child=--"], capsys)
    for out in (".", "..", "/"):
        error = error_of([run, "--format", "pt2", "--out", out], capsys)
        assert f"path: expected the name of a file, got {out!r}" in error
    error = error_of([run, "--format", "pt2", "--child", "../../secret"], capsys)
    assert f"--child: expected {words} or an id such as 001" in error
    error = error_of([run, "--format", "pt2", "--child", "within:-0.01"], capsys)
    assert "from the parent's 0.906 to the nearest child's 0.91 (with 10,000 parameters)" in error
    error = error_of([run, "--format", "pt2", "--child", "under:9"], capsys)
    assert "param_count: expected at least 10, the parameters of the smallest child" in error
    error = error_of([run, "--out", tmp_path / "none" / "a.pt2"], capsys)
    assert "none/a.pt2: cannot be written (No such file" in error
    error = error_of([run, "--format", "onnx", "--out", tmp_path / "a.pt2"], capsys)
    assert "path: expected a name ending in .onnx, as is the format" in error


def test_damaged_files_are_named(run, capsys):
    words = [run, "--format", "pt2"]
    manifest = run / "children" / "003.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "inputs": None}))
    assert "003.safetensors: its manifest does not tell what inputs look" in error_of(words, capsys)
    manifest.write_text(json.dumps({**content, "inputs": {"shape": "wide"}}))
    assert "manifest: no inputs can be made of" in error_of(words, capsys)
    (run / "children" / "003.safetensors").write_bytes(b"damaged")
    assert "003.safetensors: damaged, its SHA-256" in error_of(words, capsys)
    manifest.write_text("{")
    assert "003.json: expected the JSON manifest of a child" in error_of(words, capsys)
    manifest.unlink()
    assert "003.json: cannot be read" in error_of(words, capsys)
    (run / "summary.json").write_text("{}")
    assert "summary.json: expected a run's summary" in error_of(words, capsys)
    (run / "summary.json").write_text('{"parent": {}, "best": {}, "picks": {}}')
    assert "choosing takes id, validation_accuracy and param_count" in error_of(words, capsys)
    (run / "front.csv").write_text("id\n001\n")
    error = error_of([*words, "--child", "knee"], capsys)
    assert "front.csv: choosing takes id, validation_accuracy" in error
    (run / "front.csv").write_text("id,param_count\n001,many\n")
    assert "front.csv: expected a front, but" in error_of([*words, "--child", "knee"], capsys)
    (run / "front.csv").write_text("id,validation_accuracy\n")
    assert "front.csv: it has no rows" in error_of([*words, "--child", "knee"], capsys)


def test_a_fixed_number_of_samples_is_told(run, capsys):
    network = build("no bias")
    network.add_module("fixed", nn.Unflatten(0, (2, -1)))
    row = {"id": "003"}
    export(network, run / "children" / "003.safetensors", example=torch.randn(2, 6), metadata=row)
    assert main(["export", str(run), "--format", "pt2"]) == 0
    assert "takes batches of 2 samples alone" in capsys.readouterr().out


def test_help_says_what_it_takes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: ecomp-deap export RUN --format FORMAT [options]")
    for word in (
        "--child ID|best|knee|within:X|under:N",
        "--format {safetensors,pt2,onnx}",
        "--out FILE",
    ):
        assert word in text
    assert "--factory MODULE:NAME" in text


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), ([], 2), (["a", "--format", "x"], 2), (["a"], 2)]
)
def test_help_and_errors_import_nothing_slow(words, code):
    got, _, _, modules = in_new_process("export", *words)
    assert got == code
    assert not modules & SLOW_TO_IMPORT
