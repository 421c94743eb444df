"""Fast neighbour tables of what is dead, tied, far away, shifted or of another scale."""

import numpy as np
import pytest
import torch

from ecomp_deap.similarity import tables
from ecomp_deap.similarity.tables import neighbour_tables
from tests.similarity.table_twins import (
    DTYPES,
    assert_are_the_twins,
    assert_is_the_twins,
    random_embedding,
    twin,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 0.1])
@pytest.mark.parametrize("everywhere", [True, False])
def test_the_dead_are_told_from_the_sound(value, everywhere, dtype):
    sound = random_embedding(0, dtype=dtype)
    other = sound.clone()
    if everywhere:
        other[:] = value
    else:
        other[3, 2] = value
    found = neighbour_tables([sound, other, sound], 10.0)
    assert found.dead.tolist() == [False, everywhere or not np.isfinite(value), False]
    assert_is_the_twins(found.joint[0], sound, 10.0)
    assert torch.equal(found.joint[0], found.joint[2])
    if not found.dead[1]:
        assert_is_the_twins(found.joint[1], other, 10.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_equal", [2, 10, 11, 12, 30, 39])
def test_ties_below_at_and_above_the_perplexity(n_equal, dtype):
    embedding = random_embedding(1, dtype=dtype)
    embedding[:n_equal] = embedding[0] + 50.0
    found = neighbour_tables([embedding], 10.0)
    assert_are_the_twins(found, [embedding], 10.0)
    # A row of n equal samples has n - 1 neighbours at a distance of 0.
    tied = n_equal if n_equal - 1 >= 10 else 0
    assert int(found.tied[0, :n_equal].sum()) == tied


# Turned and rounded to single precision they would be equally far apart no longer.
@pytest.mark.parametrize(
    ("turned", "dtype"), [(False, torch.float32), (False, torch.float64), (True, torch.float64)]
)
def test_samples_equally_far_apart_are_tied(turned, dtype):
    embedding = np.eye(40)
    if turned:
        # Now the distances are equal only up to rounding.
        embedding = embedding @ np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0]
    embedding = torch.as_tensor(embedding).to(dtype)
    found = neighbour_tables([embedding], 10.0)
    assert found.tied.all()
    assert_is_the_twins(found.joint[0], embedding, 10.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("far", [1e2, 1e5, 1e9, 1e15])
@pytest.mark.parametrize("which", [0, 7])
def test_outliers_move_no_other_rows_table(far, which, dtype):
    embedding = random_embedding(2, dtype=dtype)
    embedding[which] += far
    assert_are_the_twins(neighbour_tables([embedding], 10.0), [embedding], 10.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("centre", [True, False])
def test_a_common_offset_cancels(offset, centre, dtype):
    embedding = random_embedding(3, dtype=dtype) + offset
    found = neighbour_tables([embedding], 10.0, centre=[centre])
    assert_are_the_twins(found, [embedding], 10.0)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        # At 1e18 and 1e153 a row's distances overflow in sum, and not yet one by one.
        *[(torch.float64, 10.0**k) for k in (-150, -30, -15, 15, 30, 150, 153)],
        *[(torch.float32, 10.0**k) for k in (-36, -30, -22, -19, -15, 15, 17, 18, 20, 30, 37)],
    ],
)
def test_scale_does_not_matter(scale, dtype):
    plain = random_embedding(4)
    embedding = (plain * scale).to(dtype)
    found = neighbour_tables([embedding], 10.0)
    assert not found.dead.any()
    expected, _ = twin(plain, 10.0)
    torch.testing.assert_close(
        found.joint[0].double().fill_diagonal_(0), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("n_close", [3, 8])
def test_a_few_rows_of_a_narrow_cluster_are_made_again_by_themselves(n_close, monkeypatch):
    # In single precision their distances to each other drown in the rounding of their norms.
    embedding = random_embedding(5, n=60).float()
    spread = torch.randn(n_close, 12, generator=torch.Generator().manual_seed(1)).float()
    embedding[:n_close] = embedding[0] + 1e-4 * spread
    made = []

    def redo(table, which, *rest, **options):
        made.append(int(which.sum()))
        return redo_rows(table, which, *rest, **options)

    redo_rows = tables._redo_rows
    monkeypatch.setattr(tables, "_redo_rows", redo)
    found = neighbour_tables([embedding], 2.0)
    assert n_close <= made[0] <= 15
    assert_are_the_twins(found, [embedding], 2.0)
