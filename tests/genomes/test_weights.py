from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import WeightGenome


@st.composite
def stacks(draw):
    """Layers of a dense stack of any widths, some without a bias."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    layers = {}
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        bias = rng.normal(size=n_out).astype(dtype) if draw(st.booleans()) else None
        layers[f"layer_{i}"] = (rng.normal(size=(n_out, n_in)).astype(dtype), bias)
    return layers


@settings(deadline=None)
@given(layers=stacks())
def test_a_genome_tells_what_it_was_made_from(layers):
    genome = WeightGenome(layers)

    assert list(genome.layers) == list(layers)
    assert genome.widths == tuple(weight.shape[0] for weight, _ in layers.values())[:-1]
    for name, (weight, bias) in layers.items():
        np.testing.assert_array_equal(genome.layers[name][0], weight)
        assert genome.layers[name][0].dtype == weight.dtype
        if bias is None:
            assert genome.layers[name][1] is None
        else:
            np.testing.assert_array_equal(genome.layers[name][1], bias)


@settings(deadline=None)
@given(layers=stacks())
def test_equal_content_has_equal_keys_however_it_lies_in_memory(layers):
    turned = {
        name: (np.asfortranarray(weight), None if bias is None else bias[::-1].copy()[::-1])
        for name, (weight, bias) in layers.items()
    }

    assert WeightGenome(layers).key() == WeightGenome(turned).key()
    assert WeightGenome(layers) == WeightGenome(turned)


@settings(deadline=None, max_examples=200)
@given(layers=stacks(), data=st.data())
def test_any_change_of_content_changes_the_key(layers, data):
    name = data.draw(st.sampled_from(sorted(layers)))
    weight, bias = layers[name]
    kind = data.draw(st.sampled_from(["weight", "bias", "dtype", "name", "inputs", "more layers"]))
    then = dict(layers)
    if kind == "weight":
        weight = weight.copy()
        at = data.draw(st.integers(0, weight.size - 1))
        weight.flat[at] = np.nextafter(weight.flat[at], weight.dtype.type(np.inf))
        then[name] = (weight, bias)
    elif kind == "bias" and bias is None:
        then[name] = (weight, np.zeros(len(weight), weight.dtype))
    elif kind == "bias":
        changed = bias.copy()
        changed[data.draw(st.integers(0, bias.size - 1))] += 1
        then[name] = (weight, data.draw(st.sampled_from([None, changed])))
    elif kind == "dtype":
        then[name] = (weight.astype(np.float16), bias)
    elif kind == "name":
        then = {f"{old}x" if old == name else old: layer for old, layer in layers.items()}
    elif kind == "inputs":
        weight, bias = then["layer_0"]
        then["layer_0"] = (np.hstack([weight, np.zeros((len(weight), 1), weight.dtype)]), bias)
    else:
        width = next(reversed(layers.values()))[0].shape[0]
        then["output"] = (np.eye(width), None)

    assert WeightGenome(layers).key() != WeightGenome(then).key()
    assert WeightGenome(layers) != WeightGenome(then)


def test_the_order_of_layers_is_part_of_the_content():
    layers = {"a": (np.ones((2, 2)), None), "b": (np.zeros((2, 2)), None)}
    assert WeightGenome(layers) != WeightGenome(dict(reversed(layers.items())))


def test_rebinding_resets_the_key_and_shares_read_only_arrays():
    genome = WeightGenome({"a": (np.ones((2, 3)), np.zeros(2))})
    other = WeightGenome({"a": (np.ones((4, 3)), np.zeros(4))})
    key = genome.key()
    assert genome.key() is key

    genome.rebind(other.layers)
    assert genome.key() == other.key() != key
    assert genome.layers["a"][0] is other.layers["a"][0]
    assert genome.layers["a"][1] is other.layers["a"][1]


def test_arrays_that_are_changed_later_are_not_shared():
    weight, bias = np.ones((2, 3)), np.zeros(2)
    genome = WeightGenome({"a": (weight, bias)})
    weight[:] = 5.0
    bias[:] = 5.0

    assert genome == WeightGenome({"a": (np.ones((2, 3)), np.zeros(2))})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, r"layers: expected at least one layer, got \{\}"),
        ({"a": (np.ones(3), None)}, r"weight of layer 'a': expected shape .*got \(3,\)"),
        ({"a": (np.ones((0, 3)), None)}, r"weight of layer 'a': expected .* got \(0, 3\)"),
        ({"a": (np.ones((2, 0)), None)}, r"weight of layer 'a': expected .* got \(2, 0\)"),
        ({"a": (np.ones((2, 3)), np.ones(3))}, r"bias of layer 'a': expected shape \(2,\)"),
        ({"a": (np.ones((2, 3)), np.ones((2, 1)))}, r"bias of layer 'a': expected shape \(2,\)"),
        (
            {"a": (np.ones((2, 3)), None), "b": (np.ones((1, 3)), None)},
            r"weight of layer 'b': expected 2 columns, got \(1, 3\)",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ArgumentError, match=message):
        WeightGenome(layers)


def test_a_refused_rebind_changes_nothing():
    layers = {"a": (np.ones((2, 3)), np.zeros(2))}
    genome = WeightGenome(layers)
    with pytest.raises(ArgumentError, match=r"bias of layer 'b': expected shape \(1,\)"):
        genome.rebind({"a": (np.zeros((2, 3)), None), "b": (np.ones((1, 2)), np.ones(2))})

    assert genome == WeightGenome(layers)


def test_repr_shows_the_shapes():
    genome = WeightGenome({"a": (np.ones((2, 3)), None), "b": (np.ones((1, 2)), None)})
    assert repr(genome) == "WeightGenome(a: 2×3, b: 1×2)"
