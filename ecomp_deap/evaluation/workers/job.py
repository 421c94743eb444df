"""Jobs: what a worker is asked and answers; `run` is what it calls for each.

A job is a block of genomes, their seeds, and the number of a generation: all else a worker has in
its kit, or makes of it (the generation's batch, the parent's tables). A worker that has not got
the kit yet says so, and is sent the job once more with it. So any executor will do, and a worker
that was started anew needs nothing special.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.engines import evaluate
from ecomp_deap.evaluation.workers.kit import unpack_kit
from ecomp_deap.genomes import Genome, MaskGenome
from ecomp_deap.threads import torch_threads

__all__ = ["Answer", "Job", "pack_genomes", "run", "unpack_genomes"]

# A process may work for several searches by turns, but not for many.
_KEPT = 4


@dataclass(frozen=True)
class Job:
    """A block to be measured.

    Attributes:
        kit: The key of the kit that it is of.
        index: Of the block among those of a measuring.
        generation: Whose batches are used.
        train: Whether the children take their gradient steps.
        genomes: See `pack_genomes`.
        seeds: Of each child's training.
        source: The kit itself, or the path of a file with it; None where the worker may have it.
    """

    kit: str
    index: int
    generation: int
    train: bool
    genomes: Sequence[Any]
    seeds: Sequence[int]
    source: Any = None


@dataclass(frozen=True)
class Answer:
    """What a worker says of a job.

    Attributes:
        index: The job's.
        outcomes: Of each genome, in order; None where the worker has not got the kit.
    """

    index: int
    outcomes: list[Outcome] | None


# Evaluators by the key of their kit, the one that was used last at the end.
_UNPACKED: "OrderedDict[str, Any]" = OrderedDict()
# Workers may be threads of one process.
_LOCK = threading.Lock()
_TRAINING = threading.Lock()


def run(job: Job, content: bytes | None = None) -> Answer:
    """Return the outcomes of a job's genomes, or that the kit is missing.

    Args:
        job: What is asked.
        content: The kit, where it came by a way of its own, and not in the job.
    """
    if content is not None:
        job = replace(job, source=content)
    with _LOCK:
        evaluator = _unpacked(job)
        if evaluator is None:
            return Answer(job.index, None)
        context = evaluator.context(job.generation)
    if not job.train and context.training:
        context = replace(context, training=[])
    # As many as where there are no workers, for they change last bits.
    # Workers that are threads have one stream of torch, which each child's training seeds.
    alone = _TRAINING if context.training else nullcontext()
    with alone, torch_threads(evaluator.torch_threads):
        outcomes = evaluate(context, (unpack_genomes(job.genomes), job.seeds))
    return Answer(job.index, outcomes)


def _unpacked(job: Job) -> Any:
    """Return the job's evaluator, None if it is not here and did not come with it."""
    if job.kit not in _UNPACKED:
        if job.source is None:
            return None
        _UNPACKED[job.kit] = unpack_kit(job.source)
    _UNPACKED.move_to_end(job.kit)
    while len(_UNPACKED) > _KEPT:
        _UNPACKED.popitem(last=False)
    return _UNPACKED[job.kit]


def pack_genomes(genomes: Sequence[Genome]) -> list[Any]:
    """Return genomes in few bytes: masks that have learnt nothing as bits."""
    return [
        [(mask.size, np.packbits(mask).tobytes()) for mask in genome.masks]
        if isinstance(genome, MaskGenome) and genome.arrays is None
        else genome
        for genome in genomes
    ]


def unpack_genomes(packed: Sequence[Any]) -> list[Genome]:
    """Return the genomes that `pack_genomes` packed."""
    return [
        genome
        if isinstance(genome, Genome)
        else MaskGenome(
            [np.unpackbits(np.frombuffer(bits, np.uint8), count=n) > 0 for n, bits in genome]
        )
        for genome in packed
    ]
