import copy
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome, WidthGenome
from ecomp_deap.operators import mutMoveBudget, mutMoveWidths, mutResizeGroup
from tests.operators.genomes import (
    assert_arrays_equal,
    assert_valid,
    expected_arrays,
    learnt_mates,
    make_stack,
    mask_mates,
    masks_for,
    seeds,
    stacks,
    width_mates,
)

fractions = st.sampled_from([0.05, 0.5, 1.0, 4.0])


def param_count(stack):
    """What children cost: their numbers."""

    def cost(widths):
        shapes = stack.structure.child_shapes(widths).values()
        return sum(int(np.prod(shape)) for shape in shapes)

    return cost


def importance_of(stack, seed):
    rng = np.random.default_rng(seed)
    return [rng.random(group.n_units) for group in stack.structure.groups]


def resize(individual, stack, **options):
    return mutResizeGroup(individual, **stack.shared(), **options)


def move(individual, stack, **options):
    return mutMoveBudget(individual, cost=param_count(stack), **stack.shared(), **options)


by_groups = pytest.mark.parametrize("mutate", [resize, move])


@by_groups
@given(case=mask_mates(), fraction=fractions, biased=st.booleans(), seed=seeds)
def test_mutants_are_allowed_and_have_learnt_nothing(mutate, case, fraction, biased, seed):
    stack, individual, _ = case
    importance = importance_of(stack, seed) if biased else None
    random.seed(seed)
    (mutant,) = mutate(individual, stack, fraction=fraction, importance=importance)
    assert mutant is individual
    assert_valid(stack, mutant)
    assert mutant.arrays is None


@by_groups
@given(case=learnt_mates(), seed=seeds)
def test_what_was_learnt_follows_its_units(mutate, case, seed):
    stack, individual, _ = case
    before = individual.masks
    random.seed(seed)
    mutate(individual, stack)
    assert_valid(stack, individual)
    expected = expected_arrays(stack, individual.masks, [(1, before)])
    assert_arrays_equal(individual.arrays, expected)


@by_groups
@given(case=learnt_mates(), seed=seeds)
def test_originals_of_copies_are_untouched_and_same_seed_gives_same_mutants(mutate, case, seed):
    stack, original, _ = case
    masks = [mask.copy() for mask in original.masks]
    arrays = {name: array.copy() for name, array in original.arrays.items()}
    key, found = original.key(), []
    for _ in range(2):
        random.seed(seed)
        np.random.seed(0)  # noqa: NPY002  (mutants must not depend on it)
        found.append(mutate(copy.deepcopy(original), stack)[0].key())
    assert found[0] == found[1]
    for mask, old in zip(original.masks, masks, strict=True):
        np.testing.assert_array_equal(mask, old)
    assert_arrays_equal(original.arrays, arrays)
    assert original.key() == key


@given(mask_mates(), fractions, seeds)
def test_one_group_that_can_change_does_in_one_direction(case, fraction, seed):
    stack, individual, _ = case
    before = individual.masks
    random.seed(seed)
    resize(individual, stack, fraction=fraction)
    changed = [
        i
        for i, (old, new) in enumerate(zip(before, individual.masks, strict=True))
        if not np.array_equal(old, new)
    ]
    free = [i for i, group in enumerate(stack.structure.groups) if not group.is_fixed]
    assert len(changed) == min(len(free), 1)
    for i in changed:
        old, new, group = before[i], individual.masks[i], stack.structure.groups[i]
        assert not (old & ~new).any() or not (new & ~old).any()
        n, m = int(old.sum()), int(new.sum())
        most = group.nearest(n * (1 + fraction)), group.bounds(n + 1)[1]
        least = group.nearest(n / (1 + fraction)), group.bounds(n - 1)[0]
        assert min(least) <= m <= max(most)


def test_groups_grow_as_often_as_they_shrink_and_by_as_much():
    stack = make_stack(1, [4000], 1, [1], [False, False])
    mask = np.arange(4000) < 1000
    found = []
    for seed in range(300):
        random.seed(seed)
        (mutant,) = resize(MaskGenome([mask]), stack)
        found.append(np.log2(mutant.widths[0] / 1000))
    assert abs(np.mean(np.sign(found))) < 0.2
    assert abs(np.mean(found)) < 0.12
    assert min(found) < -0.95
    assert max(found) > 0.95


