"""Checks of arguments that several packages share."""

import operator
from typing import Any

import numpy as np

from ecomp_deap.errors import ArgumentError, argument_error

__all__ = ["check_count", "check_fraction", "check_indices"]


def check_count(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` as an int.

    Raises:
        ArgumentError: ``value`` is no whole number, or outside ``minimum``…``maximum``.
    """
    wanted = f"a whole number of at least {minimum}"
    if maximum is not None:
        wanted += f" and at most {maximum}"
    if isinstance(value, bool):
        raise argument_error(name, wanted, value)
    try:
        count = operator.index(value)
    except TypeError:
        raise argument_error(name, wanted, value) from None
    if count < minimum or (maximum is not None and count > maximum):
        raise argument_error(name, wanted, count)
    return count


def check_fraction(name: str, value: Any) -> float:
    """Return ``value`` as a float.

    Raises:
        ArgumentError: ``value`` is no number between 0 and 1, both excluded.
    """
    wanted = "a number between 0 and 1, both excluded"
    try:
        fraction = float(value)
    except (TypeError, ValueError):
        raise argument_error(name, wanted, value) from None
    if not 0.0 < fraction < 1.0:
        raise argument_error(name, wanted, value)
    return fraction


def check_indices(name: str, value: Any, n_samples: int, *, empty: bool = False) -> np.ndarray:
    """Return ``value`` as an int64 array, shape ``(n,)``, of indices below ``n_samples``.

    Raises:
        ArgumentError: ``value`` is not one-dimensional, not of integers, out of range, or
            empty where ``empty`` does not allow it.
    """
    indices = np.asarray(value)
    if indices.ndim != 1:
        raise argument_error(name, "a one-dimensional array of indices", indices.shape)
    if indices.size == 0:
        if empty:
            return np.empty(0, dtype=np.int64)
        raise ArgumentError(f"{name}: expected at least one index, got none")
    if indices.dtype.kind not in "iu":
        raise argument_error(name, "indices of an integer type", str(indices.dtype))
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n_samples:
        outside = low if low < 0 else high
        raise argument_error(name, f"indices from 0 to {n_samples - 1}", outside)
    return indices.astype(np.int64, copy=False)
