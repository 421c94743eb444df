import copy
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.defaults import LEARNT
from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome, WidthGenome
from ecomp_deap.operators import cxBlendWidths, cxCutoff, cxKPointUnits, cxUniformUnits
from tests.operators.genomes import (
    STEP,
    BatchOf,
    assert_arrays_equal,
    assert_layers_equal,
    assert_valid,
    copied,
    expected_arrays,
    learnt_genome,
    learnt_mates,
    make_stack,
    make_weights,
    mask_mates,
    random_learnt,
    seeds,
    weight_mates,
    width_mates,
)


def grafted(onto, scion, k):
    """The slow twin: every entry whose indices all lie below k comes from the scion."""
    if onto is None:
        return None
    child = onto.copy()
    for place in np.ndindex(*onto.shape):
        if all(index < k for index in place):
            child[place] = scion[place]
    return child


def crossed_slowly(mate1, mate2, layers):
    """What cut-off crossover gives, from layers as plain dictionaries and the same draws of k."""
    child1, child2 = {}, {}
    for name in mate1:
        weight1, bias1 = mate1[name]
        weight2, bias2 = mate2[name]
        k = 0
        if name in layers:
            k = random.randint(1, min(weight1.shape + weight2.shape))
        child1[name] = (grafted(weight2, weight1, k), grafted(bias2, bias1, k))
        child2[name] = (grafted(weight1, weight2, k), grafted(bias1, bias2, k))
    return child1, child2


@st.composite
def mates_and_layers(draw):
    mate1, mate2 = draw(weight_mates())
    names = list(mate1.layers)
    listed = draw(st.none() | st.sets(st.sampled_from(names)))
    return mate1, mate2, listed


@given(mates_and_layers(), seeds)
def test_cutoff_children_are_the_slow_twins(mates, seed):
    mate1, mate2, listed = mates
    before = copied(mate1), copied(mate2)
    random.seed(seed)
    expected = crossed_slowly(*before, layers=set(mate1.layers) if listed is None else listed)
    random.seed(seed)
    children = cxCutoff(mate1, mate2, layers=listed)
    assert children[0] is mate1
    assert children[1] is mate2
    for child, layers in zip(children, expected, strict=True):
        assert_layers_equal(child.layers, layers)


@given(mates_and_layers(), seeds)
def test_cutoff_children_have_the_other_mates_shape_and_consistent_layers(mates, seed):
    mate1, mate2, listed = mates
    widths = mate1.widths, mate2.widths
    random.seed(seed)
    cxCutoff(mate1, mate2, layers=listed)
    assert (mate2.widths, mate1.widths) == widths
    for child in (mate1, mate2):
        n_in = None
        for weight, bias in child.layers.values():
            assert n_in in (None, weight.shape[1])
            assert bias is None or bias.shape == weight.shape[:1]
            assert not weight.flags.writeable
            n_in = weight.shape[0]


@given(mates_and_layers(), seeds)
def test_cutoff_layers_that_are_not_listed_come_from_the_mate_that_gives_the_shape(mates, seed):
    mate1, mate2, listed = mates
    before = dict(mate1.layers), dict(mate2.layers)
    random.seed(seed)
    cxCutoff(mate1, mate2, layers=listed)
    for name in set(before[0]) - (set(before[0]) if listed is None else listed):
        assert mate1.layers[name][0] is before[1][name][0]
        assert mate2.layers[name][0] is before[0][name][0]


@given(weight_mates(), seeds)
def test_cutoff_leaves_the_originals_of_copies_untouched(mates, seed):
    before = [copied(mate) for mate in mates]
    keys = [mate.key() for mate in mates]
    random.seed(seed)
    cxCutoff(*(copy.deepcopy(mate) for mate in mates))
    for mate, layers, key in zip(mates, before, keys, strict=True):
        assert_layers_equal(mate.layers, layers)
        assert mate.key() == key


@given(weight_mates(), seeds)
def test_cutoff_same_seed_same_children(mates, seed):
    found = []
    for _ in range(2):
        random.seed(seed)
        found.append([child.key() for child in cxCutoff(*map(copy.deepcopy, mates))])
    assert found[0] == found[1]


