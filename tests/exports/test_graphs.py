"""Graphs that run without the network's code; what they give is compared here once more."""

import json
import logging
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.exports import export, load_child
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure
from tests.architectures import build, inputs_for
from tests.network.networks import TEXTS, build_network, images, tokens


class Pair(nn.Module):
    """Two inputs, of which one are indices, and named outputs."""

    def __init__(self):
        super().__init__()
        self.linear, self.embedding = nn.Linear(3, 4), nn.Embedding(5, 4)

    def forward(self, x, ids):
        return {"sum": self.linear(x) + self.embedding(ids), "first": x[:, 0]}


class Two(nn.Module):
    """A network for two samples alone."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        return self.linear(x).reshape(2, 4)


class Asking(Two):
    """A network whose way depends on its inputs."""

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else x


def pair(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(n, 3, generator=generator), "ids": torch.arange(n) % 5}


def run_onnx(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, dict(zip(names, [i.numpy() for i in inputs], strict=True)))


def inputs_of(name, n):
    return tokens(n) if name in TEXTS else images(n)


def child_of(name):
    network = build_network(name)
    structure = find_structure(network, inputs_of(name, 3))
    masks = [np.arange(n) % 3 != 1 for n in structure.widths]
    return compile_child(network, structure, MaskGenome(masks))


@pytest.mark.parametrize(
    "name", ["Residual", "Concatenation", "Grouped", "Transformer", "Encoder", "Positions"]
)
def test_torch_runs_any_number_of_samples(tmp_path, name):
    child = child_of(name)
    path = export(child, tmp_path / "child.pt2", example=inputs_of(name, 1))
    graph = torch.export.load(path).module()
    for n in (1, 2, 7):
        inputs = inputs_of(name, n)
        assert torch.allclose(graph(inputs), child(inputs), rtol=1e-5, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["child.pt2"]


@pytest.mark.parametrize("name", ["Grouped", "Transformer", "Encoder", "Positions"])
def test_onnx_runtime_runs_any_number_of_samples(tmp_path, name, capfd):
    child = child_of(name)
    path = export(child, tmp_path / "child.onnx", example=inputs_of(name, 2))
    assert capfd.readouterr() == ("", "")
    for n in (1, 2, 7):
        inputs = inputs_of(name, n)
        (found,) = run_onnx(path, [inputs])
        assert np.allclose(found, child(inputs).detach(), rtol=1e-4, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["child.onnx"]


def test_inputs_may_be_named_or_in_a_row(tmp_path):
    network = Pair()
    for name, example in {"row": (pair(3)["x"], pair(3)["ids"]), "named": pair(3)}.items():
        path = export(network, tmp_path / f"{name}.pt2", example=example)
        graph = torch.export.load(path).module()
        inputs = pair(4, seed=1)
        found = graph(**inputs) if name == "named" else graph(inputs["x"], inputs["ids"])
        assert torch.allclose(found["sum"], network(**inputs)["sum"])


def test_onnx_takes_named_inputs(tmp_path):
    network = Pair()
    path = export(network, tmp_path / "child.onnx", example=pair(3))
    inputs = pair(5, seed=1)
    found = run_onnx(path, [inputs["x"], inputs["ids"]])
    assert np.allclose(found[0], network(**inputs)["sum"].detach(), atol=1e-5)


def test_other_numbers_of_samples_than_the_examples_are_tried(tmp_path):
    seen = []

    class Counting(nn.Linear):
        def forward(self, x):
            seen.append(x.shape[0])
            return super().forward(x)

    export(Counting(3, 2), tmp_path / "child.pt2", example=torch.randn(4, 3))
    assert {1, 4, 5} <= {n for n in seen if type(n) is int}


@pytest.mark.parametrize("ending", ["safetensors", "pt2"])
def test_a_network_that_overwrites_its_inputs_gets_copies(tmp_path, ending):
    network, example = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), -torch.ones(2, 3)
    path = export(network, tmp_path / f"child.{ending}", example=example)
    assert torch.equal(example, -torch.ones(2, 3))
    assert path.exists()


def test_a_network_of_a_fixed_number_of_samples_is_told_so(tmp_path):
    path = tmp_path / "child.pt2"
    with pytest.warns(UserWarning, match=r"child\.pt2: takes batches of 2 samples alone"):
        export(Two(), path, example=torch.randn(2, 3))
    assert torch.export.load(path).module()(torch.randn(2, 3)).shape == (2, 4)


def test_what_is_told_while_a_network_is_traced_is_kept_back(tmp_path, caplog, capfd):
    class Talking(nn.Linear):
        def forward(self, x):
            if torch.compiler.is_compiling():
                warnings.warn("tracing", stacklevel=2)
                logging.getLogger("exporter").critical("tracing")
                print("tracing")
                print("tracing", file=sys.stderr)
            return super().forward(x)

    export(Talking(3, 2), tmp_path / "child.pt2", example=torch.randn(2, 3))
    assert [record for record in caplog.records if record.name == "exporter"] == []
    assert capfd.readouterr() == ("", "")
    logging.getLogger("exporter").critical("done")
    assert caplog.records[-1].message == "done"


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_networks_that_cannot_be_traced_are_refused_in_one_line(tmp_path, ending, capfd):
    with pytest.raises(ArgumentError, match=rf"child: it cannot be exported as \.{ending}: ") as e:
        export(Asking(), tmp_path / f"child.{ending}", example=torch.randn(2, 3))
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")
    assert [*tmp_path.iterdir()] == []


class Drifting(nn.Module):
    """A network that is another one each time it runs, and the same in a graph."""

    def __init__(self):
        super().__init__()
        self.linear, self.times = nn.Linear(3, 2), 0

    def forward(self, x):
        self.times += 1
        return self.linear(x) * self.times


def test_graphs_that_give_other_outputs_are_not_kept(tmp_path):
    path = tmp_path / "child.pt2"
    path.write_text("what was there")
    with pytest.raises(
        DataError,
        match=r"child\.pt2: what torch\.export\.load gives for \d samples is not what the child "
        r"gives: output 0 is off by up to",
    ):
        export(Drifting(), path, example=torch.randn(2, 3))
    assert path.read_text() == "what was there"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ArgumentError,
        match=rf"^format onnx: expected {package} to be .* \(pip install 'ecomp-deap\[onnx\]'\)",
    ):
        export(build("no bias"), tmp_path / "child.onnx", example=torch.zeros(2, 6))


def test_graphs_hold_the_metadata(tmp_path):
    network, metadata = build("no bias"), {"id": "003", "validation_accuracy": 0.5}
    example = inputs_for(network)
    path = export(network, tmp_path / "a.onnx", example=example, metadata=metadata)
    (entry,) = onnx.load(path).metadata_props
    assert json.loads(entry.value)["metadata"] == metadata
    path = export(network, tmp_path / "a.pt2", example=example, metadata=metadata)
    extra = {"ecomp_deap": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["ecomp_deap"])["metadata"] == metadata


@pytest.mark.parametrize(
    ("name", "loader"),
    [("a.pt2", r"torch\.export\.load"), ("a.onnx", r"onnxruntime\.InferenceSession")],
)
def test_load_child_says_what_loads_graphs(name, loader):
    with pytest.raises(ArgumentError, match=rf"path: expected a \.safetensors file.*; {loader}"):
        load_child(name)


def test_load_child_refuses_other_files():
    with pytest.raises(ArgumentError, match=r"path: expected a \.safetensors file, got 'a\.pt'$"):
        load_child("a.pt")
