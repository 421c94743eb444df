"""Workers of a Dask cluster."""

import os
import signal
import uuid
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from ecomp_deap.checks import check_count, check_type
from ecomp_deap.errors import EvaluationError, argument_error, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, Ended, KitFile, Lost, Workers, optional
from ecomp_deap.threads import available_cores

__all__ = ["DaskWorkers"]

# Larger kits go to the workers by themselves, and not in a job through the scheduler.
_SCATTERED_BYTES = 2**23
_CONNECT_SECONDS = 30


class DaskWorkers(Workers):
    """The workers of a Dask cluster, or of one of this machine that lasts as long as this.

    Args:
        address: Of a scheduler, ``"tcp://host:8786"``, or ``"tls://host:8786"`` with the
            certificates that Dask's configuration names; by default workers are started here,
            with one thread each, reachable from this machine alone.
        n_workers: Of those that are started here, by default one a core.
        resources: That each job takes of its worker, as ``{"GPU": 1}``.

    Raises:
        ArgumentError: Dask's configuration has no certificate for such an address, or wants one.
        EvaluationError: There is no scheduler.

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
    ) -> None:
        if n_workers is not None:
            n_workers = check_count("n_workers", n_workers, minimum=1)
        if resources is not None:
            check_type("resources", resources, dict)
        if address is not None and not isinstance(address, str):
            raise argument_error("address", "that of a scheduler, a text", address)
        distributed = optional("distributed", "dask")
        if address is not None:
            _check_encryption(distributed, address)
        self._lost = (distributed.KilledWorker, distributed.client.FutureCancelledError, OSError)
        self._cluster: Any = None
        self._file: KitFile | None = None
        if address is None:
            self._file = KitFile()
            self._cluster = distributed.LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                env=PINNED,
            )
        self._resources = resources
        self._scattered: tuple[str, Any] = ("", None)
        self._flying: dict[Future[Answer], Any] = {}
        self._client: Any = None
        try:
            self._client = distributed.Client(
                self._cluster or address, timeout=_CONNECT_SECONDS, set_as_default=False
            )
            self._wait(n_workers)
        except (OSError, TimeoutError) as error:
            self.close()
            raise EvaluationError(
                f"workers: no Dask cluster at {address}: {named(error)}"
            ) from error
        self.n_workers = sum(self._client.nthreads().values())

    def _wait(self, n_workers: int | None) -> None:
        """Wait for a worker of the cluster, or start those that are ours."""
        if self._cluster is None:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
            return
        # One for each core at a time: many that import torch side by side take so long that their
        # nannies start them again, for ever.
        n, step = n_workers or available_cores(), available_cores()
        for n_started in [*range(step, n, step), n]:
            self._cluster.scale(n_started)
            self._client.wait_for_workers(n_started, timeout=2 * _CONNECT_SECONDS)

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        further = []
        if self._file is not None:
            job = replace(job, source=self._file.path_of(kit))
        elif needed and len(kit.content) < _SCATTERED_BYTES:
            job = replace(job, source=kit.content)
        elif needed:
            further = [self._scatter(kit)]
        try:
            own = self._client.submit(
                _run,
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
        # In a thread of its own, as the answer may have to be fetched.
        own.add_done_callback(lambda done: self._deliver(done, future))
        return future

    def _scatter(self, kit: Kit) -> Any:
        if self._scattered[0] != kit.key:
            self._scattered = (
                kit.key,
                self._client.scatter(kit.content, broadcast=True, hash=False),
            )
        return self._scattered[1]

    def _deliver(self, done: Any, future: "Future[Answer]") -> None:
        self._flying.pop(future, None)
        try:
            future.set_result(done.result())
        except BaseException as error:
            future.set_exception(error)

    def as_lost(self, error: BaseException) -> Lost | None:
        ended = isinstance(error, self._lost)
        if ended:
            self._scattered = ("", None)  # it may be lost too
        return Lost(named(error), alone=True) if ended else None

    def end(self, future: "Future[Answer]") -> Ended:
        own = self._flying.pop(future, None)
        if own is None:
            return Ended.ONE  # it has ended by now
        place = next((w for w, keys in self._client.processing().items() if own.key in keys), None)
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
        if self._cluster is None:
            return
        # A nanny whose worker is killed while it starts gives up, and is missed by no one.
        for name, nanny in list(self._cluster.workers.items()):
            if nanny.status.name in ("closing", "closed", "failed"):
                self._cluster.workers.pop(name, None)
                self._cluster.worker_spec.pop(name, None)
        self._cluster.scale(self.n_workers)

    def restart(self) -> None:
        try:
            self._client.restart(timeout=_CONNECT_SECONDS, wait_for_workers=False)
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except Exception as error:  # whatever a client without its scheduler raises
            raise EvaluationError(f"workers: the Dask cluster is gone: {named(error)}") from error

    def close(self) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
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


def _run(job: Job, content: bytes | None = None) -> Answer:
    return run(job if content is None else replace(job, source=content))


def _kill(dask_worker: Any) -> None:
    os.kill(dask_worker.pid, signal.SIGKILL)
