import copy
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Axis, Group, MaskGenome, Structure, WidthGenome
from ecomp_deap.operators import (
    mutFlipUnits,
    mutNoise,
    mutOneOf,
    mutScaleWeights,
    mutStepWidths,
)
from ecomp_deap.seeding import draw_generator
from tests.operators.genomes import (
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
    seeds,
    weight_mates,
    width_mates,
)

ranges = st.sampled_from([(0.9, 1.1), (0.5, 0.75), (2.0, 3.0)])


@given(weight_mates(), st.data(), ranges, seeds)
def test_factors_lie_in_the_range_for_listed_layers_and_biases_stay(mates, data, factors, seed):
    individual, low, high = mates[0], *factors
    listed = data.draw(st.none() | st.sets(st.sampled_from(list(individual.layers))))
    before = copied(individual)
    random.seed(seed)
    (mutant,) = mutScaleWeights(individual, low=low, high=high, layers=listed)
    assert mutant is individual
    for name, (weight, bias) in mutant.layers.items():
        old_weight, old_bias = before[name]
        if listed is None or name in listed:
            factor = weight / old_weight
            # A division can round by one unit in the last place.
            assert (factor >= low * (1 - 1e-15)).all()
            assert (factor < high * (1 + 1e-15)).all()
        else:
            np.testing.assert_array_equal(weight, old_weight)
        assert (bias is None) == (old_bias is None)
        if bias is not None:
            np.testing.assert_array_equal(bias, old_bias)
        assert not weight.flags.writeable


@given(weight_mates(), seeds)
def test_scaling_leaves_the_original_of_a_copy_untouched_and_follows_the_seed(mates, seed):
    original = mates[0]
    before, key = copied(original), original.key()
    found = []
    for _ in range(2):
        random.seed(seed)
        np.random.seed(0)  # noqa: NPY002  (mutants must not depend on it)
        found.append(mutScaleWeights(copy.deepcopy(original))[0].key())
    assert found[0] == found[1] != key
    assert_layers_equal(original.layers, before)
    assert original.key() == key


def test_every_weight_has_a_uniform_factor_of_its_own():
    individual = make_weights([50, 60], [True], 1)
    before = individual.layers["layer_0"][0]
    random.seed(3)
    mutScaleWeights(individual)
    factors = np.sort((individual.layers["layer_0"][0] / before).ravel())
    assert len(np.unique(factors)) == factors.size
    # Kolmogorov-Smirnov distance from the uniform distribution on [0.9, 1.1), p = 0.001.
    steps = np.arange(1, factors.size + 1) / factors.size
    assert np.abs(steps - (factors - 0.9) / 0.2).max() < 1.95 / np.sqrt(factors.size)


def test_scaling_keeps_single_precision():
    individual = make_weights([3, 4], [True], 1, dtype=np.float32)
    random.seed(0)
    mutScaleWeights(individual)
    assert individual.layers["layer_0"][0].dtype == np.float32


def test_equal_ends_give_that_factor():
    individual = make_weights([3, 4], [True], 1)
    before = individual.layers["layer_0"][0]
    mutScaleWeights(individual, low=2.0, high=2.0)
    np.testing.assert_array_equal(individual.layers["layer_0"][0], 2 * before)


def test_scaling_refuses_an_empty_range_and_unknown_layers():
    individual = make_weights([3, 4], [True], 1)
    with pytest.raises(ArgumentError, match=r"low and high: expected low at most high, got \(1.1"):
        mutScaleWeights(individual, low=1.1, high=0.9)
    with pytest.raises(ArgumentError, match="low: expected a finite number, got nan"):
        mutScaleWeights(individual, low=float("nan"))
    with pytest.raises(ArgumentError, match=r"layers: expected names among .* got 'output'"):
        mutScaleWeights(individual, layers=["output"])


