"""Real processes: killed, stuck, in any number; and the same found."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from ecomp_deap import (
    ArgumentError,
    EvaluationError,
    ProcessWorkers,
    Task,
    compress,
    make_toolbox,
)
from tests.evaluation.workers.outside import until
from tests.evaluation.workers.running import processes
from tests.toolbox.runs import plus, trace

SMALL = {"population": 12, "generations": 3, "finalise_count": 0, "seed": 7}


def children():
    return processes("popen_loky")


@pytest.fixture(scope="module")
def two():
    with ProcessWorkers(2) as workers:
        yield workers
    assert children() == []


@pytest.mark.parametrize(
    "options", [{}, {"train_steps": 2, "inherit": True}, {"train_steps": 1, "evaluation": "fixed"}]
)
def test_a_search_is_the_same_with_workers(tiny_task, two, options):
    expected = compress(tiny_task(**options), **SMALL).digest()
    assert compress(tiny_task(**options), **SMALL, workers=two).digest() == expected


@pytest.mark.parametrize("n_workers", [1, 3, 8])
def test_any_number_of_workers_finds_the_same(tiny_task, n_workers):
    expected = compress(tiny_task(), **SMALL).digest()
    assert compress(tiny_task(), **SMALL, workers=n_workers).digest() == expected


@pytest.mark.parametrize(("genome", "selection"), [("weights", "roulette"), ("width", "spea2")])
def test_any_genome_is_measured_by_workers(tiny_task, two, genome, selection):
    def found(**options):
        return compress(
            tiny_task(), genome=genome, selection=selection, **SMALL, **options
        ).digest()

    assert found(workers=two) == found()


def test_stock_loops_run_with_workers(tiny_task, two):
    runs = [
        trace(make_toolbox(tiny_task(), seed=2, block_size=3, workers=workers), plus)
        for workers in (None, two)
    ]
    assert runs[0] == runs[1]


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))


def measured(data, forward, workers, timeout_s=None, n=10):
    task = Task(network(), data, batch_size=30, forward=forward, probe_layers=["0"])
    toolbox = make_toolbox(
        task, seed=1, block_size=2, engine="loop", workers=workers, timeout_s=timeout_s
    )
    population = toolbox.population(n=n)
    list(toolbox.map(toolbox.evaluate, population))
    return population, toolbox.crew and toolbox.crew.incidents


@pytest.mark.parametrize("how", ["dies", "is stuck"])
def test_a_child_that_takes_its_worker_along_fails_alone(tiny_splits, two, how):
    driver, timeout_s = os.getpid(), 6.0 if how == "is stuck" else None
    expected, _ = measured(tiny_splits, lambda module, inputs: module(inputs), None)
    (culprit,) = expected[len(expected) // 2].widths

    def harmful(module, inputs):
        if module[0].out_features == culprit and os.getpid() != driver:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        return module(inputs)

    found, incidents = measured(tiny_splits, harmful, two, timeout_s)
    assert [i.widths for i in found] == [i.widths for i in expected]
    for one, other in zip(found, expected, strict=True):
        if one.widths == (culprit,):
            assert one.measurement.failed
            assert ("took longer" if timeout_s else "terminated") in one.measurement.reason
        else:
            assert one.measurement == other.measurement
    assert incidents.blamed == sum(i.widths == (culprit,) for i in found)


def test_a_search_whose_workers_are_killed_is_the_same(tiny_task):
    options = {**SMALL, "generations": 8}
    task_options = {"train_steps": 2, "inherit": True}
    expected = compress(tiny_task(**task_options), **options).digest()
    ended, rng, killed = threading.Event(), random.Random(4), []

    def kill():
        while not ended.wait(rng.uniform(0.1, 1.5)) and len(killed) < 4:
            for pid in children()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    with ProcessWorkers(2) as workers:
        killer.start()
        found = compress(tiny_task(**task_options), **options, workers=workers).digest()
        ended.set()
        killer.join()
    assert found == expected
    assert killed


DRIVER = """
import sys, torch
from torch import nn
import ecomp_deap as ed
network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
task = ed.Task(network, (torch.randn(90, 4), torch.arange(90) % 2), batch_size=20)
with ed.ProcessWorkers(2) as workers:
    toolbox = ed.make_toolbox(task, block_size=1, workers=workers)
    toolbox.map(toolbox.evaluate, toolbox.population(n=4))
    print(workers._file.folder, flush=True)
    sys.stdin.read()
"""


# Without `_follow` they waited for ever.
def test_workers_of_a_driver_that_is_killed_end_and_leave_nothing(tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(driver.stdout.readline().strip())
    left = psutil.Process(driver.pid).children(recursive=True)
    assert folder.is_dir()
    assert len(left) >= 2
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert alive == []
    assert not folder.exists()


@pytest.mark.parametrize("value", ["x", 0, 1.5, True, [], 10**6])
def test_workers_that_are_none_are_refused(tiny_task, value):
    with pytest.raises(ArgumentError, match=r"^workers: expected "):
        compress(tiny_task(), **SMALL, workers=value)
    with pytest.raises(ArgumentError, match=r"^workers: expected an Executor or Workers"):
        make_toolbox(tiny_task(), workers=value)


def test_a_timeout_takes_workers(tiny_task, two):
    with pytest.raises(ArgumentError, match=r"^timeout_s: expected None without workers"):
        make_toolbox(tiny_task(), timeout_s=3)
    with pytest.raises(ArgumentError, match=r"^timeout_s: expected a finite number greater than 0"):
        make_toolbox(tiny_task(), timeout_s=0, workers=two)


def test_a_kit_that_was_cleared_away_is_written_again(tiny_task):
    with ProcessWorkers(1) as workers:
        toolbox = make_toolbox(tiny_task(), seed=1, block_size=4, workers=workers)
        expected = list(toolbox.map(toolbox.evaluate, toolbox.population(n=8)))
        (kit,) = Path(workers._file.folder).glob("*.kit")
        kit.unlink()
        workers.restart()
        toolbox.generation = -1
        assert list(toolbox.map(toolbox.evaluate, toolbox.population(n=8))) == expected


def test_workers_that_were_closed_are_told_of(tiny_task):
    with ProcessWorkers(1) as workers:
        toolbox = make_toolbox(tiny_task(), workers=workers)
    with pytest.raises(EvaluationError, match="expected some that have not been closed"):
        toolbox.map(toolbox.evaluate, toolbox.population(n=4))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is not shown here")
def test_killed_processes_leave_no_semaphore_once_workers_are_closed(tiny_task):
    def held():
        gc.collect()  # an executor lets its semaphores go when it is collected
        return {path.name for path in Path("/dev/shm").glob(f"*-{os.getpid()}-*")}

    def managers():
        return sum("ExecutorManager" in thread.name for thread in threading.enumerate())

    before, others = held(), managers()
    with ProcessWorkers(3) as workers:
        compress(tiny_task(), **SMALL, workers=workers)
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        until(lambda: managers() == others)  # they have noticed
    until(lambda: held() <= before)
