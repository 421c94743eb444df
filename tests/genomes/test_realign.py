import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Axis, Group, MaskGenome, Structure, realign
from tests.genomes.structures import masks_for, numbered, structures, units_of


@st.composite
def families(draw):
    """A structure, a child's masks, sources with learnt arrays, and the parent's arrays."""
    structure = draw(structures())
    sources = []
    for i in range(draw(st.integers(0, 3))):
        masks = draw(masks_for(structure))
        kept = [np.flatnonzero(mask) for mask in masks]
        learnt = structure.slice(numbered(structure, 10_000 * (i + 1)), kept)
        sources.append(MaskGenome(masks, learnt))
    return structure, draw(masks_for(structure)), sources, numbered(structure, 1)


def twin(structure, masks, sources, parent_arrays, mean=False):
    """Entry by entry: the first source that has all its units, or the mean; else the parent."""
    kept = [np.flatnonzero(mask) for mask in masks]
    everything = [np.arange(group.n_units) for group in structure.groups]
    child = {}
    for name, shape in structure.child_shapes([len(units) for units in kept]).items():
        child[name] = np.empty(shape)
        lookups = [
            {units_of(structure, name, at, units): value for at, value in np.ndenumerate(own[name])}
            for own, units in [(s.arrays, s.kept) for s in sources] + [(parent_arrays, everything)]
        ]
        for index in np.ndindex(shape):
            place = units_of(structure, name, index, kept)
            *learnt, parents = [known.get(place) for known in lookups]
            found = [value for value in learnt if value is not None] or [parents]
            child[name][index] = np.mean(found) if mean else found[0]
    return child


@settings(deadline=None, max_examples=60)
@given(family=families())
def test_every_entry_comes_from_the_first_source_with_its_units(family):
    found, expected = realign(*family), twin(*family)

    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@settings(deadline=None, max_examples=60)
@given(family=families())
def test_or_is_the_mean_over_all_sources_with_its_units(family):
    found, expected = realign(*family, mean=True), twin(*family, mean=True)

    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-14)


def test_a_mean_keeps_single_precision():
    structure = Structure((Group("a", 2),), {"a.bias": (Axis(0),)}, {"a.bias": (2,)})
    mask = np.array([True, True])
    sources = [MaskGenome([mask], {"a.bias": np.full(2, i, np.float32)}) for i in (1, 2)]
    found = realign(structure, [mask], sources, {"a.bias": np.zeros(2, np.float32)}, mean=True)
    assert found["a.bias"].dtype == np.float32
    assert found["a.bias"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("mean", [False, True])
@settings(deadline=None)
@given(family=families())
def test_nothing_is_changed_and_nothing_is_shared(mean, family):
    structure, masks, sources, parent_arrays = family
    keys = [source.key() for source in sources]
    found = realign(structure, masks, sources, parent_arrays, mean=mean)
    for array in found.values():
        array[...] = -1.0

    assert [MaskGenome(s.masks, s.arrays).key() for s in sources] == keys
    for name, array in numbered(structure, 1).items():
        np.testing.assert_array_equal(parent_arrays[name], array)


@settings(deadline=None)
@given(family=families())
def test_a_genome_realigned_to_its_own_masks_stays_as_it_is(family):
    structure, _, sources, parent_arrays = family
    for source in sources:
        found = realign(structure, source.masks, [source, *sources], parent_arrays)
        assert MaskGenome(source.masks, found) == source


def test_a_connection_whose_units_never_met_takes_the_parents_weight():
    structure = Structure(
        (Group("first", 2), Group("second", 2)),
        {"second.weight": (Axis(1), Axis(0))},
        {"second.weight": (2, 2)},
    )
    parent = {"second.weight": np.array([[1.0, 2.0], [3.0, 4.0]])}
    one, two = np.array([True, False]), np.array([False, True])
    sources = [
        MaskGenome([one, one], {"second.weight": np.array([[10.0]])}),
        MaskGenome([two, two], {"second.weight": np.array([[40.0]])}),
    ]
    both = [one | two, one | two]

    assert realign(structure, both, sources, parent)["second.weight"].tolist() == [
        [10.0, 2.0],
        [3.0, 40.0],
    ]


def test_a_source_that_has_learnt_nothing_is_refused():
    structure = Structure((Group("a", 2),), {"a.bias": (Axis(0),)}, {"a.bias": (2,)})
    mask = np.array([True, True])
    with pytest.raises(ArgumentError, match="sources: expected genomes with learnt arrays, got"):
        realign(structure, [mask], [MaskGenome([mask])], {"a.bias": np.zeros(2)})
