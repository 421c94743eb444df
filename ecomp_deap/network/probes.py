"""Probes: the layers whose outputs are compared between parent and child, and how these lie.

Networks put samples and units into any dimension: maps have the shape ``(n, units, ...)``, token
sequences ``(n, tokens, units)``, or with the tokens first ``(tokens, n, units)``. So nothing is
guessed from a shape alone where running the parent tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import (
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Structure
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.cost_model import half_widths, leading_units
from ecomp_deap.network.embedding import Probe, first_tensor
from ecomp_deap.network.failures import blaming
from ecomp_deap.network.groups import ELEMENTWISE, stages
from ecomp_deap.network.hooks import watching
from ecomp_deap.network.running import Forward, run

__all__ = ["default_probe_layers", "find_probe_layers"]

# Of any network: each costs a table for every child.
_MAX_PROBES = 4
# What says of its outputs, and of what follows in the same shape, where the units are.
_UNITS_FIRST = (
    *(_ConvNd, _NormBase, nn.GroupNorm),
    *(_MaxPoolNd, _AvgPoolNd, _AdaptiveMaxPoolNd, _AdaptiveAvgPoolNd),
)
_UNITS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)


@dataclass(frozen=True)
class _Output:
    """What a layer puts out.

    Attributes:
        shape: Its shape.
        units_first: Whether units come right behind the samples, as in maps; else last.
    """

    shape: tuple[int, ...]
    units_first: bool


def find_probe_layers(
    parent: nn.Module,
    names: Sequence[str] | None,
    *,
    structure: Structure,
    two: Any,
    three: Any,
    forward: Forward,
) -> tuple[Probe, ...]:
    """Return the probe layers, and how their outputs lie, which runs of the parent tell.

    The samples' dimension is the one whose size is the number of samples, in both batches; the
    first, if there are several. The units' is the one that is smaller in a child of half the
    widths; the first, if there are several. Where none is, as all units of the layer stay, it is
    the one behind the samples' if the layer is a convolution, a norm over a batch or a pooling, or
    acts on what one puts out; the last if that is a `Linear`, `LayerNorm` or `Embedding`; and if
    neither is known, the one behind the samples' of four dimensions or more, else the last.

    Args:
        parent: The network, in eval mode; it is not changed.
        names: Of the layers; None for `default_probe_layers` of a stack and, of any other network,
            at most four that are evenly spread in the order of its forward pass, among activations
            or, where it has none, among the layers that make groups. Those whose dimensions are
            not found are left out.
        structure: The parent's groups.
        two: A batch of two samples.
        three: A batch of three samples.
        forward: ``(module, inputs) -> outputs``.

    Returns:
        The probe layers in order; none where an empty list was given, or no names were and no
        layer was found.

    Raises:
        ArgumentError: A name that the parent does not have, a name twice, or a layer whose outputs
            have no dimension for the samples, or none beside it for units.
    """
    if names is not None:
        _check_names(parent, names)
    seen = _outputs(parent, three, forward)
    fewer = _outputs(parent, two, forward)
    genome = leading_units(structure, half_widths(structure))
    with blaming("forward: expected a function that takes children of half the parent's widths"):
        smaller = _outputs(compile_child(parent, structure, genome), three, forward)
    probes = {}
    for name in seen:
        probe = _probe(name, seen[name], fewer.get(name), smaller.get(name))
        if probe is not None:
            probes[name] = probe
    if names is None:
        if structure.is_stack:
            names = [name for name in default_probe_layers(parent) if name in probes]
        else:
            names = _spread(parent, structure, list(probes))
    for name in names:
        if name not in probes:
            got = f"shape {seen[name].shape} for three samples" if name in seen else "no tensor"
            raise argument_error(
                "probe_layers",
                "layers that put out a row of units for each sample, or several",
                f"{name!r}, which puts out {got}",
            )
    return tuple(probes[name] for name in names)


def default_probe_layers(parent: nn.Module) -> tuple[str, ...]:
    """Return the last layer before each next `Linear` or `Conv2d`: what each group's units give.

    Where maps are flattened, it is the last layer before the `Flatten`, as columns are no units.

    Args:
        parent: A sequential stack.
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


def _check_names(parent: nn.Module, names: Sequence[str]) -> None:
    known = [name for name, _ in parent.named_modules() if name]
    for name in names:
        if name not in known:
            raise argument_error("probe_layers", f"names among {known}", name)
    if len(set(names)) != len(names):
        raise argument_error("probe_layers", "no name twice", tuple(names))


def _outputs(network: nn.Module, inputs: Any, forward: Forward) -> dict[str, _Output]:
    """Return what each layer puts out, in the order in which they are last used."""
    found: dict[str, _Output] = {}
    layouts: dict[tuple[int, ...], bool] = {}

    def note(name: str, module: nn.Module, output: Any) -> None:
        found.pop(name, None)
        tensor = first_tensor(output)
        if tensor is None:
            return
        shape = tuple(tensor.shape)
        if isinstance(module, (*_UNITS_FIRST, *_UNITS_LAST)):
            layouts[shape] = isinstance(module, _UNITS_FIRST)
        found[name] = _Output(shape, layouts.get(shape, len(shape) >= 4))

    named = [(name, module) for name, module in network.named_modules() if name]
    with watching(named, note), torch.no_grad():
        run(network, inputs, forward)
    return found


def _probe(
    name: str, output: _Output, fewer: _Output | None, smaller: _Output | None
) -> Probe | None:
    """Return the probe of a layer, or None if its samples or units are nowhere.

    Args:
        name: Of the layer.
        output: What it puts out for three samples.
        fewer: For two samples.
        smaller: For three samples in a child.
    """
    shape, n_dims = output.shape, len(output.shape)
    if fewer is None or len(fewer.shape) != n_dims:
        return None
    sizes = list(zip(fewer.shape, shape, strict=True))
    if (2, 3) not in sizes or n_dims < 2:
        return None
    sample_dim = sizes.index((2, 3))
    others = [dim for dim in range(n_dims) if dim != sample_dim]
    if smaller is not None and len(smaller.shape) == n_dims:
        shrunk = [dim for dim in others if smaller.shape[dim] < shape[dim]]
        if shrunk:
            return Probe(name, sample_dim, shrunk[0])
    behind = [dim for dim in others if dim > sample_dim]
    return Probe(name, sample_dim, behind[0] if output.units_first and behind else others[-1])


def _spread(parent: nn.Module, structure: Structure, known: Sequence[str]) -> list[str]:
    """Return at most four of the layers known, the last one of their kind among them."""
    modules = dict(parent.named_modules())
    activations = tuple(kind for kind in ELEMENTWISE if kind not in (nn.Dropout, nn.Identity))
    found = [name for name in known if isinstance(modules[name], activations)]
    if not found:
        tables = (tensor.removesuffix(".weight") for tensor in structure.tables)
        makers = {group.name for group in structure.groups} | set(tables)
        found = [name for name in known if name in makers]
    n = min(_MAX_PROBES, len(found))
    return [found[(i + 1) * len(found) // n - 1] for i in range(n)]
