"""Failures: errors of a user's own code, and whether they cost one child something or all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from ecomp_deap.copying import copy_network, tensors_in
from ecomp_deap.errors import EcompError, EvaluationError, named
from ecomp_deap.network.running import Forward, run

__all__ = ["blaming", "failure", "other_type"]

# What is no child's fault: our own errors, and memory, which another machine has more of.
_NO_FAILURES = (EcompError, MemoryError, torch.OutOfMemoryError)
_LONGEST_REASON = 300
# What converts a tensor, by name.
_CONVERTERS = {
    torch.float64: "double",
    torch.float32: "float",
    torch.float16: "half",
    torch.bfloat16: "bfloat16",
}


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


def other_type(network: nn.Module, inputs: Any, forward: Forward) -> str:
    """Return why a network has not taken inputs if it takes them in the type of its weights.

    Args:
        network: The network; it is not changed.
        inputs: A batch that it has raised an error for.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        What converts them, or nothing if their type is not why.
    """
    own = {tensor.dtype for tensor in network.parameters()} & _CONVERTERS.keys()
    others = {tensor.dtype for tensor in tensors_in(inputs)} - own
    # Integers beside them may be indices.
    others = {dtype for dtype in others if dtype.is_floating_point} or others
    if len(own) != 1 or len(others) != 1:
        return ""
    (wanted,), (found,) = own, others
    converted = tree_map_only(
        torch.Tensor, lambda x: x.to(wanted) if x.dtype == found else x, inputs
    )
    try:
        with torch.no_grad():
            run(copy_network(network), converted, forward)
    except Exception:  # so it is for another reason
        return ""
    names = [str(dtype).removeprefix("torch.") for dtype in (found, wanted)]
    return f"inputs are {names[0]}, the network {names[1]}: inputs.{_CONVERTERS[wanted]}()"
