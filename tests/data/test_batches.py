import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ecomp_deap.data import BatchSampler
from ecomp_deap.errors import ArgumentError

seeds = st.integers(0, 2**64)
generations = st.integers(0, 60)


@st.composite
def samplers(draw):
    """Settings of plain and of balanced samplers, with the labels they are checked against."""
    n_classes = draw(st.integers(1, 4))
    counts = [draw(st.integers(1, 12)) for _ in range(n_classes)]
    labels = np.repeat(np.array([7, -2, 30, 0])[:n_classes], counts)
    labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(labels)
    balanced = draw(st.booleans())
    if balanced:
        batch_size = n_classes * draw(st.integers(1, min(counts)))
    else:
        batch_size = draw(st.integers(1, len(labels)))
    return {
        "n_samples": len(labels),
        "batch_size": batch_size,
        "seed": draw(seeds),
        "labels": labels,
        "balanced": balanced,
    }


def assert_batch(batch, settings, size):
    assert batch.shape == (size,)
    assert batch.dtype == np.int64
    assert len(np.unique(batch)) == size
    assert batch.min() >= 0
    assert batch.max() < settings["n_samples"]
    if settings["balanced"]:
        labels = settings["labels"]
        classes, counts = np.unique(labels[batch], return_counts=True)
        np.testing.assert_array_equal(classes, np.unique(labels))
        assert (counts == size // len(classes)).all()


@given(settings=samplers(), epoch_index=st.integers(0, 5))
def test_an_epoch_repeats_no_sample_and_leaves_less_than_a_batch(settings, epoch_index):
    sampler = BatchSampler(**settings)
    batches = sampler.epoch(epoch_index)

    assert len(batches) == sampler.batches_per_epoch
    for batch in batches:
        assert_batch(batch, settings, settings["batch_size"])
    used = np.concatenate(batches)
    assert len(np.unique(used)) == len(used)
    if settings["balanced"]:
        _, counts = np.unique(settings["labels"], return_counts=True)
        share = settings["batch_size"] // len(counts)
        assert sampler.batches_per_epoch == counts.min() // share
    else:
        assert settings["n_samples"] - len(used) < settings["batch_size"]


@given(settings=samplers())
def test_generations_walk_through_the_epochs(settings):
    sampler = BatchSampler(**settings)
    n = sampler.batches_per_epoch
    expected = [batch for index in range(3) for batch in sampler.epoch(index)]
    for generation in range(1, 3 * n + 1):
        np.testing.assert_array_equal(sampler.scoring(generation), expected[generation - 1])
    assert_batch(sampler.scoring(0), settings, settings["batch_size"])


@given(settings=samplers(), asked=st.lists(generations, min_size=1, max_size=12))
def test_batches_are_a_pure_function_of_seed_and_generation(settings, asked):
    used = BatchSampler(**settings)
    for generation in asked:
        batch = used.scoring(generation)
        np.testing.assert_array_equal(batch, BatchSampler(**settings).scoring(generation))
        batch[:] = 0  # the caller's own: nothing that comes later may notice
        used.epoch(0)[0][:] = 0
        if settings["batch_size"] < settings["n_samples"]:
            training = used.training(generation, 3, 4)
            again = BatchSampler(**settings).training(generation, 3, 4)
            np.testing.assert_array_equal(training, again)
            training[0][:] = 0
    copy = pickle.loads(pickle.dumps(used))
    np.testing.assert_array_equal(copy.scoring(asked[0]), used.scoring(asked[0]))


@given(
    settings=samplers(),
    generation=generations,
    n_steps=st.integers(0, 8),
    training_size=st.integers(1, 20),
)
def test_training_never_sees_the_scoring_batch(settings, generation, n_steps, training_size):
    assume(settings["batch_size"] < settings["n_samples"])
    sampler = BatchSampler(**settings)
    batches = sampler.training(generation, n_steps, training_size)

    assert len(batches) == n_steps
    for batch in batches:
        assert batch.shape == (training_size,)
        assert batch.dtype == np.int64
        assert not np.isin(batch, sampler.scoring(generation)).any()
    if n_steps:
        drawn = np.concatenate(batches)
        pool = np.setdiff1d(np.arange(settings["n_samples"]), sampler.scoring(generation))
        for start in range(0, len(drawn), len(pool)):
            one_pass = drawn[start : start + len(pool)]
            assert len(np.unique(one_pass)) == len(one_pass)
            assert np.isin(one_pass, pool).all()
        longer = sampler.training(generation, n_steps + 2, training_size)
        np.testing.assert_array_equal(longer[:n_steps], batches)


@given(settings=samplers(), generation=generations, data=st.data())
def test_training_may_exclude_another_set(settings, generation, data):
    n_samples = settings["n_samples"]
    excluded = data.draw(st.lists(st.integers(0, n_samples - 1), max_size=2 * n_samples))
    assume(len(set(excluded)) < n_samples)
    sampler = BatchSampler(**settings)
    left = n_samples - len(set(excluded))
    (batch,) = sampler.training(generation, 1, left, exclude=np.array(excluded, dtype=int))
    np.testing.assert_array_equal(
        np.sort(batch), np.setdiff1d(np.arange(n_samples), np.array(excluded, dtype=int))
    )


@given(settings=samplers(), data=st.data())
def test_the_fixed_set_is_fixed(settings, data):
    sampler = BatchSampler(**settings)
    n = settings["batch_size"]
    if not settings["balanced"]:
        n = data.draw(st.integers(1, settings["n_samples"]))
    chosen = sampler.fixed(n)
    assert_batch(chosen, settings, n)
    assert (np.diff(chosen) > 0).all()
    sampler.scoring(3)
    np.testing.assert_array_equal(sampler.fixed(n), chosen)


def test_no_two_streams_and_no_two_generations_are_alike():
    sampler = BatchSampler(10_000, 50, seed=5)
    batches = [sampler.scoring(generation) for generation in range(0, 600)]
    batches += [sampler.training(generation, 1, 50, exclude=np.array([])) for generation in (0, 1)]
    batches += [sampler.fixed(50), BatchSampler(10_000, 50, seed=6).scoring(0)]
    assert len({np.sort(np.ravel(batch)).tobytes() for batch in batches}) == len(batches)


def test_every_sample_has_its_turn_at_every_place():
    first_places = {int(BatchSampler(5, 2, seed=seed).scoring(1)[0]) for seed in range(100)}
    assert first_places == set(range(5))


def test_balanced_batches_are_not_in_the_order_of_the_classes():
    labels = np.arange(100) % 10
    sampler = BatchSampler(100, 20, labels=labels, balanced=True)
    assert any((np.diff(labels[sampler.scoring(g)]) < 0).any() for g in range(1, 4))


def test_labels_without_balanced_change_nothing():
    labels = np.arange(20) % 3
    np.testing.assert_array_equal(
        BatchSampler(20, 7, labels=labels).scoring(4), BatchSampler(20, 7).scoring(4)
    )


def test_known_batches_stay_the_same():
    sampler = BatchSampler(10, 4, seed=2)
    known = [sampler.scoring(0), sampler.scoring(3), *sampler.training(1, 1, 4), sampler.fixed(4)]
    assert np.array(known).tolist() == [[2, 1, 9, 8], [3, 2, 7, 4], [3, 0, 6, 2], [3, 4, 7, 9]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((10, 11), {}, "^batch_size: expected .* at least 1 and at most 10, got 11"),
        ((10, 0), {}, "^batch_size: expected a whole number of at least 1"),
        ((10, 2.5), {}, "^batch_size: expected a whole number"),
        ((0, 1), {}, "^n_samples: expected a whole number of at least 1"),
        ((10, 2), {"seed": -1}, "^seed: expected a whole number of at least 0"),
        ((10, 2), {"seed": 0.5}, "^seed: expected a whole number"),
        ((10, 2), {"balanced": True}, "^labels: expected class labels, as balanced"),
        ((10, 2), {"labels": np.zeros(9, int)}, r"^labels: expected integers of shape \(10,\)"),
        ((10, 2), {"labels": np.zeros(10)}, "^labels: expected integers .*, got float64"),
        (
            (9, 5),
            {"labels": np.arange(9) % 3, "balanced": True},
            r"^batch_size: .* 3 classes up to .*, as balanced .*nearest: 3 or 6\), got 5",
        ),
        (
            (9, 2),
            {"labels": np.arange(9) % 3, "balanced": True},
            r"^batch_size: .*nearest: 3\), got 2",
        ),
        (
            (9, 6),
            {"labels": np.array([0, 1, 1, 2, 2, 2, 2, 2, 2]), "balanced": True},
            r"^batch_size: .*3 classes up to 3, as balanced is set .nearest: 3\), got 6",
        ),
    ],
)
def test_unfit_settings_are_refused(arguments, options, message):
    with pytest.raises(ArgumentError, match=message):
        BatchSampler(*arguments, **options)


