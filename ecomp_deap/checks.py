"""Checks of arguments that several packages share."""

import math
import operator
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ecomp_deap.errors import ArgumentError, argument_error, named
from ecomp_deap.finite import finite

__all__ = [
    "check_callable",
    "check_choice",
    "check_count",
    "check_flag",
    "check_fraction",
    "check_indices",
    "check_number",
    "check_path",
    "check_sequence",
    "check_type",
    "installed",
]


def check_type(name: str, value: Any, kind: type[Any]) -> Any:
    """Return ``value``.

    Raises:
        ArgumentError: It is no ``kind``, whose name the message has.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise argument_error(name, f"{article} {kind.__name__}", value)
    return value


def check_flag(name: str, value: Any) -> bool:
    """Return ``value``.

    Raises:
        ArgumentError: It is neither True nor False, though it may count as one of them.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise argument_error(name, "True or False", value)
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value``.

    Raises:
        ArgumentError: It is none of the names in ``choices``.
    """
    if not isinstance(value, str) or value not in choices:
        two = len(choices) == 2
        wanted = " or ".join(map(repr, choices)) if two else f"one of {tuple(choices)}"
        raise argument_error(name, wanted, value)
    return value


def check_callable(name: str, value: Any, what: str) -> Any:
    """Return ``value``.

    Raises:
        ArgumentError: It cannot be called; ``what`` says what it should be.
    """
    if not callable(value):
        raise argument_error(name, what, value)
    return value


def check_sequence(name: str, value: Any, what: str) -> Sequence[Any]:
    """Return ``value``.

    Raises:
        ArgumentError: It is a text or no sequence; ``what`` says of what it should be one.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise argument_error(name, f"a sequence of {what}", value)
    return value


def check_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path.

    Raises:
        ArgumentError: It is no path of a file or folder.
    """
    try:
        path = os.fspath(value)
        # An empty one would be the current folder; the system cannot encode half a letter.
        sound = isinstance(path, str) and path != "" and b"\0" not in os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        sound = False
    if not sound:
        raise argument_error(name, "a path", value)
    return Path(value)


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    expected: str = "",
) -> float:
    """Return ``value`` as a float.

    Raises:
        ArgumentError: It is no finite number, or outside ``minimum``…``maximum``, or not more than
            ``above`` or less than ``below``. The message says what was ``expected``, or else it is
            made of the bounds.
    """
    try:
        number = finite(value)
    except ValueError:
        number = math.nan
    if minimum <= number <= maximum and above < number < below:
        return number
    # Made here, as operators have numbers checked very often.
    bounds = (
        (f" greater than {above:g}", above > -math.inf),
        (f" of at least {minimum:g}", minimum > -math.inf),
        (f" and at most {maximum:g}", maximum < math.inf),
        (f" and less than {below:g}", below < math.inf),
    )
    wanted = expected or "a finite number" + "".join(text for text, given in bounds if given)
    raise argument_error(name, wanted, value)


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


def installed(module: str, *, extra: str, what: str) -> Any:
    """Return a module that comes with one of the package's extras; ``what`` needs it.

    Raises:
        ArgumentError: It is not installed, with what would install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ArgumentError(
            f"{what}: expected {module} to be installed (pip install 'ecomp-deap[{extra}]'), "
            f"got {named(error)}"
        ) from error
