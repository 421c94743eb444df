"""The batched engine: a block of dense children at once, without compiling any.

Dense children need no modules: their tensors are read where the genomes hold them, and one
matrix product a layer and child is all that is left of a forward pass. Masks of an untrained parent
need less: the first layer's activations are the parent's own, gathered, and children that agree
in the first groups share all that these groups decide.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.loop import evaluate_block
from ecomp_deap.evaluation.measuring import NOT_FINITE, metric_of, outcomes, similarity_losses
from ecomp_deap.genomes import Genome, MaskGenome
from ecomp_deap.network.compile import check_masks, genome_arrays
from ecomp_deap.network.failures import failure
from ecomp_deap.network.stack import DenseStack, Tensors, Walk, borrow
from ecomp_deap.network.stack_training import train_stacks
from ecomp_deap.task import Task, accuracy, default_forward
from ecomp_deap.threads import torch_threads

__all__ = ["evaluate_batched", "supports_batched"]


def supports_batched(task: Task, probe_layers: Sequence[str], inputs: Any) -> bool:
    """Return whether the batched engine gives what the loop gives.

    That takes a plain stack of dense layers that is called with one tensor and makes one row of
    units per sample, and training that draws no random numbers, as these come from one generator
    for all.

    Args:
        task: What is asked.
        probe_layers: Where representations are compared.
        inputs: Any batch.
    """
    if not isinstance(inputs, torch.Tensor) or task.apply is not default_forward:
        return False
    if not DenseStack.supports(task.parent, probe_layers):
        return False
    stack = DenseStack(task.parent, ())
    with torch.no_grad():
        units = stack.walk(task.parent.state_dict(), inputs, 0).outputs
    return units.ndim == 2 and (task.train_steps == 0 or not stack.draws)


def evaluate_batched(
    context: Context, genomes: Sequence[Genome], seeds: Sequence[int]
) -> list[Outcome]:
    """Return the outcome of each genome, as `evaluate_block` does.

    Args:
        context: What the generation shares; see `supports_batched`.
        genomes: Plain genomes; they are not changed.
        seeds: One per genome; nothing here draws.
    """
    assert len(genomes) == len(seeds)
    # In one thread: products of small children gain nothing from more.
    with torch_threads(1), torch.no_grad():
        return [
            outcome
            for chunk in _chunks(context, genomes)
            for outcome in _outcomes(context, genomes[chunk], seeds[chunk])
        ]


def _outcomes(context: Context, genomes: Sequence[Genome], seeds: Sequence[int]) -> list[Outcome]:
    """Return the outcomes of a chunk; one by one where children cannot train together."""
    if not context.training:
        return _Chunk(context, genomes).outcomes()
    try:
        return _Chunk(context, genomes).outcomes()
    except Exception as error:  # whatever a user's loss raises
        failure(error)
        # The loop tells whose it is.
        return evaluate_block(replace(context, threads=1), genomes, seeds)


def _chunks(context: Context, genomes: Sequence[Genome]) -> Iterator[slice]:
    """Yield where genomes lie whose activations fit the context's memory together."""
    n = len(context.targets)
    first, used = 0, 0
    for i, genome in enumerate(genomes):
        # A layer's products, its activations and what a batch norm makes, in double at most.
        own = 3 * 8 * n * sum(genome.widths)
        if i > first and used + own > context.memory:
            yield slice(first, i)
            first, used = i, 0
        used += own
    if first < len(genomes):
        yield slice(first, len(genomes))


@dataclass(frozen=True)
class _Node:
    """What children share that agree in their first masks.

    Attributes:
        outputs: Activations of the last group in which they agree.
        places: Where the embeddings up to there are.
        kept: Indices of the last group's kept units.
    """

    outputs: torch.Tensor
    places: Mapping[str, int]
    kept: torch.Tensor


