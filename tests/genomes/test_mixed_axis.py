"""A dimension whose entries belong to several groups, to none, or in any order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.genomes import Axis, Group, MixedAxis, Structure


def kept_units(widths, seed):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(n)[: rng.integers(1, n + 1)]) for n in widths]


@given(n=st.integers(1, 7), block=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_one_group_in_order_is_an_axis(n, block, seed):
    plain = Axis(0, block)
    mixed = MixedAxis((0,) * (n * block), tuple(np.repeat(range(n), block).tolist()))
    kept = kept_units([n], seed)
    np.testing.assert_array_equal(mixed.entries(kept), plain.entries(kept))
    assert mixed.size([len(kept[0])]) == plain.size([len(kept[0])]) == len(plain.entries(kept))
    assert mixed.groups == plain.groups == (0,)
    np.testing.assert_array_equal(mixed.units(0, n * block), plain.units(0, n * block))


@st.composite
def mixed_axes(draw):
    """Return widths of two groups, and an axis with each one's units once or twice, and others."""
    widths = [draw(st.integers(1, 5)) for _ in range(2)]
    entries = [(-1, -1)] * draw(st.integers(0, 3))
    for group, n in enumerate(widths):
        entries += [(group, unit) for unit in range(n)] * draw(st.integers(1, 2))
    owners, units = zip(*draw(st.permutations(entries)), strict=True)
    return widths, MixedAxis(owners, units)


@given(drawn=mixed_axes(), seed=st.integers(0, 10**6))
def test_entries_are_those_of_kept_units_and_of_none(drawn, seed):
    widths, axis = drawn
    kept = kept_units(widths, seed)
    expected = [
        entry
        for entry, (group, unit) in enumerate(zip(axis.owners, axis.units_of, strict=True))
        if group == -1 or unit in kept[group]
    ]
    assert axis.entries(kept).tolist() == expected
    assert axis.size([len(units) for units in kept]) == len(expected)


@given(drawn=mixed_axes(), seeds=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_overlays_write_what_both_have(drawn, seeds):
    widths, axis = drawn
    size = len(axis.owners)
    groups = tuple(Group(str(i), n) for i, n in enumerate(widths))
    structure = Structure(groups, {"w": (axis,)}, {"w": (size,)})
    whole = np.arange(size)
    into, out_of = (kept_units(widths, seed) for seed in seeds)
    target = -1 - structure.slice({"w": whole}, into)["w"]
    source = structure.slice({"w": whole}, out_of)["w"]
    structure.overlay(target, into, source, out_of, "w")
    shared = set(axis.entries(into).tolist()) & set(axis.entries(out_of).tolist())
    expected = [e if e in shared else -1 - e for e in axis.entries(into).tolist()]
    assert target.tolist() == expected
