"""A network of a user's own, from its code to an exported child, on the command line."""

import csv
import json
import re
import sys

import pytest
import torch

from ecomp_deap import load_child
from ecomp_deap.cli import main

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, stride=4)
        self.conv2 = nn.Conv2d(1, 3, 7, stride=4, padding=1)
        self.last = nn.Linear(7, 10)

    def forward(self, x):
        x = torch.cat([self.conv1(x), self.conv2(x)], dim=1).relu()
        return self.last(x.mean(dim=(2, 3)))
"""
FLAT = "from torch import nn\n\n\ndef Net():\n    return nn.Sequential(nn.Linear(784, 10))\n"
TINY = (
    *("--population", "6", "--generations", "2", "--batch-size", "40", "--parent-epochs", "1"),
    *("--finalise-count", "1", "--finalise-epochs", "1", "--quiet", "--images"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("models", None)


def command(*words):
    assert main([str(word) for word in words]) == 0


def test_a_network_of_ones_own_is_inspected_compressed_and_exported(folder, small_fashion, capsys):
    code = ("--factory", "models.py:Net")
    command("inspect", *code, "--example", "1,28,28")
    printed = capsys.readouterr().out
    assert "conv1" in printed
    assert "conv2" in printed

    command("run", 1, "mine", *code, *TINY, "--data-dir", small_fashion)
    run = folder / "results" / "mine_1"
    with open(run / "front.csv", newline="") as file:
        smallest = next(csv.DictReader(file))
    child = load_child(run / "children" / "001.safetensors", sys.modules["models"].Net)
    assert smallest["widths"] == f"{child.conv1.out_channels}-{child.conv2.out_channels}"
    assert json.loads((run / "config.json").read_text())["factory"] == "models.py:Net"

    # Its own files tell what it takes.
    command("inspect", run / "children" / "001.safetensors", *code)
    assert f"{smallest['mac_count']}" in capsys.readouterr().out.replace(",", "")
    child_file = str(run / "children" / "001.safetensors")
    assert main(["inspect", child_file]) == 2
    assert "name with --factory what makes one like its parent" in capsys.readouterr().err

    command("export", run, *code, "--child", "001", "--format", "pt2")
    inputs = torch.randn(3, 1, 28, 28)
    graph = torch.export.load(run / "exports" / "001.pt2").module()
    torch.testing.assert_close(graph(inputs), child(inputs))

    # The parent that was trained serves a second run, and can be given as a file.
    capsys.readouterr()
    words = [word for word in TINY if word != "--quiet"]
    command("run", 1, "mine", *code, *words, "--data-dir", small_fashion)
    assert "trained before" in capsys.readouterr().err
    given = ("--parent", run / "parent.safetensors")
    command("run", 1, "given", *code, *given, *TINY, "--data-dir", small_fashion)
    again = folder / "results" / "given_1" / "front.csv"
    assert again.read_text() == (run / "front.csv").read_text()


def test_other_code_trains_another_parent(folder, small_fashion, capsys):
    words = ("run", 1, "mine", "--factory", "models.py:Net", *TINY, "--data-dir", small_fashion)
    command(*words)
    (folder / "models.py").write_text(CODE.replace("(1, 4, 5", "(1, 5, 5").replace("(7,", "(8,"))
    command(*[word for word in words if word != "--quiet"])
    assert "trained before" not in capsys.readouterr().err
    assert (folder / "results" / "mine_2" / "front.csv").exists()


def test_a_network_that_does_not_take_the_data_is_refused_at_once(folder, small_fashion, capsys):
    words = [word for word in TINY if word != "--images"]
    code = ("--factory", "models.py:Net")
    assert main(["run", "1", "mine", *code, *words, "--data-dir", str(small_fashion)]) == 2
    told = capsys.readouterr().err
    assert "takes samples of shape (784,), but it takes (1, 28, 28): add --images\n" in told
    for source, why in (
        (
            CODE.replace("(1, 4, 5", "(3, 4, 5"),
            "but RuntimeError: .*3 channels.*; the command has ",
        ),
        (FLAT, r"but it takes \(784,\): leave out --images$"),
    ):
        (folder / "models.py").write_text(source)
        assert main(["run", "1", "mine", *code, *TINY, "--data-dir", str(small_fashion)]) == 2
        assert re.search(rf"samples of shape \(1, 28, 28\), {why}", capsys.readouterr().err)
    assert not (folder / "results").exists()
