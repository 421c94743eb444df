"""Plain lines, about ten a run, for logs and continuous integration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ecomp_deap.callbacks import Callback
from ecomp_deap.progress.streams import Lossy, printable

__all__ = ["Lines", "figures_in", "title_of"]

_FIGURES = (  # column of the logbook, as it is shown, format
    ("accuracy_max", "accuracy", ".3f"),
    ("similarity_loss_min", "similarity loss", ".3f"),
    ("relative_width_min", "width", ".2f"),
)
_LINES_PER_RUN = 10


class Lines(Callback):
    """Print runs, phases and the best figures of some generations, a line each.

    Args:
        stream: Where to; None takes nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = Lossy(stream)
        self._title = ""

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        self._title = title_of(run_index, n_runs, directory)

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        step = max(1, n_generations // _LINES_PER_RUN)
        if generation % step == 0 or generation == n_generations:
            of = f"{self._title}: generation {generation} of {n_generations}"
            self.on_message(f"{of}: {figures_in(record)}")

    def on_phase(self, name: str, total: int) -> None:
        self.on_message(name)

    def on_message(self, text: str) -> None:
        print(printable(text), file=self._stream, flush=True)


def title_of(run_index: int, n_runs: int, directory: Path) -> str:
    """Return what a run is called.

    >>> title_of(2, 3, Path("results/first_2"))
    'first_2 (2 of 3)'
    """
    return directory.name + (f" ({run_index} of {n_runs})" if n_runs > 1 else "")


def figures_in(record: Mapping[str, Any]) -> str:
    """Return what a user watches for; absent where every child of the generation failed.

    >>> figures_in({"accuracy_max": 0.81251, "relative_width_min": 0.2, "accuracy_min": None})
    'accuracy 0.813, width 0.20'
    """
    return ", ".join(
        f"{label} {record[column]:{form}}"
        for column, label, form in _FIGURES
        if record.get(column) is not None
    )
