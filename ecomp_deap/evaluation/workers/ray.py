"""Workers of a Ray cluster: actors that hold parent and data."""

import os
from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from ecomp_deap.checks import check_count, check_number
from ecomp_deap.errors import EvaluationError, argument_error, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, Ended, Lost, Workers, optional
from ecomp_deap.threads import available_cores

__all__ = ["RayWorkers"]

# What tells Ray that there are no clusters here, so that it listens to this machine alone.
_NO_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class RayWorkers(Workers):
    """Actors of a Ray cluster, spread over its nodes, or of one of this machine.

    Args:
        address: Of a cluster, or ``"auto"`` for the one that this machine belongs to; by default
            one is started here, reachable from this machine alone, and ended with this.
        n_workers: Actors, by default one for each core of the cluster.
        gpus: The share of a GPU that each of them takes.

    Raises:
        EvaluationError: There is no cluster.

    Example:
        with ed.RayWorkers("auto", gpus=0.25) as workers:
            result = ed.compress(task, workers=workers)
    """

    depth = 1  # an actor is sent nothing while it works, so that what it was at is known

    def __init__(
        self, address: str | None = None, *, n_workers: int | None = None, gpus: float = 0.0
    ) -> None:
        if n_workers is not None:
            n_workers = check_count("n_workers", n_workers, minimum=1)
        gpus = check_number("gpus", gpus, minimum=0.0)
        if address is not None and not isinstance(address, str):
            raise argument_error("address", "that of a cluster, or 'auto'", address)
        ray = self._ray = optional("ray", "ray")
        exceptions = ray.exceptions
        self._lost = (
            *(exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError),
            *(exceptions.ObjectLostError, exceptions.LocalRayletDiedError),
        )
        self._is_ours = not ray.is_initialized()
        try:
            if self._is_ours and address is None:
                _start_here(ray, n_workers or available_cores())
            elif self._is_ours:
                ray.init(address=address, log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise EvaluationError(
                f"workers: no Ray cluster at {address}: {named(error)}"
            ) from error
        self.n_workers = n_workers or int(ray.cluster_resources().get("CPU", 1))
        self._actor_type = ray.remote(
            num_cpus=1,
            num_gpus=gpus,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": PINNED},
        )(_Seat)
        # An actor is back here some time after its answer, so that whoever takes one may wait.
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.n_workers):
            self._idle.put(self._actor_type.remote())
        self._flying: dict[Future[Answer], Any] = {}
        self._kit: tuple[str, Any] = ("", None)

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        if self._kit[0] != kit.key:
            self._kit = (kit.key, self._ray.put(kit.content))
        actor = self._idle.get()
        future: Future[Answer] = actor.run.remote(job, *([self._kit[1]] if needed else [])).future()
        self._flying[future] = actor
        future.add_done_callback(self._release)
        return future

    def _release(self, future: "Future[Answer]") -> None:
        actor = self._flying.pop(future, None)
        if actor is None:
            return  # it was ended
        ended = not future.cancelled() and isinstance(future.exception(), self._lost)
        self._idle.put(self._actor_type.remote() if ended else actor)

    def as_lost(self, error: BaseException) -> Lost | None:
        return Lost(named(error), alone=True) if isinstance(error, self._lost) else None

    def end(self, future: "Future[Answer]") -> Ended:
        actor = self._flying.pop(future, None)
        if actor is not None:
            self._ray.kill(actor)
            self._idle.put(self._actor_type.remote())
        return Ended.ONE

    def drop(self, future: "Future[Answer]") -> None:
        """Let an actor come to its end, when it is free."""

    def restart(self) -> None:
        raise EvaluationError("workers: the Ray cluster is gone")

    def close(self) -> None:
        for actor in self._flying.values():
            self._ray.kill(actor)
        while not self._idle.empty():
            self._ray.kill(self._idle.get())
        if self._is_ours:
            self._ray.shutdown()


def _start_here(ray: Any, n_cores: int) -> None:
    """Start a cluster that listens to this machine alone."""
    # Otherwise it takes the machine's public address, whatever it is asked for. It is read once by
    # this process, and from the environment by those that it starts.
    ray_constants = ray._private.ray_constants
    before = os.environ.get(_NO_CLUSTERS), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_NO_CLUSTERS], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        ray.init(
            address="local",  # and not one that runs here for someone else
            num_cpus=n_cores,
            include_dashboard=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        del os.environ[_NO_CLUSTERS]
        if before[0] is not None:
            os.environ[_NO_CLUSTERS] = before[0]


class _Seat:
    """An actor: a process that keeps its kits."""

    def run(self, job: Job, content: bytes | None = None) -> Answer:
        return run(job if content is None else replace(job, source=content))
