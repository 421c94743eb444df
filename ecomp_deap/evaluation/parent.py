"""What is asked of a parent before a search: that it runs, and what proves its groups."""

from typing import Any

import torch

from ecomp_deap.copying import copy_batch, tensors_in
from ecomp_deap.errors import ArgumentError, argument_error, named
from ecomp_deap.network.cost import mac_count
from ecomp_deap.network.failures import other_type
from ecomp_deap.task import Task

__all__ = ["check_parent", "proof_size"]

# Groups are proven on so many samples, or on fewer where one pass would take more operations.
_PROOF_SAMPLES, _PROOF_MACS = 64, 2**30


def check_parent(task: Task, inputs: Any) -> None:
    """Check that a task's parent takes its inputs, and leaves them as they are.

    Args:
        task: What is asked.
        inputs: Of a few samples.

    Raises:
        ArgumentError: It does not.
    """
    before = copy_batch(inputs)
    try:
        with torch.no_grad():
            task.apply(task.parent, inputs)
    except Exception as error:  # whatever the network's own code raises
        taken = " and ".join(str(tuple(tensor.shape[1:])) for tensor in tensors_in(inputs))
        why = other_type(task.parent, inputs, task.apply) or named(error)
        raise ArgumentError(
            f"parent: expected a network that takes samples of shape {taken}, but {why}"
        ) from error
    for old, new in zip(tensors_in(before), tensors_in(inputs), strict=True):
        if new._version and not torch.equal(old, new):
            expected = "a network that leaves its inputs as they are, or a forward that copies them"
            raise argument_error("parent", expected, "one that writes into them")


def proof_size(task: Task, two: Any) -> int:
    """Return on how many samples groups are proven: some of each kind if a network sorts them.

    Args:
        task: What is asked.
        two: The inputs of two samples.
    """
    n_macs = mac_count(task.parent, two, n_samples=2, forward=task.apply)
    return min(_PROOF_SAMPLES, max(2, _PROOF_MACS // max(n_macs, 1)))
