import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecomp_deap.data import Splits, TensorSamples, split
from ecomp_deap.errors import ArgumentError


def numbered(targets):
    """Samples whose input is their own number, so that parts can be traced back."""
    return TensorSamples(np.arange(len(targets), dtype=np.float64), targets)


def numbers(samples):
    return samples.inputs.numpy().astype(int)


labels = hnp.arrays(np.int64, st.integers(2, 80), elements=st.integers(0, 4))
fractions = st.floats(0.001, 0.999)


@given(targets=labels, fraction=fractions, seed=st.integers(0, 2**64))
def test_the_parts_share_nothing_and_lose_nothing(targets, fraction, seed):
    for data in (numbered(targets), numbered(targets.astype(np.float64))):
        parts = split(data, validation_fraction=fraction, seed=seed)
        search, validation = numbers(parts.search), numbers(parts.validation)
        assert len(search) >= 1
        assert len(validation) >= 1
        assert abs(len(validation) - fraction * len(targets)) <= 1
        np.testing.assert_array_equal(
            np.sort(np.concatenate([search, validation])), np.arange(len(targets))
        )
        assert (np.diff(search) > 0).all()
        assert (np.diff(validation) > 0).all()
        np.testing.assert_array_equal(parts.search.targets, targets[search])
        np.testing.assert_array_equal(parts.validation.targets, targets[validation])


@given(targets=labels, fraction=fractions, seed=st.integers(0, 9))
def test_classes_are_drawn_in_proportion(targets, fraction, seed):
    parts = split(numbered(targets), validation_fraction=fraction, seed=seed)
    n_drawn = len(parts.validation)
    for label in np.unique(targets):
        exact = (targets == label).sum() * n_drawn / len(targets)
        assert abs((parts.validation.labels == label).sum() - exact) <= 1


@given(targets=labels, fraction=fractions, seed=st.integers(0, 9))
def test_the_draw_depends_on_the_seed_alone(targets, fraction, seed):
    first = split(numbered(targets), validation_fraction=fraction, seed=seed)
    np.random.seed(seed + 1)  # noqa: NPY002
    second = split(numbered(targets), validation_fraction=fraction, seed=seed)
    np.testing.assert_array_equal(numbers(first.validation), numbers(second.validation))


def test_another_seed_draws_others():
    targets = np.arange(600) % 10
    drawn = [numbers(split(numbered(targets), seed=seed).validation).tolist() for seed in range(5)]
    assert len({tuple(part) for part in drawn}) == 5


def test_a_sixth_of_each_class_by_default():
    parts = split(numbered(np.arange(600) % 10))
    assert np.bincount(parts.validation.labels).tolist() == [10] * 10
    assert np.bincount(parts.search.labels).tolist() == [50] * 10


def test_a_class_of_one_sample_stays_with_the_search():
    targets = np.array([0] * 10 + [1] + [2] * 9)
    for seed in range(10):
        assert 1 in split(numbered(targets), validation_fraction=0.5, seed=seed).search.labels


def test_targets_that_are_all_different_are_split_too():
    parts = split(numbered(np.arange(10)), validation_fraction=0.3)
    assert (len(parts.search), len(parts.validation)) == (7, 3)


def test_given_parts_are_taken_as_they_are():
    search, validation, test = (numbered(np.arange(n)) for n in (5, 2, 3))
    parts = split(search, validation=validation, test=test)
    assert parts == Splits(search, validation, test)
    assert (parts.name, parts.source) == ("data", "")
    assert split(search).test is None
    pair = (np.zeros((4, 2), np.float32), np.zeros(4))
    parts = split(pair, validation=pair, test=pair)
    assert len(parts.search) == len(parts.validation) == len(parts.test) == 4


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "half", None])
def test_fractions_outside_0_and_1_are_refused(fraction):
    with pytest.raises(ArgumentError, match=r"^validation_fraction: expected a number between 0"):
        split(numbered(np.arange(10)), validation_fraction=fraction)


def test_one_sample_cannot_be_shared_out():
    with pytest.raises(ArgumentError, match=r"^data: expected at least 2 samples .* got 1"):
        split(numbered(np.arange(1)))


@pytest.mark.parametrize("seed", [-1, 0.5, None, "0", True])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(ArgumentError, match=r"^seed: expected a whole number of at least 0"):
        split(numbered(np.arange(10)), seed=seed)


@pytest.mark.parametrize("part", ["data", "validation", "test"])
def test_the_part_that_does_not_fit_is_named(part):
    given_parts = {"data": numbered(np.arange(4)), part: 3}
    with pytest.raises(ArgumentError, match=f"^{part}: expected Samples"):
        split(given_parts.pop("data"), **given_parts)
