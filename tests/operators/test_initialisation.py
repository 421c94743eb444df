import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.operators import (
    initial_rates,
    prune_masks,
    pruned_weight_genome,
    random_masks,
)
from ecomp_deap.operators.initialisation import rate_range
from tests.operators.genomes import STEP, make_stack, masks_for, seeds, stacks

rates = st.floats(0, 1, exclude_max=True)


def test_a_hundred_children_are_pruned_at_the_originals_rates():
    found = initial_rates(100)
    assert len(found) == 100
    assert [round(rate, 3) for rate in found[:3]] == [0.1, 0.107, 0.114]
    assert found[-1] == pytest.approx(0.793)
    np.testing.assert_allclose(np.diff(found), 0.007)


@given(st.integers(1, 300))
def test_rates_rise_evenly_and_stay_below_the_highest(n):
    found = initial_rates(n)
    assert found[0] == 0.1
    assert max(found) < 0.8
    np.testing.assert_allclose(np.diff(found), 0.7 / n)


@given(stacks(), rates, seeds)
def test_the_least_important_units_go_and_ties_go_by_index(stack, rate, seed):
    # Few values, so that ties are frequent.
    rng = np.random.default_rng(seed)
    importance = [rng.integers(0, 3, group.n_units) for group in stack.structure.groups]
    masks = prune_masks(stack.structure, importance, rate)
    for group, mask, values in zip(stack.structure.groups, masks, importance, strict=True):
        n_removed = group.n_units - group.nearest(group.n_units - int(rate * group.n_units))
        order = sorted(range(group.n_units), key=lambda unit: (values[unit], unit))
        assert set(np.flatnonzero(~mask)) == set(order[:n_removed])


@pytest.mark.parametrize(("n_units", "rate", "removed"), [(256, 0.107, 27), (10, 0.19, 1)])
def test_a_fraction_of_a_unit_stays(n_units, rate, removed):
    stack = make_stack(1, [n_units], 1, [1], [True, True])
    (mask,) = prune_masks(stack.structure, [np.arange(n_units)], rate)
    assert np.count_nonzero(~mask) == removed


def test_importance_is_the_sum_of_absolute_incoming_weights_without_the_bias():
    stack = make_stack(3, [5, 4], 2, [1, 1], [True, True, True])
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=array.shape) for name, array in stack.arrays.items()}
    arrays["layer_0.bias"] *= 1e6
    found = l1_importance(stack.structure, arrays)
    for i, values in enumerate(found):
        weight = arrays[f"layer_{i}.weight"]
        expected = [sum(abs(float(entry)) for entry in row) for row in weight]
        np.testing.assert_allclose(values, expected, rtol=1e-14)
    masks = prune_masks(stack.structure, found, 0.5)
    assert [mask.sum() for mask in masks] == [3, 2]
    for mask, values in zip(masks, found, strict=True):
        assert values[mask].min() > values[~mask].max()


@given(stacks(), rates, seeds)
def test_random_masks_keep_as_many_units_as_pruned_ones(stack, rate, seed):
    importance = [np.arange(group.n_units) for group in stack.structure.groups]
    expected = [mask.sum() for mask in prune_masks(stack.structure, importance, rate)]
    for _ in range(2):
        found = random_masks(stack.structure, rate, np.random.default_rng(seed))
        assert [mask.sum() for mask in found] == expected


def test_random_masks_are_reproducible_and_differ():
    stack = make_stack(1, [20, 20], 1, [1, 1], [True, True, True])

    def draw(rng):
        return [mask.tobytes() for mask in random_masks(stack.structure, 0.5, rng)]

    rng = np.random.default_rng(7)
    first, second = draw(rng), draw(rng)
    assert draw(np.random.default_rng(7)) == first != second
    assert first[0] != first[1]


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    stack = make_stack(1, [4], 1, [1], [True, True])
    with pytest.raises(ArgumentError, match=r"rate: expected a number in \[0, 1\)"):
        prune_masks(stack.structure, [np.arange(4)], rate)


@given(stacks().flatmap(lambda s: st.tuples(st.just(s), masks_for(s.structure))))
def test_pruned_genomes_hold_the_parents_weights_of_the_kept_units(case):
    stack, masks = case
    kept = [np.flatnonzero(mask) for mask in masks]
    genome = pruned_weight_genome(
        WeightGenome, masks, structure=stack.structure, arrays=stack.arrays
    )
    assert genome.widths == tuple(len(units) for units in kept)
    for i, (name, (weight, bias)) in enumerate(genome.layers.items()):
        expected = stack.arrays[f"{name}.weight"]
        expected = expected[kept[i]] if i < len(kept) else expected
        expected = expected[:, kept[i - 1]] if i > 0 else expected
        np.testing.assert_array_equal(weight, expected)
        if f"{name}.bias" in stack.arrays:
            whole = stack.arrays[f"{name}.bias"]
            np.testing.assert_array_equal(bias, whole[kept[i]] if i < len(kept) else whole)
        else:
            assert bias is None
    masked = MaskGenome(masks)
    assert masked.widths == genome.widths
    assert masked.arrays is None


def test_pruned_weights_do_not_follow_the_parents_array():
    stack = make_stack(2, [3], 2, [1], [True, True])
    masks = [np.ones(3, dtype=bool)]
    genome = pruned_weight_genome(
        WeightGenome, masks, structure=stack.structure, arrays=stack.arrays
    )
    stack.arrays["layer_0.weight"][:] = STEP
    assert genome.layers["layer_0"][0].max() < STEP


@given(st.integers(1, 300), st.floats(0, 0.999))
def test_half_of_the_rates_keep_the_limits(n, feasible):
    low, high = rate_range(feasible)
    assert 0.1 <= low < high < 1
    assert high >= 0.8
    found = initial_rates(n, (low, high))
    assert all(low <= rate < high for rate in found)
    assert sum(rate < feasible for rate in found) <= n / 2 + 1
    if feasible <= 0.1:
        assert found == initial_rates(n)
