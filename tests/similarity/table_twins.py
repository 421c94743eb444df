"""Neighbour tables by the slow twin: `calibrate` on `squared_distances`, in double precision."""

from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st

from ecomp_deap.similarity import calibration, joint_probabilities, squared_distances
from ecomp_deap.similarity.tables import EPSILON

DTYPES = [torch.float32, torch.float64]
# Of p_j|i, where a row sums to 1, by the precision: relative and absolute.
TOLERANCES = {torch.float32: (1e-3, 2e-5), torch.float64: (1e-4, 1e-6)}
# Of the divergence of a fast table from its twin, in nats.
DIVERGENCE = {torch.float32: 3e-7, torch.float64: 1e-11}


def twin(embedding, perplexity):
    """Joint probabilities and their calibration, whose entropies are right to 1e-12 nats."""
    with mock.patch.object(calibration, "_TOLERANCE", 1e-12):
        return joint_probabilities(squared_distances(embedding.double()), perplexity)


def assert_is_the_twins(joint, embedding, perplexity):
    """Check a table against the twin's, whose diagonal is 0 where the fast one's is tiny."""
    expected, _ = twin(embedding, perplexity)
    n, dtype = len(embedding), embedding.dtype
    assert joint.dtype == dtype
    assert torch.equal(joint, joint.T)
    assert joint.min() >= np.float32(EPSILON)
    found = joint.double().clone().fill_diagonal_(0.0)
    relative, absolute = TOLERANCES[dtype]
    torch.testing.assert_close(2 * n * found, 2 * n * expected, rtol=relative, atol=absolute)
    off = ~torch.eye(n, dtype=torch.bool)
    divergence = (expected[off] * (expected[off] / found[off]).log()).sum()
    assert abs(float(divergence)) <= DIVERGENCE[dtype]


def assert_are_the_twins(found, embeddings, perplexity):
    assert not found.dead.any()
    for i, embedding in enumerate(embeddings):
        assert_is_the_twins(found.joint[i], embedding, perplexity)
        assert torch.equal(found.tied[i], twin(embedding, perplexity)[1].tied)
        assert torch.equal(found.converged[i], ~found.tied[i])


def random_embedding(seed, n=40, n_units=12, dtype=torch.float64, *, relu=False):
    rng = np.random.default_rng(seed)
    embedding = torch.as_tensor(rng.normal(size=(n, n_units)))
    return (embedding.clamp_min(0.0) if relu else embedding).to(dtype)


@st.composite
def embeddings(draw):
    """An embedding of everyday or awkward samples, and a perplexity it can have."""
    n, n_units = draw(st.integers(8, 120)), draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    samples = rng.normal(size=(n, n_units))
    kind = draw(st.sampled_from(["plain", "relu", "flat", "shifted", "spread", "clusters"]))
    if kind == "relu":
        samples = np.maximum(samples, 0.0)
        samples[0, 0] = 3.0  # not constant
    elif kind == "flat":
        samples = rng.normal(size=(n, 2)) @ rng.normal(size=(2, n_units))
    elif kind == "shifted":
        samples += 10.0 ** draw(st.floats(0, 6))
    elif kind == "spread":
        samples *= 10.0 ** rng.uniform(-3, 3, size=(n, 1))
    elif kind == "clusters":
        samples = 0.01 * samples + rng.normal(size=(5, n_units))[rng.integers(0, 5, n)]
    perplexity = draw(st.sampled_from([2.0, 5.0, 12.5, 30.0]))
    dtype = draw(st.sampled_from(DTYPES))
    return torch.as_tensor(samples).to(dtype), min(perplexity, (n - 1) / 3)


STARTS = st.sampled_from([None, 0.0, 0.1, 1.0, 10.0, 100.0])