def test_cutoff_draws_every_k_up_to_the_smallest_dimension():
    found = set()
    random.seed(0)
    for _ in range(100):
        child, _ = cxCutoff(make_weights([5, 4], [True], 1), make_weights([5, 3], [True], 2))
        weight, bias = child.layers["layer_0"]
        assert weight.shape == (3, 5)
        from_first = weight < 2 * STEP
        k = int(from_first[0].sum())
        assert from_first.sum() == k * k
        assert (bias < 2 * STEP).sum() == k
        found.add(k)
    assert found == {1, 2, 3}


def test_cutoff_draws_a_k_of_its_own_for_each_layer():
    random.seed(0)
    differ = 0
    for _ in range(50):
        child, _ = cxCutoff(
            make_weights([6, 6, 6], [False, False], 1), make_weights([6, 6, 6], [False, False], 2)
        )
        ks = [int((weight[0] < 2 * STEP).sum()) for weight, _ in child.layers.values()]
        differ += ks[0] != ks[1]
    assert differ > 25


def test_cutoff_refuses_mates_of_other_layers_and_unknown_names():
    one, two = make_weights([3, 2], [True], 1), make_weights([3, 2, 2], [True, True], 2)
    with pytest.raises(ArgumentError, match=r"ind2: expected layers \['layer_0'\]"):
        cxCutoff(one, two)
    with pytest.raises(ArgumentError, match=r"layers: expected names among .* got 'layer_9'"):
        cxCutoff(one, copy.deepcopy(one), layers=["layer_9"])


def uniform(mate1, mate2, stack):
    return cxUniformUnits(mate1, mate2, indpb=0.5, **stack.shared())


def two_point(mate1, mate2, stack):
    return cxKPointUnits(mate1, mate2, k=2, **stack.shared())


mask_crossovers = pytest.mark.parametrize("cross", [uniform, two_point])


@mask_crossovers
@given(case=mask_mates(), seed=seeds)
def test_mask_children_are_valid_and_share_out_the_mates_bits(cross, case, seed):
    stack, mate1, mate2 = case
    before = mate1.masks, mate2.masks
    random.seed(seed)
    children = cross(mate1, mate2, stack)
    assert children[0] is mate1
    assert children[1] is mate2
    for child in children:
        assert_valid(stack, child)
        assert child.arrays is None
    for bits1, bits2, old1, old2 in zip(mate1.masks, mate2.masks, *before, strict=True):
        np.testing.assert_array_equal(bits1 ^ bits2, old1 ^ old2)
        np.testing.assert_array_equal(bits1 & bits2, old1 & old2)


@mask_crossovers
@given(case=learnt_mates(), seed=seeds)
def test_learnt_arrays_follow_their_units(cross, case, seed):
    stack, mate1, mate2 = case
    masks1, masks2 = mate1.masks, mate2.masks
    random.seed(seed)
    cross(mate1, mate2, stack)
    for child, sources in (
        (mate1, [(1, masks1), (2, masks2)]),
        (mate2, [(2, masks2), (1, masks1)]),
    ):
        assert_valid(stack, child)
        assert_arrays_equal(child.arrays, expected_arrays(stack, child.masks, sources))


@mask_crossovers
@given(case=learnt_mates(), seed=seeds)
def test_originals_of_copies_are_untouched_and_same_seed_gives_same_children(cross, case, seed):
    stack, *mates = case
    masks = [[mask.copy() for mask in mate.masks] for mate in mates]
    arrays = [{name: array.copy() for name, array in mate.arrays.items()} for mate in mates]
    keys = [mate.key() for mate in mates]
    found = []
    for _ in range(2):
        random.seed(seed)
        np.random.seed(0)  # noqa: NPY002  (children must not depend on it)
        found.append([child.key() for child in cross(*map(copy.deepcopy, mates), stack)])
    assert found[0] == found[1]
    for mate, old_masks, old_arrays, key in zip(mates, masks, arrays, keys, strict=True):
        for mask, old in zip(mate.masks, old_masks, strict=True):
            np.testing.assert_array_equal(mask, old)
        assert_arrays_equal(mate.arrays, old_arrays)
        assert mate.key() == key


@mask_crossovers
def test_children_of_one_learnt_mate_have_learnt_nothing(cross):
    stack = make_stack(2, [5], 2, [1], [True, True])
    learnt = learnt_genome(stack, [np.ones(5, dtype=bool)], 1)
    plain = MaskGenome([np.array([True, False, True, False, True])])
    random.seed(1)
    for child in cross(learnt, plain, stack):
        assert child.arrays is None


