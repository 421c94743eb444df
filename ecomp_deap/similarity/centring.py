"""U-centring: what makes an inner product of two tables over pairs of samples unbiased.

Source: Székely and Rizzo (2013), "The distance correlation t-test of independence in high
dimension", Journal of Multivariate Analysis 117; Székely and Rizzo (2014), "Partial distance
correlation with methods for dissimilarities", Annals of Statistics 42(6), section 2.
"""

import torch

__all__ = ["MIN_SAMPLES", "one_minus_cosine", "u_centred", "u_directions"]

#: Of fewer samples every centred table is 0.
MIN_SAMPLES = 4
# Entries of a centred table that are smaller than this, in units of the table's largest before, are
# what rounding has left.
_ROUNDING = 1e-12


def u_centred(tables: torch.Tensor) -> torch.Tensor:
    """Return A_ij − Σ_k A_ik / (n−2) − Σ_k A_kj / (n−2) + Σ_kl A_kl / ((n−1)(n−2)), diagonal 0.

    What depends on one sample of a pair alone, A_ij = u_i + u_j for i ≠ j, vanishes.

    Args:
        tables: Symmetric, with a zero diagonal, shape ``(..., n, n)``, n ≥ 3.
    """
    n = tables.shape[-1]
    rows = tables.sum(dim=-1, keepdim=True) / (n - 2)
    total = rows.sum(dim=-2, keepdim=True) / (n - 1)
    eye = torch.eye(n, dtype=torch.bool, device=tables.device)
    return (tables - rows - rows.mT + total).masked_fill(eye, 0.0)


def u_directions(tables: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return U-centred tables of Frobenius norm 1, and which have vanished and are 0.

    Args:
        tables: Symmetric, non-negative, not all 0, with a zero diagonal; shape ``(..., n, n)``.

    Returns:
        Shape ``(..., n, n)``, and ``(...)``.
    """
    # No direction depends on the scale, and squares of large tables may overflow.
    scaled = tables / tables.detach().amax(dim=(-2, -1), keepdim=True)
    centred = u_centred(scaled)
    squares = centred.square().sum(dim=(-2, -1), keepdim=True)
    vanished = squares.detach() <= (_ROUNDING * tables.shape[-1]) ** 2
    norms = squares.masked_fill(vanished, 1.0).sqrt()
    directions = centred.masked_fill(vanished, 0.0) / norms
    return directions, vanished[..., 0, 0]


def one_minus_cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return 1 − ⟨A, B⟩ of tables of Frobenius norm 1, which rounding takes never below 0.

    Args:
        first: Shape ``(..., n, n)``.
        second: Of a shape that broadcasts against it.
    """
    return 0.5 * (first - second).square().sum(dim=(-2, -1))
