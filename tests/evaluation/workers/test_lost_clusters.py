"""Clusters that lose a node, all workers, or what they hang by, in the middle of a search.

Each fault happens while children are being measured by what is lost. Seen to fail, or to hang:

- a node of Dask whose scheduler gives a job up at once: with an `as_lost` that knows of nothing
  (one that does not, sends the job again by itself, which is not ours to remove);
- all workers of Dask: kits that were scattered, without the look at their status in `_scatter`;
- Dask's scheduler, started again: with a `restart` that only raises, or such an `as_lost`;
- what never comes back, or does not answer: without the error in `tend`, and without the limit in
  `_n_threads`;
- a node of Ray: with actors that are sent jobs before they are there, for which there is no room;
  all of its nodes: with none started for those that are lost, in `_replace` and `tend`;
- Ray's head, started again: with a `restart` that only raises; never: without `_check_head` in
  `tend`, after which Ray ends this process.
"""

import os
import signal
import threading
import time

import pytest

from ecomp_deap import DaskWorkers, EvaluationError, RayWorkers
from tests.evaluation.workers.outside import Gate, Outside, RayNodes, listening, search, until

# Sockets that are another thread's to close when the process ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

# What is waited for no longer than this, and what may be needed to notice and to tell.
BRIEF_S, NOTICE_S = 1.0, 25.0


@pytest.fixture(autouse=True)
def looked_after_often(monkeypatch):
    monkeypatch.setattr("ecomp_deap.evaluation.workers.post._TENDED_S", 0.3)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


@pytest.fixture
def outside():
    with Outside() as started:
        yield started


@pytest.fixture
def nodes(monkeypatch):
    with RayNodes(monkeypatch) as started:
        yield started


@pytest.fixture(scope="module")
def expected(tiny_splits, tmp_path_factory):
    """What is found without workers."""
    return search(tiny_splits, Gate(tmp_path_factory.mktemp("gate")), None)[0]


@pytest.fixture(params=[2**23, 1], ids=["sent", "scattered"])
def kit(request, monkeypatch):
    """How it comes to Dask's workers."""
    monkeypatch.setattr("ecomp_deap.evaluation.workers.dask._SCATTERED_BYTES", request.param)


def check_ends(splits, gate, workers, fault, match):
    """Check that a search ends with an error, soon, when something does not come back."""
    faults = []

    def happen():
        # Not before, as a scheduler takes seconds to import what its first job needs.
        workers.patience_s = BRIEF_S
        fault()
        faults.append(time.monotonic())

    with pytest.raises(EvaluationError, match=match):
        search(splits, gate, workers, happen)
    assert time.monotonic() - faults[0] < NOTICE_S


@pytest.mark.parametrize("allowed_failures", [3, 0])
def test_a_node_of_dask_is_lost_and_the_other_goes_on(
    tiny_splits, gate, outside, expected, monkeypatch, allowed_failures
):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", str(allowed_failures))
    outside.scheduler()
    outside.worker()
    lost = outside.worker(nanny=True)
    with DaskWorkers(outside.address) as workers:
        # Whoever comes later is counted too.
        until(lambda: workers.tend() or workers.n_workers == 2)

        def fault():
            outside.kill(lost)
            gate.open()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert incidents.blamed == 0


def test_all_workers_of_dask_are_lost_and_another_comes(tiny_splits, gate, outside, expected, kit):
    outside.scheduler()
    lost = outside.worker(nanny=True)
    with DaskWorkers(outside.address) as workers:

        def fault():
            outside.kill(lost)
            gate.open()
            outside.worker()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert incidents.blamed == 0


def test_no_worker_of_dask_comes_back(tiny_splits, gate, outside):
    outside.scheduler()
    lost = outside.worker()
    with DaskWorkers(outside.address) as workers:
        match = rf"cluster at {outside.address} has had none for 1 s; start some, and `resume`"
        check_ends(tiny_splits, gate, workers, lambda: outside.kill(lost), match)


def test_dasks_scheduler_is_lost_and_started_again(tiny_splits, gate, outside, expected, kit):
    scheduler = outside.scheduler()
    worker = outside.worker()
    with DaskWorkers(outside.address) as workers:

        def fault():
            outside.kill(scheduler)
            outside.kill(worker)
            gate.open()
            outside.scheduler()
            outside.worker()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert incidents.lost >= 1
    assert incidents.blamed == 0


def test_dasks_scheduler_never_comes_back(tiny_splits, gate, outside):
    scheduler = outside.scheduler()
    outside.worker()
    before = threading.active_count()
    with DaskWorkers(outside.address) as workers:
        match = rf"with workers at {outside.address}.* for 1 s.*start it again, and `resume`"
        check_ends(tiny_splits, gate, workers, lambda: outside.kill(scheduler), match)
    assert threading.active_count() <= before


def test_dasks_scheduler_does_not_answer(tiny_splits, gate, outside):
    scheduler = outside.scheduler()
    outside.worker()
    with DaskWorkers(outside.address) as workers:
        match = rf"scheduler at {outside.address} has not answered for 1 s.*`resume`"

        def fault():
            os.kill(scheduler.pid, signal.SIGSTOP)

        check_ends(tiny_splits, gate, workers, fault, match)


def test_a_node_of_ray_is_lost_and_the_other_goes_on(tiny_splits, gate, nodes, expected):
    nodes.head()
    nodes.node()
    lost = nodes.node()
    with RayWorkers(nodes.address) as workers:
        assert workers.n_workers == 2
        assert listening() <= {"127.0.0.1", "::ffff:127.0.0.1"}

        def fault():
            nodes.kill(lost)
            gate.open()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert incidents.lost >= 1
    assert incidents.blamed == 0


def test_all_nodes_of_ray_are_lost_and_another_comes(tiny_splits, gate, nodes, expected):
    nodes.head()
    lost = nodes.node()
    with RayWorkers(nodes.address) as workers:

        def fault():
            nodes.kill(lost)
            gate.open()
            nodes.node()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert (incidents.lost, incidents.blamed) == (1, 0)


def test_no_node_of_ray_comes_back(tiny_splits, gate, nodes):
    nodes.head()
    lost = nodes.node()
    with RayWorkers(nodes.address) as workers:
        match = rf"Ray cluster at {nodes.address} has had none for 1 s; start a node"
        check_ends(tiny_splits, gate, workers, lambda: nodes.kill(lost), match)


def test_rays_head_is_lost_and_started_again(tiny_splits, gate, nodes, expected):
    head = nodes.head()
    node = nodes.node()
    with RayWorkers(nodes.address) as workers:

        def fault():
            nodes.kill(head)
            nodes.head()
            nodes.kill(node)
            nodes.node()
            gate.open()

        found, incidents = search(tiny_splits, gate, workers, fault)
    assert found == expected
    assert incidents.lost >= 1
    assert incidents.blamed == 0


@pytest.mark.parametrize("ours", [True, False])
def test_rays_head_never_comes_back(tiny_splits, gate, nodes, ours):
    import ray

    head = nodes.head()
    nodes.node()  # whose actor does not answer
    if not ours:
        ray.init(address=nodes.address, log_to_driver=False)
    try:
        with RayWorkers(nodes.address) as workers:
            reason = "for 1 s; start it" if ours else "and we have not connected to it: call"
            match = rf"the Ray cluster at {nodes.address} is gone,? {reason}.*`resume`"
            check_ends(tiny_splits, gate, workers, lambda: nodes.kill(head), match)
            assert ray.is_initialized() is not ours
    finally:
        ray.shutdown()
