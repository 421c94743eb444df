"""The proof: a child without some of a group's units, beside the parent that reads them as 0."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecomp_deap.copying import copy_network, tensors_in
from ecomp_deap.errors import ArgumentError, one_line
from ecomp_deap.genomes import MaskGenome, Structure
from ecomp_deap.network.candidates import Candidate, structure_of
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.groups import OUTPUTS
from ecomp_deap.network.recalibration import recalibrate
from ecomp_deap.network.running import Forward, run

__all__ = ["lively_twin", "masked_parent", "proven_candidates"]

# Outputs may differ by rounding, relative to the largest.
_TOLERANCE = 1e-4

# The largest entry of a parameter that an initialisation has as good as switched off.
_NEXT_TO_NOTHING = 1e-5


def lively_twin(parent: nn.Module, example: Any, forward: Forward) -> nn.Module:
    """Return the parent with outputs that depend on its units, as an untrained one's may not.

    Parameters that are all next to 0 become small random numbers, and batch norms normalise the
    example: behind a last layer of zeros, or activations that fade from layer to layer, every
    child's outputs would be the parent's. Other parameters are shared.
    """
    generator = torch.Generator().manual_seed(0)
    memo: dict[int, Any] = {id(parameter): parameter for parameter in parent.parameters()}
    for parameter in parent.parameters():
        if parameter.numel() and parameter.abs().max() <= _NEXT_TO_NOTHING:
            values = 0.02 * torch.randn(parameter.shape, generator=generator)
            memo[id(parameter)] = nn.Parameter(values.to(parameter))
    lively = copy_network(parent, memo)
    with suppress(ValueError):  # of a norm that sees one value only, and has nothing to normalise
        recalibrate(lively, example, forward=lambda module, x: run(module, x, forward))
    for module in lively.modules():
        if isinstance(module, _BatchNorm) and module.running_var is not None:
            module.running_var.clamp_(min=1e-4)
    return lively


def proven_candidates(
    parent: nn.Module,
    candidates: Sequence[Candidate],
    example: Any,
    forward: Forward,
    left_alone: dict[str, str],
) -> list[Candidate]:
    """Return the candidates that can be removed together; note why others cannot.

    Raises:
        ArgumentError: The outputs hold nothing that tells children from one another.
    """
    proof = _Proof(parent, example, forward)
    reason = proof.failure(candidates) if candidates else None
    if reason is None:
        return list(candidates)
    alone = _saved(proof, candidates, reason, left_alone)
    if not alone or proof.failure(alone) is None:
        return alone
    together: list[Candidate] = []
    for candidate in alone:
        reason = proof.failure([*together, candidate])
        if reason is None:
            together.append(candidate)
        else:
            reason = f"together with other groups, {reason}"
            left_alone.update(dict.fromkeys(candidate.makers, reason))
    return together


def _saved(
    proof: "_Proof", candidates: Sequence[Candidate], reason: str, left_alone: dict[str, str]
) -> list[Candidate]:
    """Return those that hold of candidates that do not all hold; note why others do not.

    Halves are tried before halves of halves, as most candidates hold.
    """
    ends: dict[tuple[str, int], int] = {}
    for candidate in candidates:
        for key, pairs in candidate.entries.items():
            ends[key] = max(ends.get(key, 0), pairs[-1][0] + 1)
    saved: list[Candidate] = []
    failed = [(list(candidates), reason)]
    while failed:
        part, reason = failed.pop()
        if len(part) > 1:
            half = len(part) // 2
            for some in (part[:half], part[half:]):
                why = proof.failure(some)
                if why is None:
                    saved += some
                else:
                    failed.append((some, why))
            continue
        (candidate,) = part
        others = (
            candidate.flattened_by_position(proof.parent),
            candidate.behind_the_uncounted(proof.parent, ends),
        )
        found = next((o for o in others if o is not None and proof.failure([o]) is None), None)
        if found is not None:
            saved.append(found)
        else:
            left_alone.update(dict.fromkeys(candidate.makers, reason))
    return saved


class _Proof:
    """Compares children of a parent with the masked parent, on one batch."""

    def __init__(self, parent: nn.Module, example: Any, forward: Forward) -> None:
        self.parent, self._example, self._forward = parent, example, forward
        with torch.no_grad():
            outputs = run(copy_network(parent), example, forward)
            if not any(leaf.isfinite().any() for leaf in _comparable(outputs)):
                raise ArgumentError(
                    "parent: its outputs hold no finite floating-point numbers to compare; give a "
                    "forward that returns tensors of them"
                )
            try:
                self._trained: list[torch.Size] | None = self._train(copy_network(parent))
            except Exception:  # its outputs in eval mode are all that can be asked for
                self._trained = None

    def failure(self, candidates: Sequence[Candidate]) -> str | None:
        """Return why a child without some of the candidates' units is not the masked parent."""
        structure = structure_of(self.parent, candidates, {})
        rng = np.random.default_rng(0)
        # Numbers of their own, so that no two groups fit by chance what must be of one size.
        masks = [
            rng.permutation(n) >= rng.integers(max(1, n // 3), 2 * n // 3, endpoint=True)
            for n in structure.widths
        ]
        state = self.parent.state_dict()
        arrays = {name: state[name].cpu().numpy() for name in structure.tensors}
        with torch.no_grad():
            masked = masked_parent(self.parent, structure, masks)
            expected = run(masked, self._example, self._forward)
            child = compile_child(self.parent, structure, MaskGenome(masks), arrays=arrays)
            try:
                found = run(child, self._example, self._forward)
            except Exception as error:  # whatever the network's own code raises
                return f"without its units the network does not run ({one_line(error)})"
            if _shapes(found) != _shapes(expected):
                return OUTPUTS
            for a, b in zip(_comparable(found), _comparable(expected), strict=True):
                finite = b[b.isfinite()]
                largest = float(finite.abs().max()) if finite.numel() else 0.0
                # What is masked with infinities stays so.
                tolerance = _TOLERANCE * max(largest, 1e-30)
                if not torch.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
                    return "removing a unit changes what others compute"
            return None if self._trained is None else self._failure_in_training(child)

    def _failure_in_training(self, child: nn.Module) -> str | None:
        """Return why a child does not do in training mode what the parent does."""
        try:
            shapes = self._train(child)
        except Exception as error:  # whatever the network's own code raises
            return f"without its units the network does not run in training ({one_line(error)})"
        return None if shapes == self._trained else OUTPUTS

    def _train(self, network: nn.Module) -> list[torch.Size]:
        """Return the shapes of a network's outputs in training mode (changes its buffers)."""
        return _shapes(run(network.train(), self._example, self._forward))


def _shapes(outputs: Any) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors_in(outputs)]


def _comparable(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors of outputs that hold floating-point numbers, complex ones as pairs."""
    tensors = [
        torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        for tensor in tensors_in(outputs)
    ]
    return [tensor for tensor in tensors if tensor.is_floating_point()]


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
    memo: dict[int, Any] = {id(parameter): parameter for parameter in parent.parameters()}
    for name in structure.tensors:
        axis = structure.read_along(name)
        if axis is not None:
            removed = np.ones(structure.shapes[name][1], dtype=bool)
            removed[axis.entries(kept)] = False
            values = tensors[name].detach().clone()
            values[:, torch.from_numpy(removed)] = 0
            memo[id(tensors[name])] = nn.Parameter(values)
    return copy_network(parent, memo)
