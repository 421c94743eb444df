"""Workers of a Dask cluster."""

import asyncio
import os
import signal
import threading
import time
import uuid
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ecomp_deap.checks import check_count, check_number, check_type, installed
from ecomp_deap.errors import EvaluationError, argument_error, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, Ended, KitFile, Lost, Workers
from ecomp_deap.threads import available_cores

__all__ = ["DaskWorkers"]

# Larger kits go to the workers by themselves, and not in a job through the scheduler.
_SCATTERED_BYTES = 2**23
# What a worker of this machine may take to start, and a client to say that it leaves.
_START_S, _CLOSE_S = 60.0, 5.0


class DaskWorkers(Workers):
    """The workers of a Dask cluster, or of one of this machine that lasts as long as this.

    Workers may come and go. A scheduler that is lost, and started again at its address, is sent
    once more what it had not answered.

    Args:
        address: Of a scheduler, ``"tcp://host:8786"``, or ``"tls://host:8786"`` with the
            certificates that Dask's configuration names; by default workers are started here,
            with one thread each, reachable from this machine alone.
        n_workers: Of those that are started here, by default one a core.
        resources: That each job takes of its worker, as ``{"GPU": 1}``.
        patience_s: Seconds that are waited for the scheduler, and for a worker, at the start and
            whenever there are none.

    Attributes:
        patience_s: As it was given.

    Raises:
        ArgumentError: Dask's configuration has no certificate for such an address, or wants one.
        EvaluationError: There is no scheduler, or it has no workers.

    Example:
        with ed.DaskWorkers("tcp://10.0.0.5:8786") as workers:
            result = ed.compress(task, workers=workers)
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        n_workers: int | None = None,
        resources: dict[str, float] | None = None,
        patience_s: float = 60.0,
    ) -> None:
        if n_workers is not None:
            n_workers = check_count("n_workers", n_workers, minimum=1)
        if resources is not None:
            check_type("resources", resources, dict)
        if address is not None and not isinstance(address, str):
            raise argument_error("address", "that of a scheduler, a text", address)
        self.patience_s = check_number("patience_s", patience_s, above=0.0)
        self._distributed = installed("distributed", extra="dask", what="workers")
        if address is not None:
            _check_encryption(self._distributed, address)
        self._resources = resources
        self._scattered: tuple[str, Any] = ("", None)
        self._flying: dict[Future[Answer], Any] = {}
        self._client: Any = None
        self._cluster: Any = None
        self._file: KitFile | None = None
        self._none_since: float | None = None
        self._loop = _Loop()
        try:
            if address is None:
                self._file = KitFile()
                self._cluster = self._distributed.LocalCluster(
                    n_workers=0,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    env=PINNED,
                )
            self._address = address or self._cluster.scheduler_address
            self._connect(n_workers or available_cores())
        except BaseException:
            self.close()
            raise
        self.n_workers = max(1, self._n_threads())  # one may have left again

    def _connect(self, n_ours: int) -> None:
        """Connect, and wait for a worker of the cluster, or start those that are ours.

        Raises:
            EvaluationError: There is none for as long as our patience lasts.
        """
        deadline = time.monotonic() + self.patience_s
        while True:
            left = max(0.1, deadline - time.monotonic())
            try:
                opening = self._open(left)
                self._client = asyncio.run_coroutine_threadsafe(
                    opening, self._loop.loop.asyncio_loop
                ).result()
                self._wait(n_ours, max(0.1, deadline - time.monotonic()))
                return
            # It may have gone again.
            except (OSError, TimeoutError, asyncio.TimeoutError) as error:
                self._disconnect()
                if time.monotonic() >= deadline:
                    raise EvaluationError(
                        f"workers: no Dask cluster with workers at {self._address} for "
                        f"{self.patience_s:g} s: {named(error)}"
                    ) from error

    async def _open(self, seconds: float) -> Any:
        """Return a client, in its loop: outside, one waits for ever for who does not shake hands.

        Raises:
            OSError: There is no scheduler.
            TimeoutError: It took longer.
        """
        client = self._distributed.Client(
            self._address, timeout=seconds, asynchronous=True, set_as_default=False
        )
        try:
            return await asyncio.wait_for(client, seconds)
        except BaseException:
            with suppress(Exception):
                await asyncio.wait_for(client.close(timeout=_CLOSE_S), _CLOSE_S)
            raise

    def _wait(self, n_ours: int, seconds: float) -> None:
        if self._cluster is None:
            self._client.wait_for_workers(1, timeout=seconds)
            return
        # One for each core at a time: many that import torch side by side take so long that their
        # nannies start them again, for ever.
        step = available_cores()
        for n_started in [*range(step, n_ours, step), n_ours]:
            self._cluster.scale(n_started)
            self._client.wait_for_workers(n_started, timeout=_START_S)

    def _disconnect(self) -> None:
        client, self._client, self._scattered = self._client, None, ("", None)
        if client is not None:
            with suppress(
                OSError, self._distributed.TimeoutError
            ):  # there may be no one who listens
                client.close(timeout=_CLOSE_S)

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        if self._client.status != "running":
            raise Lost(f"the connection to {self._address} is {self._client.status}", alone=False)
        further = []
        try:
            if self._file is not None:
                job = replace(job, source=self._file.path_of(kit))
            elif needed and len(kit.content) < _SCATTERED_BYTES:
                job = replace(job, source=kit.content)
            elif needed:
                further = [self._scatter(kit)]
            own = self._client.submit(
                run,
                job,
                *further,
                key=f"ecomp_deap-{uuid.uuid4().hex}",
                pure=False,
                resources=self._resources,
            )
        except Exception as error:  # whatever a client without its scheduler raises
            raise Lost(named(error), alone=False) from error
        future: Future[Answer] = Future()
        self._flying[future] = own
        self._loop.loop.add_callback(self._deliver, self._client, own, future)
        return future

    def _scatter(self, kit: Kit) -> Any:
        key, scattered = self._scattered
        if key != kit.key or scattered.status != "finished":  # lost with the workers that had it
            scattered = self._client.scatter(kit.content, broadcast=True, hash=False)
            self._scattered = (kit.key, scattered)
        return scattered

    async def _deliver(self, client: Any, own: Any, future: "Future[Answer]") -> None:
        """Hand an answer over when it is there; in the client's loop, and so never left."""
        try:
            future.set_result(await client.gather(own, asynchronous=True))
        except BaseException as error:
            # What a job raised, as opposed to what became of it.
            raised = own.status == "error" and not isinstance(error, self._distributed.KilledWorker)
            there = client.status == "running"
            future.set_exception(error if raised else Lost(named(error), alone=there))
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._flying.pop(future, None)

    def as_lost(self, error: BaseException) -> Lost | None:
        return error if isinstance(error, Lost) else None

    def end(self, future: "Future[Answer]") -> Ended:
        own = self._flying.get(future)
        if own is None:
            return Ended.ONE  # it has ended by now
        with suppress(Exception):  # whatever a client without its scheduler raises
            processing = self._client.processing().items()
            place = next((worker for worker, keys in processing if own.key in keys), None)
            if place is None and own.status == "pending":
                return Ended.UNBEGUN
            self._flying.pop(future, None)
            own.cancel(force=True)
            if place is not None:
                # It takes no orders while it works, but its nanny does, and starts another.
                self._client.run(_kill, workers=[place], nanny=True, on_error="ignore")
        return Ended.ONE

    def drop(self, future: "Future[Answer]") -> None:
        own = self._flying.get(future)
        if own is not None:
            own.cancel()

    def tend(self) -> None:
        if self._cluster is not None:
            self._tend_ours()
            return
        try:
            n_workers = self._n_threads()
        except self._distributed.TimeoutError as error:
            raise EvaluationError(
                f"workers: the Dask scheduler at {self._address} has not answered for "
                f"{self.patience_s:g} s; start it again, and `resume` goes on"
            ) from error
        except Exception:  # it is gone, as jobs will say
            return
        if n_workers:
            self.n_workers, self._none_since = n_workers, None
        elif self._none_since is None:
            self._none_since = time.monotonic()
        elif time.monotonic() - self._none_since > self.patience_s:
            raise EvaluationError(
                f"workers: the Dask cluster at {self._address} has had none for "
                f"{self.patience_s:g} s; start some, and `resume` goes on"
            )

    def _tend_ours(self) -> None:
        # A nanny whose worker is killed while it starts gives up, and is missed by no one.
        for name, nanny in list(self._cluster.workers.items()):
            if nanny.status.name in ("closing", "closed", "failed"):
                self._cluster.workers.pop(name, None)
                self._cluster.worker_spec.pop(name, None)
        self._cluster.scale(self.n_workers)

    def _n_threads(self) -> int:
        client = self._client
        found = client.sync(client.scheduler.ncores, callback_timeout=self.patience_s)
        return sum(found.values())

    def restart(self) -> None:
        """Connect to the scheduler anew, when it is there again.

        Raises:
            EvaluationError: It is not there for as long as our patience lasts.
        """
        self._disconnect()
        try:
            self._connect(self.n_workers)
        except EvaluationError as error:
            raise EvaluationError(
                f"{error}; it was there before: start it again, and `resume` goes on"
            ) from error
        self._none_since = None

    def close(self) -> None:
        self._disconnect()
        if self._cluster is not None:
            self._cluster.close()
        self._loop.stop()
        if self._file is not None:
            self._file.remove()