probabilities = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@given(mask_mates(), probabilities, seeds)
def test_flipped_masks_are_valid(case, indpb, seed):
    stack, individual, _ = case
    before = individual.masks
    random.seed(seed)
    (mutant,) = mutFlipUnits(individual, indpb=indpb, **stack.shared())
    assert mutant is individual
    assert_valid(stack, mutant)
    assert mutant.arrays is None
    for group, mask, old in zip(stack.structure.groups, mutant.masks, before, strict=True):
        if indpb == 0:
            np.testing.assert_array_equal(mask, old)
        elif indpb == 1 and np.count_nonzero(~old) in group.allowed:
            np.testing.assert_array_equal(mask, ~old)


@given(learnt_mates(), probabilities, seeds)
def test_units_that_come_back_take_the_parents_weights(case, indpb, seed):
    stack, individual, _ = case
    before = individual.masks
    random.seed(seed)
    mutFlipUnits(individual, indpb=indpb, **stack.shared())
    assert_valid(stack, individual)
    expected = expected_arrays(stack, individual.masks, [(1, before)])
    assert_arrays_equal(individual.arrays, expected)


@given(learnt_mates(), seeds)
def test_flipping_leaves_the_original_of_a_copy_untouched_and_follows_the_seed(case, seed):
    stack, original, _ = case
    masks = [mask.copy() for mask in original.masks]
    arrays = {name: array.copy() for name, array in original.arrays.items()}
    key = original.key()
    found = []
    for _ in range(2):
        random.seed(seed)
        found.append(mutFlipUnits(copy.deepcopy(original), indpb=0.5, **stack.shared())[0].key())
    assert found[0] == found[1]
    for mask, old in zip(original.masks, masks, strict=True):
        np.testing.assert_array_equal(mask, old)
    assert_arrays_equal(original.arrays, arrays)
    assert original.key() == key


def test_a_group_at_its_minimum_keeps_units_that_it_had():
    stack = make_stack(1, [6], 1, [3], [False, False])
    had = np.array([1, 1, 1, 1, 1, 0], dtype=bool)
    kept = set()
    for seed in range(40):
        random.seed(seed)
        (mutant,) = mutFlipUnits(MaskGenome([had]), indpb=1.0, **stack.shared())
        # One unit came back, so two of the old ones stay.
        assert mutant.masks[0][5]
        assert mutant.widths == (3,)
        kept.add(tuple(np.flatnonzero(mutant.masks[0])))
    assert len(kept) > 5


@pytest.mark.parametrize("seed", range(20))
def test_what_fills_a_group_up_is_a_unit_that_it_had(seed):
    stack = make_stack(1, [12], 1, [6], [False, False])
    had = np.arange(12) < 6
    random.seed(seed)
    flipped = had ^ (draw_generator().random(12) < 0.4)
    random.seed(seed)
    (mutant,) = mutFlipUnits(MaskGenome([had]), indpb=0.4, **stack.shared())
    mask = mutant.masks[0]
    assert mask[flipped].all()
    assert mask.sum() == max(flipped.sum(), 6)
    assert not (mask & ~flipped & ~had).any()


def test_each_unit_flips_with_its_probability():
    stack = make_stack(1, [4000], 1, [1], [False, False])
    before = np.arange(4000) % 2 == 0
    random.seed(0)
    (mutant,) = mutFlipUnits(MaskGenome([before]), indpb=0.1, **stack.shared())
    assert (mutant.masks[0] ^ before).mean() == pytest.approx(0.1, abs=0.015)


def test_learnt_arrays_stay_where_nothing_flips():
    stack = make_stack(2, [3, 2], 2, [1, 1], [True, True, True])
    masks = [np.array([True, False, True]), np.array([True, True])]
    individual = learnt_genome(stack, masks, 1)
    key = individual.key()
    mutFlipUnits(individual, indpb=0.0, **stack.shared())
    assert individual.key() == key


def test_repair_keeps_the_expected_number_of_units():
    # Half of 40 units flip on average 2 %: multiples of 8 alone would never change by rounding.
    stack = make_stack(1, [64], 1, [8], [False, False], round_to=8)
    mask = np.arange(64) < 40
    counts = []
    for seed in range(2000):
        random.seed(seed)
        (mutant,) = mutFlipUnits(MaskGenome([mask]), indpb=0.05, **stack.shared())
        counts.append(mutant.widths[0])
    assert set(counts) == {32, 40, 48}
    # 40 stay with 0.95 and 24 come with 0.05; the standard error is about 0.1.
    assert abs(np.mean(counts) - (40 * 0.95 + 24 * 0.05)) < 0.4


