import itertools
import math
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import Latency, LatencyMeter, latency_ms, speedup

QUICK = {"repeats": 3, "min_run_time_s": 0.002}


class Sleeper(nn.Module):
    """Takes so many seconds, which only a real clock can tell."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs):
        time.sleep(self.seconds)
        return inputs


class Caller(nn.Module):
    """Calls a function at every forward pass."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        self.function()
        return inputs


def named(log, name):
    return Caller(lambda: log.append(name)).eval()


def turns_of(log):
    """Names in the order of their turns; two turns of one network in a row are one."""
    return [name for name, _ in itertools.groupby(log)]


def of_rounds(*rounds_ms):
    return Latency(statistics.median(rounds_ms), 0.0, len(rounds_ms), rounds_ms)


@pytest.fixture
def own_lock(tmp_path, monkeypatch):
    """A temporary folder of the test's own, so that no other test's timing is waited for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_sleeps_three_times_as_long_is_three_times_as_slow(own_lock):
    modules = {"parent": Sleeper(0.006).eval(), "child": Sleeper(0.002).eval()}
    found = latency_ms(modules, torch.zeros(1), repeats=5, min_run_time_s=0.012)
    assert list(found) == ["parent", "child"]
    assert 6.0 <= found["parent"].median_ms < 60.0
    assert 2.0 <= found["child"].median_ms < 20.0
    assert 1.3 < speedup(found, "child", "parent") < 6.0
    assert speedup(found, "parent", "child") < 1 / 1.3


def test_median_and_spread_are_those_of_the_rounds(own_lock):
    found = latency_ms({"a": Sleeper(0.0005).eval()}, None, **{**QUICK, "repeats": 5})["a"]
    assert len(found.rounds_ms) == 5
    _, second, third, fourth, _ = sorted(found.rounds_ms)
    assert found.median_ms == third
    assert found.iqr_ms == pytest.approx(fourth - second)


def test_one_round_has_no_spread(own_lock):
    found = latency_ms({"a": nn.Identity().eval()}, None, repeats=1, min_run_time_s=0.001)["a"]
    assert (found.median_ms, found.iqr_ms) == (found.rounds_ms[0], 0.0)


def test_networks_take_turns_and_every_other_round_goes_backwards(own_lock):
    log = []
    latency_ms({name: named(log, name) for name in "abc"}, None, **QUICK)
    expected = [*"abc", *"abc", *"cba", *"abc"]  # a warm-up and three rounds
    assert turns_of(log) == turns_of(expected)


def test_calls_that_are_timed_are_counted_without_those_that_warm_up(own_lock):
    log = []
    found = latency_ms({"a": named(log, "a")}, None, **QUICK)["a"]
    assert QUICK["repeats"] <= found.n_runs < len(log)


def test_a_round_takes_at_least_the_wanted_time(own_lock):
    started = time.perf_counter()
    latency_ms({"a": nn.Identity().eval()}, None, repeats=3, min_run_time_s=0.05)
    assert time.perf_counter() - started >= 3 * 0.05


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_has_the_given_threads_and_no_gradients(own_lock, threads):
    seen = set()
    module = Caller(lambda: seen.add((torch.get_num_threads(), torch.is_grad_enabled()))).eval()
    before = torch.get_num_threads(), torch.is_grad_enabled()
    latency_ms({"a": module}, None, threads=threads, **QUICK)
    assert seen == {(threads, False)}
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before


def test_the_given_forward_is_what_is_timed(own_lock):
    linear = nn.Linear(3, 2).eval()
    inputs = {"x": torch.ones(4, 3)}
    before = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
    shapes = set()

    def forward(module, batch):
        shapes.add(tuple(module(batch["x"]).shape))

    found = latency_ms({"a": linear}, inputs, forward=forward, **QUICK)
    assert shapes == {(4, 2)}
    assert found["a"].median_ms > 0
    assert not linear.training
    assert all(torch.equal(before[name], t) for name, t in linear.state_dict().items())


def test_by_default_inputs_are_given_as_a_task_gives_them(own_lock):
    linear, x = nn.Linear(3, 2).eval(), torch.ones(4, 3)
    for inputs in ((x,), [x], {"input": x}):
        assert latency_ms({"a": linear}, inputs, **QUICK)["a"].median_ms > 0
        assert LatencyMeter(linear, (2,), inputs).parent_ms > 0


@pytest.mark.parametrize("with_files", [True, False], ids=["with fcntl", "without fcntl"])
def test_two_threads_do_not_time_at_once(own_lock, monkeypatch, with_files):
    if not with_files:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    log, together = [], threading.Barrier(2)

    def measure(name):
        def step():
            log.append(name)
            time.sleep(0.0005)  # the other thread could go on here

        together.wait()
        latency_ms({name: Caller(step).eval()}, None, **QUICK)

    workers = [threading.Thread(target=measure, args=(name,)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(turns_of(log)) == ["a", "b"]
    assert bool(list(own_lock.iterdir())) is with_files


def test_a_timing_waits_for_whoever_holds_the_file(own_lock):
    fcntl = pytest.importorskip("fcntl")
    latency_ms({"a": nn.Identity().eval()}, None, **QUICK)
    (path,) = own_lock.iterdir()
    called = threading.Event()
    module = Caller(called.set).eval()
    worker = threading.Thread(target=latency_ms, args=({"a": module}, None), kwargs=QUICK)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        worker.start()
        assert not called.wait(0.15)
    worker.join(timeout=10)
    assert called.is_set()


def test_an_error_of_a_network_frees_the_lock(own_lock):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        latency_ms({"a": nn.Linear(3, 2).eval()}, torch.zeros(1, 4), **QUICK)
    assert latency_ms({"a": nn.Linear(3, 2).eval()}, torch.zeros(1, 3), **QUICK)["a"].n_runs > 0


def test_speedup_is_the_median_of_the_rounds_ratios():
    latencies = {"parent": of_rounds(4.0, 40.0, 6.0), "child": of_rounds(2.0, 10.0, 6.0)}
    # The ratios are 2, 4 and 1; that of the medians would be 1.
    assert speedup(latencies, "child", "parent") == 2.0
    assert speedup(latencies, "parent", "child") == 0.5
    assert speedup(latencies, "parent", "parent") == 1.0


def test_speedup_needs_names_it_knows_and_equally_many_rounds():
    latencies = {"parent": of_rounds(4.0, 5.0), "child": of_rounds(2.0)}
    with pytest.raises(ArgumentError, match=r"child: expected a name among \['parent', 'child'\]"):
        speedup(latencies, "kid", "parent")
    with pytest.raises(ArgumentError, match=r"parent: expected a name among .* got 'mother'"):
        speedup(latencies, "child", "mother")
    with pytest.raises(ArgumentError, match=r"latencies: expected equally many .* got \(1, 2\)"):
        speedup(latencies, "child", "parent")


def test_latencies_are_frozen():
    with pytest.raises(FrozenInstanceError, match="median_ms"):
        of_rounds(1.0).median_ms = 0.0


def test_networks_in_training_mode_are_refused():
    trains = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    good = nn.Linear(3, 2).eval()
    with pytest.raises(ArgumentError, match="modules: expected networks in eval mode, got 'b'"):
        latency_ms({"a": good, "b": trains}, torch.zeros(1, 3), **QUICK)
    trains.eval()
    trains[1].train()
    with pytest.raises(ArgumentError, match="modules: expected networks in eval mode, got 'b'"):
        latency_ms({"a": good, "b": trains}, torch.zeros(1, 3), **QUICK)


def test_no_networks_are_refused():
    with pytest.raises(ArgumentError, match=r"modules: expected at least one network, got \{\}"):
        latency_ms({}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("repeats", value) for value in (0, -1, 2.5, True, "3")),
        *(("threads", value) for value in (0, 1.0, None)),
        *(("min_run_time_s", value) for value in (0, -1.0, math.nan, math.inf, "soon", None)),
    ],
)
def test_bad_numbers_are_refused_by_name(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected a"):
        latency_ms({"a": nn.Identity().eval()}, None, **{name: value})


def test_a_meter_gives_a_childs_share_of_the_parents_time(own_lock):
    meter = LatencyMeter(Sleeper(0.003).eval(), (9,), None)
    assert meter.parent_ms >= 3.0
    found = meter((3,), lambda: Sleeper(0.001).eval())
    assert found < meter.parent_ms / 1.3


def test_a_meter_times_each_width_once_and_the_parents_not_again(own_lock):
    made = []

    def make():
        made.append(1)
        return Sleeper(0.0).eval()

    meter = LatencyMeter(Sleeper(0.001).eval(), (9,), None)
    assert meter((9,), make) == meter.parent_ms
    assert made == []
    assert meter((3,), make) == meter([3], make)
    assert made == [1]


def test_a_meter_takes_a_tenth_of_a_second(own_lock):
    meter = LatencyMeter(nn.Linear(4, 4).eval(), (4,), torch.zeros(8, 4))
    began = time.perf_counter()
    meter((2,), lambda: nn.Linear(4, 2).eval())
    assert time.perf_counter() - began < 1.0


def test_a_meter_takes_turns_and_the_given_forward(own_lock):
    log = []
    networks = {"parent": named(log, "parent"), "child": named(log, "child")}
    calls = []

    def forward(module, inputs):
        calls.append(1)
        time.sleep(0.001)
        return module(inputs)

    meter = LatencyMeter(networks["parent"], (2,), None, forward=forward)
    log.clear()
    calls.clear()
    meter((1,), lambda: networks["child"])
    assert len(calls) == len(log)
    turns = turns_of(log)
    assert min(turns.count("parent"), turns.count("child")) >= 4
