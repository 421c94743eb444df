"""Failures: errors of a user's own code, and whether they cost one child something or all."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ecomp_deap.errors import EcompError, EvaluationError, named

__all__ = ["blaming", "failure"]

# What is no child's fault: our own errors, and memory, which another machine has more of.
_NO_FAILURES = (EcompError, MemoryError, torch.OutOfMemoryError)
_LONGEST_REASON = 300


def failure(error: Exception) -> str:
    """Return why a child has failed whose training, forward pass or metric raised an error.

    To be called where the error is caught, as it is raised again if it is no child's.
    """
    if isinstance(error, _NO_FAILURES):
        raise error
    return named(error)[:_LONGEST_REASON]


@contextmanager
def blaming(expected: str) -> Iterator[None]:
    """Run what is done for all children: an error of a user's code in it is no child's failure.

    Args:
        expected: What was expected of which argument, for the error.

    Raises:
        EvaluationError: The code raised an error, which is its cause.
    """
    try:
        yield
    except Exception as error:  # whatever a user's code raises
        raise EvaluationError(f"{expected}, got {failure(error)}") from error
