"""The proof: a child without half of a group's units, beside the parent that reads them as 0."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecomp_deap.errors import one_line
from ecomp_deap.genomes import MaskGenome, Structure
from ecomp_deap.network.candidates import Candidate, structure_of
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.groups import OUTPUTS

__all__ = ["lively_twin", "masked_parent", "proven_candidates"]

# Outputs may differ by rounding, relative to the largest.
_TOLERANCE = 1e-4

# The largest entry of a parameter that an initialisation has as good as switched off.
_NEXT_TO_NOTHING = 1e-5

Forward = Callable[[nn.Module, Any], Any]


def lively_twin(parent: nn.Module, example: Any, forward: Forward) -> nn.Module:
    """Return the parent with outputs that depend on its units, as an untrained one's may not.

    Parameters that are all next to 0 become small random numbers, and batch norms normalise the
    example: behind a last layer of zeros, or activations that fade from layer to layer, every
    child's outputs would be the parent's. Other tensors are shared.
    """
    generator = torch.Generator().manual_seed(0)
    memo: dict[int, Any] = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    for module in parent.modules():
        if isinstance(module, _BatchNorm):
            memo |= {id(buffer): buffer.clone() for buffer in module.buffers()}
    for parameter in parent.parameters():
        if parameter.numel() and parameter.abs().max() <= _NEXT_TO_NOTHING:
            values = 0.02 * torch.randn(parameter.shape, generator=generator)
            memo[id(parameter)] = nn.Parameter(values.to(parameter))
    lively = copy.deepcopy(parent, memo)
    norms = [m for m in lively.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    try:
        with torch.no_grad():
            forward(lively, example)
    except ValueError:  # a norm that sees one value only has nothing to normalise
        for norm, (_, state) in zip(norms, before, strict=True):
            norm.load_state_dict(state)
    for norm, (momentum, _) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
        if norm.running_var is not None:
            norm.running_var.clamp_(min=1e-4)
    return lively


def proven_candidates(
    parent: nn.Module,
    candidates: Sequence[Candidate],
    example: Any,
    forward: Forward,
    left_alone: dict[str, str],
) -> list[Candidate]:
    """Return the candidates that can be removed together; note why others cannot."""
    if not candidates or _failure(parent, candidates, example, forward) is None:
        return list(candidates)
    alone = []
    for candidate in candidates:
        reason = _failure(parent, [candidate], example, forward)
        other = candidate.flattened_by_position(parent)
        if reason is None:
            alone.append(candidate)
        elif other is not None and _failure(parent, [other], example, forward) is None:
            alone.append(other)
        else:
            left_alone.update(dict.fromkeys(candidate.makers, reason))
    if not alone or _failure(parent, alone, example, forward) is None:
        return alone
    together: list[Candidate] = []
    for candidate in alone:
        reason = _failure(parent, [*together, candidate], example, forward)
        if reason is None:
            together.append(candidate)
        else:
            reason = f"together with other groups, {reason}"
            left_alone.update(dict.fromkeys(candidate.makers, reason))
    return together


def _failure(
    parent: nn.Module, candidates: Sequence[Candidate], example: Any, forward: Forward
) -> str | None:
    """Return why a child without half of the candidates' units is not the masked parent."""
    structure = structure_of(parent, candidates, {})
    rng = np.random.default_rng(0)
    masks = [rng.permutation(group.n_units) >= group.n_units // 2 for group in structure.groups]
    state = parent.state_dict()
    arrays = {name: state[name].cpu().numpy() for name in structure.tensors}
    with torch.no_grad():
        expected = forward(masked_parent(parent, structure, masks), example)
        child = compile_child(parent, structure, MaskGenome(masks), arrays=arrays)
        try:
            found = forward(child, example)
        except Exception as error:  # whatever the network's own code raises
            return f"without its units the network does not run ({one_line(error)})"
    found_leaves, expected_leaves = _leaves(found), _leaves(expected)
    if [leaf.shape for leaf in found_leaves] != [leaf.shape for leaf in expected_leaves]:
        return OUTPUTS
    for a, b in zip(found_leaves, expected_leaves, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        if not float((a - b).abs().max()) <= _TOLERANCE * max(scale, 1e-30):
            return "removing a unit changes what others compute"
    return None


def _leaves(outputs: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def masked_parent(
    parent: nn.Module, structure: Structure, masks: Sequence[np.ndarray]
) -> nn.Module:
    """Return a copy of the parent whose layers read removed units as 0: a child's slow twin.

    Args:
        parent: The network.
        structure: Its groups.
        masks: For each group a boolean array of shape ``(n_units,)``, True where the unit stays.
    """
    kept = [np.flatnonzero(mask) for mask in masks]
    tensors = dict(parent.named_parameters())
    # The others are shared.
    memo: dict[int, Any] = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    for name in structure.tensors:
        axis = structure.read_along(name)
        if axis is not None:
            removed = np.ones(structure.shapes[name][1], dtype=bool)
            removed[axis.entries(kept)] = False
            values = tensors[name].detach().clone()
            values[:, torch.from_numpy(removed)] = 0
            memo[id(tensors[name])] = nn.Parameter(values)
    return copy.deepcopy(parent, memo)
