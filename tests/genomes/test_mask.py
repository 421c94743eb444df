import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome

bits = hnp.arrays(np.bool_, st.integers(1, 20)).map(lambda mask: mask if mask.any() else ~mask)
values = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=4),
    elements=st.integers(-3, 3),
)


@st.composite
def contents(draw):
    """Masks and learnt arrays (or None)."""
    masks = draw(st.lists(bits, min_size=1, max_size=3))
    arrays = draw(st.none() | st.dictionaries(st.sampled_from("abcd"), values, min_size=1))
    return masks, arrays


@settings(deadline=None)
@given(content=contents())
def test_a_genome_tells_what_it_was_made_from(content):
    masks, arrays = content
    genome = MaskGenome(masks, arrays)

    for found, expected in zip(genome.masks, masks, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert genome.widths == tuple(int(mask.sum()) for mask in masks)
    for found, mask in zip(genome.kept, masks, strict=True):
        assert found.tolist() == [i for i, bit in enumerate(mask) if bit]
    if arrays is None:
        assert genome.arrays is None
    else:
        assert genome.arrays.keys() == arrays.keys()
        for name, array in arrays.items():
            assert genome.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(genome.arrays[name], array)


@settings(deadline=None)
@given(content=contents())
def test_equal_content_has_equal_keys(content):
    masks, arrays = content
    reversed_arrays = None if arrays is None else dict(reversed(arrays.items()))
    copied = [mask[::-1].copy()[::-1] for mask in masks]
    first, second = MaskGenome(masks, arrays), MaskGenome(copied, reversed_arrays)

    assert first.key() == second.key()
    assert first == second


@settings(deadline=None, max_examples=200)
@given(content=contents(), data=st.data())
def test_any_change_of_content_changes_the_key(content, data):
    masks, arrays = content
    kinds = ["bit", "length", "more groups"]
    kinds += ["learnt"] if arrays is None else ["value", "dtype", "shape", "name", "less", "none"]
    kind = data.draw(st.sampled_from(kinds))
    masks_then = [mask.copy() for mask in masks]
    arrays_then = None if arrays is None else dict(arrays)
    name = None if arrays is None else data.draw(st.sampled_from(sorted(arrays)))
    if kind == "bit":
        mask = data.draw(st.sampled_from(masks_then))
        i = data.draw(st.integers(0, len(mask) - 1))
        mask[i] = not mask[i]
        if not mask.any():
            return
    elif kind == "length":
        masks_then[-1] = np.append(masks_then[-1], False)
    elif kind == "more groups":
        masks_then.append(masks_then[0])
    elif kind == "learnt":
        arrays_then = {"a": np.zeros(1)}
    elif kind == "value":
        array = arrays_then[name].copy()
        array.flat[data.draw(st.integers(0, array.size - 1))] += 1
        arrays_then[name] = array
    elif kind == "dtype":
        array = arrays_then[name]
        other = np.float64 if array.dtype != np.float64 else np.int64
        arrays_then[name] = array.astype(other)
    elif kind == "shape":
        arrays_then[name] = arrays_then[name][None]
    elif kind == "name":
        arrays_then["z"] = arrays_then.pop(name)
    elif kind == "less":
        del arrays_then[name]
    else:
        arrays_then = None

    before, after = MaskGenome(masks, arrays), MaskGenome(masks_then, arrays_then)
    assert before.key() != after.key()
    assert before != after


def test_rebinding_resets_the_key_and_shares_read_only_arrays():
    genome = MaskGenome([np.array([True, False])], {"a": np.zeros(2)})
    other = MaskGenome([np.array([False, True])], {"a": np.ones(1)})
    key = genome.key()
    assert genome.key() is key

    genome.rebind(other.masks, other.arrays)
    assert genome.key() == other.key() != key
    assert genome.masks[0] is other.masks[0]
    assert genome.arrays["a"] is other.arrays["a"]
    genome.rebind(other.masks)
    assert genome.arrays is None
    assert genome.key() != other.key()


def test_arrays_that_are_changed_later_are_not_shared():
    mask, array = np.array([True, False]), np.zeros(2)
    genome = MaskGenome([mask], {"a": array})
    mask[:] = True
    array[:] = 7.0

    assert genome.widths == (1,)
    assert genome.arrays["a"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], r"masks: expected one mask per group, got \[\]"),
        ([[True], [0, 1]], r"masks\[1\]: expected a boolean array of shape \(n_units,\)"),
        ([[[True]]], r"masks\[0\]: expected a boolean array .*\(1, 1\)"),
        ([[]], r"masks\[0\]: expected a boolean array"),
        ([True], r"masks\[0\]: expected a boolean array"),
        ([[True], [False, False]], r"masks\[1\]: expected at least one unit kept, got 'none'"),
    ],
)
def test_masks_that_are_none_are_refused(masks, message):
    with pytest.raises(ArgumentError, match=message):
        MaskGenome(masks)


def test_a_refused_rebind_changes_nothing():
    genome = MaskGenome([np.array([True, False])])
    with pytest.raises(ArgumentError, match=r"masks\[1\]: expected at least one unit"):
        genome.rebind([np.array([False, True]), np.array([False])])

    assert genome == MaskGenome([np.array([True, False])])


def test_repr_shows_what_is_kept():
    masks = [np.array([True, False, True]), np.array([True])]
    assert repr(MaskGenome(masks)) == "MaskGenome(2/3, 1/1)"
    assert repr(MaskGenome(masks, {})) == "MaskGenome(2/3, 1/1, learnt)"