def test_repair_undoes_flips_before_it_changes_other_units():
    stack = make_stack(1, [64], 1, [8], [False, False], round_to=32)
    mask = np.arange(64) < 32
    for seed in range(50):
        random.seed(seed)
        (mutant,) = mutFlipUnits(MaskGenome([mask]), indpb=0.05, **stack.shared())
        if mutant.widths == (32,):
            # Of the few flips, as many units left as came.
            assert np.count_nonzero(mutant.masks[0] ^ mask) <= 8


@given(width_mates(), probabilities, seeds)
def test_stepped_widths_are_allowed_and_follow_the_seed(case, indpb, seed):
    stack, individual, _ = case
    before, clone = individual.widths, copy.deepcopy(individual)
    random.seed(seed)
    (mutant,) = mutStepWidths(individual, structure=stack.structure, indpb=indpb)
    assert mutant is individual
    for group, width, old in zip(stack.structure.groups, mutant.widths, before, strict=True):
        assert width in group.allowed
        assert indpb > 0 or width == old
    random.seed(seed)
    mutStepWidths(clone, structure=stack.structure, indpb=indpb)
    assert clone.widths == mutant.widths


def test_a_step_goes_to_another_width_unless_there_is_none_on_that_side():
    stack = make_stack(1, [64, 8, 1], 1, [1, 1, 1], [False] * 4, round_to=8)
    ups = set()
    for seed in range(200):
        random.seed(seed)
        individual = WidthGenome([32, 8, 1])
        mutStepWidths(individual, structure=stack.structure, indpb=1.0)
        assert individual.widths[1:] == (8, 1)
        assert individual.widths[0] != 32
        ups.add(individual.widths[0])
    assert {24, 40} < ups


def test_a_scale_out_of_range_is_refused():
    stack = make_stack(1, [6], 1, [3], [False, False])
    with pytest.raises(ArgumentError, match="scale: expected a finite number greater than 0"):
        mutStepWidths(WidthGenome([3]), structure=stack.structure, indpb=1, scale=0)


