"""`Context`: what all children of one generation share; `Outcome`: what comes back of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.genomes import Genome, MaskGenome, Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.network.embedding import Probe
from ecomp_deap.network.lessons import Lesson
from ecomp_deap.network.stack import Walk
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import SimilarityLoss
from ecomp_deap.task import Metric

__all__ = ["Context", "Outcome"]


@dataclass(frozen=True)
class Context:
    """Everything that measuring a child of one generation takes; picklable, a few megabytes.

    Attributes:
        parent: The parent, in eval mode.
        structure: Its groups.
        arrays: Its arrays by name.
        cost_model: Tells what children cost.
        probes: The probe layers, and how their outputs lie.
        losses: Similarity loss against the parent's embedding of the batch, by probe layer.
        inputs: The scoring batch.
        targets: Its targets.
        training: What each gradient step is taken on; shared by all children.
        recipe: How these steps are taken.
        inherit: Whether children keep what they learnt.
        metric: How well a child does the task.
        loss_fn: What training minimises.
        forward: ``(module, inputs) -> outputs``.
        threads: Torch threads of the loop engine, wherever that is.
        engine: Name of the engine that measures, see `ENGINES`.
        memory: Bytes that what an engine holds of several children at once may take.
        calibration: Inputs that batch norms of children take their statistics from; None where
            they keep the parent's.
        shared: What all children of masks share in a dense stack: the parent's activations in
            its first segment, see `DenseStack`.
    """

    parent: nn.Module
    structure: Structure
    arrays: Mapping[str, np.ndarray]
    cost_model: CostModel
    probes: tuple[Probe, ...]
    losses: Mapping[str, SimilarityLoss]
    inputs: Any
    targets: torch.Tensor
    training: Sequence[Lesson]
    recipe: Recipe
    inherit: bool
    metric: Metric
    loss_fn: Callable[[Any, torch.Tensor], torch.Tensor]
    forward: Callable[[nn.Module, Any], Any]
    threads: int
    engine: str = "loop"
    memory: int = 2**30
    calibration: Any = None
    shared: Walk | None = None

    def recalibrates(self, genome: Genome) -> bool:
        """Return whether a genome's child takes statistics of its own: not if it is the parent."""
        same = (
            isinstance(genome, MaskGenome)
            and genome.arrays is None
            and genome.widths == self.structure.widths
        )
        return self.calibration is not None and not (same and not self.training)


@dataclass(frozen=True)
class Outcome:
    """What evaluating one genome gave.

    Attributes:
        measurement: What was found.
        arrays: What the child learnt, by tensor name, where children keep it; else None.
    """

    measurement: Measurement
    arrays: Mapping[str, np.ndarray] | None = None
