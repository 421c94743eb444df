"""What the similarity loss is compared with: scikit-learn's route, and a slow obvious twin."""

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import _t_sne, _utils

EPSILON = float(np.finfo(np.float64).eps)


def relu_embedding(seed, n_samples, n_units, *, bias=0.3, scale=1.0):
    """Activations of a random ReLU layer over random samples."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(n_samples, 12))
    weights = rng.normal(size=(12, n_units)) / np.sqrt(12)
    return scale * np.maximum(samples @ weights + bias, 0.0)


def child_of(origin, seed, n_units, *, noise=0.5):
    """Activations that share some of the neighbourhoods of ``origin``, of another width."""
    rng = np.random.default_rng(seed)
    mixed = origin @ rng.normal(size=(origin.shape[1], n_units)) / np.sqrt(origin.shape[1])
    return np.maximum(mixed + noise * rng.normal(size=mixed.shape) * mixed.std() + 0.1, 0.0)


def sklearn_converges(embedding, perplexity):
    """True where scikit-learn's search brings every row to the wanted perplexity."""
    rows = _utils._binary_search_perplexity(_float32_distances(embedding), perplexity, 0)
    terms = np.where(rows > 0, rows * np.log(np.where(rows > 0, rows, 1.0)), 0.0)
    entropies = -terms.sum(axis=1)
    return bool(
        np.allclose(rows.sum(axis=1), 1.0, atol=1e-6)
        and np.abs(entropies - np.log(perplexity)).max() < 3e-5
    )


def sklearn_probabilities(embedding, perplexity):
    """scikit-learn's joint probabilities, condensed."""
    return _t_sne._joint_probabilities(_float32_distances(embedding), perplexity, 0)


def sklearn_gaussian_loss(origin, child, perplexity):
    p = sklearn_probabilities(origin, perplexity)
    q = sklearn_probabilities(child, perplexity)
    return 2.0 * np.dot(p, np.log(np.maximum(p, EPSILON) / np.maximum(q, EPSILON)))


def sklearn_student_loss(condensed_p, child):
    """scikit-learn's t-SNE objective with as many degrees of freedom as the child has units."""
    n_samples, n_units = child.shape
    loss, _ = _t_sne._kl_divergence(
        child.astype(np.float64).ravel(), condensed_p, n_units, n_samples, n_units
    )
    return loss


def twin_conditional(distances, perplexity):
    """Conditional probabilities, row by row, by bisection in log beta."""
    n_samples = len(distances)
    result = np.zeros((n_samples, n_samples))
    for i in range(n_samples):
        others = np.arange(n_samples) != i
        row = distances[i, others] - distances[i, others].min()
        if np.count_nonzero(row <= 1e-9 * distances[i, others].min()) >= perplexity:
            weights = (row <= 1e-9 * distances[i, others].min()).astype(float)
        else:
            low, high = -100.0, 100.0
            for _ in range(120):
                middle = (low + high) / 2
                weights = np.exp(-row * np.exp(middle))
                p = weights / weights.sum()
                p = p[p > 0]
                entropy = -(p * np.log(p)).sum()
                if abs(entropy - np.log(perplexity)) < 1e-13:
                    break
                low, high = (middle, high) if entropy > np.log(perplexity) else (low, middle)
        result[i, others] = weights / weights.sum()
    return result


def twin_probabilities(embedding, perplexity):
    conditional = twin_conditional(true_distances(embedding), perplexity)
    joint = conditional + conditional.T
    joint = np.maximum(joint / joint.sum(), EPSILON)
    np.fill_diagonal(joint, 0.0)
    return joint


def twin_loss(origin, child, perplexity):
    p, q = twin_probabilities(origin, perplexity), twin_probabilities(child, perplexity)
    total = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            if i != j:
                total += p[i, j] * np.log(p[i, j] / q[i, j])
    return total


def true_distances(embedding):
    """Squared distances from the differences, sample by sample."""
    embedding = np.asarray(embedding, dtype=np.float64)
    return np.stack([np.square(embedding - sample).sum(axis=1) for sample in embedding])


def _float32_distances(embedding):
    return squareform(pdist(np.asarray(embedding, np.float64), "sqeuclidean").astype(np.float32))
