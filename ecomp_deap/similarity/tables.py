"""Neighbour tables of many embeddings at once, fast and without gradient.

What `squared_distances`, `calibrate` and `joint_probabilities` do step by step is done here in
blocks that stay in a core's cache and in buffers that are used again: Newton's steps in single
precision, the last one in double, so that entropies agree to 1e-9 nats as theirs do. Whatever is
unusual about a row or a table is noticed and done the careful way.
"""

import math
import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ecomp_deap.similarity.calibration import TIE, cold_start, solve
from ecomp_deap.similarity.distances import CANCELLED, squared_distances

__all__ = ["EPSILON", "Tables", "neighbour_tables", "table_capacity"]

#: The smallest probability: double epsilon, as in scikit-learn.
EPSILON = float(torch.finfo(torch.float64).eps)

# Numbers in one block: few enough to stay near a core's cache, many enough for torch's overheads.
_BLOCK = 130_000
_SINGLE_STEPS = 3
# The last step, in double, may leave so much of log β undone.
_TOLERANCE = 1e-9
# Where β times the mean excess is less, or times what counts as a tie is more, all samples in reach
# may be tied.
_FLAT = 1e-3


class Tables(NamedTuple):
    """Neighbour tables of m embeddings of the same n samples.

    Attributes:
        joint: Joint probabilities p_ij, double, shape ``(m, n, n)``: symmetric and at least the
            double epsilon, on the diagonal as well. A buffer that the thread's next call reuses.
        log_beta: log β of each row, in units of 1 / the row's mean distance beyond its smallest
            one; shape ``(m, n)``.
        converged: True where the perplexity was reached, shape ``(m, n)``.
        tied: True where a row is uniform over ties, see `Calibration`; shape ``(m, n)``.
        dead: True where an embedding is constant or not finite, so that nothing else means
            anything; shape ``(m,)``.
    """

    joint: torch.Tensor
    log_beta: torch.Tensor
    converged: torch.Tensor
    tied: torch.Tensor
    dead: torch.Tensor