learnt_options = pytest.mark.parametrize("learnt", LEARNT)


@learnt_options
@pytest.mark.parametrize("cross", [cxUniformUnits, cxKPointUnits])
@given(case=learnt_mates(), seed=seeds)
def test_children_are_valid_however_weights_are_chosen(learnt, cross, case, seed):
    stack, *mates = case
    keys = [mate.key() for mate in mates]
    found = []
    for _ in range(2):
        random.seed(seed)
        clones = [copy.deepcopy(mate) for mate in mates]
        cross(*clones, learnt=learnt, activations=BatchOf(stack), **stack.shared())
        for child in clones:
            assert_valid(stack, child)
            assert all(not array.flags.writeable for array in child.arrays.values())
        found.append([child.key() for child in clones])
    assert found[0] == found[1]
    assert [mate.key() for mate in mates] == keys


@given(case=learnt_mates(), seed=seeds)
def test_weights_that_both_mates_have_are_averaged(case, seed):
    stack, mate1, mate2 = case
    masks1, masks2 = mate1.masks, mate2.masks
    plain = [copy.deepcopy(mate) for mate in (mate1, mate2)]
    random.seed(seed)
    uniform(*plain, stack)
    random.seed(seed)
    cxUniformUnits(mate1, mate2, learnt="mean", **stack.shared())
    for child, same_masks in zip((mate1, mate2), plain, strict=True):
        for mask, expected in zip(child.masks, same_masks.masks, strict=True):
            np.testing.assert_array_equal(mask, expected)
        first = expected_arrays(stack, child.masks, [(1, masks1), (2, masks2)])
        second = expected_arrays(stack, child.masks, [(2, masks2), (1, masks1)])
        means = {name: (array + second[name]) / 2 for name, array in first.items()}
        assert_arrays_equal(child.arrays, means)


@given(seeds)
def test_mates_that_are_one_network_have_children_that_are_it(seed):
    stack = make_stack(6, [5, 4], 3, [1, 1], [True, False, True])
    masks = [np.ones(n, dtype=bool) for n in stack.structure.widths]
    batch = BatchOf(stack, leak=0.1)
    mate = random_learnt(stack, masks, seed)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for n in stack.structure.widths]
    shuffled = {}
    for name, axes in stack.structure.tensors.items():
        shuffled[name] = mate.arrays[name]
        for dim, axis in enumerate(axes):
            if axis is not None:
                shuffled[name] = shuffled[name].take(orders[axis.group], axis=dim)
    expected = batch.outputs(mate)
    random.seed(seed)
    children = cxUniformUnits(
        mate,
        MaskGenome(masks, shuffled),
        learnt="aligned",
        activations=batch,
        **stack.shared(),
    )
    for child in children:
        np.testing.assert_allclose(batch.outputs(child), expected, rtol=1e-9, atol=1e-9)


@learnt_options
@given(case=mask_mates(), seed=seeds)
def test_mates_that_have_learnt_nothing_are_crossed_alike(learnt, case, seed):
    stack, *mates = case
    plain = [copy.deepcopy(mate) for mate in mates]
    random.seed(seed)
    uniform(*plain, stack)
    random.seed(seed)
    cxUniformUnits(*mates, learnt=learnt, activations=BatchOf(stack), **stack.shared())
    assert mates == plain
    assert all(mate.arrays is None for mate in mates)


@pytest.mark.parametrize("cross", [cxUniformUnits, cxKPointUnits])
def test_what_cannot_choose_weights_is_refused(cross):
    stack = make_stack(1, [2], 1, [1], [False, False])
    mates = [MaskGenome([np.ones(2, dtype=bool)]) for _ in range(2)]
    with pytest.raises(ArgumentError, match=r"learnt: expected one of \('either', .* got 'best'"):
        cross(*mates, learnt="best", **stack.shared())
    with pytest.raises(ArgumentError, match="activations: expected a function to go with learnt="):
        cross(*mates, learnt="aligned", **stack.shared())


@pytest.mark.parametrize("indpb", [0.0, 0.25, 1.0])
def test_uniform_swaps_each_unit_with_its_probability(indpb):
    n = 4000
    stack = make_stack(1, [n], 1, [1], [False, False])
    ones, other = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    other[0] = True
    random.seed(0)
    child, _ = cxUniformUnits(
        MaskGenome([ones]), MaskGenome([other]), indpb=indpb, **stack.shared()
    )
    swapped = 1 - child.masks[0][1:].mean()
    assert swapped == pytest.approx(indpb, abs=0.03)