def test_unfit_questions_are_refused():
    sampler = BatchSampler(6, 2, labels=np.arange(6) % 2, balanced=True)
    for ask in (sampler.scoring, lambda g: sampler.training(g, 1, 1)):
        with pytest.raises(ArgumentError, match=r"^generation: expected a whole number of at le"):
            ask(-1)
    with pytest.raises(ArgumentError, match=r"^epoch_index: expected a whole number"):
        sampler.epoch(-1)
    with pytest.raises(ArgumentError, match=r"^n_steps: expected a whole number of at least 0"):
        sampler.training(0, -1, 1)
    with pytest.raises(ArgumentError, match=r"^batch_size: expected a whole number of at least 1"):
        sampler.training(0, 1, 0)
    with pytest.raises(ArgumentError, match=r"^exclude: expected indices from 0 to 5, got 6"):
        sampler.training(0, 1, 1, exclude=np.array([6]))
    with pytest.raises(ArgumentError, match=r"^n: expected a whole number .* at most 6, got 7"):
        sampler.fixed(7)
    with pytest.raises(
        ArgumentError, match=r"^n: expected a multiple of the 2 .*nearest: 2 or 4\)"
    ):
        sampler.fixed(3)


def test_an_empty_pool_is_refused_unless_nothing_is_asked_of_it():
    sampler = BatchSampler(4, 4)
    with pytest.raises(ArgumentError, match=r"^batch_size: .* 4 samples to be left to train on"):
        sampler.training(1, 1, 2)
    with pytest.raises(ArgumentError, match=r"^exclude: .* 4 samples to be left to train on"):
        sampler.training(1, 1, 2, exclude=np.arange(4))
    assert sampler.training(1, 0, 2) == []
