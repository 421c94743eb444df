"""Threads: how many torch computes with, and blocks spread over threads of our own."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

__all__ = ["available_cores", "thread_map", "torch_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Run with ``n`` torch threads: their number changes the last bits of some products."""
    before = torch.get_num_threads()
    if before == n:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    on_each: Callable[[], None] | None = None,
) -> list[Result]:
    """Return ``function`` of each item, in order, computed in ``threads`` threads.

    Torch computes with one thread in each, so a result does not depend on their number; with
    ``threads=1`` it computes with as many as it is set to. Torch lets other threads go on during
    every operation, so that small networks gain from it too.

    Args:
        function: What to compute, safe to call from several threads.
        items: Of what.
        threads: Number of threads, the caller's own if 1.
        on_each: Called in the caller's thread after each result.
    """
    if threads == 1:
        return _collect(map(function, items), on_each)
    with torch_threads(1):
        return _collect(_pool(threads).map(function, items), on_each)


def _collect(results: Iterator[Result], on_each: Callable[[], None] | None) -> list[Result]:
    found = []
    for result in results:
        found.append(result)
        if on_each is not None:
            on_each()
    return found


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # A thread has a number of torch threads of its own, which this sets.
    return ThreadPoolExecutor(
        threads, thread_name_prefix="ecomp_deap", initializer=torch.set_num_threads, initargs=(1,)
    )


if hasattr(os, "register_at_fork"):
    # No thread lives on in a fork, so that a pool from before would wait for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
