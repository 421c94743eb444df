"""Candidates: units that might be a group, before anything is proven of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ecomp_deap.genomes import Axis, Group, MixedAxis, Structure, making_dim

__all__ = ["FLOATS", "Candidate", "structure_of"]

#: What tensors that are cut may hold.
FLOATS = (torch.float32, torch.float64)


@dataclass
class Candidate:
    """Units that might be a group.

    Attributes:
        name: The layer that makes them.
        n_units: How many there are.
        entries: For each tensor and dimension, which entry belongs to which unit.
        problem: Why they must stay, if that is known.
        tables: Which of the tensors are weights of embeddings.
    """

    name: str
    n_units: int
    entries: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)
    problem: str | None = None
    tables: set[str] = field(default_factory=set)

    @property
    def is_read(self) -> bool:
        """Whether some layer takes the units as its inputs."""
        return any(dim != making_dim(tensor, self.tables) for tensor, dim in self.entries)

    @property
    def makers(self) -> list[str]:
        """The layers that put out the units."""
        made = [t for t, dim in self.entries if dim == making_dim(t, self.tables)]
        return list(dict.fromkeys([self.name, *(tensor.rpartition(".")[0] for tensor in made)]))

    def flattened_by_position(self, parent: nn.Module) -> "Candidate | None":
        """Return the same units, read with all those of one position side by side, as of tokens.

        A graph takes what is flattened for maps, where the entries of one unit lie side by side, or
        it sees the first position alone. None if no layer can read more than one position.
        """
        n, flat = self.n_units, {}
        for (tensor, dim), pairs in self.entries.items():
            if dim == making_dim(tensor, self.tables):
                continue
            size = parent.get_parameter(tensor).shape[dim]
            as_maps = [(entry, entry * n // len(pairs)) for entry in range(len(pairs))]
            if size > n and size % n == 0 and pairs == as_maps:
                flat[tensor, dim] = [(entry, entry % n) for entry in range(size)]
        return replace(self, entries={**self.entries, **flat}) if flat else None

    def behind_the_uncounted(
        self, parent: nn.Module, ends: Mapping[tuple[str, int], int]
    ) -> "Candidate | None":
        """Return the same units, behind entries that are no units, as of inputs in front of them.

        A graph does not count what no layer makes. None if it has counted all.

        Args:
            parent: The network.
            ends: Of each tensor and dimension the number of entries that the graph has counted.
        """
        state, moved = parent.state_dict(), {}
        for key, pairs in self.entries.items():
            gap = state[key[0]].shape[key[1]] - ends[key]
            if gap > 0:
                moved[key] = [(entry + gap, unit) for entry, unit in pairs]
        return replace(self, entries={**self.entries, **moved}) if moved else None


def structure_of(
    parent: nn.Module, candidates: Sequence[Candidate], left_alone: Mapping[str, str]
) -> Structure:
    """Return the structure of candidates, with every parameter of the parent in it."""
    owned: dict[tuple[str, int], list[tuple[int, list[tuple[int, int]]]]] = {}
    for index, candidate in enumerate(candidates):
        for key, pairs in candidate.entries.items():
            owned.setdefault(key, []).append((index, pairs))
    state = {
        name: value
        for name, value in (*parent.named_parameters(), *parent.named_buffers())
        if value.dtype in FLOATS
        and (isinstance(value, nn.Parameter) or any((name, d) in owned for d in range(value.ndim)))
    }
    tensors = {
        name: tuple(_axis(owned.get((name, dim)), size) for dim, size in enumerate(value.shape))
        for name, value in state.items()
    }
    return Structure(
        tuple(Group(candidate.name, candidate.n_units) for candidate in candidates),
        tensors,
        {name: tuple(value.shape) for name, value in state.items()},
        left_alone=dict(left_alone),
        is_stack=False,
        tables=frozenset().union(*(candidate.tables for candidate in candidates)),
    )


def _axis(
    owned: Sequence[tuple[int, Sequence[tuple[int, int]]]] | None, size: int
) -> Axis | MixedAxis | None:
    if owned is None:
        return None
    owners, units = np.full(size, -1), np.full(size, -1)
    for index, pairs in owned:
        entries, own = np.array(pairs).T
        owners[entries], units[entries] = index, own
    first = int(owners[0])
    block = int(np.count_nonzero(units == units[0]))
    if (
        len(owned) == 1
        and first >= 0
        and (owners == first).all()
        and (np.array_equal(units, np.arange(size) // block))
    ):
        return Axis(first, block)
    return MixedAxis(tuple(owners.tolist()), tuple(units.tolist()))
