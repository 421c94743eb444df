"""What the benchmarks share: alternatives timed in turn, the machine, tables, a plot."""

import argparse
import csv
import gc
import io
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ecomp_deap.files import write_atomically
from ecomp_deap.report import _figure as fig

Row = Mapping[str, Any]

# Rounds that are always done, however long they take.
_FEWEST_ROUNDS = 3
# What takes less is called so many times in its turn that it fills this time.
_TURN_S = 0.02


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds that one call of an alternative took, by round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, baseline: "Timing") -> float:
        """Return how many times as long as ``baseline`` it took: the median over the rounds."""
        return statistics.median(
            own / other for own, other in zip(self.seconds, baseline.seconds, strict=True)
        )

    def row(self, baseline: "Timing", **setting: Any) -> Row:
        """Return the row of results.csv for one setting."""
        return {
            **setting,
            "alternative": self.name,
            "median_s": self.median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "rounds": len(self.seconds),
            "baseline": baseline.name,
            "ratio_to_baseline": self.ratio_to(baseline),
        }

    def __str__(self) -> str:
        """Return the median [min, max]."""
        low, high = min(self.seconds), max(self.seconds)
        return f"{seconds_text(self.median)} [{seconds_text(low)}, {seconds_text(high)}]"


def compare(
    alternatives: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 9,
    limit_s: float = math.inf,
) -> list[Timing]:
    """Time the alternatives in turn (A B C A B C …), after a warm-up of each.

    So whatever slows the machine for a while slows all of them. What takes milliseconds is called
    several times in its turn, and the mean taken, lest it pay for the caches that others filled.
    Garbage is collected before each round and not within.

    Args:
        alternatives: Named functions without arguments.
        repeats: Rounds.
        limit_s: After so many seconds no further round begins, once there are three.
    """
    turns = {
        name: partial(_seconds, function, _calls_in_a_turn(function))
        for name, function in alternatives.items()
    }
    return take_turns(turns, repeats=repeats, limit_s=limit_s, keep_garbage=True)


def take_turns(
    turns: Mapping[str, Callable[[], float]],
    *,
    repeats: int = 9,
    limit_s: float = math.inf,
    keep_garbage: bool = False,
) -> list[Timing]:
    """Time alternatives in turn that say themselves how many seconds they took; no warm-up.

    For what needs preparation that does not count, or takes minutes.

    Args:
        turns: Named functions that return seconds.
        repeats: As in `compare`, like ``limit_s``.
        limit_s: See there.
        keep_garbage: Collect garbage between the rounds alone. By default also when Python sees
            fit, as in a program of one's own.
    """
    found: dict[str, list[float]] = {name: [] for name in turns}
    began = time.perf_counter()
    collects = gc.isenabled()
    try:
        for done in range(repeats):
            if done >= _FEWEST_ROUNDS and time.perf_counter() - began > limit_s:
                break
            gc.collect()
            if keep_garbage:
                gc.disable()
            for name, turn in turns.items():
                found[name].append(turn())
    finally:
        if collects:
            gc.enable()
    return [Timing(name, tuple(seconds)) for name, seconds in found.items()]


def _calls_in_a_turn(function: Callable[[], object]) -> int:
    seconds = _seconds(function, 1)
    if seconds < 1.0:
        # The first call may have paid for what is done once.
        seconds = _seconds(function, 1)
    return math.ceil(_TURN_S / max(seconds, 1e-6))


def _seconds(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def fastest(timings: Iterable[Timing], prefix: str) -> Timing:
    """Return the timing with the smallest median among those whose names begin so."""
    return min((t for t in timings if t.name.startswith(prefix)), key=lambda t: t.median)


def environment() -> dict[str, str]:
    """Return what the figures depend on: processor, cores, threads, versions, a GPU if any."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("torch", "numpy", "deap", "moocore", "scikit-learn")
    found = {
        "processor": _processor(),
        "cores": str(cores),
        "torch threads": str(torch.get_num_threads()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def parser(doc: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks, for a script with this docstring."""
    found = argparse.ArgumentParser(description=doc.split("\n", maxsplit=1)[0])
    found.add_argument("--quick", action="store_true", help="small settings, to see that it works")
    found.add_argument("--out", type=Path, default=Path("results/benchmarks") / name)
    return found


def seconds_text(seconds: float) -> str:
    """Return a short text with a fitting unit, three digits at most: 1.23 ms."""
    unit, size = next(
        (pair for pair in (("s", 1.0), ("ms", 1e-3)) if seconds >= pair[1]), ("µs", 1e-6)
    )
    return f"{_digits(seconds / size)} {unit}"


def _digits(value: float) -> str:
    """Return three digits, but whole numbers to the last one: 1430 and not 1.43e+03."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def markdown_table(rows: Iterable[Row]) -> str:
    """Return rows of the same columns as a Markdown table; None is an empty cell."""
    rows = list(rows)
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(map(_cell, row.values()))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _digits(value) if isinstance(value, float) else str(value)


def write_results(
    out: Path, title: str, rows: Sequence[Row], table: Sequence[Row], notes: str
) -> str:
    """Write all ``rows`` to results.csv, and ``table`` to table.md; return the latter's text.

    ``table.md`` also has the title, the notes and the machine.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "results.csv", rows)
    machine = "; ".join(f"{name} {value}" for name, value in environment().items())
    page = f"# {title}\n\n{markdown_table(table)}\n{notes}\n\nMeasured with: {machine}.\n"
    write_atomically(out / "table.md", page)
    return page


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def plot_lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: Path,
    *,
    title: str,
    xlabel: str | None = None,
    ylabel: str = "Time",
    ytext: Callable[[float], str] = seconds_text,
) -> None:
    """Draw lines of (x, y) points, logarithmic both ways, in panels side by side, as a PNG.

    Args:
        panels: For each panel its lines by name; a name has one colour throughout.
        path: Ends in .png.
        title: Of the figure.
        xlabel: Of every x axis; the panels' names are their titles then, else their x labels.
        ylabel: Of the y axis, which the panels share.
        ytext: The text of a tick of it.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    figure = fig.new_figure(width=max(8.0, 3.8 * len(panels)))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (panel, lines) in zip(grid, panels.items(), strict=True):
        fig.dress(axes)
        for name, points in lines.items():
            colour = fig.PALETTE[names.index(name) % len(fig.PALETTE)]
            axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4.5, label=name)
        fig.set_log_count_axis(axes, [x for points in lines.values() for x, _ in points])
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1,) if high > 50 * low else (1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: ytext(y)))
        if xlabel:
            axes.set_title(panel, fontsize=fig.LABEL_SIZE, color=fig.INK)
        fig.label(axes, xlabel or panel, None)
    fig.label(grid[0], None, ylabel)
    figure.suptitle(title, fontsize=fig.TITLE_SIZE, color=fig.INK)
    # A line that is in several panels is named once.
    found = [axes.get_legend_handles_labels() for axes in grid]
    handles = {
        name: line for lines, labels in found for line, name in zip(lines, labels, strict=True)
    }
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=min(len(names), 3),
        frameon=False,
        fontsize=fig.TICK_SIZE,
    )
    fig.save_figure(figure, path)
