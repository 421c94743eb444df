"""Seen to fail without what protects: experiments/reliability/protections.py."""

import copy
import pickle
from argparse import Namespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.network import load_parent, make_parent
from tests.architectures import equal_states, state_of


@pytest.fixture(scope="module")
def parent():
    return make_parent((5, 4), n_inputs=3, n_outputs=2, seed=7)


@pytest.fixture
def saved(parent, tmp_path):
    path = tmp_path / "parent.safetensors"
    save_file(parent.state_dict(), path)
    return path


def test_layers_are_named_as_the_originals():
    parent = make_parent()
    assert [name for name, _ in parent.named_children()] == [
        "layer_1_linear",
        "layer_1_act",
        "layer_2_linear",
        "layer_2_act",
        "output",
    ]
    assert [tuple(p.shape) for p in parent.parameters() if p.ndim == 2] == [
        (256, 784),
        (256, 256),
        (10, 256),
    ]
    assert isinstance(parent.layer_1_act, nn.ReLU)


def test_initial_weights_depend_on_the_seed():
    states = [state_of(make_parent((4,), seed=seed)) for seed in (1, 1, 2)]
    assert equal_states(states[0], states[1])
    assert not equal_states(states[0], states[2])


@given(
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    n_inputs=st.integers(1, 5),
    n_outputs=st.integers(1, 4),
)
def test_widths_are_read_from_safetensors(tmp_path_factory, hidden, n_inputs, n_outputs):
    parent = make_parent(hidden, n_inputs=n_inputs, n_outputs=n_outputs)
    path = tmp_path_factory.mktemp("parent") / "p.safetensors"
    save_file(parent.state_dict(), path)
    loaded = load_parent(path)
    assert str(loaded) == str(parent)
    assert equal_states(state_of(loaded), state_of(parent))
    assert not loaded.training


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("as_text", [True, False])
def test_weights_only_files_are_read(parent, tmp_path, suffix, as_text):
    path = tmp_path / f"parent{suffix}"
    torch.save(parent.state_dict(), path)
    loaded = load_parent(str(path) if as_text else path)
    assert equal_states(state_of(loaded), state_of(parent))


class Harmful:
    """Pickled, it runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, save):
    path, mark = tmp_path / "parent.pt", tmp_path / "ran"
    save({"layer_1_linear.weight": Harmful(mark)}, path)
    with pytest.raises(DataError, match=r"parent: cannot read .*parent\.pt"):
        load_parent(path)
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused(parent, tmp_path):
    path = tmp_path / "parent.pt"
    torch.save(parent, path)
    with pytest.raises(DataError, match=r"cannot read .*parent\.pt: only tensors are") as caught:
        load_parent(path)
    assert "\n" not in str(caught.value)
    assert "it holds a whole network: save its state_dict(), which takes" in str(caught.value)
    torch.save({"model": parent.state_dict(), "options": Namespace(epochs=3)}, path)
    with pytest.raises(DataError, match=r"only tensors are, and it names 'argparse.Namespace'$"):
        load_parent(path)


@pytest.mark.parametrize("name", ["parent.bin", "parent", "parent.safetensors.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"parent: expected a \.safetensors, \.pt or \.pth"):
        load_parent(tmp_path / name)


@pytest.mark.parametrize("name", ["parent.pt", "parent.safetensors"])
def test_missing_files_are_named(tmp_path, name):
    with pytest.raises(DataError, match=f"parent: no such file: .*{name}"):
        load_parent(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"parent: no such file: .*{name}"):
        load_parent(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("length", [0, 1, 7, 60, 300])
def test_truncated_files_are_refused(parent, tmp_path, suffix, length):
    path = tmp_path / f"parent{suffix}"
    if suffix == ".pt":
        torch.save(parent.state_dict(), path)
    else:
        save_file(parent.state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=f"parent: cannot read .*parent{suffix}"):
        load_parent(path)


@given(noise=st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    for name in ("p.pt", "p.safetensors"):
        path = folder / name
        path.write_bytes(noise)
        with pytest.raises(DataError, match="parent: "):
            load_parent(path)


CONVOLUTION = (
    r"expected weights and biases of a dense network, got 'output.weight' of float32 "
    r"\(2, 4, 1, 1\); another network takes --factory my_models.py:Net \(in Python load_parent"
)


def broken_states():
    good = state_of(make_parent((5, 4), n_inputs=3, n_outputs=2))

    def without(*names):
        return {name: tensor for name, tensor in good.items() if name not in names}

    return {
        "no first layer": (without("layer_1_linear.weight"), "expected layer_1.*; another"),
        "no output": (without("output.weight"), "expected layer_1_linear.weight"),
        "no bias": (without("layer_2_linear.bias"), "does not fit.*layer_2_linear.bias"),
        "a layer left out": (without("layer_2_linear.weight", "layer_2_linear.bias"), "not fit"),
        "one too many": ({**good, "extra": torch.zeros(2)}, "does not fit.*extra"),
        "wrong columns": ({**good, "layer_2_linear.weight": torch.zeros(4, 9)}, "does not fit"),
        "wrong bias": ({**good, "output.bias": torch.zeros(9)}, "does not fit.*output.bias"),
        "no matrix": ({**good, "layer_1_linear.weight": torch.zeros(5)}, "does not fit"),
        "a scalar": ({**good, "layer_1_linear.weight": torch.tensor(1.0)}, "expected weights"),
        "a convolution": ({**good, "output.weight": torch.zeros(2, 4, 1, 1)}, CONVOLUTION),
        "nothing": ({}, "holds nothing"),
    }


@pytest.mark.parametrize("case", broken_states())
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_wrong_tensors_are_refused(tmp_path, case, suffix):
    state, message = broken_states()[case]
    path = tmp_path / f"parent{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    with pytest.raises(DataError, match=message):
        load_parent(path)


@pytest.mark.parametrize("content", [[1, 2], {"layer_1_linear.weight": 3}, torch.zeros(3)])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "parent.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=r"holds no state dict of tensors$"):
        load_parent(path)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_a_checkpoint_is_told_to_be_taken_apart(parent, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    optimizer = torch.optim.Adam(parent.parameters())
    parent(torch.rand(2, parent[0].in_features)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, "optimizer": optimizer.state_dict(), key: parent.state_dict()}
    torch.save(checkpoint, "ckpt.pt")
    with pytest.raises(DataError, match=f"tensors, but its '{key}' does: ") as caught:
        load_parent("ckpt.pt")
    exec(str(caught.value).rpartition(": ")[2], {"torch": torch})
    assert equal_states(state_of(load_parent("weights.pt")), state_of(parent))


@pytest.mark.parametrize(
    "content",
    [
        {"model": {}, "epoch": 3},
        {"model": {"weight": torch.zeros(2), "epoch": 3}},
        {0: {"weight": torch.zeros(2)}},
        {"m" * 100: {"weight": torch.zeros(2)}},
    ],
)
def test_nothing_is_told_of_what_holds_no_weights(tmp_path, content):
    path = tmp_path / "parent.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=r"holds no state dict of tensors$"):
        load_parent(path)


def test_loading_changes_nothing_on_disk(saved):
    before = saved.read_bytes()
    loaded = load_parent(saved)
    with torch.no_grad():
        loaded.output.bias.fill_(9)
    assert saved.read_bytes() == before
    assert not equal_states(state_of(load_parent(saved)), state_of(loaded))
    assert [*saved.parent.iterdir()] == [saved]
    copy.deepcopy(loaded)
