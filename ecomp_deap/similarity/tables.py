"""Neighbour tables of many embeddings at once, fast and without gradient.

What `squared_distances`, `calibrate` and `joint_probabilities` do step by step in double precision
is done here in blocks that stay near a core's cache, in buffers that are used again, and in the
embeddings' own precision: a single-precision embedding is known to 1e-7 at best, and so is a table
made of it. Whatever is unusual about a row or a table is noticed and done the careful way.
"""

import math
import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ecomp_deap.similarity.calibration import TIE, cold_start, solve
from ecomp_deap.similarity.distances import squared_distances

__all__ = ["EPSILON", "WORST_LOSS", "Tables", "neighbour_tables", "table_capacity"]

#: The smallest probability: double epsilon, as in scikit-learn.
EPSILON = float(torch.finfo(torch.float64).eps)
#: What a dead or failed child scores per probe layer: no pair's log ratio can be larger.
WORST_LOSS = math.log(0.5 / EPSILON)

# Numbers in one block: few enough to stay near a core's cache, many enough for torch's overheads.
_BLOCK = 260_000
# Halley's steps from a given start, and from nowhere.
_WARM_STEPS, _COLD_STEPS = 2, 5
# The last step in single precision may change log β by this much. The steps are of third order, so
# that about its cube is left, 1e-5 nats of the entropy, as scikit-learn leaves; mostly far less.
_LAST_SINGLE_STEP = 2e-2
# The last step in double may leave so much of log β undone.
_TOLERANCE = 1e-9
# Where β times the mean excess is less, or times what counts as a tie is more, all samples in reach
# may be tied.
_FLAT = 1e-3
# Rounding errors of squared norms may be this large in units of 1 / β, by the precision.
_RESOLUTION = {torch.float32: 1e-5, torch.float64: 1e-10}


# From so many samples on most are out of a row's reach, and what underflows takes processors up to
# a hundred times as long.
_MANY = 256
_UNDERFLOW = {torch.float32: -85.0, torch.float64: -700.0}