def test_a_group_that_would_fall_short_is_not_crossed():
    # Any real swap leaves one of the two below five units.
    stack = make_stack(1, [8], 1, [5], [False, False])
    masks1 = np.array([1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    masks2 = np.array([0, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    kept = 0
    for seed in range(30):
        random.seed(seed)
        child1, child2 = uniform(MaskGenome([masks1]), MaskGenome([masks2]), stack)
        assert min(child1.widths + child2.widths) >= 5
        kept += bool((child1.masks[0] == masks1).all() and (child2.masks[0] == masks2).all())
    assert 0 < kept < 30


@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_k_point_children_change_sides_at_most_k_times(k):
    n = 20
    stack = make_stack(1, [n], 1, [1], [False, False])
    first = np.arange(n) < n - 1
    changes = set()
    for seed in range(60):
        random.seed(seed)
        # The last unit is the only one of the second mate, so every swap shows.
        child, _ = cxKPointUnits(MaskGenome([first]), MaskGenome([~first]), k=k, **stack.shared())
        swapped = child.masks[0] ^ first
        assert not swapped[0]
        changes.add(int(np.count_nonzero(swapped[1:] ^ swapped[:-1])))
    assert max(changes) == min(k, n - 1)


def test_k_point_needs_a_point():
    stack = make_stack(1, [2], 1, [1], [False, False])
    mates = [MaskGenome([np.ones(2, dtype=bool)]) for _ in range(2)]
    with pytest.raises(ArgumentError, match="k: expected a whole number of at least 1, got 0"):
        cxKPointUnits(*mates, k=0, **stack.shared())


@given(mask_mates(), seeds)
def test_repaired_children_share_out_the_mates_units(case, seed):
    stack, ind1, ind2 = case
    before = [(a.copy(), b.copy()) for a, b in zip(ind1.masks, ind2.masks, strict=True)]
    random.seed(seed)
    cxUniformUnits(ind1, ind2, **stack.shared())
    for child in (ind1, ind2):
        assert_valid(stack, child)
    for (a, b), x, y in zip(before, ind1.masks, ind2.masks, strict=True):
        np.testing.assert_array_equal(a & b, x & y)
        np.testing.assert_array_equal(a | b, x | y)


def test_groups_of_multiples_are_crossed_too():
    stack = make_stack(1, [32], 1, [8], [False, False], round_to=8)
    first, second = np.arange(32) < 16, np.arange(32) >= 8
    widths = set()
    for seed in range(100):
        random.seed(seed)
        child, _ = cxUniformUnits(MaskGenome([first]), MaskGenome([second]), **stack.shared())
        assert not np.array_equal(child.masks[0], first)
        widths.add(child.widths[0])
    assert widths == {16, 24}


@given(width_mates(), seeds, st.sampled_from([0.0, 0.5]))
def test_blended_widths_are_allowed_and_lie_about_the_mates(case, seed, alpha):
    stack, ind1, ind2 = case
    clones = copy.deepcopy(ind1), copy.deepcopy(ind2)
    before = list(zip(ind1.widths, ind2.widths, strict=True))
    random.seed(seed)
    assert cxBlendWidths(ind1, ind2, structure=stack.structure, alpha=alpha) == (ind1, ind2)
    for group, mates, child in zip(stack.structure.groups, before, ind1.widths, strict=True):
        assert child in group.allowed
        reach = alpha * abs(mates[0] - mates[1])
        assert group.nearest(min(mates) - reach) <= child <= group.nearest(max(mates) + reach)
        assert mates[0] != mates[1] or child == mates[0]
    random.seed(seed)
    cxBlendWidths(*clones, structure=stack.structure, alpha=alpha)
    assert [c.widths for c in clones] == [ind1.widths, ind2.widths]


def test_a_negative_alpha_is_refused():
    stack = make_stack(1, [6], 1, [3], [False, False])
    with pytest.raises(ArgumentError, match="alpha: expected a finite number of at least 0"):
        cxBlendWidths(WidthGenome([3]), WidthGenome([4]), structure=stack.structure, alpha=-1)
