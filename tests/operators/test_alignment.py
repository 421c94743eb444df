import copy
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Group, MaskGenome, MixedAxis, Structure
from ecomp_deap.operators import align_units
from tests.operators.genomes import (
    BatchOf,
    assert_arrays_equal,
    assert_valid,
    make_stack,
    masks_for,
    random_learnt,
    seeds,
    stacks,
)


@st.composite
def trained_apart(draw):
    """A stack and two mates whose weights have nothing to do with each other."""
    stack = draw(stacks())
    mates = [random_learnt(stack, draw(masks_for(stack.structure)), draw(seeds)) for _ in range(2)]
    return stack, *mates


@given(trained_apart())
def test_an_aligned_child_computes_what_it_did(case):
    stack, reference, individual = case
    activations = BatchOf(stack)
    aligned = align_units(stack.structure, reference, individual, activations)
    assert_valid(stack, aligned)
    assert aligned.widths == individual.widths
    np.testing.assert_allclose(
        activations.outputs(aligned), activations.outputs(individual), rtol=1e-9, atol=1e-9
    )


@given(trained_apart())
def test_alignment_changes_neither_and_is_the_same_again(case):
    stack, *mates = case
    before, keys = copy.deepcopy(mates), [mate.key() for mate in mates]
    arrays = [{name: array.copy() for name, array in mate.arrays.items()} for mate in mates]
    activations = BatchOf(stack)
    first, second = (align_units(stack.structure, *mates, activations) for _ in range(2))
    assert first == second
    for mate, old, key, own in zip(mates, before, keys, arrays, strict=True):
        assert mate.masks is old.masks
        assert mate.key() == key
        assert_arrays_equal(mate.arrays, own)


@given(trained_apart())
def test_names_are_the_references_as_far_as_they_reach(case):
    stack, reference, individual = case
    aligned = align_units(stack.structure, reference, individual, BatchOf(stack))
    for theirs, own, found in zip(reference.masks, individual.masks, aligned.masks, strict=True):
        if found.sum() <= theirs.sum():
            assert not (found & ~theirs).any()
        else:
            assert (found | ~theirs).all()
            # What is left over has a name that the individual knew.
            assert not (found & ~theirs & ~own).any()


@given(trained_apart())
def test_aligned_to_itself_nothing_moves(case):
    stack, reference, _ = case
    found = align_units(stack.structure, reference, reference, BatchOf(stack))
    assert found == reference


@given(seeds, st.randoms(use_true_random=False))
def test_a_network_whose_units_were_shuffled_is_found_again(seed, shuffler):
    stack = make_stack(6, [7, 5], 3, [1, 1], [True, True, True])
    masks = [np.array([1, 1, 0, 1, 1, 0, 1], bool), np.ones(5, bool)]
    reference = random_learnt(stack, masks, seed)
    orders = [list(range(5)), list(range(5))]
    for order in orders:
        shuffler.shuffle(order)
    a, b = orders
    own = reference.arrays
    arrays = {
        "layer_0.weight": own["layer_0.weight"][a],
        "layer_0.bias": own["layer_0.bias"][a],
        "layer_1.weight": own["layer_1.weight"][b][:, a],
        "layer_1.bias": own["layer_1.bias"][b],
        "layer_2.weight": own["layer_2.weight"][:, b],
        "layer_2.bias": own["layer_2.bias"],
    }
    # Under other names, too.
    other = [np.array([0, 1, 1, 1, 1, 1, 0], bool), masks[1]]
    shuffled = MaskGenome(other, arrays)
    activations = BatchOf(stack, leak=0.5)
    assert align_units(stack.structure, reference, shuffled, activations) == reference


def one_group(n_units, own, theirs, activations_own, activations_theirs):
    """Return the names after alignment, in the order of ``own``, told by the biases."""
    stack = make_stack(1, [n_units], 1, [1], [True, False])
    genomes = []
    for names in (theirs, own):
        mask = np.isin(np.arange(n_units), names)
        arrays = stack.structure.slice(stack.arrays, [np.flatnonzero(mask)])
        genomes.append(MaskGenome([mask], {**arrays, "layer_0.bias": np.arange(len(names)) + 0.0}))
    found = iter([[activations_theirs], [activations_own]])
    aligned = align_units(stack.structure, *genomes, lambda _: next(found))
    places = aligned.arrays["layer_0.bias"].astype(int)
    return dict(zip(places.tolist(), aligned.kept[0].tolist(), strict=True))


RAMP, WAVE, STEP = np.arange(6.0), np.array([1.0, -1, 1, -1, 1, -1]), np.array([0, 0, 0, 1.0, 1, 1])


def test_units_take_the_names_of_those_that_act_alike_whatever_their_scale():
    theirs, own = np.stack([RAMP, WAVE], 1), np.stack([7 * WAVE + 3, RAMP / 9], 1)
    assert one_group(8, [2, 5], [0, 4], own, theirs) == {0: 4, 1: 0}


def test_a_unit_left_over_keeps_its_name_or_takes_one_that_became_free():
    theirs, own = np.stack([WAVE], 1), np.stack([RAMP, WAVE, STEP], 1)
    assert one_group(8, [1, 3, 6], [5], own, theirs) == {0: 1, 1: 5, 2: 6}
    assert one_group(8, [1, 3, 6], [1], own, theirs) == {0: 3, 1: 1, 2: 6}


@pytest.mark.parametrize("dead", [0.0, 0.1, 1e30, np.nan, np.inf])
def test_units_that_nothing_tells_apart_keep_their_names(dead):
    constant = np.full(6, dead)
    theirs, own = np.stack([WAVE, constant, constant], 1), np.stack([constant, constant, WAVE], 1)
    assert one_group(8, [2, 4, 6], [0, 2, 4], own, theirs) == {0: 2, 1: 4, 2: 0}


@given(seeds)
def test_no_other_matching_has_a_larger_sum_of_correlations(seed):
    rng = np.random.default_rng(seed)
    theirs, own = rng.standard_normal((2, 6, 4))
    names = one_group(8, [1, 2, 4, 7], [0, 3, 4, 6], own, theirs)
    correlations = np.corrcoef(own.T, theirs.T)[:4, 4:]
    places = {0: 0, 3: 1, 4: 2, 6: 3}
    found = sum(correlations[unit, places[name]] for unit, name in names.items())
    orders = permutations(range(4))
    assert found == pytest.approx(
        max(correlations[range(4), list(order)].sum() for order in orders)
    )


def test_input_features_keep_their_names():
    stack = make_stack(1, [4], 1, [1], [False, False])
    genomes = [
        random_learnt(stack, [np.isin(np.arange(4), names)], seed)
        for seed, names in enumerate(([0, 1], [2, 3]))
    ]
    assert align_units(stack.structure, *genomes, lambda _: [None]) == genomes[1]


def test_tensors_that_mix_groups_are_refused():
    structure = Structure(
        (Group("a", 1), Group("b", 1)), {"w": (MixedAxis((0, 1), (0, 0)),)}, {"w": (2,)}
    )
    mask = np.array([True])
    genome = MaskGenome([mask, mask], {"w": np.zeros(2)})
    with pytest.raises(ArgumentError, match="learnt: expected 'either' or 'mean' for a network"):
        align_units(structure, genome, genome, lambda _: [np.ones((3, 1))] * 2)
