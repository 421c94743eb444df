"""`Logger`: what all loggers have in common, so that each says only how a figure is written."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ecomp_deap.callbacks import Callback
from ecomp_deap.checks import check_type
from ecomp_deap.errors import DataError
from ecomp_deap.files import read_json
from ecomp_deap.logbook import read_logbook
from ecomp_deap.runs.directory import RunDirectory, read_front
from ecomp_deap.search import Result
from ecomp_deap.search.run_files import write_found

__all__ = ["Logger", "is_number", "tag"]

# Options that say where logs go, which may be the last thing to put into them.
_OWN = ("tensorboard", "mlflow")
_STATISTIC = re.compile(r"(.+)_((?:min|mean|max|std)(?:_[0-9]+)?|failed|infeasible|duplicates)")


class Logger(Callback):
    """A callback that writes figures somewhere else; subclasses override the four methods below.

    A run of the command, or of `run_many`, is logged to its end by itself. A search in a script
    tells its generations; give what it returned to `log_result`, or `close` the logger.

    A logger is not vital: where a hook fails, a message says so once, nothing more is logged of
    this run, and the search goes on. What is wrong when it is made is an error at once.

    Args:
        params: What else to log of a run beside its configuration, by name.
    """

    vital = False

    def __init__(self, *, params: Mapping[str, Any] | None = None) -> None:
        self._params = dict(check_type("params", {} if params is None else params, Mapping))
        self._directory: Path | None = None
        self._is_open = False
        self._seen: set[str] = set()

    def open(self, directory: Path | None, params: Mapping[str, Any], step: int) -> None:
        """Begin, or go on, with the log of a run.

        Args:
            directory: The run's folder, by whose name it is known; None for a search without one.
            params: What was asked.
            step: The generation that is logged next: what is there from it on is written again.
        """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write figures of a generation, by tags such as ``accuracy/max``."""

    def finish(self, run: RunDirectory, summary: Mapping[str, Any]) -> None:
        """Write what was found.

        Args:
            run: A folder with front, logbook, timings, summary and at least the best child.
            summary: The content of its ``summary.json``.
        """

    def end(self) -> None:
        """End the log that was begun, whether it was finished or not."""

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        self.close()
        self._directory = directory

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        self._begin(generation)
        values = _figures(record)
        self._seen |= values.keys()
        self.scalars(values, generation)

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        if self._directory is not None:
            self._finish(RunDirectory(self._directory), summary)

    def log_result(self, result: Result) -> None:
        """Log what `compress` or `evolve` returned, and close: hooks tell of no end in a script.

        Raises:
            ArgumentError: It is no result.
            Exception: Whatever keeps the logger from it.
        """
        check_type("result", result, Result)
        with TemporaryDirectory() as folder:
            directory = RunDirectory(Path(folder))
            self._finish(directory, write_found(result, directory))

    def close(self) -> None:
        is_open, self._is_open, self._directory = self._is_open, False, None
        self._seen.clear()
        if is_open:
            self.end()

    def _begin(self, step: int) -> None:
        if self._is_open:
            return
        params = dict(self._params)
        if self._directory is not None:
            path = self._directory / "config.json"
            config = read_json(path, what="a run's configuration")
            if not isinstance(config, dict):
                raise DataError(f"{path}: expected a run's configuration, but it is no object")
            params |= {name: value for name, value in config.items() if name not in _OWN}
        self.open(self._directory, params, step)
        self._is_open = True

    def _finish(self, run: RunDirectory, summary: Mapping[str, Any]) -> None:
        timings = read_front(run.path / "timings.csv")
        if not self._is_open and self._directory is None:  # hooks were given to no one
            for step, record in enumerate(read_logbook(run.path / "logbook.csv")):
                self.on_generation(step, len(timings) - 1, record)
        self._begin(len(timings))
        for step, row in enumerate(timings):
            values = {k: v for k, v in _figures(row).items() if k not in self._seen}
            self.scalars(values, step)
        self.finish(run, summary)
        self.close()


def tag(column: str) -> str:
    """Return the name of a column of the logbook, grouped by what it is of.

    >>> [tag(column) for column in ("accuracy_max", "fitness_mean_0", "nevals")]
    ['accuracy/max', 'fitness/mean_0', 'search/nevals']
    """
    match = _STATISTIC.fullmatch(column)
    return f"search/{column}" if match is None else f"{match[1]}/{match[2]}"


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row's numbers by their tags, without the generation's own."""
    return {
        tag(column): float(value)
        for column, value in row.items()
        if is_number(value) and column not in ("gen", "generation")
    }


def is_number(value: Any) -> bool:
    """Return whether a value is one that can be drawn over generations."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
