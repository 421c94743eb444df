"""Squared Euclidean distances between the samples of an embedding."""

import torch

__all__ = ["median_scale", "squared_distances"]

# Below this fraction of the two squared norms, a distance from the Gram matrix is mostly rounding.
_CANCELLED = 1e-9


def squared_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the table of squared Euclidean distances between samples.

    Computed through the Gram matrix of the centred samples in double precision; the few entries
    that cancel there are computed again from the differences, so that equal samples are at a
    distance of exactly 0. Differentiable.

    Args:
        embeddings: Shape ``(..., n_samples, n_units)``.

    Returns:
        Double tensor of shape ``(..., n_samples, n_samples)``, symmetric, with a zero diagonal.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    x = embeddings.double()
    x = x - x.mean(dim=-2, keepdim=True)
    norms = x.square().sum(dim=-1)
    pair_norms = norms.unsqueeze(-1) + norms.unsqueeze(-2)
    distances = pair_norms - 2.0 * (x @ x.transpose(-1, -2))
    cancelled = distances.detach() <= _CANCELLED * pair_norms.detach()
    pairs = cancelled.nonzero(as_tuple=True)
    batch = pairs[:-2]
    first, second = (*batch, pairs[-2]), (*batch, pairs[-1])
    differences = x[first] - x[second]
    return distances.masked_fill(cancelled, 0.0).index_put(pairs, differences.square().sum(dim=-1))


def median_scale(distances: torch.Tensor) -> torch.Tensor:
    """Return the median non-zero distance of each table, 1 where there is none.

    Args:
        distances: Shape ``(..., n, n)``, non-negative.

    Returns:
        Shape ``(..., 1, 1)``, positive, without gradient.
    """
    flat = distances.detach().flatten(-2)
    # nanmedian skips the zeros once they are NaN.
    median = flat.masked_fill(flat == 0, torch.nan).nanmedian(dim=-1).values
    return torch.where(median > 0, median, torch.ones_like(median))[..., None, None]
