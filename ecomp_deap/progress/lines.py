"""Plain lines, about ten a run, for logs and continuous integration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ecomp_deap.callbacks import Callback
from ecomp_deap.progress.streams import Lossy, printable

__all__ = ["Lines", "figures_in", "title_of"]

# Columns of the logbook, and how they are shown: each may be another child's.
_FIGURES = (
    ("accuracy_max", "accuracy up to {:.3f}"),
    ("relative_width_min", "width from {:.2f}"),
)
# Others are a task's own metric and costs.
_CHAPTERS = (
    *("fitness", "accuracy", "similarity_loss", "relative_width", "param_count", "mac_count"),
    "size_bytes",
)
_NONE = "no sound child within the limits"
_LINES_PER_RUN = 10


class Lines(Callback):
    """Print runs, phases and figures of some generations, on their batches, a line each.

    Args:
        stream: Where to; None takes nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = Lossy(stream)
        self._title = ""
        self._record: Mapping[str, Any] = {}
        self._n_generations = 0

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        self._title = title_of(run_index, n_runs, directory)

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        self._record = record
        self._n_generations = n_generations

    def on_front(
        self,
        generation: int,
        rows: Sequence[Mapping[str, float]],
        hypervolumes: Sequence[float],
    ) -> None:
        n = self._n_generations
        if generation % max(1, n // _LINES_PER_RUN) == 0 or generation == n:
            of = f"{self._title}: " if self._title else ""  # a search in Python has no name
            figures = figures_in(self._record, hypervolumes)
            self.on_message(f"{of}generation {generation} of {n}: {figures}")

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


def figures_in(record: Mapping[str, Any], hypervolumes: Sequence[float] = ()) -> str:
    """Return what a user watches for: the ends of ranges over the children of a generation.

    >>> figures_in({"accuracy_max": 0.81251, "relative_width_min": 0.2, "nevals": 40}, [0.4, 0.56])
    'accuracy up to 0.813, width from 0.20, hypervolume 0.560'
    >>> figures_in({"error_min": 0.125, "error_max": 0.5, "relative_width_min": 0.2})
    'error 0.125 to 0.5, width from 0.20'
    """
    names = [column.removesuffix("_min") for column in record if column.endswith("_min")]
    ranges = {
        name: (record[f"{name}_min"], record.get(f"{name}_max"))
        for name in names
        if name not in _CHAPTERS
    }
    known = [
        f"{name} {low:.3g} to {high:.3g}"
        for name, (low, high) in ranges.items()
        if low is not None and high is not None
    ]
    known += [
        text.format(record[column]) for column, text in _FIGURES if record.get(column) is not None
    ]
    if not known:
        return _NONE
    return ", ".join([*known, *(f"hypervolume {volume:.3f}" for volume in hypervolumes[-1:])])
