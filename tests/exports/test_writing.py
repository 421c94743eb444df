import json

import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.exports import export, load_child
from tests.architectures import build, equal_states, inputs_for, state_of
from tests.network.networks import build_network, images


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "format", "written"),
    [
        ("a.safetensors", None, "a.safetensors"),
        ("a.safetensors", "safetensors", "a.safetensors"),
        ("a", "safetensors", "a.safetensors"),
        ("resnet_0.5", "safetensors", "resnet_0.5.safetensors"),
    ],
)
def test_the_name_or_the_format_says_what_to_write(tmp_path, name, format, written):
    path = export(build("no bias"), tmp_path / name, format=format)
    assert path == tmp_path / written
    assert names(tmp_path) == sorted([written, f"{written.removesuffix('.safetensors')}.json"])


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("a.pt", None, r"path: expected a name ending in \.safetensors, \.pt2, \.onnx, or a form"),
        ("a", None, "path: expected a name ending in"),
        ("a", "pickle", "format: expected one of safetensors, pt2, onnx, got 'pickle'"),
        ("a.onnx", "pt2", r"path: expected a name ending in \.pt2, as is the format"),
    ],
)
def test_other_names_and_formats_are_refused(tmp_path, name, format, message):
    with pytest.raises(ArgumentError, match=message):
        export(build("no bias"), tmp_path / name, format=format, example=torch.zeros(2, 6))
    assert names(tmp_path) == []


@pytest.mark.parametrize("format", ["pt2", "safetensors"])
@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/.."])
def test_a_path_without_a_name_is_refused(tmp_path, monkeypatch, path, format):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"path: expected (a path|the name of a file), got '"):
        export(build("no bias"), path, format=format, example=torch.zeros(2, 6))
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("child", [3, {"module": nn.ReLU()}, [nn.Linear(2, 2)], None])
def test_what_is_no_child_is_refused(tmp_path, child):
    with pytest.raises(ArgumentError, match="child: expected a child of a search, or a torch"):
        export(child, tmp_path / "a.safetensors")


@pytest.mark.parametrize("metadata", [{"loss": float("nan")}, {"tensor": torch.zeros(1)}])
def test_metadata_that_json_cannot_hold_are_refused(tmp_path, metadata):
    with pytest.raises(ArgumentError, match=r"metadata: expected JSON's types \("):
        export(build("no bias"), tmp_path / "a.safetensors", metadata=metadata)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "example", [3, [], torch.zeros(()), torch.zeros(0, 6), [torch.zeros(2), torch.zeros(3)], ["a"]]
)
def test_examples_that_are_no_batch_are_refused(tmp_path, example):
    with pytest.raises(ArgumentError, match="example: expected a batch of inputs, a tensor or a"):
        export(build("no bias"), tmp_path / "a.safetensors", example=example)


def test_graphs_need_an_example(tmp_path):
    with pytest.raises(ArgumentError, match=r"example: expected a batch of inputs, which \.pt2 t"):
        export(build("no bias"), tmp_path / "a.pt2")