class _Chunk:
    """Children that are measured together: embeddings without repetition, and whose is which."""

    def __init__(self, context: Context, genomes: Sequence[Genome]) -> None:
        self.context, self.genomes = context, genomes
        self.stack = DenseStack(context.parent, tuple(context.losses))
        self.parent = context.parent.state_dict()
        # Children that read different inputs, or take their own statistics, have no common start.
        self.shares = not context.structure.prunes_inputs and context.calibration is None
        self.segments = [
            [(n, self.parent[n]) for n in names if n in context.structure.tensors]
            for names in self.stack.tensor_names
        ]
        self.embeddings: dict[str, list[torch.Tensor]] = {name: [] for name in context.losses}
        self.places: list[Mapping[str, int]] = []
        self.outputs: list[torch.Tensor] = []
        self.nodes: dict[tuple[bytes, ...], _Node] = {}

    def outcomes(self) -> list[Outcome]:
        """Return the outcome of each genome."""
        context = self.context
        learnt = self.embed()
        losses = {
            name: [found[places[name]] for places in self.places]
            for name, found in similarity_losses(context, self.embeddings).items()
        }
        return outcomes(context, self.genomes, self._metrics(), losses, learnt)

    def embed(self) -> list[Mapping[str, np.ndarray] | None]:
        """Train and embed every child; return what each learnt, if children keep that."""
        if self.context.training:
            return self._trained()
        for genome in self.genomes:
            if isinstance(genome, MaskGenome) and genome.arrays is None and self.shares:
                self._masked(genome)
            else:
                self._walk(genome, self._tensors(genome))
        return [None] * len(self.genomes)

    def _trained(self) -> list[Mapping[str, np.ndarray] | None]:
        context = self.context
        trained = train_stacks(
            self.stack,
            context.training,
            map(self._tensors, self.genomes),
            recipe=context.recipe,
            loss_fn=context.loss_fn,
        )
        learnt: list[Mapping[str, np.ndarray] | None] = []
        for genome, tensors in zip(self.genomes, trained, strict=True):
            self._walk(genome, tensors)
            if not context.inherit:
                learnt.append(None)
                continue
            # A copy: a child that lives on shall not keep alive all that trained with it.
            own = self.context.structure.tensors
            learnt.append({n: tensors[n].numpy(force=True).copy() for n in own})
        return learnt

    def _walk(self, genome: Genome, tensors: Tensors) -> None:
        if self.context.recalibrates(genome):
            tensors = self.stack.recalibrated(tensors, self.context.calibration)
        walk = self.stack.walk(tensors, self.context.inputs)
        self._add(self._embedded(walk), walk)

    def _tensors(self, genome: Genome) -> Tensors:
        """Return the child's tensors, in the genome's own memory where device and dtype allow."""
        arrays = genome_arrays(genome, self.context.structure, self.context.arrays)
        tensors = {name: borrow(array) for name, array in arrays.items()}
        for name, tensor in tensors.items():
            parent = self.parent.get(name)
            if parent is None:  # places of inputs
                tensors[name] = tensor.to(self.context.inputs.device)
            elif tensor.dtype != parent.dtype or parent.device.type != "cpu":
                tensors[name] = tensor.to(parent)
        return tensors

    def _masked(self, genome: MaskGenome) -> None:
        """Embed the child of untrained masks, from the last node that another child left."""
        check_masks(genome, self.context.structure)
        path: tuple[bytes, ...] = ()
        node: _Node | None = None
        for depth, mask in enumerate(genome.masks):
            path = (*path, mask.tobytes())
            found = self.nodes.get(path)
            if found is None:
                kept = torch.from_numpy(np.flatnonzero(mask)).to(self.context.inputs.device)
                found = self.nodes[path] = self._grow(node, depth, kept)
            node = found
        assert node is not None
        last = len(self.segments) - 1
        walk = self.stack.walk(self._cut(last, node.kept, None), node.outputs, last)
        self._add({**node.places, **self._embedded(walk)}, walk)

    def _grow(self, node: _Node | None, depth: int, kept: torch.Tensor) -> _Node:
        """Return the node behind ``node`` whose children keep the units ``kept`` of a group."""
        if node is None:
            assert self.context.shared is not None
            walk = _gathered(self.context.shared, kept)
            return _Node(walk.outputs, self._embedded(walk), kept)
        walk = self.stack.walk(self._cut(depth, node.kept, kept), node.outputs, depth)
        return _Node(walk.outputs, {**node.places, **self._embedded(walk)}, kept)

    def _cut(
        self, depth: int, inputs: torch.Tensor, outputs: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the parent's tensors of a segment, cut to the units kept before and in it.

        Args:
            depth: Index of the segment, at least 1.
            inputs: Indices of the units kept in group ``depth − 1``.
            outputs: Of those kept in group ``depth``; None behind the last group.
        """
        kept = {depth - 1: inputs, depth: outputs}
        cut = {}
        for name, tensor in self.segments[depth]:
            for dim, axis in enumerate(self.context.structure.tensors[name]):
                # A dense stack's: one entry for each unit.
                index = None if axis is None else kept[axis.groups[0]]
                if index is not None:
                    tensor = tensor.index_select(dim, index)
            cut[name] = tensor
        return cut

    def _embedded(self, walk: Walk) -> dict[str, int]:
        """Take in the embeddings of one pass, and return their places."""
        places = {}
        for name, embedding in walk.embeddings.items():
            places[name] = len(self.embeddings[name])
            self.embeddings[name].append(embedding)
        return places

    def _add(self, places: Mapping[str, int], walk: Walk) -> None:
        self.places.append(places)
        self.outputs.append(walk.outputs)

    def _metrics(self) -> list[float | str]:
        """Return the metric of each child's outputs, or why there is none."""
        metric, targets = self.context.metric, self.context.targets
        if metric.function is not accuracy:
            return [metric_of(outputs, targets, metric) for outputs in self.outputs]
        outputs = torch.stack(self.outputs)
        finite = torch.isfinite(outputs).flatten(1).all(dim=1).tolist()
        hits = (outputs.argmax(dim=2) == targets).double().mean(dim=1).tolist()
        return [hit if sound else NOT_FINITE for hit, sound in zip(hits, finite, strict=True)]


def _gathered(shared: Walk, kept: torch.Tensor) -> Walk:
    """Return the columns of kept units: what comes before they are mixed is each unit's own."""
    embeddings = {name: e.index_select(1, kept) for name, e in shared.embeddings.items()}
    for name, embedding in shared.embeddings.items():
        if embedding is shared.outputs:
            return Walk(embeddings[name], embeddings)
    return Walk(shared.outputs.index_select(1, kept), embeddings)
