"""Seen to fail without what protects: experiments/reliability/protections.py."""

import copy
import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.errors import DataError
from ecomp_deap.exports import export, load_child
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure
from ecomp_deap.network.layers import InputLinear
from tests.architectures import ALL, build, equal_states, inputs_for, state_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def saved(tmp_path):
    """A child's file, with its manifest beside it."""
    return export(build("batch norm"), tmp_path / "child.safetensors")


def edit(path, **changes):
    """Change what a manifest says; None takes an entry out."""
    manifest_path = path.with_suffix(".json")
    manifest = {**json.loads(manifest_path.read_text()), **changes}
    manifest_path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


@pytest.mark.parametrize("name", ALL)
def test_networks_come_back_bit_by_bit(tmp_path, name):
    network = build(name).train()
    path = export(network, tmp_path / "child.safetensors")
    assert path == tmp_path / "child.safetensors"
    loaded = load_child(str(path))
    network.eval()
    inputs = inputs_for(network)
    assert torch.equal(loaded(inputs), network(inputs))
    assert equal_states(state_of(loaded), state_of(network))
    assert str(loaded) == str(network)
    assert not any(module.training for module in loaded.modules())


@given(name=st.sampled_from(sorted(ALL)), seed=st.integers(0, 10**6))
def test_children_come_back_bit_by_bit(tmp_path_factory, name, seed):
    network = build(name)
    structure = find_structure(network)
    rng = np.random.default_rng(seed)
    masks = [rng.permutation(n) < rng.integers(1, n + 1) for n in structure.widths]
    child = compile_child(network, structure, MaskGenome(masks))
    loaded = load_child(export(child, tmp_path_factory.mktemp("c") / "c.safetensors"))
    inputs = inputs_for(network, seed=seed)
    assert torch.equal(loaded(inputs), child(inputs))
    assert str(loaded) == str(child)


LAYERS = [
    nn.Sequential(nn.ELU(0.3), nn.CELU(0.7, inplace=True), nn.SELU(), nn.GELU("tanh")),
    nn.Sequential(nn.Softplus(2.0, 5.0), nn.Hardtanh(-0.5, 0.25), nn.LeakyReLU(0.2, True)),
    nn.Sequential(nn.ReLU6(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid()),
    nn.Sequential(nn.Sigmoid(), nn.Tanh(), nn.Identity(), nn.Dropout(0.75)),
    nn.Sequential(nn.BatchNorm1d(6, eps=0.5, momentum=None), nn.Flatten(1, -1)),
    nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.BatchNorm1d(6, track_running_stats=False)),
]


@pytest.mark.parametrize("network", LAYERS)
def test_settings_of_every_supported_layer_come_back(tmp_path, network):
    loaded = load_child(export(network, tmp_path / "child.safetensors"))
    assert repr(loaded) == repr(network)
    inputs = inputs_for(build("no bias"))
    assert torch.equal(loaded.eval()(inputs.clone()), copy.deepcopy(network).eval()(inputs.clone()))


def test_a_loaded_child_can_be_trained(saved):
    loaded = load_child(saved).train()
    before = saved.read_bytes()
    loaded(inputs_for(loaded)).sum().backward()
    torch.optim.SGD(loaded.parameters(), lr=1.0).step()
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert saved.read_bytes() == before


def test_saving_changes_nothing_and_is_repeatable(tmp_path):
    network = build("nested").train()
    before = state_of(network)
    first, second = (
        export(network, tmp_path / f"{name}.safetensors", metadata={"id": "007"}) for name in "ab"
    )
    assert network.training
    assert equal_states(state_of(network), before)
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()


def test_a_tensor_that_is_a_view_is_saved(tmp_path):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].weight = nn.Parameter(torch.arange(12.0).reshape(3, 4).T)
    loaded = load_child(export(network, tmp_path / "child.safetensors"))
    assert torch.equal(loaded[0].weight, network[0].weight)


def test_the_manifest_tells_what_is_in_the_file(tmp_path):
    metadata = {"id": "003", "test_accuracy": 0.1 + 0.2, "nothing": None}
    path = export(build("one hidden layer"), tmp_path / "c.safetensors", metadata=metadata)
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["metadata"] == metadata
    assert manifest["format"] == "ecomp_deap.child"
    assert manifest["format_version"] == 2
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["architecture"]["layers"]["0"] == {
        "class": "Linear",
        "arguments": {"in_features": 6, "out_features": 5},
    }


@given(data=st.data())
def test_a_flipped_bit_is_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    path = export(build("one hidden layer"), folder / "c.safetensors")
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"c\.safetensors: damaged, its SHA-256"):
        load_child(path)


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_truncated_file_is_noticed(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(DataError, match=r"child\.safetensors: damaged, its SHA-256"):
        load_child(saved)


def test_another_version_of_the_format_is_named(saved):
    edit(saved, format_version=3, ecomp_deap_version="9.9")
    with pytest.raises(
        DataError, match=r"expected format version 1 to 2, got 3, written by ecomp_deap 9\.9"
    ):
        load_child(saved)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_file_is_named(saved, suffix):
    absent = saved.with_name("nope.safetensors")
    with pytest.raises(DataError, match=r"nope\.safetensors: cannot be read \(No such file"):
        load_child(absent)
    saved.with_suffix(suffix).unlink()
    with pytest.raises(DataError, match=rf"child\{suffix}: cannot be read \(No such file"):
        load_child(saved)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '{"format": "other"}', "\xff"])
