"""Latency: how long networks take for a batch, measured in turn on one machine."""

import math
import os
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.checks import check_count
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.task import default_forward

if TYPE_CHECKING:
    from torch.utils.benchmark import Measurement, Timer

__all__ = ["Latency", "LatencyMeter", "latency_ms", "speedup"]

_ONE_AT_A_TIME = threading.Lock()
# Rounds of a meter, and seconds for which each of two networks is called in one.
_METER_ROUNDS, _METER_SECONDS = 9, 0.005


@dataclass(frozen=True)
class Latency:
    """Wall-clock time of one forward pass of a batch.

    Attributes:
        median_ms: Median over the rounds, in milliseconds.
        iqr_ms: Interquartile range over the rounds, in milliseconds; 0 for a single round.
        n_runs: Calls that were timed, over all rounds; those that warm up do not count.
        rounds_ms: Milliseconds a call by round: the median of the round's blocks of calls.
    """

    median_ms: float
    iqr_ms: float
    n_runs: int
    rounds_ms: tuple[float, ...]


def latency_ms(
    modules: Mapping[str, nn.Module],
    inputs: Any,
    *,
    repeats: int = 9,
    min_run_time_s: float = 0.1,
    threads: int = 1,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> dict[str, Latency]:
    """Return the latency of each network for one batch, without gradients.

    The networks take turns, and every other round goes backwards (A B C, C B A, …), so that
    whatever slows the machine for a while slows all of them. Only one timing runs at a time,
    over all threads and, where files can be locked, all processes of the user; others wait.
    Nothing is moved or changed: networks and inputs are on one device, and a GPU's work is
    waited for. The number of torch threads is as before afterwards.

    Args:
        modules: Networks in eval mode, by name.
        inputs: A batch.
        repeats: Rounds.
        min_run_time_s: Seconds for which each network is called in each round, at least.
        threads: Number of torch threads.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.

    Raises:
        ArgumentError: There are no networks, one is in training mode, or a number is out of
            range.
    """
    _check_modules(modules)
    repeats = check_count("repeats", repeats, minimum=1)
    threads = check_count("threads", threads, minimum=1)
    min_run_time_s = _check_seconds("min_run_time_s", min_run_time_s)
    timers = _timers(modules, inputs, threads, forward)
    with _alone(), torch.no_grad():
        for timer in timers.values():
            timer.timeit(1)
        # It sizes its blocks by calls that do not count, and so warms the caches again.
        return _in_turn(
            repeats,
            {n: partial(t.blocked_autorange, None, min_run_time_s) for n, t in timers.items()},
        )


def speedup(latencies: Mapping[str, Latency], child: str, parent: str) -> float:
    """Return how many times as fast as the parent a child is: the median of the rounds' ratios.

    Args:
        latencies: What one call of `latency_ms` returned.
        child: The child's name.
        parent: The parent's name.

    Raises:
        ArgumentError: A name is not in ``latencies``, or the two have different numbers of
            rounds, so that they are not of one call.
    """
    for argument, name in (("child", child), ("parent", parent)):
        if name not in latencies:
            raise argument_error(argument, f"a name among {list(latencies)}", name)
    slow, fast = latencies[parent].rounds_ms, latencies[child].rounds_ms
    if len(slow) != len(fast):
        raise argument_error("latencies", "equally many rounds", (len(fast), len(slow)))
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


class LatencyMeter:
    """Times children of one parent, so that they compare over a whole search; each widths once.

    A child and the parent take turns, and the child's figure is its share of the parent's time,
    times what the parent took at first: a machine that slows down slows down both.

    Args:
        parent: The parent, in eval mode.
        widths: Its units in each group.
        inputs: A batch, on the parent's device.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.

    Attributes:
        parent_ms: What the parent took at first, in milliseconds.
    """

    def __init__(
        self,
        parent: nn.Module,
        widths: Sequence[int],
        inputs: Any,
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
    ) -> None:
        self._parent, self._inputs, self._forward = parent, inputs, forward
        self.parent_ms = self._time(parent=parent)["parent"].median_ms
        self._found = {tuple(widths): self.parent_ms}

    def __call__(self, widths: Sequence[int], make_child: Callable[[], nn.Module]) -> float:
        """Return the milliseconds that a child takes for the batch.

        Args:
            widths: Its units in each group.
            make_child: Makes the child, if none of these widths has been timed.
        """
        key = tuple(widths)
        if key not in self._found:
            found = self._time(child=make_child(), parent=self._parent)
            self._found[key] = self.parent_ms / speedup(found, "child", "parent")
        return self._found[key]

    def _time(self, **modules: nn.Module) -> dict[str, Latency]:
        timers = _timers(modules, self._inputs, 1, self._forward)
        with _alone(), torch.no_grad():
            # Blocks are sized once, and are short, so that many rounds take little time.
            calls = {n: round(_METER_SECONDS / t.timeit(2).mean) or 1 for n, t in timers.items()}
            return _in_turn(
                _METER_ROUNDS, {n: partial(t.timeit, calls[n]) for n, t in timers.items()}
            )


def _timers(
    modules: Mapping[str, nn.Module],
    inputs: Any,
    threads: int,
    forward: Callable[[nn.Module, Any], Any] | None,
) -> "dict[str, Timer]":
    # Here, as torch looks for compilers when it imports its benchmarks, and logs what it misses.
    from torch.utils.benchmark import Timer

    return {
        name: Timer(
            "forward(module, inputs)",
            globals={"module": module, "inputs": inputs, "forward": forward or default_forward},
            num_threads=threads,
        )
        for name, module in modules.items()
    }


def _in_turn(repeats: int, timings: "dict[str, Callable[[], Measurement]]") -> dict[str, Latency]:
    """Return what is timed by turns, every other round backwards."""
    rounds: dict[str, list[float]] = {name: [] for name in timings}
    n_runs = dict.fromkeys(timings, 0)
    for i in range(repeats):
        for name in timings if i % 2 == 0 else reversed(timings):
            found = timings[name]()
            rounds[name].append(1000 * found.median)
            n_runs[name] += found.number_per_run * len(found.raw_times)
    return {name: _over_rounds(rounds[name], n_runs[name]) for name in timings}


def _check_modules(modules: Mapping[str, nn.Module]) -> None:
    if not modules:
        raise argument_error("modules", "at least one network", modules)
    for name, module in modules.items():
        if any(part.training for part in module.modules()):
            raise ArgumentError(f"modules: expected networks in eval mode, got {name!r} training")


def _check_seconds(name: str, value: Any) -> float:
    wanted = "a positive number of seconds"
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise argument_error(name, wanted, value) from None
    if not 0.0 < seconds < math.inf:
        raise argument_error(name, wanted, value)
    return seconds


def _over_rounds(rounds_ms: Sequence[float], n_runs: int) -> Latency:
    low, high = np.percentile(rounds_ms, (25, 75))
    return Latency(statistics.median(rounds_ms), float(high - low), n_runs, tuple(rounds_ms))


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other timings waiting, in this process and in the user's others."""
    with _ONE_AT_A_TIME:
        try:
            import fcntl
        except ImportError:
            yield
            return
        path = Path(tempfile.gettempdir()) / f"ecomp-deap-timing-{os.getuid()}.lock"
        with open(path, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Closing is not enough if a process was forked meanwhile and holds the file too.
                fcntl.flock(file, fcntl.LOCK_UN)
