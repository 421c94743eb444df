"""Worker processes on this machine, by loky."""

import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ecomp_deap.checks import check_count
from ecomp_deap.errors import named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, KitFile, Lost, Workers

__all__ = ["ProcessWorkers", "opened"]

# More than any machine does, and than a mistyped number may ask for.
_MOST = 10**4
# How often a worker looks whether its driver is still there.
_LOOKS_S = 1.0


class ProcessWorkers(Workers):
    """So many processes, started anew (not forked), one torch thread each.

    They map the parent and the data from one file, so that these are in memory once.

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
        self._executor = self._start()

    def _start(self) -> Any:
        # Imported here, as it is for these workers alone.
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        return ProcessPoolExecutor(
            self.n_workers,
            context=get_context("loky"),
            initializer=_begin,
            initargs=(os.getpid(), self._file.folder),
            env=PINNED,
        )

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        job = replace(job, source=self._file.path_of(kit))
        mark = Path(self._file.folder, f"{uuid.uuid4().hex}.begun")
        try:
            future: Future[Answer] = self._executor.submit(_run, job, str(mark))
        except (BrokenExecutor, RuntimeError) as error:
            raise Lost(named(error), alone=False) from error
        self._marks[future] = mark
        return future

    def had_begun(self, future: "Future[Answer]") -> bool:
        return self._marks[future].exists()

    def restart(self) -> None:
        self._executor.shutdown(wait=True, kill_workers=True)
        for mark in Path(self._file.folder).glob("*.begun"):
            mark.unlink()
        self._executor = self._start()

    def close(self) -> None:
        self._executor.shutdown(wait=True, kill_workers=True)
        self._file.remove()


def _run(job: Job, mark: str) -> Answer:
    path = Path(mark)
    path.touch()
    try:
        return run(job)
    finally:
        path.unlink()


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
