"""Runs that can be compared: they change no inputs, and leave nothing to chance."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ecomp_deap.copying import copy_batch

__all__ = ["run"]

# ``(module, inputs) -> outputs``.
Forward = Callable[[nn.Module, Any], Any]


def run(network: nn.Module, inputs: Any, forward: Forward) -> Any:
    """Return a network's outputs, always for the same random numbers.

    Args:
        network: The network.
        inputs: A batch; it is copied, as some networks write into theirs.
        forward: ``(module, inputs) -> outputs``.
    """
    devices = {p.device.index for p in network.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices)):
        torch.default_generator.manual_seed(0)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(0)
        return forward(network, copy_batch(inputs))
