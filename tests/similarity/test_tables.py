"""Fast neighbour tables are the slow twin's, whatever is computed beside, before or after them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.similarity import calibration, squared_distances, tables
from ecomp_deap.similarity.tables import neighbour_tables, table_capacity
from tests.similarity.table_twins import (
    DTYPES,
    STARTS,
    assert_are_the_twins,
    embeddings,
    random_embedding,
)


@given(case=embeddings(), away=STARTS, centre=st.booleans(), seed=st.integers(0, 1000))
def test_tables_are_the_twins_from_any_start(case, away, centre, seed):
    embedding, perplexity = case
    start = None
    if away is not None:
        start = away * torch.as_tensor(np.random.default_rng(seed).normal(size=len(embedding)))
    found = neighbour_tables([embedding], perplexity, log_beta=start, centre=[centre])
    assert_are_the_twins(found, [embedding], perplexity)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("away", [0.3, 3.0, -3.0, 30.0, -30.0, 1e3, 1e30, -1e30])
def test_a_start_far_away_is_only_a_start(away, dtype):
    embedding = random_embedding(5, dtype=dtype, relu=True)
    sound = neighbour_tables([embedding], 10.0).log_beta[0]
    found = neighbour_tables([embedding], 10.0, log_beta=sound + away)
    assert_are_the_twins(found, [embedding], 10.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_beta_is_in_units_of_the_mean_distance_beyond_the_smallest(dtype):
    embedding = random_embedding(6, dtype=dtype)
    found = neighbour_tables([embedding], 10.0)
    distances = squared_distances(embedding)
    smallest = distances.clone().fill_diagonal_(torch.inf).amin(dim=1)
    scale = (distances.sum(dim=1) - 39 * smallest) / 39
    expected = calibration.calibrate(distances, 10.0).log_beta + scale.log()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-8
    torch.testing.assert_close(found.log_beta[0].double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 31, 100, 250, 400])
@pytest.mark.parametrize("n_units", [1, 7, 300])
def test_tables_of_any_size_are_the_twins(n, n_units, dtype):
    embedding = random_embedding(n, n, n_units, dtype)
    perplexity = min(30.0, (n - 1) / 3)
    assert_are_the_twins(neighbour_tables([embedding], perplexity), [embedding], perplexity)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 40, 41, 399, 40 * 40, 3 * 40 * 40 + 1])
def test_rows_in_blocks_of_any_size_make_the_same_tables(monkeypatch, block, dtype):
    everyone = [random_embedding(s, 40, 3 + s, dtype, relu=s % 2 == 1) for s in range(3)]
    everyone[1][5:25] = everyone[1][5]  # so many ties that their rows are uniform
    everyone[2] += 1e4
    expected = neighbour_tables(everyone, 10.0)
    expected = expected._replace(joint=expected.joint.clone())
    monkeypatch.setattr(tables, "_BLOCK", block)
    capacity = table_capacity(40)
    assert capacity == max(1, block // 1600)
    for first in range(0, 3, capacity):
        group = everyone[first : first + capacity]
        found = neighbour_tables(group, 10.0)
        assert_are_the_twins(found, group, 10.0)
        for name in ("joint", "log_beta"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name)[first : first + capacity]
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_table_does_not_depend_on_its_company(dtype):
    everyone = [random_embedding(s, 40, 1 + 20 * s, dtype) for s in range(6)]
    everyone[1] = torch.full_like(everyone[1], torch.nan)
    everyone[2][:30] = 1.0
    everyone[3] += 1e5
    everyone[4] *= 1e15
    start = torch.linspace(-1, 3, 40)
    together = neighbour_tables(everyone, 10.0, log_beta=start)
    together = together._replace(joint=together.joint.clone())
    for i in (0, 2, 3, 4, 5):
        alone = neighbour_tables([everyone[i]], 10.0, log_beta=start)
        for a, b in zip(alone, together, strict=True):
            assert torch.equal(a[0], b[i])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_call_leaves_in_the_buffers_does_not_reach_the_next(dtype):
    sound = random_embedding(0, dtype=dtype)
    first = neighbour_tables([sound], 10.0)
    first = first._replace(joint=first.joint.clone())
    awkward = torch.full((40, 99), torch.inf, dtype=dtype)
    neighbour_tables([awkward, sound + 1e6, awkward], 10.0)
    neighbour_tables([random_embedding(1, 70, dtype=dtype)], 10.0)
    again = neighbour_tables([sound], 10.0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_starts_are_not_changed():
    start = torch.zeros(40)
    neighbour_tables([random_embedding(0)], 10.0, log_beta=start)
    assert start.eq(0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_embeddings_are_not_changed(dtype):
    embedding = random_embedding(0, dtype=dtype)
    before = embedding.clone()
    neighbour_tables([embedding.T.contiguous().T], 10.0)
    neighbour_tables([embedding], 10.0, centre=[False])
    assert torch.equal(embedding, before)


def test_threads_share_no_buffers():
    everyone = [random_embedding(s, 60, 5 + s) for s in range(8)]
    expected = [neighbour_tables([e], 10.0).joint[0].clone() for e in everyone]
    both = Barrier(2)

    def run(embedding):
        both.wait(timeout=10)
        joint = neighbour_tables([embedding], 10.0).joint[0]
        both.wait(timeout=10)
        return joint.clone()

    with ThreadPoolExecutor(2) as pool:
        for found, joint in zip(pool.map(run, everyone), expected, strict=True):
            assert torch.equal(found, joint)


def test_inference_mode_leaves_nothing_behind():
    embedding = random_embedding(0, 43)
    with torch.inference_mode():
        joint = neighbour_tables([embedding.clone()], 10.0).joint.clone()
    assert torch.equal(neighbour_tables([embedding], 10.0).joint, joint)


def test_safeguarded_steps_end_from_any_start():
    near = torch.tensor([0.0, 0.0, 0.03, 0.17, 0.25, 0.29, 0.36, 0.46, 0.49]).double()
    row = torch.cat([near, 0.33 + 2.2 * torch.linspace(0, 1, 20).double() ** 0.7])
    starts = torch.linspace(0, 6, 600).double()
    _, converged = calibration.solve(
        row.expand(600, -1).contiguous(),
        torch.zeros(600, dtype=torch.long),
        float(np.log(5.0)),
        starts,
        torch.zeros(600, dtype=torch.bool),
    )
    assert converged.all()