def test_a_manifest_that_is_none_is_refused(saved, content):
    saved.with_suffix(".json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"child\.json: expected the (JSON )?manifest of a child"):
        load_child(saved)


@pytest.mark.parametrize("name", ["sha256", "factory", "tensors", "tied", "layers"])
def test_an_incomplete_manifest_is_refused(saved, name):
    edit(saved, **{name: None})
    with pytest.raises(DataError, match=rf"child\.json: the manifest lacks '{name}'"):
        load_child(saved)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tied": 3}, "'tied' is no mapping"),
        ({"tensors": ["0.weight"]}, "'tensors' is no mapping"),
        ({"layers": [1]}, "'layers' is no mapping"),
        ({"parent": "none"}, "'parent' is no mapping"),
        ({"parent": {}}, "'parent' has no 'tensors'"),
    ],
)
def test_a_manifest_with_odd_entries_is_refused(saved, changes, what):
    edit(saved, **changes)
    with pytest.raises(DataError, match=rf"child\.json: the manifest's {what}"):
        load_child(saved)


@pytest.mark.parametrize(
    "layer",
    [
        {"class": "init", "arguments": {}},  # a module of functions
        {"class": "Parameter", "arguments": {"data": 1}},  # a class, but no layer
        {"class": "factory_kwargs", "arguments": {"kwargs": {}}},  # a function
        {"class": "NoSuchLayer", "arguments": {}},
        {"class": "Linear", "arguments": {"in_features": 3}},
        {"class": "Linear", "arguments": {"in_features": -3, "out_features": 2}},
        {"class": "Linear", "arguments": {"in_features": "3", "out_features": 2}},
        {"class": "Dropout", "arguments": {"p": 7}},
        {"class": "Linear"},
        {"arguments": {}},
        {"class": 3, "arguments": {}},
        {"class": "Sequential", "layers": [1, 2]},
        "Linear",
        None,
    ],
)
def test_only_torchs_own_layers_are_built(saved, layer):
    edit(saved, architecture={"class": "Sequential", "layers": {"odd": layer}})
    with pytest.raises(DataError, match="manifest: layer 'odd' cannot be built"):
        load_child(saved)


@pytest.mark.parametrize(
    "architecture",
    [
        {"class": "Linear", "arguments": {"in_features": 3, "out_features": 2}},
        {"class": "Sequential", "layers": {}},
    ],
)
def test_tensors_that_do_not_fit_their_manifest_are_refused(saved, architecture):
    edit(saved, architecture=architecture)
    with pytest.raises(DataError, match=r"child\.safetensors: does not fit its manifest") as caught:
        load_child(saved)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_with_a_fitting_sum_is_refused(saved):
    saved.write_bytes(b"not tensors at all")
    edit(saved, sha256=hashlib.sha256(b"not tensors at all").hexdigest())
    with pytest.raises(DataError, match="does not fit its manifest"):
        load_child(saved)


def test_a_child_that_is_written_again_takes_the_place_of_the_old_one(saved):
    export(build("no bias"), saved)
    assert str(load_child(saved)) == str(build("no bias"))
    assert sorted(path.name for path in saved.parent.iterdir()) == [
        "child.json",
        "child.safetensors",
    ]


def test_a_file_of_version_1_still_loads():
    loaded = load_child(GOLDEN / "version_1.safetensors")
    assert type(loaded) is nn.Sequential
    assert [name for name, _ in loaded.named_children()] == [
        *("features", "flat", "hidden", "act", "output")
    ]
    assert (loaded.features[1].eps, loaded.act.negative_slope) == (0.01, 0.25)
    assert loaded.features[0].bias is None
    weight = torch.tensor([[0.625, 0.125, -0.375, 0.5], [0.0, 0.875, 0.375, -0.125]])
    assert torch.equal(loaded.output.weight, weight)
    inputs = torch.arange(32.0).reshape(2, 1, 4, 4) / 16
    outputs = torch.tensor([[2.0217, 1.7757], [3.4121, 3.5221]])
    torch.testing.assert_close(loaded(inputs), outputs, rtol=0, atol=1e-4)


def test_a_file_of_version_1_takes_a_factory_too():
    class Small(nn.Sequential):
        pass

    layers = dict(load_child(GOLDEN / "version_1.safetensors").named_children())
    loaded = load_child(GOLDEN / "version_1.safetensors", Small(OrderedDict(layers)))
    assert type(loaded) is Small
    assert loaded.output.weight[0, 0] == 0.625


def test_tensors_that_are_not_those_of_the_manifest_are_refused(saved):
    tensors = json.loads(saved.with_suffix(".json").read_text())["tensors"]
    edit(saved, tensors={**tensors, "1.weight": "float32[3]"})
    with pytest.raises(DataError, match=r"does not fit its manifest: '1\.weight' is float32\[7, 6"):
        load_child(saved)


def test_a_stack_of_version_2_loads():
    loaded = load_child(GOLDEN / "version_2_stack.safetensors")
    assert isinstance(loaded[0], InputLinear)
    assert loaded[0].input_indices.tolist() == [0, 2, 3]
    assert loaded[2].weight is loaded[4].weight
    assert loaded(torch.arange(8.0).reshape(2, 4)).tolist() == [[36.0, 76.0], [84.0, 172.0]]


def test_a_network_of_another_class_of_version_2_loads():
    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 4)

        def forward(self, x):
            return x + self.second(self.first(x).relu())

    path = GOLDEN / "version_2_class.safetensors"
    loaded = load_child(path, Adding)
    assert (loaded.first.out_features, loaded.second.in_features) == (2, 2)
    assert loaded(torch.arange(4.0)[None]).tolist() == [[12.0, 22.0, 11.0, 15.0]]
    with pytest.raises(DataError, match=r"a network of the class golden:Adding: load_child"):
        load_child(path)
