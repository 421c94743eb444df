"""Which engine measures, and in how many threads: decided by what applies and by measurement."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ecomp_deap.defaults import ENGINES as NAMES
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.evaluation.batched import evaluate_batched
from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.loop import evaluate_block
from ecomp_deap.evaluation.masked import evaluate_masked, supports_masked
from ecomp_deap.genomes import Genome, MaskGenome
from ecomp_deap.task import accuracy
from ecomp_deap.threads import available_cores, thread_map

__all__ = [
    "ENGINES",
    "Block",
    "can_thread",
    "check_engine",
    "check_masked",
    "evaluate",
    "faster_route",
    "faster_threads",
    "mapped",
]

Key = TypeVar("Key", str, int)
# Genomes, and the seed of each one's training.
Block = tuple[Sequence[Genome], Sequence[int]]

#: By name: functions ``(context, genomes, seeds) -> outcomes``.
ENGINES: dict[str, Callable[[Context, Sequence[Genome], Sequence[int]], list[Outcome]]] = {
    "batched": evaluate_batched,
    "loop": evaluate_block,
    "masked": evaluate_masked,
}

_REPEATS = 3
# Less than this is not worth another thread, nor the other route's other last bits.
_THREADS_GAIN, _ROUTE_GAIN = 1.1, 1.5
_TIMED_CHILDREN = 8


def evaluate(context: Context, block: Block) -> list[Outcome]:
    """Return the outcomes of a block by the context's engine, or by the loop where it must."""
    genomes, seeds = block
    engine = context.engine
    if engine == "masked" and not supports_masked(context, genomes):
        engine = "loop"
    return ENGINES[engine](context, genomes, seeds)


def mapped(
    map_function: Callable[..., Any],
    function: Callable[[Block], list[Outcome]],
    blocks: list[Block],
) -> list[list[Outcome]]:
    """Return the outcomes of each block by a user's ``map``, called as ``map(function, blocks)``.

    Raises:
        ArgumentError: It gives something else.
    """
    expected = f"the result of each of {len(blocks)} blocks, in order"
    results = map_function(function, blocks)
    if not isinstance(results, Iterable):
        raise ArgumentError(f"map: expected {expected}, got {type(results).__name__}")
    found = list(results)
    if len(found) != len(blocks):
        raise ArgumentError(f"map: expected {expected}, got {len(found)} results")
    for i, (result, (genomes, _)) in enumerate(zip(found, blocks, strict=True)):
        if not isinstance(result, list) or not all(isinstance(o, Outcome) for o in result):
            raise ArgumentError(f"map: expected {expected}, got {result!r:.100} for block {i}")
        if len(result) != len(genomes):
            raise ArgumentError(
                f"map: expected {expected}, got {len(result)} outcomes for block {i}, which has "
                f"{len(genomes)} genomes"
            )
    return found


def check_engine(engine: str, *, batched: bool) -> str:
    """Return the engine to begin with: for ``"auto"`` the batched one where it applies.

    Args:
        engine: What was asked for.
        batched: Whether the batched engine applies, see `supports_batched`.

    Raises:
        ArgumentError: An unknown engine, or ``"batched"`` for a task it does not apply to.
    """
    if engine not in NAMES:
        raise argument_error("engine", f"one of {NAMES}", engine)
    if engine == "batched" and not batched:
        raise argument_error(
            "engine",
            "'auto' or 'loop' for this task: 'batched' needs a plain stack of dense layers, one "
            "tensor as input, no forward of your own, and no dropout if children train",
            engine,
        )
    if engine != "auto":
        return engine
    return "batched" if batched else "loop"


def check_masked(context: Context) -> None:
    """Check that the masked engine applies to children of masks that have learnt nothing.

    Raises:
        ArgumentError: It does not.
    """
    whole = MaskGenome([np.ones(group.n_units, dtype=bool) for group in context.structure.groups])
    if not supports_masked(context, [whole]):
        raise argument_error(
            "engine",
            "'auto' or 'loop' for this task: 'masked' needs a sequential stack without hooks, a "
            "forward that only calls it, train_steps=0, and with batch norms "
            "recalibration_samples=0",
            "masked",
        )


def can_thread(context: Context) -> bool:
    """Return whether blocks can be measured in threads: nothing of a user's is called there."""
    own_loss = getattr(context.loss_fn, "__module__", "") != "torch.nn.functional"
    return (
        context.engine == "batched"
        and context.metric.function is accuracy
        and not (context.training and own_loss)
    )


def faster_route(context: Context, block: Block) -> str:
    """Return ``"masked"`` where that is clearly faster than the loop for these genomes."""
    # Spread over the block, since a first population is sorted by size.
    step = max(1, len(block[0]) // _TIMED_CHILDREN)
    genomes, seeds = block[0][::step][:_TIMED_CHILDREN], block[1][::step][:_TIMED_CHILDREN]
    if not genomes or not supports_masked(context, genomes):
        return "loop"

    def run(engine: str) -> None:
        evaluate(replace(context, engine=engine), (genomes, seeds))

    times = _shortest_times(run, ("loop", "masked"))
    return "masked" if times["masked"] * _ROUTE_GAIN < times["loop"] else "loop"


def faster_threads(context: Context, blocks: Sequence[Block]) -> int:
    """Return how many threads measure these blocks fastest; their outcomes are the same."""
    limit = min(available_cores(), len(blocks))
    if limit < 2 or not can_thread(context):
        return 1
    timed = blocks[: 2 * limit]

    def run(threads: int) -> None:
        thread_map(partial(evaluate, context), timed, threads=threads)

    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n < limit] + [limit]
    times = _shortest_times(run, counts)
    best = min(counts, key=lambda n: times[n])
    return best if times[best] * _THREADS_GAIN < times[1] else 1


def _shortest_times(run: Callable[[Key], None], keys: Sequence[Key]) -> dict[Key, float]:
    """Return the shortest of a few interleaved runs for each key, in seconds, after a warm-up."""
    times: dict[Key, float] = dict.fromkeys(keys, math.inf)
    for repeat in range(1 + _REPEATS):
        for key in keys:
            started = time.perf_counter()
            run(key)
            if repeat > 0:
                times[key] = min(times[key], time.perf_counter() - started)
    return times
