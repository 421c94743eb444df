"""The live view: a run's bar, hypervolumes and front, drawn again and again in one place."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from ecomp_deap.callbacks import Callback
from ecomp_deap.progress.lines import title_of
from ecomp_deap.progress.streams import Lossy, printable
from ecomp_deap.progress.view import Shown, draw

__all__ = ["LiveView"]

# Of generations that the time left is reckoned by.
_RECENT = 20
_DRAWN_PER_SECOND = 4


class LiveView(Callback):
    """Draw what is known of a run on a terminal, and what stays of it when it ends.

    It is drawn by a thread of its own, so that clocks go on. Colours follow ``NO_COLOR``.

    Args:
        stream: The terminal.
        clock: Tells the time in seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._shown = Shown()
        self._last = 0.0
        self._console: Any = None
        self._live: Any = None
        self._is_over = False

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        self._last = self._clock()
        self._shown = Shown(
            title=printable(title_of(run_index, n_runs, directory)),
            started=self._last,
            n_generations=n_generations,
        )
        self._open()

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        now, shown = self._clock(), self._shown
        if not shown.title:  # a search in Python, of whose start nobody told
            shown, self._last = replace(shown, title="search", started=now), now
        durations = (*shown.durations, now - self._last)
        evaluated = (*shown.evaluated, int(record.get("nevals") or 0))
        self._last = now
        self._shown = replace(
            shown,
            generation=generation,
            n_generations=n_generations,
            durations=durations[-_RECENT:],
            evaluated=evaluated[-_RECENT:],
        )
        self._open()

    def on_front(
        self,
        generation: int,
        rows: Sequence[Mapping[str, float]],
        hypervolumes: Sequence[float],
    ) -> None:
        self._shown = replace(self._shown, rows=rows, hypervolumes=hypervolumes)

    def on_phase(self, name: str, total: int) -> None:
        self._shown = replace(
            self._shown, phase=name, n_steps=total, step=0, phase_started=self._clock()
        )
        self._open()
        self._live.refresh()  # it may be over before the next frame

    def on_phase_step(self) -> None:
        self._shown = replace(self._shown, step=self._shown.step + 1)

    def on_message(self, text: str) -> None:
        from rich.text import Text

        # Above the view, if there is one.
        self._terminal().print(Text(printable(text)))

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        self._shown = replace(self._shown, phase="")
        self.close()

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._is_over = True
            live.stop()
        self._shown = Shown()

    def _terminal(self) -> Any:
        from rich.console import Console

        if self._console is None:
            self._console = Console(
                file=Lossy(self._stream),  # type: ignore[arg-type]
                force_terminal=True,
                force_jupyter=False,
                markup=False,
                highlight=False,
                emoji=False,
            )
        return self._console

    def _open(self) -> None:
        """Start to draw, unless that goes on."""
        from rich.live import Live

        if self._live is not None:
            return
        self._is_over = False
        # What is written to a file beside the terminal stays out of it.
        self._live = Live(
            console=self._terminal(),
            get_renderable=self._draw,
            refresh_per_second=_DRAWN_PER_SECOND,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            redirect_stderr=self._stream is sys.stderr,
            vertical_overflow="crop",
        )
        self._live.start()

    def _draw(self) -> Any:
        console = self._terminal()
        width, height = console.size
        return draw(
            self._shown,
            self._clock(),
            width=width,
            height=height,
            ascii_only=console.options.ascii_only,
            whole=not self._is_over,
        )
