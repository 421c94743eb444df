"""`Workers`: where jobs are sent, whatever runs them."""

import os
import tempfile
from abc import ABC, abstractmethod
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from ecomp_deap.checks import check_type
from ecomp_deap.errors import EvaluationError, argument_error, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit

__all__ = [
    "PINNED",
    "Ended",
    "ExecutorWorkers",
    "KitFile",
    "Lost",
    "Workers",
    "as_workers",
]

#: Of a worker's environment: OpenMP runtimes of several processes fight over the cores.
PINNED = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Ended(Enum):
    """Which workers have ended with a job's."""

    ALL = "all"
    ONE = "one"
    #: They are another's, so that it may answer yet.
    NONE = "none"
    #: No one has begun with it, so that it did not take too long.
    UNBEGUN = "unbegun"


class Lost(Exception):
    """A worker ended before it answered.

    Attributes:
        alone: Whether that is known of one job's worker, while the others go on.
    """

    def __init__(self, reason: str, *, alone: bool) -> None:
        super().__init__(reason)
        self.alone = alone


class Workers(ABC):
    """Workers that measure jobs, for as long as a ``with`` block lasts.

    Attributes:
        n_workers: How many jobs are measured at a time.
        depth: Jobs that are sent for each worker: the one it works at, and such as it need not
            wait for.
        has_answered: Whether any of them ever has.
    """

    n_workers: int
    depth: int = 2
    has_answered: bool = False

    @abstractmethod
    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        """Send a job.

        Args:
            job: What is asked.
            kit: To be sent with it where that is cheap.
            needed: Whether a worker has said that it lacks the kit.

        Raises:
            Lost: There are no workers any more, see `restart`.
        """

    @abstractmethod
    def restart(self) -> None:
        """End all workers, whatever they do, and start them anew.

        Raises:
            EvaluationError: They are not ours to start.
        """

    def end(self, future: "Future[Answer]") -> Ended:
        """End the worker of a job that takes too long, and start another; return what has ended."""
        self.restart()
        return Ended.ALL

    def had_begun(self, future: "Future[Answer]") -> bool:
        """Return whether a job whose worker has ended may be to blame for it, as it was begun."""
        return True

    def drop(self, future: "Future[Answer]") -> None:
        """Forget a job that no one waits for any more; it need not be begun."""
        future.cancel()

    def tend(self) -> None:  # noqa: B027, as most need nothing
        """Called now and then while answers are waited for: start what has ended for good."""

    def as_lost(self, error: BaseException) -> Lost | None:
        """Return what an error says of the worker; None if it was not the worker that ended."""
        return Lost(named(error), alone=False) if isinstance(error, BrokenExecutor) else None

    def close(self) -> None:  # noqa: B027, as those of others are left to them
        """End the workers, if they are ours."""

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ExecutorWorkers(Workers):
    """Any `concurrent.futures.Executor`, which stays its owner's.

    Args:
        executor: Where jobs are submitted; its workers can import ecomp_deap.
        n_workers: How many jobs it runs at a time, by default what it says itself.
    """

    def __init__(self, executor: Executor, n_workers: int | None = None) -> None:
        check_type("executor", executor, Executor)
        self._executor = executor
        self.n_workers = n_workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        if needed:
            job = replace(job, source=kit.content)
        try:
            return self._executor.submit(run, job)
        except BrokenExecutor as error:
            raise Lost(named(error), alone=False) from error

    def restart(self) -> None:
        raise EvaluationError(
            "workers: an executor that is not ours has lost its own, and cannot be started anew"
        )

    def end(self, future: "Future[Answer]") -> Ended:
        return Ended.NONE


def as_workers(value: Any) -> Workers:
    """Return workers as such.

    Raises:
        ArgumentError: Neither `Workers` nor an executor.
    """
    if isinstance(value, Workers):
        return value
    if isinstance(value, Executor):
        return ExecutorWorkers(value)
    raise argument_error("workers", "an Executor or Workers", value)


class KitFile:
    """The kit in a file that workers of this machine map, so that they share its pages."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ecomp_deap-")
        self._key = ""

    @property
    def folder(self) -> str:
        """Where the file is."""
        return self._folder.name

    def path_of(self, kit: Kit) -> str:
        """Return the path of a file with the kit; that of the one before is removed."""
        path = Path(self._folder.name, f"{kit.key}.kit")
        # Systems clear temporary folders of what is old.
        if kit.key != self._key or not path.exists():
            path.parent.mkdir(exist_ok=True)
            for old in path.parent.glob("*.kit"):
                old.unlink()
            path.write_bytes(kit.content)
            self._key = kit.key
        return str(path)

    def remove(self) -> None:
        """Remove file and folder."""
        self._folder.cleanup()
