"""Calibration: the Gaussian bandwidth of each row that gives it the wanted perplexity.

For row i with squared distances d_ij the conditional probabilities are
p_j|i ∝ exp(−β_i d_ij), j ≠ i, and their perplexity exp(H) falls strictly as β_i grows
(van der Maaten & Hinton 2008, "Visualizing Data using t-SNE", JMLR 9, section 2).
"""

import math
from typing import NamedTuple

import torch

__all__ = ["TIE", "Calibration", "calibrate", "cold_start", "solve"]

# Entropies agree to this many nats: well below scikit-learn's 1e-5, at one more Newton step.
_TOLERANCE = 1e-9
#: Distances that exceed a row's smallest one by less than this fraction of it are tied: as far as
#: rounding may have moved them apart. Zero distances are exact: near zero nothing is rounded off.
TIE = 1e-9
_LOG_BETA_LIMIT = 200.0
_MAX_ITERATIONS = 200


class Calibration(NamedTuple):
    """Calibrated conditional probabilities of tables of n samples.

    Attributes:
        conditional: p_j|i, shape ``(..., n, n)``, rows sum to 1, diagonal 0.
        log_beta: log β of each row in the units of the given distances, shape ``(..., n)``.
        converged: True where the perplexity was reached, shape ``(..., n)``.
        tied: True where so many samples are tied at the smallest distance that it cannot be
            reached; such a row is uniform over the ties. Shape ``(..., n)``.
    """

    conditional: torch.Tensor
    log_beta: torch.Tensor
    converged: torch.Tensor
    tied: torch.Tensor


def calibrate(
    distances: torch.Tensor, perplexity: float, *, log_beta: torch.Tensor | None = None
) -> Calibration:
    """Return conditional probabilities of the wanted perplexity for every row.

    Newton's method in log β, kept inside a bracket by bisection; rows leave the iteration as
    they converge. Differentiable in ``distances`` (through the implicit function).

    Args:
        distances: Squared distances, shape ``(..., n, n)``, double, of a scale near 1.
        perplexity: Effective number of neighbours, 1 < perplexity < n − 1.
        log_beta: Where to start, shape broadcastable to ``(..., n)``; for instance the
            parent's solution.
    """
    n = distances.shape[-1]
    eye = torch.eye(n, dtype=torch.bool, device=distances.device)
    nearest = distances.detach().masked_fill(eye, torch.inf).amin(dim=-1, keepdim=True)
    # Shifting a row by its smallest distance changes no probability and avoids underflow.
    shifted = (distances - nearest).masked_fill(eye, 0.0)
    tie_mask = (shifted.detach() <= TIE * nearest) & ~eye
    tied = tie_mask.sum(dim=-1) >= perplexity

    rows = shifted.detach().reshape(-1, n)
    diagonal = torch.arange(n, device=rows.device).repeat(rows.shape[0] // n)
    start = _start(rows, perplexity) if log_beta is None else log_beta.expand(tied.shape).flatten()
    solution, converged = solve(rows, diagonal, math.log(perplexity), start, tied.flatten())
    solution = solution.reshape(tied.shape)
    converged = converged.reshape(tied.shape) & ~tied

    beta = solution.exp()
    if distances.requires_grad:
        # One Newton step that autograd sees: its value is ~0, its gradient that of β(distances).
        entropy, slope = _entropy(shifted, eye, beta)
        # The slope of other rows may be 0, and 0 / 0 would spread through the gradient.
        slope = slope.detach().masked_fill(~converged, 1.0)
        step = torch.where(converged, (entropy - math.log(perplexity)) / slope, 0.0)
        beta = (solution + step).exp()
    weights = (shifted * -beta[..., None]).exp().masked_fill(eye, 0.0)
    weights = torch.where(tied[..., None], tie_mask.to(weights.dtype), weights)
    conditional = weights / weights.sum(dim=-1, keepdim=True)
    return Calibration(conditional, solution, converged, tied)


def _start(rows: torch.Tensor, perplexity: float) -> torch.Tensor:
    """Return a first log β: distances to the ~perplexity nearest should be a few 1/β."""
    return cold_start(rows.shape[-1]) - rows.mean(dim=-1).clamp_min(1e-300).log()


def cold_start(n_samples: int) -> float:
    """Return a first log β, in units of 1 / the mean distance beyond the smallest one."""
    return math.log(math.log(n_samples))


def _entropy(
    shifted: torch.Tensor, eye: torch.Tensor, beta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the entropy of each row and −dH/dlog β = β² Var(d)."""
    weights = (shifted * -beta[..., None]).exp().masked_fill(eye, 0.0)
    total = weights.sum(dim=-1)
    mean = (weights * shifted).sum(dim=-1) / total
    variance = (weights * shifted.square()).sum(dim=-1) / total - mean.square()
    return total.log() + beta * mean, beta.square() * variance


def solve(
    rows: torch.Tensor,
    diagonal: torch.Tensor,
    target: float,
    start: torch.Tensor,
    done: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log β of each row of shifted distances, and where it converged.

    Args:
        rows: Distances beyond each row's smallest one, double, shape ``(n_rows, n)``.
        diagonal: Each row's own sample, shape ``(n_rows,)``.
        target: Entropy to reach, in nats.
        start: First log β, shape ``(n_rows,)``.
        done: Rows that are left alone, shape ``(n_rows,)``.
    """
    solution = start.clamp(-_LOG_BETA_LIMIT, _LOG_BETA_LIMIT)
    converged = torch.zeros_like(done)
    active = (~done).nonzero().squeeze(-1)
    shifted, own, u = rows[active], diagonal[active, None], solution[active]
    low = torch.full_like(u, -_LOG_BETA_LIMIT)
    high = torch.full_like(u, _LOG_BETA_LIMIT)
    before = torch.zeros_like(u)
    for _ in range(_MAX_ITERATIONS):
        if active.numel() == 0:
            break
        beta = u.exp()
        weights = (shifted * -beta[:, None]).exp_().scatter_(1, own, 0.0)
        total = weights.sum(dim=1)
        weights *= shifted
        mean = weights.sum(dim=1) / total
        second = (weights * shifted).sum(dim=1) / total
        slope = beta.square() * (second - mean.square())
        excess = total.log() + beta * mean - target

        hit = excess.abs() <= _TOLERANCE
        solution[active] = u
        converged[active] = hit
        # The entropy falls in u: too high means that β must grow.
        low = torch.where(excess > 0, u, low)
        high = torch.where(excess > 0, high, u)
        # A Newton step from a flat stretch is meaningless: at most a factor e⁴ at once.
        step = (excess / slope.clamp_min(1e-12)).clamp(-4.0, 4.0)
        proposal = u + step
        outside = (proposal <= low) | (proposal >= high)
        # Newton's steps may go to and fro for ever: halve the bracket unless they close in.
        outside |= (excess * before < 0) & (2.0 * excess.abs() > before.abs())
        before = excess
        u = torch.where(outside, 0.5 * (low + high), proposal)
        keep = ~hit
        if hit.any():
            active, shifted, own = active[keep], shifted[keep], own[keep]
            u, low, high, before = u[keep], low[keep], high[keep], before[keep]
    return solution, converged
