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
from torch.nn import functional

from ecomp_deap.similarity.calibration import TIE, cold_start, solve
from ecomp_deap.similarity.distances import rows_of_distances, squared_distances

__all__ = ["EPSILON", "WORST_LOSS", "Tables", "neighbour_tables", "table_capacity"]

#: The smallest probability: double epsilon, as in scikit-learn.
EPSILON = float(torch.finfo(torch.float64).eps)
#: What a dead or failed child scores per probe layer: no pair's log ratio can be larger.
WORST_LOSS = math.log(0.5 / EPSILON)

# Numbers in one block: few enough to stay near a core's cache, many enough for torch's overheads.
_BLOCK = 260_000
# Steps from a given start, and from nowhere.
_WARM_STEPS, _COLD_STEPS = 2, 4
# Before the last step in single precision log β may be off by this much. The steps are of third
# order, so that about its cube is left, 1e-5 nats of the entropy at most, as scikit-learn leaves.
_LAST_SINGLE_STEP = 2e-2
# The last step in double may leave so much of log β undone, and as much of the probabilities.
_TOLERANCE = 1e-9
# Where β times the mean excess is less, or times what counts as a tie is more, all samples in reach
# may be tied.
_FLAT = 1e-3
# Norms may be this large in units of 1 / β, by the precision: then their rounding errors are at
# most 3e-5 and 1e-10, and mostly a tenth of that.
_RESOLUTION = {torch.float32: 250.0, torch.float64: 450_000.0}
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
        embeddings: All float32 or all float64; each one table, ``(n_samples, n_units)``, or each
            several of the same width, ``(k, n_samples, n_units)``. At most `table_capacity`
            tables in all.
        perplexity: Effective number of neighbours.
        log_beta: Where log β starts, as in `Tables`; of a shape that broadcasts to
            ``(m, n_samples)``.
        centre: For each table, whether to move the samples' mean to the origin first, by
            default yes. Without it tables of samples that have much in common are made with more
            care, and so more slowly.
    """
    n = embeddings[0].shape[-2]
    m = sum(1 if e.ndim == 2 else len(e) for e in embeddings)
    dtype = embeddings[0].dtype
    buffers = _buffers(n, dtype, embeddings[0].device)
    gram, joint = buffers.gram[:m], buffers.joint[:m]
    _gram(embeddings, centre or [True] * m, out=gram)
    norms = gram.diagonal(dim1=-2, dim2=-1).mul(0.5)
    steps = _COLD_STEPS if log_beta is None else _WARM_STEPS
    start = torch.full((), cold_start(n)) if log_beta is None else log_beta
    start = start.to(gram.device, torch.float32).expand(m, n)
    rows = _conditional(gram, norms, perplexity, start, steps, out=joint, buffers=buffers)

    dead = torch.zeros(m, dtype=torch.bool, device=gram.device)
    # How far rounding may have moved the distances in reach, in units of the row's own scale; their
    # samples' norms are not far from the row's own. NaN counts too.
    rounding = norms.mul(3.0).mul_(rows.beta)
    # β is 0 where the sum of a row's distances overflows.
    resolved = (rounding <= _RESOLUTION[dtype]) & (rows.beta > 0)
    if not resolved.all():
        tables = [table for e in embeddings for table in (e if e.ndim == 3 else (e,))]
        few = (~resolved).sum(dim=-1) <= n // 4
        for i in (few & ~resolved.all(dim=-1)).nonzero().squeeze(-1).tolist():
            _redo_rows(tables[i], ~resolved[i], perplexity, rows.of_table(i), out=joint[i])
        coarse = (~few).nonzero().squeeze(-1)
        if len(coarse):
            dead[coarse] = _redo_tables(
                [tables[int(i)] for i in coarse], coarse, perplexity, start[coarse], rows, joint
            )
    torch.add(joint, joint.transpose(-1, -2), out=gram).clamp_min_(EPSILON)
    return Tables(gram, rows.log_beta, rows.converged, rows.tied, dead)


def _gram(embeddings: Sequence[torch.Tensor], centre: Sequence[bool], *, out: torch.Tensor) -> None:
    """Write the Gram matrices of all tables into ``out``."""
    products = []
    place = 0
    for embedding in embeddings:
        x = embedding - embedding.mean(dim=-2, keepdim=True) if centre[place] else embedding
        if x.ndim == 3:
            products.append(torch.bmm(x, x.mT))
            place += len(x)
        else:
            # Samples times samples: one operation, where a transposed makes two.
            products.append(functional.linear(x, x))
            place += 1
    if products[0].ndim == 2:
        torch.stack(products, out=out)
    else:
        torch.cat(products, out=out)


class _Rows(NamedTuple):
    """Of every row: β, its logarithm in units of the row, and how it was found; ``(m, n)``."""

    beta: torch.Tensor
    log_beta: torch.Tensor
    converged: torch.Tensor
    tied: torch.Tensor

    def of_table(self, i: int) -> "_Rows":
        """Return views of the rows of one table, shape ``(n,)``."""
        return _Rows(*(column[i] for column in self))


def _redo_tables(
    tables: Sequence[torch.Tensor],
    places: torch.Tensor,
    perplexity: float,
    start: torch.Tensor,
    rows: _Rows,
    joint: torch.Tensor,
) -> torch.Tensor:
    """Make whole tables again from exact distances, in double (changes ``rows`` and ``joint``).

    Args:
        tables: Embeddings, ``(n, n_units)`` each.
        places: Where they are in ``rows`` and ``joint``.
        perplexity: Effective number of neighbours.
        start: First log β, one row per table.
        rows: Of all tables.
        joint: p_j|i / 2n of all tables.

    Returns:
        Which of the tables are dead.
    """
    exact = torch.stack([squared_distances(table) for table in tables])
    largest = exact.amax(dim=(-2, -1))
    dead = ~torch.isfinite(largest) | (largest == 0)
    # Any sound table in their place.
    exact[dead] = 1.0
    # No probability depends on the scale, and sums of distances may overflow.
    exact /= exact.amax(dim=(-2, -1), keepdim=True)
    again = torch.empty_like(exact)
    careful = _conditional(
        exact.neg_(),
        torch.zeros(exact.shape[:-1], dtype=exact.dtype, device=exact.device),
        perplexity,
        start,
        _WARM_STEPS,
        out=again,
        buffers=_buffers(exact.shape[-1], torch.float64, exact.device),
    )
    joint[places] = again.to(joint.dtype)
    for all_rows, own in zip(rows, careful, strict=True):
        all_rows[places] = own.to(all_rows.dtype)
    return dead


def _redo_rows(
    embedding: torch.Tensor,
    which: torch.Tensor,
    perplexity: float,
    rows: _Rows,
    *,
    out: torch.Tensor,
) -> None:
    """Make the marked rows of one table again from exact distances (changes ``rows``, ``out``)."""
    own = which.nonzero().squeeze(-1)
    distances = rows_of_distances(embedding, own)
    distances.scatter_(1, own[:, None], torch.inf)
    nearest = distances.amin(dim=1)
    distances.sub_(nearest[:, None]).scatter_(1, own[:, None], 0.0)
    # The row's mean without its own 0, in whose units log β is.
    scale = distances.sum(dim=1) / (distances.shape[1] - 1)
    _solve_rows(rows, which, distances, nearest, scale, own, perplexity, out=out)


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
    """Write p_j|i / 2n into ``out``, for half squared distances norms_i + norms_j − gram_ij.

    Args:
        gram: The Gram matrix, single or double, shape ``(m, n, n)``.
        norms: Half of its diagonal, shape ``(m, n)``.
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
    half_norms: torch.Tensor,
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
    views = buffers.views(gram.shape)
    excess, single = views.excess, views.single
    # A row may be shifted: its own norm and its smallest distance change no probability.
    torch.sub(half_norms[:, None], gram, out=excess)
    own = excess.diagonal(top, -2, -1)
    own.fill_(torch.inf)
    nearest = excess.amin(dim=-1, keepdim=True)
    excess.sub_(nearest)
    own.zero_()
    scale = excess.sum(dim=-1, keepdim=True).div_(n - 1)
    inverse = scale.reciprocal()
    if gram.dtype == torch.float32:
        torch.mul(excess, inverse, out=single)
    else:
        single.copy_(excess).mul_(inverse.float())
    log_beta, newton = _steps(views, log_beta, math.log(perplexity), steps)

    if gram.dtype == torch.float32:
        beta = log_beta.exp()
        torch.mul(single, -beta, out=out)
        _exp_(out)
        # The diagonal's excess is 0, so it counts once in the sum.
        total = out.sum(dim=-1, keepdim=True).sub_(1.0)
        out.mul_(total.mul_(2.0 * n).reciprocal_())
        converged = newton.abs_() <= _LAST_SINGLE_STEP
        beta = beta.mul_(inverse)
    else:
        beta, log_beta, mean, converged = _last_step(views, scale, log_beta, perplexity, out)
        # Where hardly anything but ties is in reach, β is as arbitrary as their rounding. In single
        # precision such a β is too large to be resolved.
        norms = half_norms[:, top : top + gram.shape[-2], None]
        converged &= (mean > _FLAT) & (beta * (nearest + norms) < _FLAT / TIE)
    rows = _Rows(
        beta[..., 0], log_beta[..., 0], converged[..., 0], torch.zeros_like(converged[..., 0])
    )
    if not converged.all():
        nearest = nearest[..., 0] + half_norms[:, top : top + gram.shape[-2]]
        _finish(rows, excess, nearest, scale[..., 0], top, perplexity, out=out)
    return rows


