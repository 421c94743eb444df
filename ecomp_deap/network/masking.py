"""`MaskedStack`: children of a sequential stack as the parent itself, read through masks.

A unit that a child lacks is a unit of the parent that the next layer reads as 0. So children's
samples are stacked and masked where a layer reads units of a group, and the parent's modules do
the rest. What comes before the first masked layer is the same for all children.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Axis, MixedAxis, Structure
from ecomp_deap.network.embedding import Probe, as_embedding
from ecomp_deap.network.groups import stages

__all__ = ["MaskedStack", "last_stages", "same"]


class MaskedStack:
    """Runs a parent for many children at once.

    Args:
        parent: A stack that `find_structure` takes, in eval mode; it is not changed.
        structure: Its groups.
        probes: The layers whose outputs are recorded, samples first.

    Attributes:
        groups: For each probe layer the index of the group whose units it puts out, or None.
        child_bytes: Bytes of activations that one child more takes, as of the latest run.

    Raises:
        ArgumentError: See `last_stages`.
    """

    def __init__(self, parent: nn.Module, structure: Structure, probes: Sequence[Probe]) -> None:
        ends = last_stages(parent, [probe.name for probe in probes])
        self._stages: list[_Stage] = []
        group = None
        for name, module in stages(parent):
            axes = structure.tensors.get(f"{name}.weight", ())
            reads: Axis | None = None
            if len(axes) >= 2:
                made, read = axes[:2]
                assert not isinstance(read, MixedAxis)  # of a stack
                group, reads = None if made is None else made.groups[0], read
            own = tuple(probe for probe in probes if ends[probe.name] == name)
            self._stages.append(_Stage(module, reads, group, own))
        self.groups = {p.name: stage.group for stage in self._stages for p in stage.probes}
        self.child_bytes = 1
        self._first = next(i for i, s in enumerate(self._stages) if s.reads is not None)
        # For the latest inputs, what the stages before the first masked one make of them.
        self._shared: tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]] | None = None

    def run(
        self, inputs: torch.Tensor, masks: Sequence[np.ndarray]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the outputs and the embeddings of children.

        Args:
            inputs: Of the parent, shape ``(n_samples, ...)``.
            masks: For each group a boolean array of shape ``(n_children, n_units)``.

        Returns:
            Outputs of shape ``(n_children, n_samples, ...)``; embeddings likewise, or of shape
            ``(n_samples, n_units)`` where all children share them. They have all the parent's
            units, and mean nothing for those that a child lacks.
        """
        x, shared = self._share(inputs)
        x, found = x[None], dict(shared)
        n_children = len(masks[0])
        peak = held = 0
        for stage in self._stages[self._first :]:
            if stage.reads is not None:
                dim = -1 if isinstance(stage.module, nn.Linear) else 2
                x = _mask(x, masks[stage.reads.group], stage.reads.block, dim)
            n_before = x.numel()
            x = stage.module(x.flatten(0, 1)).unflatten(0, (n_children, -1))
            # A convolution may also hold its input in another order.
            peak = max(peak, 2 * n_before + x.numel())
            for probe in stage.probes:
                embedding = as_embedding(probe, x.flatten(0, 1))
                found[probe.name] = embedding.unflatten(0, (n_children, -1))
                held += embedding.numel()
        self.child_bytes = (peak + held) * x.element_size() // n_children
        return x, found

    def _share(self, inputs: torch.Tensor) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return what comes before the first masked stage, and the embeddings on the way."""
        if self._shared is None or not same(self._shared[0], inputs):
            x, found = inputs, {}
            for stage in self._stages[: self._first]:
                x = stage.module(x)
                found.update({probe.name: as_embedding(probe, x) for probe in stage.probes})
            self._shared = (inputs, x, found)
        return self._shared[1:]


@dataclass(frozen=True)
class _Stage:
    """A module of the parent.

    Attributes:
        module: The module.
        reads: Which entries of its input belong to units that children may lack.
        group: Index of the group whose units it puts out, if any.
        probes: Probe layers that put out the same.
    """

    module: nn.Module
    reads: Axis | None
    group: int | None
    probes: tuple[Probe, ...]


def last_stages(parent: nn.Module, probe_layers: Sequence[str]) -> dict[str, str]:
    """Return for each probe layer the stage that puts out the same: itself, or a container's last.

    Raises:
        ArgumentError: The parent is no sequential stack, or a probe layer has no stage.
    """
    names = [name for name, _ in stages(parent)]
    found = {}
    for probe in probe_layers:
        inside = [name for name in names if name == probe or name.startswith(f"{probe}.")]
        if not inside:
            raise argument_error("probe_layers", f"names of {names} or around them", probe)
        found[probe] = inside[-1]
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors are equal; NaN equals only what is the same object."""
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def _mask(x: torch.Tensor, masks: np.ndarray, block: int, dim: int) -> torch.Tensor:
    """Set to 0 what children lack.

    Args:
        x: Shape ``(n_children or 1, n_samples, ...)``; it is overwritten unless its first
            dimension is 1.
        masks: Shape ``(n_children, n_units)``.
        block: Entries of one unit.
        dim: The dimension of the entries.
    """
    absent = torch.from_numpy(np.repeat(~masks, block, axis=1)).to(x.device)
    shape = [len(masks), *[1] * (x.ndim - 1)]
    shape[dim] = absent.shape[1]
    absent = absent.reshape(shape)
    # Filled and not multiplied: a unit that overflows is no matter to a child without it.
    return x.masked_fill(absent, 0) if len(x) == 1 else x.masked_fill_(absent, 0)
