"""Clusters that were started apart, and a gate that their workers stop at, so as to be killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import torch
from torch import nn

from ecomp_deap import Callback, Task, evolve, make_toolbox

#: Longer than anything takes here; what waits so long fails.
PATIENCE_S = 60


class Gate:
    """Where children that workers measure stop, from one generation on, until it is opened.

    Args:
        folder: Whose files tell processes of it.
    """

    def __init__(self, folder):
        self.shut, self.reached = folder / "shut", folder / "reached"
        self.reached.mkdir()

    def forward(self):
        """Return a task's ``forward``."""
        driver, shut, reached = os.getpid(), self.shut, self.reached

        def forward(module, inputs):
            while os.getpid() != driver and shut.exists():
                (reached / str(os.getpid())).touch()
                time.sleep(0.01)
            return module(inputs)

        return forward

    def open(self):
        """Let all go on, those that come later too."""
        self.shut.unlink()

    def wait(self, n_workers=1):
        """Return when so many workers have stopped."""
        until(lambda: len(list(self.reached.iterdir())) >= n_workers)


class _Shutter(Callback):
    def __init__(self, gate):
        self.gate = gate

    def on_generation(self, generation, n_generations, record):
        if generation == 1:
            self.gate.shut.touch()


def listening():
    """Return the addresses that this process, and those that it started, listen at."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):  # it may end in between
            connections = process.net_connections(kind="tcp")
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def until(happened):
    """Return when something has happened, in another process say."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def search(splits, gate, workers, fault=None, **options):
    """Return the digest of a search, and the incidents of its workers.

    In its middle, with children begun, a fault happens; ``fault`` opens the gate.
    """
    torch.manual_seed(3)
    parent = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    task = Task(parent, splits, batch_size=30, forward=gate.forward(), probe_layers=["0"])
    toolbox = make_toolbox(task, seed=1, block_size=2, engine="loop", workers=workers, **options)

    def happen():
        gate.wait(workers.n_workers)
        fault()

    with ThreadPoolExecutor(1) as threads:
        happened = threads.submit(happen) if fault is not None else None
        callback = _Shutter(gate) if fault is not None else None
        result = evolve(toolbox, population=12, generations=3, finalise_count=0, callback=callback)
        if happened is not None:
            happened.result()
    return result.digest(), toolbox.crew and toolbox.crew.incidents


class Outside:
    """Dask's scheduler and workers, each with all that it starts in a group of processes.

    Attributes:
        address: Of the scheduler, which is the same when it is started again.
    """

    def __init__(self):
        self._started = []
        self.address = None

    def scheduler(self):
        """Start one, and return it when it listens."""
        port = "0" if self.address is None else self.address.rsplit(":", 1)[1]
        process = self._start("scheduler", "--port", port, stderr=subprocess.PIPE, text=True)
        self.address = next(line.split()[-1] for line in process.stderr if "Scheduler at:" in line)
        # What it says later must not stop it.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        return process

    def worker(self, *, nanny=False):
        """Start one, and return it; it will come to the scheduler some time."""
        kind = "--nanny" if nanny else "--no-nanny"
        options = (self.address, "--nthreads", "1", kind)
        return self._start("worker", *options, stderr=subprocess.DEVNULL)

    def _start(self, what, *options, **streams):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--no-dashboard"], start_new_session=True, **streams
        )
        self._started.append(process)
        return process

    def kill(self, process):
        """End one with all that it started, as a node that loses its power."""
        self._started.remove(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in list(self._started):
            self.kill(process)


class RayNodes:
    """Nodes of a Ray cluster, all of 127.0.0.1.

    Attributes:
        address: Of the head, which is the same when it is started again.
    """

    def __init__(self, monkeypatch):
        from ray._private import ray_constants, utils
        from ray.cluster_utils import Cluster

        # Otherwise they take the machine's public address, whatever they are asked for.
        monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        # Nobody else is to find them.
        monkeypatch.setattr(utils, "write_ray_address", lambda *args: None)
        self._make, self._cluster, self._started = Cluster, None, []
        self.address = None

    def head(self):
        """Start one, which has no workers."""
        self._cluster = self._make(shutdown_at_exit=False)
        port = {} if self.address is None else {"gcs_server_port": int(self.address[10:])}
        # A node that is silent for a second is lost.
        health = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 200,
            "health_check_timeout_ms": 1000,
            "health_check_failure_threshold": 5,
        }
        node = self.node(num_cpus=0, _system_config=health, **port)
        self.address = self._cluster.address
        return node

    def node(self, num_cpus=1, **options):
        """Start another."""
        node = self._cluster.add_node(
            num_cpus=num_cpus,
            node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            **options,
        )
        self._started.append(node)
        return node

    def kill(self, node):
        """End all of its processes, as of one that loses its power."""
        self._started.remove(node)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.Error):  # it may have ended with its parent
                process.kill()
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for node in list(self._started):
            self.kill(node)
