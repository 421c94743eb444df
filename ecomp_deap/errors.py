"""Errors: every one raised on purpose derives from `EcompError`.

A message names the argument, what was expected and what came, in that order.
"""

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


def argument_error(argument: str, expected: str, got: Any) -> ArgumentError:
    """Return the `ArgumentError` for ``argument``, to be raised by the caller.

    >>> str(argument_error("perplexity", "a number greater than 1", 0.5))
    'perplexity: expected a number greater than 1, got 0.5'
    """
    try:
        shown = repr(got)
    except ValueError:  # an integer of more digits than Python prints
        shown = f"a number of {type(got).__name__} with too many digits"
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}…"
    return ArgumentError(f"{argument}: expected {expected}, got {shown}")


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