def _steps(
    views: "_Views", log_beta: torch.Tensor, target: float, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take Chebyshev's steps, of third order, towards the entropy ``target``.

    Every operation counts: the small ones cost threads as much as the large.

    Returns:
        log β, and what Newton's last step would have been.
    """
    single, weights, moments = views.single, views.weights, views.moments
    total, mean, second, third = views.moment
    for _ in range(steps):
        beta = (log_beta * views.powers).exp_()
        torch.mul(single, -beta[0], out=weights)
        _exp_(weights)
        torch.sum(weights, -1, True, out=total)
        torch.sum(weights.mul_(single), -1, True, out=mean)
        torch.sum(weights.mul_(single), -1, True, out=second)
        torch.sum(weights.mul_(single), -1, True, out=third)
        # The diagonal's excess is 0, so it counts once in the sum and in no moment.
        total.sub_(1.0)
        moments.div_(total).mul_(beta)
        # Mean, variance and third central moment of the excess, in units of 1 / β.
        variance = torch.addcmul(second, mean, mean, value=-1.0)
        third.addcmul_(mean, second.add_(variance, alpha=2.0), value=-1.0)
        # The entropy falls by the variance and curves by 2 variance - third moment in log β.
        newton = total.log_().add_(mean).sub_(target).div_(variance)
        curvature = third.div_(variance).sub_(2.0).mul_(newton)
        log_beta = log_beta + torch.addcmul(newton, newton, curvature, value=0.5).clamp_(-2.0, 2.0)
    return log_beta, newton


def _last_step(
    views: "_Views",
    scale: torch.Tensor,
    log_beta: torch.Tensor,
    perplexity: float,
    out: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Take Newton's last step in double precision, and write p_j|i / 2n into ``out``.

    Returns:
        β, its logarithm, β times the mean excess, and where it has converged.
    """
    excess, n = views.excess, views.excess.shape[-1]
    log_beta = log_beta.double()
    beta = log_beta.exp().div_(scale)
    torch.mul(excess, -beta, out=out)
    _exp_(out)
    total = out.sum(dim=-1, keepdim=True).sub_(1.0)
    first = torch.mul(out, excess, out=views.scratch).sum(dim=-1, keepdim=True).div_(total)
    second = views.scratch.mul_(excess).sum(dim=-1, keepdim=True).div_(total)
    mean = beta * first
    variance = beta * beta * (second - first * first)
    last = (total.log().sub_(math.log(perplexity)) + mean) / variance
    # To first order, the weights after this step; its square is what that leaves.
    growth = beta * last
    factor = (total * (1.0 - growth * first)).mul_(2.0 * n).reciprocal_()
    out.mul_(torch.mul(excess, -growth * factor, out=views.scratch).add_(factor))
    return beta, log_beta + last, mean, last.square() <= _TOLERANCE


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
    """Solve the rows that have not converged (changes ``rows`` and ``out``)."""
    left = ~rows.converged
    own = left.nonzero()[:, -1] + top
    shifted, nearest, scale = excess[left].double(), nearest[left].double(), scale[left].double()
    _solve_rows(rows, left, shifted, nearest, scale, own, perplexity, out=out)


def _solve_rows(
    rows: _Rows,
    which: torch.Tensor,
    shifted: torch.Tensor,
    nearest: torch.Tensor,
    scale: torch.Tensor,
    own: torch.Tensor,
    perplexity: float,
    *,
    out: torch.Tensor,
) -> None:
    """Solve rows one iteration after the other in double (changes ``rows`` and ``out``).

    Args:
        rows: What is known of all rows, of any shape.
        which: True for the k rows that are solved, of the same shape.
        shifted: Their distances beyond the smallest, double, shape ``(k, n)``.
        nearest: The smallest, shape ``(k,)``.
        scale: What their distances are divided by, shape ``(k,)``.
        own: Each row's own sample, shape ``(k,)``.
        perplexity: Effective number of neighbours.
        out: p_j|i / 2n of all rows.
    """
    n = shifted.shape[-1]
    tie = shifted <= TIE * nearest[:, None]
    tie.scatter_(1, own[:, None], False)
    tied = tie.sum(dim=-1) >= perplexity
    # A row whose scale is 0 is tied; any scale will do.
    scale = torch.where(tied, 1.0, scale)
    shifted /= scale[:, None]
    start = rows.log_beta[which].double()
    start = torch.where(torch.isfinite(start), start, cold_start(n))
    hopeless = tied | ~torch.isfinite(shifted).all(dim=-1)
    solution, converged = solve(shifted, own, math.log(perplexity), start, hopeless)
    weights = (shifted * -solution.exp()[:, None]).exp_().scatter_(1, own[:, None], 0.0)
    weights = torch.where(tied[:, None], tie.to(weights.dtype), weights)
    out[which] = (weights / (2.0 * n * weights.sum(dim=-1, keepdim=True))).to(out.dtype)
    rows.log_beta[which] = solution.to(out.dtype)
    # Ties are uniform whatever β is, but only exact distances can tell what is tied.
    rows.beta[which] = torch.where(tied, torch.inf, solution.exp() / scale).to(out.dtype)
    rows.converged[which] = converged & ~tied
    rows.tied[which] = tied


class _Views(NamedTuple):
    """Memory for one block, shape ``(m, height, n)``.

    Attributes:
        excess: Half squared distances beyond each row's smallest, in the tables' precision.
        scratch: Likewise.
        single: The excess in units of its row's mean, in single precision.
        weights: Likewise.
        moment: The sum of weights and three moments, shape ``(m, height, 1)`` each.
        moments: The three moments together, shape ``(3, m, height, 1)``.
        powers: 1, 2 and 3 along the first dimension of four.
    """

    excess: torch.Tensor
    scratch: torch.Tensor
    single: torch.Tensor
    weights: torch.Tensor
    moment: tuple[torch.Tensor, ...]
    moments: torch.Tensor
    powers: torch.Tensor


class _Buffers:
    """Memory for tables of n samples on a device, used again by every call of a thread."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (table_capacity(n), n, n)
        size = max(min(_BLOCK, math.prod(shape)), n)
        self.gram = torch.empty(shape, dtype=dtype, device=device)
        self.joint = torch.empty_like(self.gram)
        self._own = torch.empty(2, size, dtype=dtype, device=device)
        self._single = torch.empty(2, size, dtype=torch.float32, device=device)
        self._powers = torch.arange(1.0, 4.0, device=device).view(3, 1, 1, 1)
        self._views: dict[torch.Size, _Views] = {}

    def views(self, shape: torch.Size) -> _Views:
        """Return the memory for a block of ``shape``."""
        if shape not in self._views:
            size = shape.numel()
            excess, scratch = (buffer[:size].view(shape) for buffer in self._own)
            single, weights = (buffer[:size].view(shape) for buffer in self._single)
            # What is made in inference mode could not be written to outside.
            with torch.inference_mode(False):
                sums = self._single.new_empty(4, *shape[:-1], 1)
            self._views[shape] = _Views(
                excess, scratch, single, weights, tuple(sums), sums[1:], self._powers
            )
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
