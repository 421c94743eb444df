"""Recording: every measurement of a search in a journal, so that it can be replayed.

Replaying needs no loop of its own: whatever drives the toolbox starts once more, makes the same
genomes from the same seeds, and is given the recorded measurements until there are no more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ecomp_deap.checks import check_path, check_type
from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.measurement import Measurement
from ecomp_deap.runs.description import adopt, describe, identify
from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.shapes import measurement_of
from ecomp_deap.toolbox import Toolbox
from ecomp_deap.toolbox.accounts import Asked

__all__ = ["Recording", "numbers", "recorded"]


class Recording:
    """A recorder of a toolbox: replays the lines of a journal, then adds to them.

    Where measurements cannot be given back (children keep what they learnt, or genomes of weights,
    which are not hashed) they are made again and compared.

    Args:
        journal: Its lines are this search's.
        evaluator: Of the search.
        first: Called for what a new journal begins with: what search it is of.
    """

    def __init__(
        self, journal: Journal, evaluator: Evaluator, first: Callable[[], dict[str, Any]]
    ) -> None:
        self.journal = journal
        self._metric, self._timed = evaluator.task.metric.name, evaluator.limits.times
        self._first = first
        self._lines = journal.lines[1:]
        self._is_new = not journal.lines
        self._place = 0

    @property
    def replays(self) -> bool:
        """Whether there are lines that were not reached yet."""
        return self._place < len(self._lines)

    def recall(self, asked: Asked) -> list[Measurement] | None:
        """Return what was found for these genomes, None beyond the end of the journal.

        Raises:
            DataError: The journal is of another search.
        """
        if not self.replays:
            return None
        line = self._lines[self._place]
        self._check(asked, line)
        try:
            return [
                measurement_of(found, metric=self._metric, timed=self._timed)
                for found in line["found"]
            ]
        except (ValueError, TypeError) as error:
            reason = f"expected measurements in generation {asked.generation}, but {error}"
            raise DataError(f"{self.journal.path}: {reason}") from error

    def record(self, asked: Asked, found: Sequence[Measurement]) -> None:
        """Add what was found to the journal, or compare it with what was found before.

        Raises:
            DataError: It is another, or cannot be written.
        """
        line = {**asdict(asked), "keys": list(asked.keys), "found": list(map(numbers, found))}
        if self.replays:
            self._check(asked, self._lines[self._place])
            before = self._lines[self._place]["found"]
            if line["found"] != before:
                raise self._other(asked, "the same children were measured otherwise")
        else:
            if self._is_new:  # now, as engine and threads are chosen by the first measuring
                self.journal.append(self._first())
                self._is_new = False
            self.journal.append(line)
        self._place += 1

    def _check(self, asked: Asked, line: Mapping[str, Any]) -> None:
        """Check that a line is of what is asked."""
        try:
            same = (line["generation"], line["train"]) == (asked.generation, asked.train)
            if not same or len(line["found"]) != len(asked.keys):
                raise self._other(asked, f"it has generation {line['generation']} there")
            for i, (key, before) in enumerate(zip(asked.keys, line["keys"], strict=True)):
                if key != before:
                    raise self._other(asked, f"the genome of child {i} is another")
        except (KeyError, TypeError, ValueError) as error:
            reason = f"expected measurements in generation {asked.generation}"
            raise DataError(f"{self.journal.path}: {reason}, but {error!r}"[:500]) from error

    def _other(self, asked: Asked, reason: str) -> DataError:
        return DataError(
            f"{self.journal.path}: is of another search from generation {asked.generation} on, as "
            f"{reason}: another seed, version, machine or operator; without the file the search "
            "starts anew"
        )


@contextmanager
def recorded(toolbox: Toolbox, path: str | Path) -> Iterator[Recording]:
    """Record a search with any loop in a file, and replay what the file has of it.

    A script that was killed is run once more, and goes on where it stopped: measurements come from
    the file as far as it reaches, and everything else is the same to the last bit.

    Args:
        toolbox: From `make_toolbox`, not used yet.
        path: The journal, made if it is not there.

    Raises:
        ArgumentError: The toolbox has measured something, or is recorded already.
        DataError: The file cannot be read or written, is no journal or in use, or is of another
            search.

    Example:
        with ed.recorded(toolbox, "search.journal"):
            population, logbook = algorithms.eaMuPlusLambda(toolbox.population(n=60), toolbox, ...)
    """
    check_type("toolbox", toolbox, Toolbox)
    if toolbox.recorder is not None or toolbox.generation >= 0:
        # A journal from the middle of a search could not be replayed.
        got = "one that is recorded" if toolbox.recorder is not None else "one in use"
        raise argument_error("toolbox", "a new one, from make_toolbox", got)
    journal = Journal(check_path("path", path))
    try:
        description = describe(toolbox)
        if journal.lines:
            adopt(journal.lines[0], toolbox, description, journal.path)
        recording = Recording(journal, toolbox.evaluator, lambda: identify(toolbox, description))
        toolbox.recorder = recording
        yield recording
    finally:
        toolbox.recorder = None
        journal.close()


def numbers(found: Measurement) -> dict[str, Any]:
    """Return the fields of a measurement as JSON has them; numpy's numbers are Python's then."""
    row = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in asdict(found).items()
    }
    costs = [list(cost) for cost in row.pop("costs")]
    return {**row, "costs": costs} if costs else row
