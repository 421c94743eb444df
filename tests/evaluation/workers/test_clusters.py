"""Clusters of this machine: the same found, also where workers are killed or take too long."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

from ecomp_deap import ArgumentError, DaskWorkers, EvaluationError, RayWorkers, compress
from tests.evaluation.workers.running import listening, processes
from tests.evaluation.workers.test_processes import measured

SMALL = {"population": 12, "generations": 4, "finalise_count": 0, "seed": 7}
# What the command line of a worker's process has in it.
KINDS = {"dask": (DaskWorkers, "spawn_main"), "ray": (RayWorkers, "ray::_Seat")}
OPTIONS = {"train_steps": 2, "inherit": True}


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    make, mark = KINDS[request.param]
    with make(n_workers=2) as workers:
        yield workers, mark
    assert processes(mark) == []


# Sockets that are another thread's to close when the process ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_a_search_is_the_same_on_a_cluster(tiny_task, cluster, options):
    workers, _ = cluster
    expected = compress(tiny_task(**options), **SMALL).digest()
    assert compress(tiny_task(**options), **SMALL, workers=workers).digest() == expected


def test_a_search_is_the_same_though_workers_are_killed(tiny_task, cluster):
    workers, mark = cluster
    expected = compress(tiny_task(**OPTIONS), **SMALL).digest()
    ended, rng, killed = threading.Event(), random.Random(1), []

    def kill():
        while not ended.wait(rng.uniform(0.05, 0.5)) and len(killed) < 3:
            for pid in processes(mark)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    found = [compress(tiny_task(**OPTIONS), **SMALL, workers=workers).digest() for _ in range(3)]
    ended.set()
    killer.join()
    assert set(found) == {expected}
    assert killed


def test_workers_of_this_machine_are_as_urgent_as_their_driver(tiny_task, cluster):
    workers, mark = cluster
    compress(tiny_task(), **SMALL, workers=workers)
    assert {psutil.Process(pid).nice() for pid in processes(mark)} == {psutil.Process().nice()}


def test_a_child_that_never_ends_fails_alone(tiny_splits, cluster):
    workers, _ = cluster
    driver = os.getpid()
    expected, _ = measured(tiny_splits, lambda module, inputs: module(inputs), None)
    (culprit,) = expected[len(expected) // 2].widths

    def stuck(module, inputs):
        if module[0].out_features == culprit and os.getpid() != driver:
            time.sleep(3600)
        return module(inputs)

    found, incidents = measured(tiny_splits, stuck, workers, 6.0)
    for one, other in zip(found, expected, strict=True):
        if one.widths == (culprit,):
            assert "took longer than 6 s" in one.measurement.reason
        else:
            assert one.measurement == other.measurement
    assert incidents.blamed == sum(one.widths == (culprit,) for one in found)


def test_a_cluster_of_this_machine_listens_to_it_alone(cluster):
    found = listening(os.getpid())
    assert found
    assert found <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_cluster_of_this_machine_does_not_mind_another(cluster):
    kind = type(cluster[0]).__name__
    source = f"import ecomp_deap as ed; ed.{kind}(n_workers=1).close()"
    done = subprocess.run([sys.executable, "-c", f"if __name__ == '__main__':\n    {source}"])
    assert done.returncode == 0


def test_a_head_that_is_not_there_is_named():
    before = threading.active_count()
    with pytest.raises(
        EvaluationError, match=r"workers: no Dask cluster with workers at tcp://127\.0\.0\.1:1"
    ):
        DaskWorkers("tcp://127.0.0.1:1", patience_s=0.2)
    assert threading.active_count() <= before
    with pytest.raises(EvaluationError, match=r"workers: no Ray cluster at 127\.0\.0\.1:1"):
        RayWorkers("127.0.0.1:1")


def test_workers_of_a_scheduler_elsewhere_get_the_kit_by_the_network(tiny_task, monkeypatch):
    # Started apart, as a cluster is; large kits go by themselves.
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = None
    try:
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "distributed.cli.dask_worker", address),
                *("--host", "127.0.0.1", "--nthreads", "1"),
                *("--dashboard-address", "127.0.0.1:0", "--resources", "GPU=1"),
            ],
            stderr=subprocess.DEVNULL,
        )
        expected = compress(tiny_task(), **SMALL).digest()
        for largest in (2**23, 1):
            monkeypatch.setattr("ecomp_deap.evaluation.workers.dask._SCATTERED_BYTES", largest)
            with DaskWorkers(address, resources={"GPU": 1}) as workers:
                assert workers.n_workers == 1
                found = compress(tiny_task(), **SMALL, workers=workers).digest()
            assert found == expected
        assert listening(scheduler.pid) | listening(worker.pid) == {"127.0.0.1"}
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.terminate()
                process.communicate(timeout=30)


@pytest.mark.parametrize(("name", "make"), [("distributed", DaskWorkers), ("ray", RayWorkers)])
def test_what_is_not_installed_is_named(monkeypatch, name, make):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ArgumentError, match=rf"expected {name} to be installed \(pip install"):
        make()


@pytest.mark.parametrize("make", [DaskWorkers, RayWorkers])
def test_arguments_of_clusters_have_their_types(make):
    wrong = {"n_workers": (0, "x", 1.5), "address": (5, [], b"x"), "patience_s": (0, "x")}
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
                make(**{argument: value})
    other = {DaskWorkers: ("resources", 3), RayWorkers: ("gpus", -1)}[make]
    with pytest.raises(ArgumentError, match=f"^{other[0]}: expected"):
        make(**dict([other]))
