"""Inspection: what could be pruned from a parent, and what each group of units takes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecomp_deap.copying import check_module, copy_network, tensors_in
from ecomp_deap.errors import ArgumentError, argument_error, one_line
from ecomp_deap.genomes import Structure
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.network.failures import other_type
from ecomp_deap.network.structure import find_structure
from ecomp_deap.task import default_forward

__all__ = ["GroupRow", "Inspection", "inspect"]

_HEADINGS = ("group", "units", "parameters", "share", "MACs", "share")
_TWICE = "a weight between two groups counts for both"


@dataclass(frozen=True)
class GroupRow:
    """What one group of units takes.

    Attributes:
        name: Name of the layer that makes the units.
        n_units: Number of units in the parent.
        min_units: A child keeps at least so many.
        param_count: Parameters that the parent would lose with all of the group's units.
        mac_count: Likewise, multiply-accumulate operations for one sample; None where they are
            not known.
    """

    name: str
    n_units: int
    min_units: int
    param_count: int
    mac_count: int | None


@dataclass(frozen=True)
class Inspection:
    """The groups of a parent with their costs; ``str()`` makes a table of it.

    Attributes:
        rows: One for each group, in the order of the forward pass.
        left_alone: Layers whose outputs are never cut, by name, and why.
        param_count: The parent's parameters, those outside all groups included.
        mac_count: The parent's multiply-accumulate operations for one sample; None where they
            take an example to tell.
    """

    rows: tuple[GroupRow, ...]
    left_alone: Mapping[str, str]
    param_count: int
    mac_count: int | None

    def __str__(self) -> str:
        n_units = sum(row.n_units for row in self.rows)
        cells = [
            _HEADINGS,
            *(
                self._cells(row.name, row.n_units, row.param_count, row.mac_count)
                for row in self.rows
            ),
            self._cells("parent", n_units, self.param_count, self.mac_count),
        ]
        reasons = [f"left alone: {layer} - {reason}" for layer, reason in self.left_alone.items()]
        twice = sum(row.param_count for row in self.rows) > self.param_count or (
            self.mac_count is not None
            and sum(row.mac_count or 0 for row in self.rows) > self.mac_count
        )
        return "\n".join([*_aligned(cells), *([_TWICE] if twice else []), *reasons])

    def _cells(self, name: str, n_units: int, params: int, macs: int | None) -> tuple[str, ...]:
        return (
            name,
            f"{n_units:,d}",
            *_with_share(params, self.param_count),
            *_with_share(macs, self.mac_count),
        )


def inspect(
    parent: nn.Module,
    example: Any = None,
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    protect: Collection[str] = (),
    min_units: int | Mapping[str, int] = 1,
    round_to: int = 1,
    prune_inputs: bool = False,
) -> Inspection:
    """Return what could be pruned from a parent, without changing or training it.

    A group's parameters and MACs are what the parent would lose if all the group's units were
    gone. A weight between two groups counts for both, so that shares may add up to more than
    100 %.

    Args:
        parent: A network that `find_structure` takes, by itself or with the example.
        example: A batch of inputs, of at least one sample. Without it, the MACs of a parent with
            convolutions are not known.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.
        protect: See `Task`, like the next three.
        min_units: See there.
        round_to: See there.
        prune_inputs: See there.

    Raises:
        ArgumentError: A parent that `find_structure` refuses or in which it finds no group, or
            an example that the parent does not take.

    >>> from ecomp_deap.network import make_parent
    >>> print(inspect(make_parent((256, 128))))
    group           units  parameters    share     MACs    share
    layer_1_linear    256     233,728   99.4 %  233,472   99.5 %
    layer_2_linear    128      34,176   14.5 %   34,048   14.5 %
    parent            384     235,146  100.0 %  234,752  100.0 %
    a weight between two groups counts for both
    left alone: output - its units are the network's outputs
    """
    # In eval mode, as batch norms would learn from the example.
    network = copy_network(check_module("parent", parent)).eval()
    n_samples = 1 if example is None else _n_samples(example)
    forward = default_forward if forward is None else forward
    structure = find_structure(
        network,
        example,
        forward=forward,
        protect=protect,
        min_units=min_units,
        round_to=round_to,
        prune_inputs=prune_inputs,
    )
    model = _cost_model(structure, network, example, n_samples, forward)
    inspection = _inspection(structure, model, macs_known=example is not None)
    if not inspection.rows:
        raise ArgumentError(
            f"parent: expected at least one group of units to prune, got none:\n{inspection}"
        )
    return inspection


def _cost_model(
    structure: Structure,
    parent: nn.Module,
    example: Any,
    n_samples: int,
    forward: Callable[[nn.Module, Any], Any],
) -> CostModel:
    try:
        return CostModel(parent, structure, example, n_samples=n_samples, forward=forward)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        why = other_type(parent, example, forward) or one_line(error)
        raise ArgumentError(
            f"example: expected a batch that the parent takes, but {why}"
        ) from error


def _n_samples(example: Any) -> int:
    """Return the size of a batch: of its first tensor."""
    for leaf in tensors_in(example):
        if leaf.ndim and len(leaf):
            return len(leaf)
    got = tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
    raise argument_error("example", "a batch of at least one sample", got)


def _inspection(structure: Structure, model: CostModel, *, macs_known: bool) -> Inspection:
    macs_known = macs_known or all(len(shape) <= 2 for shape in structure.shapes.values())
    whole = model(structure.widths)
    rows = []
    for index, group in enumerate(structure.groups):
        if group.is_fixed:
            continue
        left = model.formula([0 if i == index else n for i, n in enumerate(structure.widths)])
        rows.append(
            GroupRow(
                group.name,
                group.n_units,
                group.min_units,
                whole.param_count - left.param_count,
                whole.mac_count - left.mac_count if macs_known and model.is_exact else None,
            )
        )
    total = whole.mac_count if macs_known else None
    return Inspection(tuple(rows), structure.left_alone, whole.param_count, total)


def _with_share(count: int | None, total: int | None) -> tuple[str, str]:
    if count is None or total is None:
        return "-", "-"
    return f"{count:,d}", f"{100 * count / total:.1f} %" if total else "-"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
