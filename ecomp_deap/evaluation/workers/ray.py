"""Workers of a Ray cluster: actors that hold parent and data."""

import os
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from ecomp_deap.checks import check_count, check_number, installed
from ecomp_deap.errors import EvaluationError, argument_error, named
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import PINNED, Ended, Lost, Workers
from ecomp_deap.threads import available_cores

__all__ = ["RayWorkers"]

# What tells Ray that there are no clusters here, so that it listens to this machine alone.
_NO_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# Seconds that a head may take to accept a connection, and until it is asked again.
_REACH_S, _AGAIN_S = 5.0, 0.2


class RayWorkers(Workers):
    """Actors of a Ray cluster, spread over its nodes, or of one of this machine.

    Nodes may come and go: an actor that is lost is replaced when there is room for another. If the
    head node is lost, and started again at its address, the rest is measured there.

    Args:
        address: Of a cluster, or ``"auto"`` for the one that this machine belongs to; by default
            one is started here, reachable from this machine alone, and ended with this.
        n_workers: Actors, by default one for each core of the cluster.
        gpus: The share of a GPU that each of them takes.
        patience_s: Seconds that are waited for a first actor, for another when all are lost, and
            for a head node that is.

    Attributes:
        patience_s: As it was given.

    Raises:
        EvaluationError: There is no cluster.

    Example:
        with ed.RayWorkers("auto", gpus=0.25) as workers:
            result = ed.compress(task, workers=workers)
    """

    depth = 1  # an actor is sent nothing while it works, so that what it was at is known

    def __init__(
        self,
        address: str | None = None,
        *,
        n_workers: int | None = None,
        gpus: float = 0.0,
        patience_s: float = 60.0,
    ) -> None:
        if n_workers is not None:
            n_workers = check_count("n_workers", n_workers, minimum=1)
        gpus = check_number("gpus", gpus, minimum=0.0)
        if address is not None and not isinstance(address, str):
            raise argument_error("address", "that of a cluster, or 'auto'", address)
        self.patience_s = check_number("patience_s", patience_s, above=0.0)
        ray = self._ray = installed("ray", extra="ray", what="workers")
        exceptions = ray.exceptions
        self._lost = (
            *(exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError),
            *(exceptions.ObjectLostError, exceptions.LocalRayletDiedError),
            *(exceptions.OutOfMemoryError, exceptions.ActorUnschedulableError),
        )
        self._is_ours = not ray.is_initialized()
        self._is_here = address is None
        if self._is_ours:
            self._connect(address, n_workers or available_cores(), patience_s=0.0)
        self._find_head(address)
        if not self._is_ours and address not in (None, "auto", self._head):
            raise EvaluationError(
                f"workers: no Ray cluster at {address}, as this process is connected to "
                f"{self._head}: call ray.shutdown() first"
            )
        self._n_wanted = n_workers or int(ray.cluster_resources().get("CPU", 1))
        self._gpus = gpus
        # Ray answers in threads of its own.
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Answer], tuple[Any, ...]]] = deque()
        self._start_all()

    def _connect(self, address: str | None, n_cores: int, *, patience_s: float) -> None:
        """Connect to a cluster, or start ours.

        Raises:
            EvaluationError: There is none for as long as our patience lasts.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                if address is None:
                    _start_here(self._ray, n_cores)
                else:
                    _reach(address)  # or Ray may look for it for minutes
                    self._ray.init(address=address, log_to_driver=False)
                return
            except (OSError, RuntimeError) as error:
                if time.monotonic() >= deadline:
                    raise EvaluationError(
                        f"workers: no Ray cluster at {address}: {named(error)}"
                    ) from error
            time.sleep(_AGAIN_S)

    def _find_head(self, address: str | None) -> None:
        self._gcs: Any = None
        if installed("ray.util.client", extra="ray", what="workers").ray.is_connected():
            self._head = address or ""  # it may be out of reach but for the one who asks for us
            return
        self._head = self._ray.get_runtime_context().gcs_address
        self._gcs = installed(
            "ray._private.worker", extra="ray", what="workers"
        ).global_worker.gcs_client

    def _start_all(self) -> None:
        self._actor_type = self._ray.remote(
            num_cpus=1,
            num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": PINNED},
        )(_Seat)
        self._kit: tuple[str, Any] = ("", None)
        self._idle: list[Any] = []
        self._flying: dict[Future[Answer], Any] = {}
        self._starting: dict[Future[None], Any] = {}
        self._none_since: float | None = None
        self.n_workers = self._n_wanted
        for _ in range(self._n_wanted):
            self._start()

    def _start(self) -> None:
        """Start an actor, which gets nothing before it is there, as there may be no room for it."""
        self._ask(self._actor_type.remote())

    def _ask(self, actor: Any) -> None:
        """Have an actor say that it is there, so that it gets something."""
        ready: Future[None] = actor.ready.remote().future()
        with self._lock:
            self._starting[ready] = actor
        ready.add_done_callback(self._arrive)

    def _arrive(self, ready: "Future[None]") -> None:
        with self._lock:
            actor = self._starting.pop(ready, None)
            if actor is None or ready.exception() is not None:
                return  # it is started again by and by
            self._idle.append(actor)
            self.n_workers = max(self.n_workers, self._n_alive())
        self._hand_out()

    def _n_alive(self) -> int:
        return len(self._idle) + len(self._flying)

    def submit(self, job: Job, kit: Kit, *, needed: bool) -> "Future[Answer]":
        self._check_head()  # without it, Ray ends this process when it puts something
        if self._kit[0] != kit.key:
            self._kit = (kit.key, self._ray.put(kit.content))
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting.append((future, (job, self._kit[1]) if needed else (job,)))
        self._hand_out()
        return future

    def _hand_out(self) -> None:
        """Send jobs that wait to actors that do nothing."""
        while True:
            with self._lock:
                if not self._waiting or not self._idle:
                    return
                future, arguments = self._waiting.popleft()
                actor = self._flying[future] = self._idle.pop()
            answered = actor.run.remote(*arguments).future()
            answered.add_done_callback(partial(self._take, future))

    def _take(self, future: "Future[Answer]", answered: "Future[Answer]") -> None:
        error = answered.exception()
        ended = isinstance(error, self._lost)
        with self._lock:
            actor = self._flying.pop(future, None)
            if actor is None:
                return  # it was ended
            if not ended:
                self._idle.append(actor)
        if error is None:
            future.set_result(answered.result())
        else:
            future.set_exception(Lost(named(error), alone=True) if ended else error)
        if ended:
            self._replace()
        self._hand_out()

    def _replace(self) -> None:
        # Others may have ended with it; they get nothing before they say that they are there.
        with self._lock:
            idle, self._idle = self._idle, []
        for actor in idle:
            self._ask(actor)
        self.n_workers = max(1, self._n_alive() + len(idle))
        self._start()

    def as_lost(self, error: BaseException) -> Lost | None:
        return error if isinstance(error, Lost) else None

    def end(self, future: "Future[Answer]") -> Ended:
        with self._lock:
            if any(waiting[0] is future for waiting in self._waiting):
                return Ended.UNBEGUN
            actor = self._flying.pop(future, None)
        if actor is not None:
            self._ray.kill(actor)
            self._replace()
        return Ended.ONE

    def drop(self, future: "Future[Answer]") -> None:
        """Forget what no actor has begun; one that has comes to its end, and is free then."""
        with self._lock:
            self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not future)

    def tend(self) -> None:
        try:
            self._check_head()
        except Lost as lost:
            self._fail(lost)
            return
        with self._lock:
            n_alive, n_starting = self._n_alive(), len(self._starting)
        for _ in range(self._n_wanted - n_alive - n_starting):
            self._start()
        if n_alive:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = time.monotonic()
        elif time.monotonic() - self._none_since > self.patience_s:
            raise EvaluationError(
                f"workers: the Ray cluster at {self._head} has had none for "
                f"{self.patience_s:g} s; start a node, and `resume` goes on"
            )

    def _check_head(self) -> None:
        """Raise Lost if the head is gone, or another, which knows nothing of us."""
        try:
            _reach(self._head)
            if self._gcs is not None:
                self._gcs.internal_kv_exists(b"ecomp_deap", b"", timeout=_REACH_S)
        except (OSError, self._ray.exceptions.RayError) as error:
            raise Lost(
                f"the Ray cluster at {self._head} is gone: {named(error)}", alone=False
            ) from error

    def _fail(self, lost: Lost) -> None:
        """Answer all jobs that they are lost, as Ray would not for a minute or more."""
        with self._lock:
            futures = [*self._flying, *(future for future, _ in self._waiting)]
            self._flying, self._waiting = {}, deque()
        for future in futures:
            future.set_exception(lost)

    def restart(self) -> None:
        """Connect to the cluster anew, when it is there again.

        Raises:
            EvaluationError: It is not there for as long as our patience lasts, or not ours.
        """
        gone = f"workers: the Ray cluster at {self._head} is gone"
        self._forget()  # there is no one to be killed
        if not self._is_ours:
            raise EvaluationError(
                f"{gone}, and we have not connected to it: call ray.shutdown(), or Ray ends this "
                "process; start another cluster, and `resume` goes on"
            )
        self._ray.shutdown()
        address = None if self._is_here else self._head
        try:
            self._connect(address, self._n_wanted, patience_s=self.patience_s)
        except EvaluationError as error:
            raise EvaluationError(
                f"{gone} for {self.patience_s:g} s; start it again, and `resume` goes on"
            ) from error
        self._find_head(address)
        self._start_all()

    def _forget(self) -> list[Any]:
        """Return all actors, and know of none."""
        with self._lock:
            actors = [*self._flying.values(), *self._idle, *self._starting.values()]
            self._flying, self._idle, self._starting = {}, [], {}
            self._waiting.clear()
        return actors

    def close(self) -> None:
        actors = self._forget()
        if not self._ray.is_initialized():
            return  # it is lost
        with suppress(Lost):
            self._check_head()  # without it, Ray waits to kill those that are not there yet
            for actor in actors:
                self._ray.kill(actor)
        if self._is_ours:
            self._ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError if no one listens at ``host:port``; other addresses are Ray's to find."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


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
            # With Ray's 15, workers get next to nothing beside other work: none is there in time.
            _system_config={"worker_niceness": 0},
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

    def ready(self) -> None:
        """Return when it is there."""

    def run(self, job: Job, content: bytes | None = None) -> Answer:
        return run(job, content)
