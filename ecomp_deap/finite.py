"""What counts as a number, wherever one is asked for; nothing heavy is imported."""

import math
from numbers import Real
from typing import Any

__all__ = ["finite"]


def finite(value: Any) -> float:
    """Return a real number as a float.

    Raises:
        ValueError: It is none, which a bool is not either, or not finite, or beyond what a float
            can hold.

    >>> finite(3)
    3.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        raise ValueError from None
    if not math.isfinite(number):
        raise ValueError
    return number