def table_capacity(n_samples: int) -> int:
    """Return how many tables `neighbour_tables` makes at once."""
    return max(1, _BLOCK // n_samples**2)


def neighbour_tables(
    embeddings: Sequence[torch.Tensor],
    perplexity: float,
    *,
    log_beta: torch.Tensor | None = None,
) -> Tables:
    """Return the neighbour tables of embeddings of the same samples, of any widths.

    Args:
        embeddings: At most `table_capacity` tensors of shape ``(n_samples, n_units)``.
        perplexity: Effective number of neighbours.
        log_beta: Where log β starts, as in `Tables`; of a shape that broadcasts to
            ``(m, n_samples)``.
    """
    m, n = len(embeddings), embeddings[0].shape[-2]
    buffers = _buffers(n, embeddings[0].device)
    gram = buffers.gram[:m]
    for slot, embedding in zip(gram, embeddings, strict=True):
        x = buffers.as_double(embedding)
        torch.addmm(slot, x, x.T, beta=0.0, alpha=-2.0, out=slot)
    norms = gram.diagonal(dim1=-2, dim2=-1) * -0.5
    joint = buffers.joint[:m]
    start = torch.full((), cold_start(n)) if log_beta is None else log_beta
    start = start.to(gram.device, torch.float32).expand(m, n)
    rows = _conditional(gram, norms, perplexity, start, out=joint, buffers=buffers)
    dead = torch.zeros(m, dtype=torch.bool, device=gram.device)
    # A distance far below the norms has lost its digits; NaN counts as such.
    sound = rows.nearest > CANCELLED * (norms + norms.amax(dim=-1, keepdim=True))
    if not sound.all():
        risky = (~sound.all(dim=-1)).nonzero().squeeze(-1)
        exact = torch.stack([squared_distances(embeddings[int(i)]) for i in risky])
        largest = exact.amax(dim=(-2, -1))
        dead[risky] = ~torch.isfinite(largest) | (largest == 0)
        again = torch.empty_like(exact)
        careful = _conditional(
            exact,
            torch.zeros_like(norms[risky]),
            perplexity,
            start[risky],
            out=again,
            buffers=buffers,
        )
        joint[risky] = again
        for all_rows, own in zip(rows, careful, strict=True):
            all_rows[risky] = own
    torch.add(joint, joint.transpose(-1, -2), out=gram).clamp_min_(EPSILON)
    return Tables(gram, rows.log_beta, rows.converged, rows.tied, dead)


class _Rows(NamedTuple):
    """Of every row: its smallest distance, log β, and how that was found; shape ``(m, n)``."""

    nearest: torch.Tensor
    log_beta: torch.Tensor
    converged: torch.Tensor
    tied: torch.Tensor


def _conditional(
    gram: torch.Tensor,
    norms: torch.Tensor,
    perplexity: float,
    start: torch.Tensor,
    *,
    out: torch.Tensor,
    buffers: "_Buffers",
) -> _Rows:
    """Write p_j|i / 2n into ``out``, for squared distances gram_ij + norms_i + norms_j.

    Args:
        gram: The Gram matrix times −2, double, shape ``(m, n, n)``.
        norms: Shape ``(m, n)``.
        perplexity: Effective number of neighbours.
        start: First log β, single, shape ``(m, n)``.
        out: Shape ``(m, n, n)``.
        buffers: What is computed in.
    """
    n = gram.shape[-1]
    height = min(n, max(1, _BLOCK // n))
    parts = [
        _block(
            gram[:, top : top + height],
            norms,
            top,
            perplexity,
            start[:, top : top + height, None],
            out=out[:, top : top + height],
            buffers=buffers,
        )
        for top in range(0, n, height)
    ]
    if len(parts) == 1:
        return parts[0]
    return _Rows(*(torch.cat(columns, dim=-1) for columns in zip(*parts, strict=True)))


def _block(
    gram: torch.Tensor,
    norms: torch.Tensor,
    top: int,
    perplexity: float,
    log_beta: torch.Tensor,
    *,
    out: torch.Tensor,
    buffers: "_Buffers",
) -> _Rows:
    """Do what `_conditional` does for the rows from ``top`` on; shapes ``(m, height, n)``."""
    n = gram.shape[-1]
    excess, product, single, single_weights = buffers.views(gram.shape)
    # A row may be shifted: its own norm and its smallest distance change no probability.
    torch.add(gram, norms[:, None], out=excess)
    own = excess.diagonal(top, -2, -1)
    own.fill_(torch.inf)
    nearest = excess.amin(dim=-1, keepdim=True)
    own.copy_(nearest[..., 0])
    excess.sub_(nearest)
    nearest = nearest[..., 0] + norms[:, top : top + gram.shape[-2]]
    scale = excess.sum(dim=-1, keepdim=True).div_(n - 1)
    single.copy_(excess).mul_(scale.reciprocal().float())

    target = math.log(perplexity)
    for _ in range(_SINGLE_STEPS):
        beta = log_beta.exp()
        torch.mul(single, -beta, out=single_weights).exp_()
        # The diagonal's excess is 0, so it counts once in the sum and in no moment.
        total = single_weights.sum(dim=-1, keepdim=True).sub_(1.0)
        mean = single_weights.mul_(single).sum(dim=-1, keepdim=True).div_(total)
        second = single_weights.mul_(single).sum(dim=-1, keepdim=True).div_(total)
        slope = (second - mean * mean).mul_(beta * beta)
        step = (total.log_().sub_(target) + beta * mean).div_(slope).clamp_(-2.0, 2.0)
        log_beta = log_beta + step

    solution = log_beta.double()
    beta = solution.exp().div_(scale)
    torch.mul(excess, -beta, out=out).exp_()
    total = out.sum(dim=-1, keepdim=True).sub_(1.0)
    moment = torch.mul(out, excess, out=product).sum(dim=-1, keepdim=True)
    spread = beta * moment / total
    last = (total.log().sub_(target) + spread) / slope
    # The slope is that of one step before, so this much of the last step is uncertain.
    left = last.abs() * (last.abs() + step.abs())
    # Where hardly anything but ties is in reach, β is as arbitrary as their rounding.
    apart = (spread > _FLAT) & (beta * nearest[..., None] < _FLAT / TIE)
    converged = (left <= _TOLERANCE) & apart
    # To first order, the weights after the last step.
    growth = beta * last
    factor = (total - growth * moment).mul_(2.0 * n).reciprocal_()
    out.mul_(torch.mul(excess, -growth * factor, out=product).add_(factor))
    out.diagonal(top, -2, -1).zero_()

    rows = _Rows(
        nearest,
        (solution + last)[..., 0],
        converged[..., 0].clone(),
        torch.zeros_like(converged[..., 0]),
    )
    if not rows.converged.all():
        _finish(rows, excess, scale[..., 0], top, perplexity, out=out)
    return rows


def _finish(
    rows: _Rows,
    excess: torch.Tensor,
    scale: torch.Tensor,
    top: int,
    perplexity: float,
    *,
    out: torch.Tensor,
) -> None:
    """Solve the rows that have not converged, one iteration after the other (in place)."""
    n = excess.shape[-1]
    left = ~rows.converged
    shifted = excess[left]
    own = left.nonzero()[:, -1] + top
    tie = shifted <= TIE * rows.nearest[left][:, None]
    tie.scatter_(1, own[:, None], False)
    tied = tie.sum(dim=-1) >= perplexity
    # A row whose scale is 0 is tied; any scale will do.
    shifted /= torch.where(tied, 1.0, scale[left])[:, None]
    start = torch.where(torch.isfinite(rows.log_beta[left]), rows.log_beta[left], cold_start(n))
    solution, converged = solve(shifted, own, math.log(perplexity), start, tied)
    weights = (shifted * -solution.exp()[:, None]).exp_().scatter_(1, own[:, None], 0.0)
    weights = torch.where(tied[:, None], tie.to(weights.dtype), weights)
    out[left] = weights / (2.0 * n * weights.sum(dim=-1, keepdim=True))
    rows.log_beta[left] = solution
    rows.converged[left] = converged & ~tied
    rows.tied[left] = tied


class _Buffers:
    """Memory for tables of n samples on a device, used again by every call of a thread."""

    def __init__(self, n: int, device: torch.device) -> None:
        shape = (table_capacity(n), n, n)
        size = max(min(_BLOCK, shape[0] * n * n), n)
        self._views: dict[torch.Size, tuple[torch.Tensor, ...]] = {}
        self.gram = torch.empty(shape, dtype=torch.float64, device=device)
        self.joint = torch.empty_like(self.gram)
        self._doubles = torch.empty(2, size, dtype=torch.float64, device=device)
        self._singles = torch.empty(2, size, dtype=torch.float32, device=device)
        self._embedding = torch.empty(0, dtype=torch.float64, device=device)

    def views(self, shape: torch.Size) -> tuple[torch.Tensor, ...]:
        """Return two double and two single buffers of ``shape``."""
        if shape not in self._views:
            self._views[shape] = tuple(
                buffer[: shape.numel()].view(shape) for buffer in (*self._doubles, *self._singles)
            )
        return self._views[shape]

    def as_double(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the embedding in double precision, in memory that the next call reuses."""
        if embedding.dtype == torch.float64:
            return embedding
        if self._embedding.numel() < embedding.numel():
            self._embedding = torch.empty(
                embedding.numel(), dtype=torch.float64, device=embedding.device
            )
        return self._embedding[: embedding.numel()].view(embedding.shape).copy_(embedding)


_local = threading.local()


def _buffers(n: int, device: torch.device) -> _Buffers:
    """Return this thread's buffers; only those last used are kept."""
    key = (n, device)
    if getattr(_local, "key", None) != key:
        _local.key, _local.buffers = key, _Buffers(n, device)
    return _local.buffers
