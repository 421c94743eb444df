"""Worker processes on this machine, by loky."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ecomp_deap.checks import check_count
from ecomp_deap.errors import EvaluationError, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, Ended, KitFile, Lost, Workers

__all__ = ["ProcessWorkers", "opened"]

# More than any machine does, and than a mistyped number may ask for.
_MOST = 10**4
# How often a worker looks whether its driver is still there.
_LOOKS_S = 1.0


class ProcessWorkers(Workers):
    """So many processes, started anew (not forked), one torch thread each.

    They map the parent and the data from one file, so that these are in memory once. Each is an
    executor of its own, so that one that ends takes no other along.

    Args:
        n_workers: At least 1.

    Example:
        with ed.ProcessWorkers(4) as workers:
            result = ed.compress(task, workers=workers)
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = check_count("n_workers", n_workers, minimum=1, maximum=_MOST)
        self._file = KitFile()
        # By job: a file that is there while it is being measured, and that killed processes leave.
        self._marks: WeakKeyDictionary[Future[Answer], Path] = WeakKeyDictionary()
        self._seats = [_Seat(self._file.folder) for _ in range(self.n_workers)]

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        if not self._seats:
            raise EvaluationError("workers: expected some that have not been closed")
        mark = Path(self._file.folder, f"{uuid.uuid4().hex}.begun")
        seat = min(self._seats, key=lambda seat: seat.n_waiting)
        try:
            future = seat.submit(replace(job, source=self._file.path_of(kit)), mark)
        except OSError as error:
            raise EvaluationError(f"workers: no process can be started: {named(error)}") from error
        self._marks[future] = mark
        return future

    def had_begun(self, future: "Future[Answer]") -> bool:
        mark = self._marks[future]
        begun = mark.exists()
        mark.unlink(missing_ok=True)
        return begun

    def as_lost(self, error: BaseException) -> Lost | None:
        from loky.process_executor import ShutdownExecutorError

        # The latter, of those that waited behind one that was ended.
        ended = isinstance(error, (BrokenExecutor, ShutdownExecutorError))
        return Lost(named(error), alone=True) if ended else None

    def end(self, future: "Future[Answer]") -> Ended:
        if not self._marks[future].exists() and not future.done():
            return Ended.UNBEGUN
        for seat in self._seats:
            if seat.has(future):
                seat.restart()
        return Ended.ONE

    def restart(self) -> None:
        for seat in self._seats:
            seat.restart()

    def close(self) -> None:
        for seat in self._seats:
            seat.close()
        self._seats = []
        # Which joins those that were killed, and lets their semaphores go.
        multiprocessing.active_children()
        self._file.remove()


class _Seat:
    """One process, by an executor that is replaced when it ends.

    Args:
        folder: Of the kit, which a process removes when the driver has gone.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._sent: set[Future[Answer]] = set()
        self._executor = self._start()

    def _start(self) -> Any:
        # Imported here, as it is for these workers alone.
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        return ProcessPoolExecutor(
            1,
            context=get_context("loky"),
            initializer=_begin,
            initargs=(os.getpid(), self._folder),
            env=PINNED,
        )

    @property
    def n_waiting(self) -> int:
        """How many jobs it was sent and has not answered."""
        self._sent = {future for future in self._sent if not future.done()}
        return len(self._sent)

    def has(self, future: "Future[Answer]") -> bool:
        """Return whether it was sent a job and has not answered it."""
        return future in self._sent

    def submit(self, job: Job, mark: Path) -> "Future[Answer]":
        try:
            future: Future[Answer] = self._executor.submit(_run, job, str(mark))
        except (BrokenExecutor, RuntimeError):  # its process has ended
            self.restart()
            future = self._executor.submit(_run, job, str(mark))
        self._sent.add(future)
        return future

    def restart(self) -> None:
        self.close()
        self._executor = self._start()

    def close(self) -> None:
        self._executor.shutdown(wait=True, kill_workers=True)
        self._sent.clear()


def _run(job: Job, mark: str) -> Answer:
    path = Path(mark)
    with suppress(OSError):  # without it, no one is to blame
        path.touch()
    try:
        return run(job)
    finally:
        path.unlink(missing_ok=True)


def _begin(driver: int, folder: str) -> None:
    # Ctrl-C reaches all processes of a terminal, and is the driver's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(driver, folder), daemon=True).start()


def _follow(driver: int, folder: str) -> None:
    """End this process when the driver has ended without ending it, as by SIGKILL."""
    while os.getppid() == driver:
        time.sleep(_LOOKS_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


@contextmanager
def opened(workers: int | Executor | Workers | None) -> Iterator[Executor | Workers | None]:
    """Yield workers as they were given; a number makes so many processes, and ends them."""
    if workers is None or isinstance(workers, (Executor, Workers)):
        yield workers
        return
    n_workers = check_count("workers", workers, minimum=1, maximum=_MOST)
    with ProcessWorkers(n_workers) as processes:
        yield processes
