"""Squared Euclidean distances between the samples of an embedding."""

from collections.abc import Sequence

import torch

from ecomp_deap.errors import argument_error

__all__ = [
    "CANCELLED",
    "distance_tables",
    "finite_distances",
    "median_scale",
    "replace_dead",
    "roots",
    "rows_of_distances",
    "squared_distances",
]

#: Below this fraction of the two squared norms, a distance from the Gram matrix loses too many
#: digits to cancellation.
CANCELLED = 1e-6
# Differences are taken of about so many numbers at once, to bound memory.
_CHUNK = 2**22


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
    if not isinstance(embeddings, torch.Tensor) or embeddings.ndim < 2:
        raise argument_error(
            "embeddings", "a tensor of shape (..., n_samples, n_units)", embeddings
        )
    raw = embeddings.double()
    x = raw - raw.mean(dim=-2, keepdim=True)
    norms = x.square().sum(dim=-1)
    pair_norms = norms.unsqueeze(-1) + norms.unsqueeze(-2)
    distances = pair_norms - 2.0 * (x @ x.transpose(-1, -2))
    gram = distances.detach()
    cancelled = gram <= CANCELLED * pair_norms.detach()
    exact = gram.clone()
    exact[cancelled] = _from_differences(raw.detach(), cancelled)
    if not distances.requires_grad:
        return exact
    # The gradient of the Gram route is sound everywhere, and needs no differences to be kept.
    return torch.where(cancelled, exact + (distances - gram), distances)


def rows_of_distances(embedding: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return some rows of `squared_distances`, without gradient.

    Args:
        embedding: Shape ``(n_samples, n_units)``.
        rows: Indices of samples, shape ``(k,)``.

    Returns:
        Double tensor of shape ``(k, n_samples)``.
    """
    raw = embedding.double()
    x = raw - raw.mean(dim=0)
    norms = x.square().sum(dim=1)
    pair_norms = norms[rows, None] + norms
    distances = pair_norms - 2.0 * (x[rows] @ x.T)
    cancelled = distances <= CANCELLED * pair_norms
    for chunk in cancelled.nonzero().split(max(1, _CHUNK // x.shape[1])):
        i, j = chunk.unbind(dim=1)
        distances[i, j] = (raw[rows[i]] - raw[j]).square().sum(dim=1)
    return distances


def finite_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """Return `squared_distances`, those of a constant embedding where they are not finite."""
    distances = squared_distances(embeddings)
    bad = ~torch.isfinite(distances.detach()).all(dim=-1).all(dim=-1)
    if bad.any():
        # The gradient of NaN is NaN even where the loss does not depend on it.
        embeddings = torch.where(bad[..., None, None], 0.0, embeddings)
        distances = squared_distances(embeddings)
    return distances


def replace_dead(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tables with sound ones for dead embeddings, and which these are.

    Args:
        distances: Squared distances, shape ``(..., n, n)``.

    Returns:
        Tables in which samples of dead embeddings are equally far apart, without gradient; and of
        shape ``(...)`` True where an embedding is constant or not finite.
    """
    largest = distances.detach().amax(dim=(-2, -1))
    # NaN spreads to the largest distance, and so does Inf.
    dead = ~torch.isfinite(largest) | (largest == 0)
    if dead.any():
        # Any sound table in their place keeps NaN out of the arithmetic and the gradient.
        stand_in = torch.ones_like(distances) - torch.eye(
            distances.shape[-1], dtype=distances.dtype, device=distances.device
        )
        distances = torch.where(dead[..., None, None], stand_in, distances)
    return distances, dead


def distance_tables(embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared distances of embeddings of different widths, and which are dead.

    Without a gradient to follow, what `squared_distances` does is done for all tables at once.

    Args:
        embeddings: Each of shape ``(..., n_samples, n_units)``, alike but for the units.

    Returns:
        As `replace_dead`: tables ``(n_embeddings, ..., n_samples, n_samples)`` in double
        precision, and the dead ones, ``(n_embeddings, ...)``.
    """
    if torch.is_grad_enabled() and any(e.requires_grad for e in embeddings):
        return replace_dead(torch.stack([finite_distances(e) for e in embeddings]))
    products = []
    for embedding in embeddings:
        x = embedding.detach().double()
        x = x - x.mean(dim=-2, keepdim=True)
        products.append(x @ x.mT)
    gram = torch.stack(products)
    norms = gram.diagonal(dim1=-2, dim2=-1).clone()
    pair_norms = norms.unsqueeze(-1) + norms.unsqueeze(-2)
    distances = pair_norms - gram.mul_(2.0)
    cancelled = distances <= pair_norms.mul_(CANCELLED)
    # On the diagonal nothing is left, exactly.
    cancelled.diagonal(dim1=-2, dim2=-1).fill_(False)
    for i in cancelled.flatten(1).any(dim=1).nonzero().squeeze(-1).tolist():
        exact = _from_differences(embeddings[i].detach().double(), cancelled[i])
        distances[i][cancelled[i]] = exact
    return replace_dead(distances)


def roots(distances: torch.Tensor) -> torch.Tensor:
    """Return the square roots; those of zeros have a gradient of 0."""
    zero = distances.detach() == 0
    return distances.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)


def _from_differences(x: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return the squared distances of the sample pairs that the mask ``pairs`` marks, flat."""
    # Of the samples as given: centring would have rounded away what tells close ones apart.
    found = []
    for chunk in pairs.nonzero().split(max(1, _CHUNK // x.shape[-1])):
        *batch, i, j = chunk.unbind(dim=-1)
        first, second = (*batch, i), (*batch, j)
        found.append((x[first] - x[second]).square().sum(dim=-1))
    return torch.cat(found)


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
