"""The masked engine: the parent itself computes all children of a chunk in one big batch.

A unit that a child lacks is a unit of the parent that the next layer reads as 0, so the children's
samples are stacked and masked where a layer reads units of a group. What comes before the first
masked layer is the same for all children and computed once. Nothing is compiled, and an
accelerator sees few large operations instead of many small ones. On the other hand, removed units
are computed too.

Exact in eval mode: outputs are the sliced children's up to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.loop import evaluate_block
from ecomp_deap.evaluation.measuring import metric_of, outcomes, similarity_losses
from ecomp_deap.genomes import Genome, MaskGenome
from ecomp_deap.network.compile import check_masks
from ecomp_deap.network.masking import MaskedStack, last_stages, same
from ecomp_deap.task import default_forward
from ecomp_deap.threads import torch_threads

__all__ = ["evaluate_masked", "supports_masked"]

# A processor is fastest where a chunk's activations stay near its caches: with two convolutions,
# chunks of 2**28 bytes took half as long again.
_CPU_BYTES = 2**24


def supports_masked(context: Context, genomes: Sequence[Genome]) -> bool:
    """Return whether `evaluate_masked` gives what the loop engine gives for these genomes.

    They must be masks without learnt arrays, on a sequential stack in eval mode in which samples
    do not depend on each other, without training steps and statistics of their own. The task's
    ``forward`` may call the network, but not look into it.
    """
    if context.training or context.calibration is not None or not context.structure.is_stack:
        return False
    if not all(isinstance(genome, MaskGenome) and genome.arrays is None for genome in genomes):
        return False
    try:
        last_stages(context.parent, tuple(context.losses))
    except ArgumentError:
        return False
    return all(_is_plain(module) for module in context.parent.modules()) and (
        context.forward is default_forward or _only_calls(context)
    )


def evaluate_masked(
    context: Context,
    genomes: Sequence[Genome],
    seeds: Sequence[int],
    *,
    max_bytes: int | None = None,
) -> list[Outcome]:
    """Return the outcome of each genome: the parent masked, embedded and measured.

    Args:
        context: What the generation shares.
        genomes: Plain genomes that `supports_masked` has approved; they are not changed.
        seeds: Unused, as nothing is trained.
        max_bytes: Bound on the activations that are held of a chunk of children at once, by
            default the context's memory, and on a processor 16 MiB at most. One child is always
            measured, whatever it takes.

    Raises:
        ArgumentError: A genome with masks of other sizes than the groups'.
    """
    if not all(np.isfinite(array).all() for array in context.arrays.values()):
        # A removed unit's weights still take part here, and 0 × NaN is NaN.
        return evaluate_block(context, genomes, seeds)
    if max_bytes is None:
        on_cpu = context.targets.device.type == "cpu"
        max_bytes = min(context.memory, _CPU_BYTES) if on_cpu else context.memory
    with torch_threads(context.threads), torch.no_grad():
        return _evaluate(context, [_checked(g, context) for g in genomes], max_bytes)


def _checked(genome: Genome, context: Context) -> MaskGenome:
    assert isinstance(genome, MaskGenome)  # supports_masked has seen to it
    check_masks(genome, context.structure)
    return genome


def _evaluate(context: Context, genomes: Sequence[MaskGenome], max_bytes: int) -> list[Outcome]:
    embeddings: dict[str, list[torch.Tensor]] = {name: [] for name in context.losses}
    metrics: list[float | str] = []
    for chunk, i in _chunks(context, genomes, max_bytes):
        output = context.forward(_Child(partial(chunk.outputs, i)), context.inputs)
        for name, embedding in chunk.embeddings(i).items():
            embeddings[name].append(embedding)
        metrics.append(metric_of(output, context.targets, context.metric))
    losses = similarity_losses(context, embeddings)
    return outcomes(context, genomes, metrics, losses, [None] * len(genomes))


def _chunks(
    context: Context, genomes: Sequence[MaskGenome], max_bytes: int
) -> Iterator[tuple["_Chunk", int]]:
    """Yield for each genome its chunk and its place there."""
    stack = MaskedStack(context.parent, context.structure, context.probes)
    start, size = 0, 1
    while start < len(genomes):
        chunk = _Chunk(stack, genomes[start : start + size])
        for i in range(len(chunk.genomes)):
            yield chunk, i
        start += size
        # The first child has been alone, and has shown how much one takes.
        size = max(1, max_bytes // stack.child_bytes)


class _Chunk:
    """Children that are computed together, once for each input that a ``forward`` makes."""

    def __init__(self, stack: MaskedStack, genomes: Sequence[MaskGenome]) -> None:
        self.genomes = genomes
        self._stack = stack
        self._masks = [np.stack(masks) for masks in zip(*(g.masks for g in genomes), strict=True)]
        self._run: tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]] | None = None

    def outputs(self, i: int, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs of one child, shape ``(n_samples, ...)``."""
        if self._run is None or not same(self._run[0], inputs):
            self._run = (inputs, *self._stack.run(inputs, self._masks))
        return self._run[1][i]

    def embeddings(self, i: int) -> dict[str, torch.Tensor]:
        """Return the embeddings of one child for the latest inputs, with its own units alone."""
        assert self._run is not None  # the forward has called the child
        found = {}
        for name, embedding in self._run[2].items():
            embedding = embedding[i] if embedding.ndim == 3 else embedding
            group = self._stack.groups[name]
            if group is not None:
                mask = self._masks[group][i]
                kept = np.flatnonzero(np.repeat(mask, embedding.shape[1] // len(mask)))
                embedding = embedding[:, torch.from_numpy(kept).to(embedding.device)]
            found[name] = embedding
        return found


class _Child(nn.Module):
    """Stands for a child in the task's ``forward``: it can be called, and has nothing else."""

    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._answer = answer
        self.eval()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._answer(input)


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module in eval mode treats each sample by itself, and is run as a stage."""
    if module.training:
        return False
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is None:
        return False  # it takes the statistics of the batch
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not hooked


def _only_calls(context: Context) -> bool:
    """Return whether the task's ``forward`` takes a network that can only be called."""
    called = []

    def answer(inputs: torch.Tensor) -> torch.Tensor:
        called.append(isinstance(inputs, torch.Tensor))
        return context.parent(inputs)

    try:
        with torch.no_grad():
            context.forward(_Child(answer), context.inputs)
    except Exception:  # whatever a user's function raises
        return False
    return bool(called) and all(called)