class Tables(NamedTuple):
    """Neighbour tables of m embeddings of the same n samples.

    Attributes:
        joint: Joint probabilities p_ij in the precision of the embeddings, shape ``(m, n, n)``:
            symmetric and at least the double epsilon, on the diagonal as well. A buffer that the
            thread's next call reuses.
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
    centre: Sequence[bool] | None = None,
) -> Tables:
    """Return the neighbour tables of embeddings of the same samples, of any widths.

    Args:
        embeddings: At most `table_capacity` tensors of shape ``(n_samples, n_units)``, all float32
            or all float64.
        perplexity: Effective number of neighbours.
        log_beta: Where log β starts, as in `Tables`; of a shape that broadcasts to
            ``(m, n_samples)``.
        centre: For each embedding, whether to move the samples to near the origin first, by
            default yes. Without it tables of samples that have much in common are made with more
            care, and so more slowly.
    """
    m, n = len(embeddings), embeddings[0].shape[-2]
    dtype = embeddings[0].dtype
    buffers = _buffers(n, dtype, embeddings[0].device)
    gram, joint = buffers.gram[:m], buffers.joint[:m]
    for slot, embedding, far in zip(gram, embeddings, centre or [True] * m, strict=True):
        x = embedding - embedding[:1] if far else embedding
        torch.addmm(slot, x, x.T, beta=0.0, alpha=-2.0, out=slot)
    norms = gram.diagonal(dim1=-2, dim2=-1) * -0.5
    steps = _COLD_STEPS if log_beta is None else _WARM_STEPS
    start = torch.full((), cold_start(n)) if log_beta is None else log_beta
    start = start.to(gram.device, torch.float32).expand(m, n)
    rows = _conditional(gram, norms, perplexity, start, steps, out=joint, buffers=buffers)

    dead = torch.zeros(m, dtype=torch.bool, device=gram.device)
    # How far rounding may have moved a distance, in units of the row's own scale; NaN counts too.
    rounding = torch.finfo(dtype).eps * (norms + norms.amax(dim=-1, keepdim=True)) * rows.beta
    # β is 0 where the sum of a row's distances overflows.
    resolved = ((rounding <= _RESOLUTION[dtype]) & (rows.beta > 0)).all(dim=-1)
    if not resolved.all():
        coarse = (~resolved).nonzero().squeeze(-1)
        exact = torch.stack([squared_distances(embeddings[int(i)]) for i in coarse])
        largest = exact.amax(dim=(-2, -1))
        dead[coarse] = ~torch.isfinite(largest) | (largest == 0)
        # Any sound table in their place.
        exact[dead[coarse]] = 1.0
        # No probability depends on the scale, and sums of distances may overflow.
        exact /= exact.amax(dim=(-2, -1), keepdim=True)
        again = torch.empty_like(exact)
        careful = _conditional(
            exact,
            torch.zeros(exact.shape[:-1], dtype=exact.dtype, device=exact.device),
            perplexity,
            start[coarse],
            steps,
            out=again,
            buffers=_buffers(n, torch.float64, gram.device),
        )
        joint[coarse] = again.to(dtype)
        for all_rows, own in zip(rows, careful, strict=True):
            all_rows[coarse] = own.to(all_rows.dtype)
    torch.add(joint, joint.transpose(-1, -2), out=gram).clamp_min_(EPSILON)
    return Tables(gram, rows.log_beta, rows.converged, rows.tied, dead)


class _Rows(NamedTuple):
    """Of every row: β, its logarithm in units of the row, and how it was found; ``(m, n)``."""

    beta: torch.Tensor
    log_beta: torch.Tensor
    converged: torch.Tensor
    tied: torch.Tensor


def _conditional(
    gram: torch.Tensor,
    norms: torch.Tensor,
    perplexity: float,
    start: torch.Tensor,
    steps: int,
    *,
    out: torch.Tensor,
    buffers: "_Buffers",
) -> _Rows:
    """Write p_j|i / 2n into ``out``, for squared distances gram_ij + norms_i + norms_j.

    Args:
        gram: The Gram matrix times −2, single or double, shape ``(m, n, n)``.
        norms: Shape ``(m, n)``.
        perplexity: Effective number of neighbours.
        start: First log β, single, shape ``(m, n)``.
        steps: How many steps to take from there in single precision.
        out: Shape ``(m, n, n)``, of the dtype of ``gram``, as ``norms`` is.
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
            steps,
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
    steps: int,
    *,
    out: torch.Tensor,
    buffers: "_Buffers",
) -> _Rows:
    """Do what `_conditional` does for the rows from ``top`` on; shapes ``(m, height, n)``."""
    n = gram.shape[-1]
    target = math.log(perplexity)
    excess, scratch, single, weights = buffers.views(gram.shape)
    # A row may be shifted: its own norm and its smallest distance change no probability.
    torch.add(gram, norms[:, None], out=excess)
    own = excess.diagonal(top, -2, -1)
    own.fill_(torch.inf)
    nearest = excess.amin(dim=-1, keepdim=True)
    own.copy_(nearest[..., 0])
    excess.sub_(nearest)
    nearest = nearest[..., 0] + norms[:, top : top + gram.shape[-2]]
    scale = excess.sum(dim=-1, keepdim=True).div_(n - 1)
    if gram.dtype == torch.float64:
        single.copy_(excess).mul_(scale.reciprocal().float())
    else:
        torch.mul(excess, scale.reciprocal(), out=single)

    for _ in range(steps):
        beta = log_beta.exp()
        torch.mul(single, -beta, out=weights)
        _exp_(weights)
        # The diagonal's excess is 0, so it counts once in the sum and in no moment.
        total = weights.sum(dim=-1, keepdim=True).sub_(1.0)
        mean = weights.mul_(single).sum(dim=-1, keepdim=True).div_(total)
        second = weights.mul_(single).sum(dim=-1, keepdim=True).div_(total)
        third = weights.mul_(single).sum(dim=-1, keepdim=True).div_(total)
        # In units of 1 / β: mean, variance and third central moment of the excess.
        mean.mul_(beta)
        second.mul_(beta * beta).addcmul_(mean, mean, value=-1.0)
        third.mul_(beta**3).addcmul_(mean, second, value=-3.0).sub_(mean**3)
        # The entropy falls by the variance and curves by 2 variance - third moment in log β.
        excess_entropy = total.log_().sub_(target).add_(mean)
        newton = excess_entropy / second
        curvature = (third / second).sub_(2.0).mul_(0.5)
        step = (newton / (1.0 - (newton * curvature).clamp_(-0.5, 0.5))).clamp_(-2.0, 2.0)
        slope = second
        log_beta = log_beta + step

    solution = log_beta.to(gram.dtype)
    beta = solution.exp().div_(scale)
    torch.mul(excess, -beta, out=out)
    _exp_(out)
    total = out.sum(dim=-1, keepdim=True).sub_(1.0)
    if gram.dtype == torch.float64:
        moment = torch.mul(out, excess, out=scratch).sum(dim=-1, keepdim=True)
        mean = beta * moment / total
        last = (total.log().sub_(target) + mean) / slope
        # The slope is that of one step before, so this much of the last step is uncertain.
        converged = last.abs() * (last.abs() + step.abs()) <= _TOLERANCE
        # To first order, the weights after the last step.
        growth = beta * last
        factor = (total - growth * moment).mul_(2.0 * n).reciprocal_()
        out.mul_(torch.mul(excess, -growth * factor, out=scratch).add_(factor))
        solution += last
    else:
        converged = step.abs() <= _LAST_SINGLE_STEP
        out.mul_(total.mul_(2.0 * n).reciprocal_())
    out.diagonal(top, -2, -1).zero_()

    # Where hardly anything but ties is in reach, β is as arbitrary as their rounding.
    converged = converged[..., 0]
    converged &= (mean[..., 0] > _FLAT) & (beta[..., 0] * nearest < _FLAT / TIE)
    rows = _Rows(beta[..., 0], solution[..., 0], converged, torch.zeros_like(converged))
    if not converged.all():
        _finish(rows, excess, nearest, scale[..., 0], top, perplexity, out=out)
    return rows


