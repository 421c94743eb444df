"""Progress on the terminal: a bar with the generation's figures, or few plain lines in a log."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ecomp_deap.callbacks import Callback

__all__ = ["ProgressBar", "show"]

_FIGURES = (  # column of the logbook, as it is shown, format
    ("accuracy_max", "accuracy", ".3f"),
    ("similarity_loss_min", "similarity loss", ".3f"),
    ("relative_width_min", "width", ".2f"),
)
_LINES_PER_RUN = 10


class ProgressBar(Callback):
    """Show runs, phases and the best figures of each generation on ``stream``.

    Where ``stream`` is a terminal this is one bar at a time (tqdm's, imported when needed); else
    about ten plain lines a run, for logs and continuous integration. What cannot be written, as the
    disk of a log is full or the terminal was closed, is dropped: a search does not end by that.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: Any = _Lossy(sys.stderr if stream is None else stream)
        self._is_terminal = self._stream.isatty()
        self._bar: Any = None
        self._title = ""
        self._in_search = False

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        self.close()
        self._title = directory.name
        if n_runs > 1:
            self._title += f" ({run_index} of {n_runs})"

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        figures = _figures(record)
        if self._is_terminal:
            if not self._in_search:
                self._open(self._title, n_generations + 1, "gen")
                self._in_search = True
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update()
            return
        step = max(1, n_generations // _LINES_PER_RUN)
        if generation % step == 0 or generation == n_generations:
            self._print(f"{self._title}: generation {generation} of {n_generations}: {figures}")

    def on_phase(self, name: str, total: int) -> None:
        if self._is_terminal:
            self._open(name, total, "step")
        else:
            self._print(name)

    def on_phase_step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_message(self, text: str) -> None:
        if self._bar is None:
            self._print(text)
        else:
            self._bar.write(text, file=self._stream)

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        self.close()

    def close(self) -> None:
        self._in_search = False
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, description: str, total: int, unit: str) -> None:
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(
            total=total, desc=description, unit=unit, file=self._stream, dynamic_ncols=True
        )

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Lossy:
    """A stream that drops what cannot be written.

    Args:
        stream: None takes nothing; Python has it where the process was started with a closed one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> None:
        with suppress(OSError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            if self._stream is not None:
                self._stream.flush()


def show(text: str, stream: TextIO | None) -> OSError | None:
    """Write a text and flush the stream; return what kept it from that, if anything did.

    After that the stream takes everything and keeps nothing, as Python flushes it once more when
    the process ends, and would complain.

    Args:
        text: Letters that the stream's encoding has not are escaped.
        stream: As for `_Lossy`.
    """
    if stream is None:
        return None
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # one that is no file of the system's
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return error
    return None


def _figures(record: Mapping[str, Any]) -> str:
    """Return what a user watches for; absent where every child of the generation failed.

    >>> _figures({"accuracy_max": 0.81251, "relative_width_min": 0.2, "similarity_loss_min": None})
    'accuracy 0.813, width 0.20'
    """
    return ", ".join(
        f"{label} {record[column]:{form}}"
        for column, label, form in _FIGURES
        if record.get(column) is not None
    )
