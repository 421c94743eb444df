"""Shapes: what JSON from a file must look like before anything is made of it.

A sum proves that a file is as it was written, and not who wrote it. So everything that is read is
compared with a shape: a function that tells whether a value is sound, ``[shape]`` for a list of
such, ``{name: shape}`` for an object with just these names.
"""

import math
from typing import Any

from ecomp_deap.measurement import Measurement

__all__ = [
    "check_shape",
    "is_count",
    "is_number",
    "is_object",
    "is_plain",
    "measurement_of",
    "optional",
    "shown",
]

# No count or number of ours comes near; integers beyond it are no floats.
_LARGEST = 2**63


def check_shape(value: Any, shape: Any, where: str = "") -> None:
    """Check that a value has a shape.

    Raises:
        ValueError: It has another, with the place.

    >>> check_shape({"widths": [3, "x"]}, {"widths": [is_count]})
    Traceback (most recent call last):
    ValueError: widths[1] is 'x'
    """
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{where or 'it'} is no list")
        for i, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{i}]")
    elif isinstance(shape, dict):
        if not isinstance(value, dict) or set(value) != set(shape):
            raise ValueError(f"{where or 'it'} has not just {', '.join(shape)}")
        for name, of_name in shape.items():
            check_shape(value[name], of_name, f"{where}.{name}" if where else name)
    elif not shape(value):
        raise ValueError(f"{where or 'it'} is {shown(value)}")


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _LARGEST


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number of at least 0."""
    return isinstance(value, int) and is_number(value) and value >= 0


def is_object(value: Any) -> bool:
    """Return whether a value is a JSON object, with whatever in it."""
    return isinstance(value, dict)


def is_plain(value: Any) -> bool:
    """Return whether a value is a finite number, a text, true, false or null."""
    return value is None or isinstance(value, (str, bool)) or is_number(value)


def optional(shape: Any) -> Any:
    """Return the shape of what may also be null."""

    def sound(value: Any) -> bool:
        if value is not None:
            check_shape(value, shape)
        return True

    return sound


def _is_cost(value: Any) -> bool:
    """Return whether a value is a pair of a name and a number."""
    pair = isinstance(value, list) and len(value) == 2
    return pair and isinstance(value[0], str) and is_number(value[1])


_MEASUREMENT = {
    "metric": is_number,
    "similarity_loss": is_number,
    "relative_width": is_number,
    "param_count": is_count,
    "mac_count": is_count,
    "size_bytes": is_count,
    "failed": lambda value: isinstance(value, bool),
    "reason": lambda value: isinstance(value, str),
    "metric_name": lambda value: isinstance(value, str),
    "latency_ms": lambda value: value is None or is_number(value),
    "violation": is_number,
    "costs": [_is_cost],
}


def measurement_of(row: Any, *, metric: str, timed: bool) -> Measurement:
    """Return the measurement that `numbers` has written.

    Args:
        row: From a file.
        metric: The name of the task's metric.
        timed: Whether the search times children.

    Raises:
        ValueError: It is none, or of another task.
    """
    if isinstance(row, dict):  # without them where there are none, as in older versions' files
        row = {"costs": [], **row}
    check_shape(row, _MEASUREMENT)
    found = Measurement(**{**row, "costs": tuple((name, value) for name, value in row["costs"])})
    if found.metric_name != metric or (timed and found.latency_ms is None):
        raise ValueError(f"it lacks {metric if found.metric_name != metric else 'latency_ms'}")
    return found


def shown(value: Any) -> str:
    """Return a value for a message, or its kind where it may be too long or too deep for one."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"{value[:39]!r}…"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    sound = value is None or isinstance(value, (bool, int, float))
    return repr(value) if sound else f"a {type(value).__name__}"
