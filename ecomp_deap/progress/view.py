"""The live view's picture of a run: what is shown, and how it is drawn for a terminal's size.

rich is imported when something is drawn, as the command answers without it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Shown", "draw", "sparkline", "spread_by_size"]

_MOST_ROWS = 8
# Lines of the view that are no rows of the front.
_OTHER_LINES = 12
_WIDEST = 100
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", ".:-=+*#@"
# Below so many letters a line headings are short, and below those there are but two columns.
_WIDE, _NARROW = 56, 36

Row = Mapping[str, float]


@dataclass(frozen=True)
class Shown:
    """What the view shows; replaced as a whole, as another thread draws it.

    Attributes:
        title: Of the run, empty before the first.
        started: When the run started, in the view's clock.
        generation: The last one that is over, None before the first.
        n_generations: Generations after the first.
        durations: Seconds of the last generations.
        evaluated: Children that were measured in each of them.
        rows: The front, see `Callback.on_front`.
        hypervolumes: One a generation.
        phase: What goes on beside the search, empty for nothing.
        phase_started: When that started.
        n_steps: Its steps.
        step: Those that are done.
    """

    title: str = ""
    started: float = 0.0
    generation: int | None = None
    n_generations: int = 0
    durations: tuple[float, ...] = ()
    evaluated: tuple[int, ...] = ()
    rows: Sequence[Row] = ()
    hypervolumes: Sequence[float] = ()
    phase: str = ""
    phase_started: float = 0.0
    n_steps: int = 0
    step: int = 0


def draw(
    shown: Shown, now: float, *, width: int, height: int, ascii_only: bool = False, whole: bool
) -> Any:
    """Return the view as something that rich prints.

    Args:
        shown: What to show.
        now: The time, in the view's clock.
        width: Of the terminal, in letters.
        height: Likewise, in lines.
        ascii_only: Whether it has no other letters.
        whole: Whether the front is shown too; else what stays on the screen at the end.
    """
    from rich.console import Group
    from rich.text import Text

    width = max(min(width, _WIDEST) - 1, 1)
    parts: list[Any] = []
    if shown.title:
        parts += _search(shown, now, width)
    if shown.hypervolumes:
        parts.append(_trend(shown.hypervolumes, width, ascii_only))
    n_rows = min(height - _OTHER_LINES, _MOST_ROWS)
    if whole and shown.rows and n_rows > 0:
        parts += [Text(), _front(spread_by_size(shown.rows, n_rows), width)]
    if shown.phase:
        parts += [Text()] if parts else []
        parts += _phase(shown, now, width)
    return Group(*parts)


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return values as small bars, evenly chosen where there are more than ``width``.

    >>> sparkline([0, 1, 2, 4, 7], 9)
    '▁▂▃▅█'
    """
    bars = _ASCII_BARS if ascii_only else _BARS
    if len(values) > width:
        step = (len(values) - 1) / max(width - 1, 1)
        values = [values[-1 - round(i * step)] for i in reversed(range(width))]
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round(scale * (value - low))] for value in values)


def spread_by_size(rows: Sequence[Row], n: int) -> list[Row]:
    """Return at most n rows: the most accurate one of each part of the range of sizes.

    The range is cut into n parts, evenly by the logarithm.

    Args:
        rows: From the smallest to the largest; the first number of each is its accuracy.
        n: How many, at least 1.
    """
    if len(rows) <= n:
        return list(rows)
    logs = [math.log(row["param_count"]) for row in rows]
    span = logs[-1] - logs[0]
    best: dict[int, Row] = {}
    for row, log in zip(rows, logs, strict=True):
        part = min(int(n * (log - logs[0]) / span), n - 1) if span else 0
        if part not in best or _accuracy(row) > _accuracy(best[part]):
            best[part] = row
    return [best[part] for part in sorted(best)]


def _search(shown: Shown, now: float, width: int) -> list[Any]:
    done = 0 if shown.generation is None else shown.generation + 1
    right = "starting" if shown.generation is None else f"generation {shown.generation}"
    if shown.generation is not None and shown.n_generations:
        right += f" of {shown.n_generations}"
    total = sum(shown.durations)
    left = None
    if shown.durations and not shown.phase and shown.generation is not None:
        left = total / len(shown.durations) * (shown.n_generations - shown.generation)
    rate = f"{sum(shown.evaluated) / total:,.0f} evaluations/s" if total else ""
    return [
        _headed(shown.title, right, width),
        _bar(done, shown.n_generations + 1, width),
        _times(now - shown.started, left, rate, width),
    ]


def _phase(shown: Shown, now: float, width: int) -> list[Any]:
    passed = now - shown.phase_started
    left = passed / shown.step * (shown.n_steps - shown.step) if shown.step else None
    return [
        _headed(shown.phase, f"{shown.step} of {shown.n_steps}", width),
        _bar(shown.step, shown.n_steps, width),
        _times(passed, left, "", width),
    ]


def _headed(left: str, right: str, width: int) -> Any:
    """Return a line with a text at each end; the left one gives way."""
    from rich.text import Text

    title = Text(left, style="bold")
    title.truncate(max(width - len(right) - 2, 0), overflow="ellipsis", pad=True)
    return Text.assemble(title, "  ", right, no_wrap=True, overflow="crop")


def _bar(done: int, total: int, width: int) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    share = f"{done / total:4.0%}" if total else ""
    line = Table.grid(padding=(0, 1, 0, 0))
    # Never 0 of 0, which rich takes for a wait without end.
    bar = ProgressBar(
        total=max(total, 1),
        completed=done,
        width=max(width - 5, 1),
        complete_style="cyan",
        finished_style="cyan",
    )
    line.add_row(bar, share)
    return line


def _times(passed: float, left: float | None, rate: str, width: int) -> Any:
    from rich.text import Text

    parts = [f"{_clock(passed)} passed"]
    if left:
        parts.append(f"about {_clock(left)} left")
    if rate:
        parts.append(rate)
    text = ", ".join(parts)
    if len(text) > width:
        short = {"about ": "", " passed": "", " evaluations": ""}
        for word, shorter in short.items():
            text = text.replace(word, shorter)
    return Text(text, style="dim", no_wrap=True, overflow="crop")


def _trend(values: Sequence[float], width: int, ascii_only: bool) -> Any:
    from rich.text import Text

    heading, last = "hypervolume ", f" {values[-1]:.3f}"
    bars = sparkline(values, max(width - len(heading) - len(last), 1), ascii_only=ascii_only)
    return Text.assemble((heading, "dim"), (bars, "cyan"), last, no_wrap=True, overflow="crop")


def _front(rows: Sequence[Row], width: int) -> Any:
    from rich.table import Table

    metric, wide = next(iter(rows[0])), width >= _WIDE
    columns: list[tuple[str, Callable[[Row], str]]] = [
        (metric, lambda row: f"{row[metric]:.3f}"),
        ("parameters" if wide else "params", lambda row: f"{row['param_count']:,.0f}"),
        ("of the parent's" if wide else "share", lambda row: _percent(row["param_share"])),
        ("similarity loss" if wide else "loss", lambda row: f"{row['similarity_loss']:.3f}"),
    ]
    columns = columns if width >= _NARROW else columns[:2]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True, overflow="crop")
    for row in rows:
        table.add_row(*(text(row) for _, text in columns))
    return table


def _accuracy(row: Row) -> float:
    return next(iter(row.values()))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.01 else f"{100 * share:.2f} %"


def _clock(seconds: float) -> str:
    """Return a duration as a clock has it.

    >>> _clock(7.4), _clock(3725)
    ('0:07', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
