"""Errors: every one raised on purpose derives from `EcompError`.

A message names the argument, what was expected and what came, in that order.
"""

import reprlib
from typing import Any

__all__ = [
    "ArgumentError",
    "DataError",
    "EcompError",
    "EvaluationError",
    "SelectionError",
    "argument_error",
    "named",
    "one_line",
]


# Of what came; a tensor of millions of numbers says no more in full.
_LONGEST = 500


class EcompError(Exception):
    """Base class of all errors that ecomp_deap raises on purpose."""


class ArgumentError(EcompError, ValueError):
    """An argument or option is out of range, of the wrong type, or contradicts another."""


class DataError(EcompError):
    """A file or a data set is missing, damaged or not what its name says."""


class EvaluationError(EcompError):
    """More than half of a generation's children failed, so that a search says nothing."""


class SelectionError(EcompError, ValueError):
    """A selection operator does not suit the fitness or the algorithm it is used with."""


def argument_error(argument: str, expected: str, got: Any, *, hint: str = "") -> ArgumentError:
    """Return the `ArgumentError` for ``argument``, to be raised by the caller.

    Of tensors and arrays the message has type and shape alone. A ``hint`` on what to do ends it.

    >>> str(argument_error("perplexity", "a number greater than 1", 0.5))
    'perplexity: expected a number greater than 1, got 0.5'
    """
    try:
        shown = _Shown().repr(got)
    except ValueError:  # an integer of more digits than Python prints
        shown = f"a number of {type(got).__name__} with too many digits"
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}…"
    return ArgumentError(f"{argument}: expected {expected}, got {shown}{hint and f'; {hint}'}")


class _Shown(reprlib.Repr):
    """``repr``, but of tensors and arrays by type and shape, also within containers."""

    def __init__(self) -> None:
        super().__init__()
        self.maxtuple = self.maxlist = self.maxdict = _LONGEST

    def repr1(self, x: Any, level: int) -> str:
        try:
            shape, dtype = tuple(x.shape), str(x.dtype)
        except Exception:  # whatever a user's class raises; most have no shape
            shape, dtype = (), ""
        if shape:  # else it is a single number, which says more itself
            kind = "a tensor" if dtype.startswith("torch.") else "an array"
            return f"{kind} of {dtype.removeprefix('torch.')} {shape}"
        if isinstance(x, tuple):
            return self.repr_tuple(x, level)
        if isinstance(x, list):
            return self.repr_list(x, level)
        return self.repr_dict(x, level) if isinstance(x, dict) else repr(x)


def named(error: BaseException) -> str:
    """Return an error's class and text, in one line; for what other code raises.

    >>> named(ValueError("size mismatch:\\n\\texpected 3"))
    'ValueError: size mismatch: expected 3'
    """
    return f"{type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException) -> str:
    """Return an error's text in one line; torch's fill several.

    >>> one_line(ValueError("size mismatch:\\n\\texpected 3"))
    'size mismatch: expected 3'
    """
    return " ".join(str(error).split())
