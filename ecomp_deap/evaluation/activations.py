"""Activations: what the units of a child do on a batch, group by group."""

from collections.abc import Sequence

import numpy as np
import torch

from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.evaluator import Evaluator
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.probes import default_probe_layers
from ecomp_deap.threads import torch_threads

__all__ = ["UnitActivations"]


class UnitActivations:
    """Embeds the children of a sequential stack at every group, on the batch of generation 0.

    Args:
        evaluator: Knows the parent, its groups and the batch.

    Raises:
        ArgumentError: A parent that is no stack, or whose layers do not put out a row of units, or
            maps, of one group each.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, self._inputs = evaluator, evaluator.context(0).inputs
        groups = evaluator.structure.groups
        parent = evaluator.task.parent
        names = default_probe_layers(parent) if evaluator.structure.is_stack else ()
        self._probes = tuple(Probe(name) for name in names)
        hidden = [group.n_units for group in groups if not group.is_input]
        whole = MaskGenome([np.ones(group.n_units, dtype=bool) for group in groups])
        found = self._embedded(whole) if len(names) == len(hidden) else []
        if [embedding.shape[1] for embedding in found] != hidden:
            expected = "'either' or 'mean' for a parent that is no stack of dense layers, or of "
            expected += "ordinary convolutions"
            raise argument_error("learnt", expected, "aligned")

    def __call__(self, genome: MaskGenome) -> Sequence[np.ndarray | None]:
        """Return for each group an array of shape ``(n_samples, n_kept)``; None for inputs."""
        found = iter(self._embedded(genome))
        groups = self._evaluator.structure.groups
        return [None if group.is_input else next(found) for group in groups]

    def _embedded(self, genome: MaskGenome) -> list[np.ndarray]:
        """Return the embedding at each probe; where maps are, means over positions."""
        with torch_threads(self._evaluator.torch_threads), torch.no_grad():
            child = self._evaluator.compile(genome)
            forward = self._evaluator.task.apply
            _, found = embed(child, self._inputs, self._probes, forward=forward)
        return [found[probe.name].numpy(force=True) for probe in self._probes]
