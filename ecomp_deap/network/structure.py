"""`find_structure`: the groups of units of any parent, whatever it takes to find them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ecomp_deap.checks import check_count
from ecomp_deap.copying import check_network, tensors_in
from ecomp_deap.data.soundness import check_dense
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.genomes import Group, Structure
from ecomp_deap.network.dependencies import traced_structure
from ecomp_deap.network.groups import nothing_to_prune, stack_structure
from ecomp_deap.task import check_weights

__all__ = ["find_structure"]


def find_structure(
    parent: nn.Module,
    example: Any = None,
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    protect: Collection[str] = (),
    min_units: int | Mapping[str, int] = 1,
    round_to: int = 1,
    prune_inputs: bool = False,
) -> Structure:
    """Return the groups of a parent: units that can be removed, and what goes with them.

    A sequential stack needs no run, see `stack_structure`. Any other network is run on
    ``example`` and searched, see `traced_structure`.

    Args:
        parent: The network, in eval mode; it is not changed.
        example: A batch, needed unless the parent is a stack. A sample or two are enough, but where
            a network sends samples different ways, take some for each.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.
        protect: Names of layers whose outputs stay whole, or of modules all of whose layers'
            outputs do.
        min_units: Units that every group keeps at least (all, if it has no more), or by the name
            of a layer those that its group does.
        round_to: Groups keep a multiple of so many units, or all. Heads of attention are not
            counted so.
        prune_inputs: Whether input features can be removed, of a stack that begins with a `Linear`.

    Raises:
        ArgumentError: A parent without weights; an example that is sparse, holds no numbers or
            that the parent does not take; nothing to prune, with every layer's reason; a stack that
            holds what cannot be pruned, and no example; inputs that cannot be pruned; a name in
            ``protect`` or ``min_units`` that the parent does not have; a number out of range;
            layers that have no weights yet, or are scripted; outputs that nothing can be proven by.
    """
    check_network(parent)
    check_weights(parent)
    for tensor in tensors_in(example):
        check_dense("example", tensor)
    check_count("round_to", round_to, minimum=1)
    known = [name for name, _ in parent.named_modules() if name]
    for name in protect:
        if name not in known and not (name == "inputs" and prune_inputs):
            raise argument_error("protect", f"names of the parent's modules {known}", name)
    structure = _find(parent, example, forward, prune_inputs)
    heads = {n for n, module in parent.named_modules() if isinstance(module, nn.MultiheadAttention)}
    rounding = {g.name: 1 if g.name in heads else round_to for g in structure.groups}
    return _constrained(structure, protect, min_units, rounding)


def _find(
    parent: nn.Module,
    example: Any,
    forward: Callable[[nn.Module, Any], Any] | None,
    prune_inputs: bool,
) -> Structure:
    try:
        return stack_structure(parent, prune_inputs=prune_inputs)
    except ArgumentError as error:
        if prune_inputs and not str(error).startswith("prune_inputs"):
            raise ArgumentError(
                f"prune_inputs: expected a sequential stack that begins with a Linear, but {error}"
            ) from error
        if prune_inputs:
            raise
        if example is None and type(parent).forward is not nn.Sequential.forward:
            raise argument_error(
                "example",
                "a batch of inputs for a network that is no Sequential",
                None,
                hint="inspect(network, inputs[:2]), or --example 1,28,28",
            ) from error
        if example is None:
            raise ArgumentError(f"{error} (or any network, with an example)") from error
    return traced_structure(parent, example, forward=forward)


def _constrained(
    structure: Structure,
    protect: Collection[str],
    min_units: int | Mapping[str, int],
    round_to: Mapping[str, int],
) -> Structure:
    """Return the structure with what limits the number of units that its groups keep."""
    makers = _makers(structure)
    least = [1] * len(makers)
    if isinstance(min_units, Mapping):
        for name, number in min_units.items():
            owner = next((i for i, layers in enumerate(makers) if name in layers), None)
            if owner is None:
                known = sorted(layer for layers in makers for layer in layers)
                raise argument_error("min_units", f"names among {known}", name)
            most = structure.groups[owner].n_units
            number = check_count(f"min_units[{name!r}]", number, minimum=1, maximum=most)
            least[owner] = max(least[owner], number)
    else:
        least = [check_count("min_units", min_units, minimum=1)] * len(makers)
    groups, left_alone = [], dict(structure.left_alone)
    for group, layers, number in zip(structure.groups, makers, least, strict=True):
        number = min(number, group.n_units)
        found = Group(group.name, group.n_units, number, round_to[group.name], group.is_input)
        reason = None
        if found.is_fixed:
            reason = f"of its {group.n_units} units none can go" + (
                f" with min_units={number} and round_to={found.round_to}"
                if group.n_units > 1
                else ""
            )
        if any(_is_within(layer, module) for layer in layers for module in protect):
            found = Group(group.name, group.n_units, group.n_units, is_input=group.is_input)
            reason = "protected"
        if reason is not None:
            left_alone.update(dict.fromkeys(layers, reason))
        groups.append(found)
    if all(group.is_fixed for group in groups):
        raise nothing_to_prune(left_alone)
    return replace(structure, groups=tuple(groups), left_alone=left_alone)


def _makers(structure: Structure) -> list[list[str]]:
    """Return for each group the names of the layers that put out its units."""
    makers: list[list[str]] = [[group.name] for group in structure.groups]
    for tensor in structure.tensors:
        layer = tensor.rpartition(".")[0]
        axis = structure.made_along(tensor)
        for index in () if axis is None else axis.groups:
            if layer not in makers[index]:
                makers[index].append(layer)
    return makers


def _is_within(layer: str, module: str) -> bool:
    return layer == module or layer.startswith(f"{module}.")
