import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Axis, Group, Structure
from tests.genomes.structures import masks_for, numbered, structures, units_of

# A convolution of 2 channels, flattened to 2 × 3 columns of a dense layer of 2 units.
FLATTENED = Structure(
    (Group("conv", 2), Group("dense", 2)),
    {
        "conv.bias": (Axis(0),),
        "dense.weight": (Axis(1), Axis(0, block=3)),
        "output.weight": (None, Axis(1)),
        "output.bias": (None,),
    },
    {"conv.bias": (2,), "dense.weight": (2, 6), "output.weight": (4, 2), "output.bias": (4,)},
)


def test_slicing_takes_whole_blocks():
    arrays = {
        "conv.bias": np.array([1.0, 2.0]),
        "dense.weight": np.arange(12.0).reshape(2, 6),
        "output.weight": np.arange(8.0).reshape(4, 2),
        "output.bias": np.arange(4.0),
    }
    found = FLATTENED.slice(arrays, [np.array([1]), np.array([0])])

    assert found["conv.bias"].tolist() == [2.0]
    assert found["dense.weight"].tolist() == [[3.0, 4.0, 5.0]]
    assert found["output.weight"].tolist() == [[0.0], [2.0], [4.0], [6.0]]
    assert found["output.bias"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_overlaying_writes_whole_blocks_of_common_units():
    target = np.zeros((1, 6))
    source = np.arange(1.0, 7.0).reshape(2, 3)
    FLATTENED.overlay(
        target,
        [np.array([0, 1]), np.array([1])],
        source,
        [np.array([1]), np.array([0, 1])],
        "dense.weight",
    )

    assert target.tolist() == [[0.0, 0.0, 0.0, 4.0, 5.0, 6.0]]
    assert source.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_overlaying_without_common_units_changes_nothing():
    target = np.zeros((2, 3))
    FLATTENED.overlay(
        target,
        [np.array([0]), np.array([0, 1])],
        np.ones((2, 3)),
        [np.array([1]), np.array([0, 1])],
        "dense.weight",
    )

    assert not target.any()


@settings(deadline=None)
@given(data=st.data())
def test_slices_have_the_childs_shapes_and_the_parents_entries(data):
    structure = data.draw(structures())
    kept = [np.flatnonzero(mask) for mask in data.draw(masks_for(structure))]
    parent = numbered(structure, 1)
    found = structure.slice(parent, kept)

    widths = [len(units) for units in kept]
    assert {name: array.shape for name, array in found.items()} == structure.child_shapes(widths)
    everything = [np.arange(group.n_units) for group in structure.groups]
    for name, array in found.items():
        of_parent = {
            units_of(structure, name, index, everything): value
            for index, value in np.ndenumerate(parent[name])
        }
        for index, value in np.ndenumerate(array):
            assert value == of_parent[units_of(structure, name, index, kept)]


@settings(deadline=None)
@given(data=st.data())
def test_slicing_changes_nothing_and_keeping_all_is_the_parent(data):
    structure = data.draw(structures())
    parent, before = numbered(structure, 1), numbered(structure, 1)
    structure.slice(parent, [np.flatnonzero(m) for m in data.draw(masks_for(structure))])
    whole = structure.slice(parent, [np.arange(group.n_units) for group in structure.groups])

    for name in before:
        np.testing.assert_array_equal(parent[name], before[name])
        np.testing.assert_array_equal(whole[name], before[name])


@settings(deadline=None)
@given(data=st.data())
def test_overlaying_equals_the_entry_by_entry_twin(data):
    structure = data.draw(structures())
    into, out_of = (
        [np.flatnonzero(mask) for mask in data.draw(masks_for(structure))] for _ in range(2)
    )
    target = structure.slice(numbered(structure, 1), into)
    source = structure.slice(numbered(structure, 10_000), out_of)
    for name in structure.tensors:
        found = np.array(target[name])
        structure.overlay(found, into, source[name], out_of, name)
        of_source = {
            units_of(structure, name, index, out_of): value
            for index, value in np.ndenumerate(source[name])
        }
        for index, value in np.ndenumerate(target[name]):
            place = units_of(structure, name, index, into)
            assert found[index] == of_source.get(place, value)


def test_units_are_made_by_rows_and_read_by_columns_but_for_tables():
    structure = Structure(
        (Group("table", 2), Group("dense", 3)),
        {"table.weight": (None, Axis(0)), "dense.weight": (Axis(1), Axis(0)), "scale": ()},
        {"table.weight": (9, 2), "dense.weight": (3, 2), "scale": ()},
        tables=frozenset({"table.weight"}),
    )
    assert structure.made_along("table.weight") == Axis(0)
    assert structure.read_along("table.weight") is None
    assert structure.made_along("dense.weight") == Axis(1)
    assert structure.read_along("dense.weight") == Axis(0)
    assert structure.made_along("scale") is structure.read_along("scale") is None


def test_widths():
    assert FLATTENED.widths == (2, 2)
    assert FLATTENED.relative_width((1, 2)) == 0.75
    assert FLATTENED.relative_width(FLATTENED.widths) == 1.0
    assert FLATTENED.child_shapes((1, 2)) == {
        "conv.bias": (1,),
        "dense.weight": (2, 3),
        "output.weight": (4, 2),
        "output.bias": (4,),
    }
    assert FLATTENED.child_shapes(FLATTENED.widths) == FLATTENED.shapes


@pytest.mark.parametrize("n_units", [0, -1])
def test_a_group_without_units_is_refused(n_units):
    with pytest.raises(ArgumentError, match=f"n_units of group 'a': expected .*got {n_units}"):
        Group("a", n_units)


@pytest.mark.parametrize("min_units", [0, 4])
def test_a_minimum_out_of_range_is_refused(min_units):
    with pytest.raises(ArgumentError, match=r"min_units of group 'a': expected .* at most 3, got"):
        Group("a", 3, min_units)
    assert Group("a", 3, 3).min_units == 3
