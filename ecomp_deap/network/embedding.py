"""Embedding: what probe layers make of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.network.groups import stages

__all__ = ["default_probe_layers", "embed", "find_probe_layers"]


def default_probe_layers(parent: nn.Module) -> tuple[str, ...]:
    """Return the last layer before each next `Linear`: the activations behind each group."""
    probes: list[str] = []
    last: str | None = None
    seen_linear = False
    for name, module in stages(parent):
        if isinstance(module, nn.Linear):
            if seen_linear and last is not None:
                probes.append(last)
            seen_linear = True
        # Dropout changes what is measured only in training, so the layer before stands for it.
        if not isinstance(module, (nn.Dropout, nn.Identity)):
            last = name
    return tuple(probes)


def find_probe_layers(parent: nn.Module, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the probe layers, checked against the parent.

    Raises:
        ArgumentError: A name the parent does not have, or a name twice.
    """
    if names is None:
        return default_probe_layers(parent)
    known = [name for name, _ in parent.named_modules() if name]
    for name in names:
        if name not in known:
            raise argument_error("probe_layers", f"names among {known}", name)
    if len(set(names)) != len(names) or not names:
        raise argument_error("probe_layers", "at least one name, none twice", tuple(names))
    return tuple(names)


def embed(
    module: nn.Module,
    inputs: Any,
    probe_layers: Sequence[str],
    *,
    forward: Callable[[nn.Module, Any], Any],
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the outputs and each probe layer's embedding for a batch.

    Args:
        module: The network.
        inputs: A batch.
        probe_layers: Names of modules whose outputs are recorded.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        The outputs, and by layer a tensor of shape ``(n_samples, n_units)``: maps of shape
        ``(n, channels, height, width)`` are averaged over positions.
    """
    found: dict[str, torch.Tensor] = {}

    def record(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            # A copy: an activation with inplace=True behind the probe would overwrite it.
            found[name] = _flatten(name, output)

        return hook

    handles = [module.get_submodule(n).register_forward_hook(record(n)) for n in probe_layers]
    try:
        outputs = forward(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name in probe_layers:
        if name not in found:
            raise argument_error("probe_layers", "layers that the forward pass uses", name)
    return outputs, {name: found[name] for name in probe_layers}


def _flatten(name: str, output: torch.Tensor) -> torch.Tensor:
    if output.ndim == 2:
        return output.clone()
    if output.ndim == 4:
        return output.flatten(2).mean(dim=2)
    raise argument_error(
        f"probe layer {name!r}",
        "an output of shape (n_samples, n_units) or (n_samples, n_units, height, width)",
        tuple(output.shape),
    )
