"""Embedding: what probe layers make of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure
from ecomp_deap.network.groups import ELEMENTWISE, stages
from ecomp_deap.network.hooks import watching

__all__ = ["as_embedding", "default_probe_layers", "embed", "find_probe_layers"]

# Of any network: each costs a table for every child.
_MAX_PROBES = 4


def default_probe_layers(parent: nn.Module) -> tuple[str, ...]:
    """Return the last layer before each next `Linear` or `Conv2d`: what each group's units give.

    Where maps are flattened, it is the last layer before the `Flatten`, as columns are no units.
    """
    probes: list[str] = []
    last: str | None = None
    flattened = False
    for name, module in stages(parent):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            if last is not None:
                probes.append(last)
            last, flattened = name, False
        elif last is None:
            continue  # nothing in front of the first layer with weights is a unit
        elif isinstance(module, nn.Flatten):
            flattened = True
        # Dropout changes what is measured only in training, so the layer before stands for it.
        elif not flattened and not isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Identity)):
            last = name
    return tuple(probes)


def spread_probe_layers(
    parent: nn.Module,
    structure: Structure,
    inputs: Any,
    *,
    forward: Callable[[nn.Module, Any], Any],
) -> tuple[str, ...]:
    """Return at most four layers of any network, evenly spread in the order of its forward pass.

    They are chosen among activations, or, where it has none, among the layers that make groups;
    the last one is always taken.

    Args:
        parent: The network, in eval mode.
        structure: Its groups.
        inputs: A batch, of at least two samples.
        forward: ``(module, inputs) -> outputs``.
    """
    seen: dict[str, nn.Module] = {}
    leaves = torch.utils._pytree.tree_leaves(inputs)
    n_samples = {len(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.ndim}

    def note(name: str, module: nn.Module, output: Any) -> None:
        # Positions are embedded once for all samples.
        is_of_samples = not isinstance(module, nn.Embedding) or len(output) in n_samples
        if isinstance(output, torch.Tensor) and output.ndim in (2, 3, 4) and is_of_samples:
            seen.pop(name, None)  # a module that is used again is known by its last use
            seen[name] = module

    named = [(name, module) for name, module in parent.named_modules() if name]
    with watching(named, note), torch.no_grad():
        forward(parent, inputs)
    activations = tuple(kind for kind in ELEMENTWISE if kind not in (nn.Dropout, nn.Identity))
    found = [name for name, module in seen.items() if isinstance(module, activations)]
    if not found:
        tables = (tensor.removesuffix(".weight") for tensor in structure.tables)
        makers = {group.name for group in structure.groups} | set(tables)
        found = [name for name in seen if name in makers]
    n = min(_MAX_PROBES, len(found))
    return tuple(found[(i + 1) * len(found) // n - 1] for i in range(n))


def find_probe_layers(
    parent: nn.Module,
    names: Sequence[str] | None,
    *,
    structure: Structure | None = None,
    inputs: Any = None,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> tuple[str, ...]:
    """Return the probe layers, checked against the parent.

    Args:
        parent: The network.
        names: Of the layers; None for `default_probe_layers` of a stack, and
            `spread_probe_layers` of any other network.
        structure: The parent's groups, None for a stack's.
        inputs: A batch, needed unless the parent is a stack.
        forward: ``(module, inputs) -> outputs``, likewise.

    Raises:
        ArgumentError: A name the parent does not have, or a name twice.
    """
    if names is None:
        if structure is None or structure.is_stack:
            return default_probe_layers(parent)
        assert forward is not None
        return spread_probe_layers(parent, structure, inputs, forward=forward)
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
        ``(n, channels, height, width)`` are averaged over positions, and token sequences of shape
        ``(n, tokens, units)`` over tokens.
    """
    found: dict[str, torch.Tensor] = {}

    def record(name: str, _module: nn.Module, output: torch.Tensor) -> None:
        # A copy: an activation with inplace=True behind the probe would overwrite it.
        found[name] = as_embedding(name, output)

    with watching([(n, module.get_submodule(n)) for n in probe_layers], record):
        outputs = forward(module, inputs)
    for name in probe_layers:
        if name not in found:
            raise argument_error("probe_layers", "layers that the forward pass uses", name)
    return outputs, {name: found[name] for name in probe_layers}


def as_embedding(name: str, output: torch.Tensor) -> torch.Tensor:
    """Return a layer's output as an embedding of its own memory, shape ``(n_samples, n_units)``.

    Args:
        name: Of the probe layer, for the error.
        output: Shape ``(n_samples, n_units)``; or maps of shape ``(n_samples, n_units, height,
            width)``, which are averaged over positions; or sequences of shape ``(n_samples,
            n_tokens, n_units)``, averaged over tokens.

    Raises:
        ArgumentError: An output of another shape.
    """
    if output.ndim == 2:
        return output.clone()
    if output.ndim == 3:
        return output.mean(dim=1)
    if output.ndim == 4:
        return output.flatten(2).mean(dim=2)
    raise argument_error(
        f"probe layer {name!r}",
        "an output of shape (n_samples, n_units), (n_samples, n_tokens, n_units) or "
        "(n_samples, n_units, height, width)",
        tuple(output.shape),
    )