def _check_encryption(distributed: Any, address: str) -> None:
    """Refuse what a client would fail at, and then wait for a minute for itself to close."""
    security = distributed.Security()
    is_encrypted = address.startswith(("tls://", "wss://"))
    if is_encrypted and not (security.tls_ca_file and security.tls_client_cert):
        expected = "with it distributed.comm.tls.ca-file and client.cert in Dask's configuration"
        raise argument_error("address", expected, address)
    if security.require_encryption and not is_encrypted:
        raise argument_error("address", "tls://, as Dask's configuration has it", address)


class _Loop:
    """An event loop in a thread of its own.

    Clients that make their own leave it running where they find no scheduler.
    """

    def __init__(self) -> None:
        self._started: Future[tuple[Any, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="ecomp_deap-dask", daemon=True
        )
        self._thread.start()
        self.loop, self._ended = self._started.result()

    async def _run(self) -> None:
        ended = asyncio.Event()
        self._started.set_result(
            (installed("tornado.ioloop", extra="dask", what="workers").IOLoop.current(), ended)
        )
        await ended.wait()

    def stop(self) -> None:
        """Cancel what is left, and end."""
        if self._thread.is_alive():
            self.loop.add_callback(self._ended.set)
            self._thread.join()


def _kill(dask_worker: Any) -> None:
    os.kill(dask_worker.pid, signal.SIGKILL)
