"""`find_structure`: the groups of units of any parent, whatever it takes to find them."""

from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Structure
from ecomp_deap.network.dependencies import traced_structure
from ecomp_deap.network.groups import stack_structure

__all__ = ["find_structure"]


def find_structure(
    parent: nn.Module,
    example: Any = None,
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    protect: Collection[str] = (),
) -> Structure:
    """Return the groups of a parent: units that can be removed, and what goes with them.

    A sequential stack needs no run, see `stack_structure`. Any other network is run on
    ``example`` and searched, see `traced_structure`.

    Args:
        parent: The network, in eval mode; it is not changed.
        example: A batch, of which a sample or two are enough; needed unless the parent is a stack.
        forward: ``(module, inputs) -> outputs``, by default ``module(inputs)``.
        protect: Names of layers whose outputs stay whole.

    Raises:
        ArgumentError: Nothing to prune, with every layer's reason; a stack that holds what cannot
            be pruned, and no example; a name in ``protect`` that the parent does not have.
    """
    if not protect:
        try:
            return stack_structure(parent)
        except ArgumentError:
            if example is None:
                raise
    return traced_structure(parent, example, forward=forward, protect=protect)