@pytest.mark.parametrize("ending", ["safetensors", "pt2", "onnx"])
def test_a_network_without_values_is_refused(tmp_path, ending):
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    network[1].to("meta")
    message = r"child: expected tensors with values, got '1\.weight' on the meta device"
    with pytest.raises(ArgumentError, match=message):
        export(network, tmp_path / f"a.{ending}", example=torch.zeros(2, 6))
    with pytest.raises(ArgumentError, match="example: expected a batch of inputs with values"):
        export(build("no bias"), tmp_path / f"a.{ending}", example=torch.zeros(2, 6, device="meta"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", ["safetensors", "pt2", "onnx"])
def test_an_example_that_does_not_fit_is_refused(tmp_path, ending):
    message = "example: expected a batch that the network takes, but .*cannot be multiplied"
    with pytest.raises(ArgumentError, match=message) as caught:
        export(build("no bias"), tmp_path / f"a.{ending}", example=torch.zeros(2, 5))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none/a\.safetensors: cannot be written \(No such file"):
        export(build("no bias"), tmp_path / "none" / "a.safetensors")


@pytest.mark.parametrize("ending", ["safetensors", "pt2"])
def test_exporting_leaves_the_child_as_it_is(tmp_path, ending):
    network = build_network("Residual").train()
    network.stem.eval()
    before = state_of(network)
    example = images(2)
    export(network, tmp_path / f"a.{ending}", example=example)
    assert network.training
    assert not network.stem.training
    assert equal_states(state_of(network), before)
    assert torch.equal(example, images(2))


class Forgetting(nn.Module):
    """A network with a tensor that no file holds, which matters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)
        self.register_buffer("scale", torch.rand(2), persistent=False)

    def forward(self, x):
        return self.layer(x) * self.scale


def test_outputs_that_do_not_come_back_are_told_and_nothing_is_left(tmp_path):
    network, example = Forgetting(), torch.randn(3, 6)
    path = tmp_path / "a.safetensors"
    with pytest.raises(
        DataError, match=r"a\.safetensors: what load_child gives is not the child: output 0 is off"
    ):
        export(network, path, factory=Forgetting, example=example)
    assert names(tmp_path) == []
    export(network, path, example=example)
    assert torch.equal(load_child(path, network)(example), network(example))


def test_tensors_that_do_not_come_back_are_told(tmp_path):
    class Resetting(nn.Linear):
        def __setattr__(self, name, value):
            if name == "bias" and isinstance(value, nn.Parameter):
                nn.init.zeros_(value)
            super().__setattr__(name, value)

    network = Resetting(6, 2)
    nn.init.ones_(network.bias)
    with pytest.raises(DataError, match="what load_child gives is not the child: 'bias' has other"):
        export(network, tmp_path / "a.safetensors")
    assert names(tmp_path) == []


def test_a_failure_leaves_what_was_there(tmp_path):
    path = export(build("no bias"), tmp_path / "a.safetensors")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DataError, match="is not the child"):
        export(Forgetting(), path, factory=Forgetting, example=torch.randn(3, 6))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_outputs_that_are_not_finite_come_back(tmp_path):
    network = build("no bias")
    with torch.no_grad():
        network[0].weight[0, 0] = torch.nan
        network[2].weight[0, 0] = torch.inf
    path = export(network, tmp_path / "a.safetensors", example=inputs_for(network))
    assert load_child(path)[0].weight[0, 0].isnan()


class Spectrum(nn.Module):
    """Complex outputs."""

    def __init__(self, sign=1):
        super().__init__()
        self.layer, self.sign = nn.Linear(4, 6), sign

    def forward(self, x):
        self.latest = torch.fft.rfft(self.layer(x))
        return self.latest if self.sign > 0 else self.latest.conj()


def test_imaginary_parts_are_compared(tmp_path):
    child, example = Spectrum(), torch.randn(3, 4)
    child(example)
    path = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match="output 0 is off by up to"):
        export(child, path, factory=lambda: Spectrum(-1), example=example)
    assert names(tmp_path) == []
    export(child, path, factory=Spectrum, example=example)


@pytest.mark.parametrize("ending", ["safetensors", "pt2", "onnx"])
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch, ending):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DataError, match=rf"a\.{ending}: cannot be written \(No space left on devi"):
        export(build("no bias"), tmp_path / f"a.{ending}", example=torch.zeros(2, 6))
    assert names(tmp_path) == []


@pytest.mark.parametrize("in_the_way", ["a.safetensors", "a.json"])
def test_a_folder_in_the_way_is_named_and_what_was_there_is_left(tmp_path, in_the_way):
    (tmp_path / in_the_way).mkdir()
    (other,) = {"a.safetensors", "a.json"} - {in_the_way}
    (tmp_path / other).write_text("old")
    with pytest.raises(DataError, match=rf"{in_the_way}: cannot be written \(Is a directory\)"):
        export(build("no bias"), tmp_path / "a.safetensors")
    assert (tmp_path / other).read_text() == "old"
    assert names(tmp_path) == ["a.json", "a.safetensors"]


def test_the_manifest_is_easy_to_read(tmp_path):
    metadata = {
        "texts": ["[\n  1,\n  2\n]", "[  1,   2 ]"],
        "widths": [1, 2.5, None],
        "rows": [[], [1, 2]],
    }
    path = export(build("no bias"), tmp_path / "a.safetensors", metadata=metadata)
    text = path.with_suffix(".json").read_text()
    assert json.loads(text)["metadata"] == metadata
    assert '"widths": [1, 2.5, null],\n' in text
