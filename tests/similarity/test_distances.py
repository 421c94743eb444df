import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecomp_deap.similarity import squared_distances
from ecomp_deap.similarity.distances import (
    distance_tables,
    median_scale,
    replace_dead,
    roots,
    rows_of_distances,
)
from tests.similarity.references import relu_embedding, true_distances


@settings(deadline=None, max_examples=60)
@given(
    embedding=hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 12), st.integers(1, 6)),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False) | st.sampled_from([0.0, 1.0, 1e-9]),
    )
)
def test_distances_equal_the_sums_of_squared_differences(embedding):
    found = squared_distances(torch.from_numpy(embedding)).numpy()

    np.testing.assert_allclose(found, true_distances(embedding), rtol=1e-8, atol=1e-290)
    np.testing.assert_array_equal(np.diagonal(found), 0.0)


def test_equal_samples_are_at_a_distance_of_exactly_zero():
    embedding = torch.from_numpy(relu_embedding(0, 30, 40)).repeat(2, 1) + 0.1
    found = squared_distances(embedding)

    assert (found[:30, 30:].diagonal() == 0).all()
    assert (found[:30, :30] + torch.eye(30) > 0).all()


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_close_samples_keep_their_digits_beside_an_outlier(offset):
    embedding = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)).double()
    embedding[0] += offset

    np.testing.assert_allclose(
        squared_distances(embedding).numpy(), true_distances(embedding.numpy()), rtol=1e-9
    )


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_a_common_offset_changes_nothing_but_the_last_digits(offset):
    embedding = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)).double()

    torch.testing.assert_close(
        squared_distances(embedding + offset), squared_distances(embedding), rtol=1e-6, atol=0
    )


def test_tables_of_a_stack_are_computed_one_by_one():
    stack = torch.randn(2, 3, 20, 5, generator=torch.Generator().manual_seed(2)).double()
    stack[1, 2] = 7.0
    found = squared_distances(stack)

    assert found.shape == (2, 3, 20, 20)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(
                found[i, j], squared_distances(stack[i, j]), rtol=1e-13, atol=0
            )


def test_many_close_pairs_are_taken_in_chunks(monkeypatch):
    embedding = torch.randn(30, 4, generator=torch.Generator().manual_seed(3)).double() * 1e-6
    embedding[0] += 1.0
    whole = squared_distances(embedding)
    monkeypatch.setattr("ecomp_deap.similarity.distances._CHUNK", 40)

    assert torch.equal(squared_distances(embedding), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_result_is_double_whatever_comes(dtype):
    embedding = torch.randn(10, 3, generator=torch.Generator().manual_seed(4)).to(dtype)
    found = squared_distances(embedding)

    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, true_distances(embedding.double()), rtol=1e-12)


def test_the_argument_is_left_alone():
    embedding = torch.randn(10, 3, generator=torch.Generator().manual_seed(5)).double()
    before = embedding.clone()
    squared_distances(embedding)

    assert torch.equal(embedding, before)


def test_gradient_with_equal_and_close_samples():
    embedding = torch.randn(7, 3, generator=torch.Generator().manual_seed(6)).double()
    embedding[1] = embedding[0]
    embedding[2] = embedding[0] + 1e-5
    embedding.requires_grad_()

    assert torch.autograd.gradcheck(squared_distances, embedding)
    assert torch.autograd.gradgradcheck(squared_distances, embedding)


def test_median_scale_skips_zero_distances():
    table = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 5.0], [3.0, 5.0, 0.0]]).double()
    tables = torch.stack([table, torch.zeros(3, 3).double()])

    assert median_scale(tables).flatten().tolist() == [3.0, 1.0]


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_rows_of_distances_are_those_of_the_table(offset):
    generator = torch.Generator().manual_seed(3)
    embedding = torch.randn(40, 6, generator=generator).double()
    embedding[:4] = embedding[0] + 1e-7 * torch.arange(4)[:, None]
    embedding += offset
    rows = torch.tensor([2, 0, 39, 17])
    expected = squared_distances(embedding)[rows]
    torch.testing.assert_close(rows_of_distances(embedding, rows), expected, rtol=1e-9, atol=0)


def children(seed):
    """Embeddings of different widths, some with what needs care."""
    found = [torch.as_tensor(relu_embedding(seed + w, 25, w)) for w in (1, 4, 30, 7, 5)]
    found[1][:9] = found[1][0]
    found[2][3] += 1e6
    found[3][:] = 0.1
    found[4][2, 1] = torch.nan
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tables_of_different_widths_equal_those_made_one_by_one(dtype):
    embeddings = [e.to(dtype) for e in children(0)]
    found, dead = distance_tables(embeddings)
    careful, also_dead = distance_tables([e.clone().requires_grad_() for e in embeddings])

    assert found.dtype == torch.float64
    assert dead.tolist() == also_dead.tolist() == [False, False, False, True, True]
    torch.testing.assert_close(found, careful.detach(), rtol=1e-8, atol=1e-290)
    for table, embedding in zip(found[:3], embeddings, strict=False):
        expected = true_distances(embedding.numpy())
        np.testing.assert_allclose(table.numpy(), expected, rtol=1e-8, atol=1e-290)
    assert (found[1][:9, :9] == 0).all()


def test_tables_of_several_sets_of_samples_keep_their_place():
    sets = [torch.as_tensor(relu_embedding(s, 24, w)).reshape(3, 8, w) for s, w in ((0, 4), (1, 9))]
    found, dead = distance_tables(sets)

    assert found.shape == (2, 3, 8, 8)
    assert dead.shape == (2, 3)
    for tables, embedding in zip(found, sets, strict=True):
        torch.testing.assert_close(tables, squared_distances(embedding), rtol=1e-9, atol=1e-12)


def test_dead_tables_are_replaced_by_sound_ones_without_gradient():
    embeddings = torch.stack([torch.zeros(4, 2), torch.eye(4)[:, :2]]).double().requires_grad_()
    found, dead = replace_dead(squared_distances(embeddings))
    found.sum().backward()

    assert dead.tolist() == [True, False]
    assert torch.equal(found[0], 1.0 - torch.eye(4, dtype=torch.float64))
    assert not embeddings.grad[0].any()
    assert embeddings.grad[1].any()


def test_roots_of_zeros_have_no_gradient():
    squares = torch.tensor([0.0, 4.0, 1e-300]).double().requires_grad_()
    found = roots(squares)
    found.sum().backward()

    assert found.tolist() == pytest.approx([0.0, 2.0, 1e-150], rel=1e-12)
    assert squares.grad[:2].tolist() == [0.0, 0.25]