@pytest.mark.parametrize(("width", "grows"), [(2, True), (6, False)])
def test_a_group_at_its_end_goes_the_other_way(width, grows):
    stack = make_stack(1, [6], 1, [2], [False, False])
    for seed in range(20):
        random.seed(seed)
        (mutant,) = resize(MaskGenome([np.arange(6) < width]), stack)
        assert (mutant.widths[0] > width) == grows


@pytest.mark.parametrize("biased", [True, False])
def test_the_least_important_go_and_the_most_important_come(biased):
    stack = make_stack(1, [400], 1, [1], [False, False])
    mask = np.arange(400) % 2 == 0
    # The same values among those that it has and those that it lacks.
    importance = np.repeat(np.random.default_rng(0).permutation(200) / 200, 2)
    gone, come = [], []
    for seed in range(200):
        random.seed(seed)
        individual = MaskGenome([mask])
        (mutant,) = resize(
            individual, stack, fraction=0.1, importance=[importance] if biased else None
        )
        gone += importance[mask & ~mutant.masks[0]].tolist()
        come += importance[mutant.masks[0] & ~mask].tolist()
    # By a linear probability a third and two thirds, else half.
    expected = (1 / 3, 2 / 3) if biased else (1 / 2, 1 / 2)
    assert (np.mean(gone), np.mean(come)) == pytest.approx(expected, abs=0.04)


@given(mask_mates(), fractions, st.sampled_from([0.02, 0.1, 0.5]), seeds)
def test_a_move_keeps_the_cost_or_does_nothing(case, fraction, tolerance, seed):
    stack, individual, _ = case
    before, masks = individual.widths, individual.masks
    random.seed(seed)
    move(individual, stack, fraction=fraction, tolerance=tolerance)
    cost = param_count(stack)
    assert abs(cost(individual.widths) - cost(before)) <= tolerance * cost(before)
    changes = sorted(np.sign(np.subtract(individual.widths, before)).tolist())
    assert changes.count(-1) == changes.count(1) <= 1
    if not any(changes):
        for mask, old in zip(individual.masks, masks, strict=True):
            np.testing.assert_array_equal(mask, old)


@given(width_mates(), fractions, seeds)
def test_moved_widths_are_those_of_moved_masks(case, fraction, seed):
    stack, individual, _ = case
    clone = copy.deepcopy(individual)
    mask = MaskGenome(
        [np.arange(n) < w for n, w in zip(stack.structure.widths, clone.widths, strict=True)]
    )
    options = {"cost": param_count(stack), "fraction": fraction}
    for mutate, genome in ((mutMoveWidths, individual), (mutMoveWidths, clone)):
        random.seed(seed)
        assert mutate(genome, structure=stack.structure, **options) == (genome,)
    random.seed(seed)
    mutMoveBudget(mask, **stack.shared(), **options)
    assert individual.widths == clone.widths == mask.widths
    for group, width in zip(stack.structure.groups, individual.widths, strict=True):
        assert width in group.allowed


def test_every_pair_of_groups_gives_and_takes_about_the_same():
    stack = make_stack(100, [40, 60, 50], 10, [1, 1, 1], [True] * 4)
    start, cost = (20, 30, 25), param_count(stack)
    seen, errors = set(), []
    for seed in range(200):
        random.seed(seed)
        individual = WidthGenome(start)
        mutMoveWidths(individual, structure=stack.structure, cost=cost)
        seen.add(tuple(np.sign(np.subtract(individual.widths, start)).tolist()))
        errors.append(cost(individual.widths) / cost(start) - 1)
    assert len(seen) == 6
    assert np.abs(errors).max() < 0.02
    assert abs(np.mean(errors)) < 0.005


@given(stacks(), st.data(), seeds)
def test_where_nothing_can_be_made_up_for_nothing_changes(stack, data, seed):
    individual = MaskGenome(data.draw(masks_for(stack.structure)))
    before = individual.widths
    random.seed(seed)
    mutMoveBudget(
        individual,
        # Nobody has as many as this again.
        cost=lambda widths: 1.0 if tuple(widths) == before else 10.0 + sum(widths),
        **stack.shared(),
    )
    assert individual.widths == before


def test_sizes_out_of_range_are_refused():
    stack = make_stack(1, [6, 6], 1, [3, 3], [False] * 3)
    half = [np.arange(6) < 3] * 2
    for mutate in (resize, move):
        with pytest.raises(
            ArgumentError, match="fraction: expected a finite number greater than 0"
        ):
            mutate(MaskGenome(half), stack, fraction=0)
    with pytest.raises(ArgumentError, match="tolerance: expected a finite number greater than 0"):
        move(MaskGenome(half), stack, tolerance=0)