def test_biased_flips_are_as_many_and_prefer_important_units():
    n = 4000
    stack = make_stack(1, [n], 1, [1], [False, False])
    had = np.arange(n) % 4 == 0
    importance = np.repeat(np.random.default_rng(0).permutation(n // 4) / n * 4, 4)
    for indpb in (0.1, 0.8):
        gone, come = [], []
        for seed in range(10):
            random.seed(seed)
            individual = MaskGenome([had])
            mutFlipUnits(individual, indpb=indpb, importance=[importance], **stack.shared())
            gone.append(had & ~individual.masks[0])
            come.append(individual.masks[0] & ~had)
        assert np.mean(gone) == pytest.approx(indpb / 4, rel=0.05)
        assert np.mean(come) == pytest.approx(indpb * 3 / 4, rel=0.05)
        lean = min(indpb, 1 - indpb) / indpb
        for flips, direction in ((gone, -1), (come, 1)):
            found = np.mean(np.concatenate([importance[flip] for flip in flips]))
            # The mean of a density that is linear on [0, 1], from 1 − lean to 1 + lean.
            assert found == pytest.approx(1 / 2 + direction * lean / 6, abs=0.02)


@given(learnt_mates(), probabilities, seeds)
def test_biased_flips_are_valid_and_what_was_learnt_follows(case, indpb, seed):
    stack, individual, _ = case
    before = individual.masks
    importance = [np.random.default_rng(seed).random(n) for n in stack.structure.widths]
    random.seed(seed)
    mutFlipUnits(individual, indpb=indpb, importance=importance, **stack.shared())
    assert_valid(stack, individual)
    expected = expected_arrays(stack, individual.masks, [(1, before)])
    assert_arrays_equal(individual.arrays, expected)


@given(learnt_mates(), st.sampled_from([0.0, 0.1]), seeds)
def test_noise_leaves_masks_biases_and_the_original_of_a_copy(case, scale, seed):
    stack, original, _ = case
    arrays = {name: array.copy() for name, array in original.arrays.items()}
    key, found = original.key(), []
    for _ in range(2):
        random.seed(seed)
        (mutant,) = mutNoise(copy.deepcopy(original), structure=stack.structure, scale=scale)
        found.append(mutant.key())
    assert found[0] == found[1]
    assert (found[0] == key) == (scale == 0)
    assert original.key() == key
    assert_arrays_equal(original.arrays, arrays)
    assert_valid(stack, mutant)
    for mask, old in zip(mutant.masks, original.masks, strict=True):
        np.testing.assert_array_equal(mask, old)
    for name, array in mutant.arrays.items():
        assert not array.flags.writeable
        if name.endswith("bias"):
            np.testing.assert_array_equal(array, arrays[name])


def test_noise_is_a_part_of_what_the_unit_weighs():
    structure = Structure(
        (Group("a", 3),),
        {"a.weight": (Axis(0), None, None), "table.weight": (None, Axis(0))},
        {"a.weight": (3, 50, 40), "table.weight": (2000, 3)},
        tables=frozenset({"table.weight"}),
    )
    sizes = np.array([0.01, 1.0, 100.0], dtype=np.float32)
    signs = np.where(np.random.default_rng(0).random((2000, 3)) < 0.5, -1, 1).astype(np.float32)
    arrays = {"table.weight": signs * sizes, "a.weight": (signs * sizes).T.reshape(3, 50, 40)}
    individual = MaskGenome([np.ones(3, dtype=bool)], arrays)
    random.seed(0)
    mutNoise(individual, structure=structure, scale=0.2)
    for name, array in individual.arrays.items():
        assert array.dtype == np.float32
        noise = array - arrays[name]
        by_unit = noise.reshape(3, -1) if name == "a.weight" else noise.T
        assert by_unit.std(axis=1) / sizes == pytest.approx(0.2, rel=0.1)
        assert np.abs(by_unit.mean(axis=1) / sizes).max() < 0.03


def test_noise_leaves_what_has_learnt_nothing_and_refuses_a_negative_scale():
    stack = make_stack(1, [6], 1, [3], [False, False])
    individual = MaskGenome([np.arange(6) < 4])
    key = individual.key()
    assert mutNoise(individual, structure=stack.structure)[0].key() == key
    with pytest.raises(ArgumentError, match="scale: expected a finite number of at least 0"):
        mutNoise(individual, structure=stack.structure, scale=-1)


def test_one_of_several_is_drawn_with_its_probability():
    calls = {"a": 0, "b": 0, "c": 0}

    def counting(name):
        def mutate(individual):
            calls[name] += 1
            return (individual,)

        return mutate

    individual = MaskGenome([np.ones(2, dtype=bool)])
    operators = [counting(name) for name in calls]
    random.seed(0)
    for _ in range(1000):
        found = mutOneOf(individual, operators=operators, probabilities=[1, 3, 0])
        assert found == (individual,)
    assert calls["a"] + calls["b"] == 1000
    assert calls["a"] == pytest.approx(250, abs=50)
    for wrong in ([1, 1], [1, 1, -1], [], [0, 0, 0], [1, 1, float("nan")]):
        with pytest.raises(ArgumentError, match="probabilities: expected 3 finite numbers"):
            mutOneOf(individual, operators=operators, probabilities=wrong)


@pytest.mark.parametrize(("indpb", "kept"), [(0, 3), (1, 1)])
def test_biased_flips_take_whole_numbers_as_probabilities(indpb, kept):
    structure = Structure((Group("a", 4),), {"a.weight": (Axis(0), None)}, {"a.weight": (4, 2)})
    individual = MaskGenome([np.array([True, True, True, False])])
    importance = [np.arange(4.0)]
    mutFlipUnits(
        individual, structure=structure, parent_arrays={}, indpb=indpb, importance=importance
    )
    assert individual.widths[0] == kept
