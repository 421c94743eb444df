"""Children of classes that no file can hold: a factory makes the network, the file its tensors."""

import json
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.exports import export, load_child
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure
from ecomp_deap.network.layers import HeadAttention, InputLinear
from tests.architectures import build, equal_states, random_masks, state_of
from tests.network.networks import NETWORKS, Concatenation, Residual, build_network, images


class ReLU(nn.Module):
    """Called like a layer of torch, but another."""

    def forward(self, x):
        return x.relu()


class Reading(nn.Module):
    """A network whose first layer may read some of its inputs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"first": nn.Linear(6, 4), "last": nn.Linear(4, 2)})
        self.register_buffer("scale", torch.tensor([1.0, 2.0]), persistent=False)

    def forward(self, x):
        return self.inner["last"](self.inner["first"](x).relu()) * self.scale


def child_of(parent, seed):
    """A child of a search, as far as `export` looks."""
    structure = find_structure(parent, images())
    genome = MaskGenome(random_masks(structure.widths, seed))
    names = [group.name for group in structure.groups]
    return SimpleNamespace(
        module=compile_child(parent, structure, genome),
        kept={name: tuple(u.tolist()) for name, u in zip(names, genome.kept, strict=True)},
        parent=parent,
    )


def manifest_of(path):
    return json.loads(path.with_suffix(".json").read_text())


@given(name=st.sampled_from(sorted(NETWORKS)), seed=st.integers(0, 10**6))
def test_children_come_back_bit_by_bit(tmp_path_factory, name, seed):
    child = child_of(build_network(name, seed=seed % 3), seed)
    path = export(child, tmp_path_factory.mktemp("c") / "child.safetensors", example=images(2))
    loaded = load_child(path, NETWORKS[name])
    assert equal_states(state_of(loaded), state_of(child.module))
    assert repr(loaded) == repr(child.module)
    assert torch.equal(loaded(images(4, seed=seed)), child.module(images(4, seed=seed)))
    assert not any(module.training for module in loaded.modules())


def test_the_manifest_tells_where_the_child_comes_from(tmp_path):
    parent = build_network("Residual")
    child = child_of(parent, 3)
    manifest = manifest_of(export(child, tmp_path / "child.safetensors", example=images(2)))
    assert manifest["factory"] == "tests.network.networks:Residual"
    assert manifest["kept"] == {name: list(units) for name, units in child.kept.items()}
    assert manifest["parent"]["tensors"]["inner.weight"] == "float32[6, 8, 3, 3]"
    assert manifest["tensors"]["inner.weight"] == (
        f"float32[{len(child.kept['inner'])}, {len(child.kept['stem.0'])}, 3, 3]"
    )
    assert manifest["inputs"] == {"shape": [3, 8, 8], "dtype": "float32"}
    whole = manifest_of(export(parent, tmp_path / "parent.safetensors"))
    assert manifest["parent"]["sha256"] == whole["sha256"] != manifest["sha256"]


@pytest.mark.parametrize("make", [lambda parent: parent, lambda parent: lambda: parent])
def test_a_factory_may_be_a_network_which_is_left_alone(tmp_path, make):
    parent = build_network("Residual").train()
    child = child_of(parent, 1)
    before = state_of(parent)
    path = export(child.module, tmp_path / "child.safetensors", factory=make(parent))
    loaded = load_child(path, make(parent))
    assert equal_states(state_of(loaded), state_of(child.module))
    assert equal_states(state_of(parent), before)
    assert parent.training
    assert parent.inner.out_channels == 6


def test_without_a_factory_the_error_says_what_is_needed(tmp_path):
    path = export(build_network("Residual"), tmp_path / "child.safetensors")
    with pytest.raises(
        DataError,
        match=r"class tests\.network\.networks:Residual: load_child\(path, factory=F\)",
    ):
        load_child(path)


class Wider(Residual):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 7, 3, padding=1)


class Longer(Residual):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(1, 1, bias=False)


@pytest.mark.parametrize(
    ("factory", "difference"),
    [
        (Concatenation, "'stem.0.weight' is missing"),
        (Wider, r"'inner.weight' is float32\[7, 8, 3, 3\], not float32\[6, 8, 3, 3\]"),
        (lambda: Residual().double(), r"'stem.0.weight' is float64\[.*, not float32\["),
        (Longer, "'more.weight' is one too many"),
    ],
)
def test_factories_of_other_networks_are_refused(tmp_path, factory, difference):
    child = child_of(build_network("Residual"), 1)
    path = export(child, tmp_path / "child.safetensors")
    expected = f"factory: expected a network like the parent of the .*:Residual in .*{difference}"
    with pytest.raises(ArgumentError, match=expected):
        load_child(path, factory)
    again = tmp_path / "again.safetensors"
    with pytest.raises(ArgumentError, match=expected):
        export(child, again, factory=factory)
    assert not again.exists()


def test_a_bare_networks_factory_is_known_by_its_names_alone(tmp_path):
    path = export(child_of(build_network("Residual"), 1).module, tmp_path / "child.safetensors")
    assert manifest_of(path)["parent"] is None
    assert load_child(path, Residual).last.out_features == 5
    with pytest.raises(ArgumentError, match=r"but 'more\.weight' is one too many"):
        load_child(path, Longer)


@pytest.mark.parametrize("factory", [3, lambda: "network"])
def test_factories_that_make_no_networks_are_refused(tmp_path, factory):
    path = export(build_network("Residual"), tmp_path / "child.safetensors")
    with pytest.raises(ArgumentError, match=r"factory: expected a torch\.nn\.Module, or a calla"):
        load_child(path, factory)


def fails():
    raise ZeroDivisionError("no\nsuch number")


def test_a_factory_that_fails_is_named(tmp_path):
    path = export(build_network("Residual"), tmp_path / "child.safetensors")
    message = r"factory: expected a torch.*, but it raised ZeroDivisionError: no such number$"
    with pytest.raises(ArgumentError, match=message):
        load_child(path, fails)
    with pytest.raises(ArgumentError, match=message):
        export(build_network("Residual"), tmp_path / "again.safetensors", factory=fails)
    assert not (tmp_path / "again.safetensors").exists()


def test_a_factory_serves_stacks_as_well(tmp_path):
    class Named(nn.Sequential):
        pass

    network = build("nested")
    path = export(network, tmp_path / "child.safetensors")
    layers = dict(network.named_children())
    loaded = load_child(path, lambda: Named(OrderedDict(layers)))
    assert type(loaded) is Named
    assert type(load_child(path)) is nn.Sequential
    assert equal_states(state_of(loaded), state_of(network))
    del layers["body"]
    with pytest.raises(ArgumentError, match=r"of the torch\..* but 'body\.0\.weight' is missing"):
        load_child(path, lambda: Named(OrderedDict(layers)))


def test_tied_tensors_stay_tied(tmp_path):
    network = build_network("Tied")
    path = export(network, tmp_path / "child.safetensors")
    assert manifest_of(path)["tied"] == {"again.weight": "first.weight"}
    loaded = load_child(path, type(network))
    assert loaded.again.weight is loaded.first.weight
    assert loaded.again.bias is not loaded.first.bias


def test_a_stack_whose_inner_stacks_share_a_layer_comes_back(tmp_path):
    linear = nn.Linear(2, 2)
    network = nn.Sequential(linear, nn.Sequential(nn.ReLU(), linear))
    loaded = load_child(export(network, tmp_path / "child.safetensors", example=torch.eye(2)))
    assert loaded[0].weight is loaded[1][1].weight
    assert repr(loaded) == repr(network)


def test_a_stack_that_holds_a_layer_twice_comes_back_by_a_factory(tmp_path):
    def make():
        linear = nn.Linear(2, 2)
        return nn.Sequential(linear, nn.ReLU(), linear)

    network = make()
    path = export(network, tmp_path / "child.safetensors")
    with pytest.raises(DataError, match=r"torch\.nn\.modules\.container:Sequential: load_child"):
        load_child(path)
    loaded = load_child(path, make)
    assert loaded[0] is loaded[2]
    assert torch.equal(loaded[0].weight, network[0].weight)


@pytest.mark.parametrize("odd", [ReLU(), nn.ModuleList([nn.ReLU()]), nn.Sequential(ReLU())])
def test_what_is_called_like_a_layer_of_torch_is_none(tmp_path, odd):
    path = export(nn.Sequential(nn.Linear(2, 2), odd), tmp_path / "child.safetensors")
    assert "architecture" not in manifest_of(path)


def test_a_layer_that_does_not_tell_its_settings_takes_a_factory(tmp_path):
    network, inputs = nn.Sequential(nn.CrossMapLRN2d(3, alpha=0.5)), images(2)
    path = export(network, tmp_path / "child.safetensors", example=inputs)
    assert "architecture" not in manifest_of(path)
    assert torch.equal(load_child(path, network)(inputs), network(inputs))


def test_recurrent_layers_come_back(tmp_path):
    def make():
        return nn.Sequential(nn.LSTM(3, 4, num_layers=2, batch_first=True))

    network, inputs = make(), torch.randn(2, 5, 3)
    loaded = load_child(export(network, tmp_path / "child.safetensors", factory=make), make)
    assert torch.equal(loaded(inputs)[0], network(inputs)[0])


def test_a_sequential_with_a_forward_of_its_own_is_no_stack(tmp_path):
    class Backwards(nn.Sequential):
        def forward(self, x):
            return super().forward(-x)

    network = nn.Sequential(nn.Linear(3, 2), Backwards(nn.ReLU()))
    path = export(network, tmp_path / "child.safetensors", example=torch.randn(3, 3))
    assert "architecture" not in manifest_of(path)


def test_a_sequential_of_another_name_comes_back_as_a_sequential(tmp_path):
    class Small(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(3, 2), nn.Sequential(nn.ReLU()))

    network = Small()
    path = export(network, tmp_path / "child.safetensors", example=torch.randn(3, 3))
    assert str(load_child(path)) == str(nn.Sequential(*network))
    assert manifest_of(path)["factory"].endswith("Small")


def test_layers_that_read_some_inputs_come_back(tmp_path):
    child = Reading()
    child.inner["first"] = nn.Linear(3, 2)
    child.inner["last"] = nn.Linear(2, 2)
    InputLinear.adopt(child.inner["first"], np.array([0, 3, 4]))
    record = SimpleNamespace(module=child, kept={"input": (0, 3, 4)}, parent=Reading())
    path = export(record, tmp_path / "child.safetensors", example=torch.randn(4, 6))
    assert manifest_of(path)["layers"] == {"inner.first": "InputLinear"}
    inputs = torch.randn(3, 6)
    loaded = load_child(path, Reading)
    assert isinstance(loaded.inner["first"], InputLinear)
    assert torch.equal(loaded(inputs), child(inputs))
    assert (loaded.inner["first"].in_features, loaded.inner["last"].in_features) == (3, 2)
    bare = export(child, tmp_path / "bare.safetensors", example=inputs)
    assert torch.equal(load_child(bare, child)(inputs), child(inputs))


def test_attention_with_fewer_heads_comes_back(tmp_path):
    parent = build_network("Transformer")
    structure = find_structure(parent, images())
    masks = [np.ones(n, dtype=bool) for n in structure.widths]
    masks[[group.name for group in structure.groups].index("attention")][0] = False
    child = compile_child(parent, structure, MaskGenome(masks))
    path = export(child, tmp_path / "child.safetensors", example=images(2), factory=parent)
    loaded = load_child(path, type(parent))
    assert isinstance(loaded.attention, HeadAttention)
    assert loaded.attention.num_heads == 1
    assert torch.equal(loaded(images()), child(images()))


def test_a_layer_that_cannot_read_some_inputs_is_refused(tmp_path):
    class Other(Reading):
        def __init__(self):
            super().__init__()
            self.inner["first"] = nn.Bilinear(6, 6, 4)

    child = Reading()
    InputLinear.adopt(child.inner["first"], np.arange(6))
    path = export(child, tmp_path / "child.safetensors")
    with pytest.raises(ArgumentError, match=r"'inner\.first' is no Linear but a Bilinear"):
        load_child(path, Other)


def test_nothing_that_a_manifest_names_is_imported(tmp_path):
    path = export(build_network("Residual"), tmp_path / "child.safetensors")
    content = manifest_of(path)
    content["factory"] = "antigravity:fly"
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="a network of the class antigravity:fly"):
        load_child(path)
    assert load_child(path, Residual).last.out_features == 5


def test_state_that_is_no_tensor_is_refused_by_name(tmp_path):
    class Remembering(Residual):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            pass

    with pytest.raises(ArgumentError, match=r"child: expected nothing but tensors .*'_extra_stat"):
        export(Remembering(), tmp_path / "child.safetensors")
    assert [*tmp_path.iterdir()] == []