def _exp_(exponents: torch.Tensor) -> None:
    """Replace exponents by their exponentials, in place."""
    if exponents.shape[-1] >= _MANY:
        exponents.clamp_min_(_UNDERFLOW[exponents.dtype])
    exponents.exp_()


def _finish(
    rows: _Rows,
    excess: torch.Tensor,
    nearest: torch.Tensor,
    scale: torch.Tensor,
    top: int,
    perplexity: float,
    *,
    out: torch.Tensor,
) -> None:
    """Solve the rows that have not converged, iteration by iteration in double (in place)."""
    n = excess.shape[-1]
    left = ~rows.converged
    shifted = excess[left].double()
    own = left.nonzero()[:, -1] + top
    tie = shifted <= TIE * nearest[left].double()[:, None]
    tie.scatter_(1, own[:, None], False)
    tied = tie.sum(dim=-1) >= perplexity
    # A row whose scale is 0 is tied; any scale will do.
    scale = torch.where(tied, 1.0, scale[left].double())
    shifted /= scale[:, None]
    start = rows.log_beta[left].double()
    start = torch.where(torch.isfinite(start), start, cold_start(n))
    hopeless = tied | ~torch.isfinite(shifted).all(dim=-1)
    solution, converged = solve(shifted, own, math.log(perplexity), start, hopeless)
    weights = (shifted * -solution.exp()[:, None]).exp_().scatter_(1, own[:, None], 0.0)
    weights = torch.where(tied[:, None], tie.to(weights.dtype), weights)
    out[left] = (weights / (2.0 * n * weights.sum(dim=-1, keepdim=True))).to(out.dtype)
    rows.log_beta[left] = solution.to(out.dtype)
    # Ties are uniform whatever β is, but only exact distances can tell what is tied.
    rows.beta[left] = torch.where(tied, torch.inf, solution.exp() / scale).to(out.dtype)
    rows.converged[left] = converged & ~tied
    rows.tied[left] = tied


class _Buffers:
    """Memory for tables of n samples on a device, used again by every call of a thread."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (table_capacity(n), n, n)
        size = max(min(_BLOCK, math.prod(shape)), n)
        self.gram = torch.empty(shape, dtype=dtype, device=device)
        self.joint = torch.empty_like(self.gram)
        self._scratch = (
            torch.empty(size, dtype=dtype, device=device),
            torch.empty(size, dtype=dtype, device=device),
            torch.empty(size, dtype=torch.float32, device=device),
            torch.empty(size, dtype=torch.float32, device=device),
        )
        self._views: dict[torch.Size, tuple[torch.Tensor, ...]] = {}

    def views(self, shape: torch.Size) -> tuple[torch.Tensor, ...]:
        """Return two buffers of ``shape`` in the tables' precision, and two in single."""
        if shape not in self._views:
            self._views[shape] = tuple(b[: shape.numel()].view(shape) for b in self._scratch)
        return self._views[shape]


_local = threading.local()


def _buffers(n: int, dtype: torch.dtype, device: torch.device) -> _Buffers:
    """Return this thread's buffers; of each precision only those last used are kept."""
    kept: dict[torch.dtype, tuple[object, _Buffers]] = _local.__dict__.setdefault("buffers", {})
    key = (n, device, _BLOCK)
    if dtype not in kept or kept[dtype][0] != key:
        # What is made in inference mode could not be written to outside.
        with torch.inference_mode(False):
            kept[dtype] = (key, _Buffers(n, dtype, device))
    return kept[dtype][1]
