import json
import os
import threading
import time
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from ecomp_deap.cli import main
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator, evaluate_block
from ecomp_deap.evaluation.engines import can_thread, evaluate, faster_route
from ecomp_deap.evaluation.masked import evaluate_masked
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.task import Metric, Task
from tests.architectures import build, inputs_for
from tests.evaluation.dense_contexts import learnt_for, masks_for
from tests.network.dense_stacks import batch_for, fill


def dense(*extra, norm=None):
    """6-8-3 with what else is asked for behind its activation."""
    norms = [] if norm is None else [nn.BatchNorm1d(8, **norm)]
    network = nn.Sequential(nn.Linear(6, 8), *norms, nn.Tanh(), *extra, nn.Linear(8, 3))
    fill(network, 2)
    return network


def task_for(network, inputs=None, **options):
    given, labels = batch_for(network, n=60)
    data = (given if inputs is None else inputs, labels)
    return Task(network, data, **{"batch_size": 20, **options})


def convolutional(**options):
    network = build("one convolution", seed=1)
    data = (inputs_for(network, n=60, seed=5), torch.arange(60) % 2)
    return Task(network, data, batch_size=20, **options)


def images(module, inputs):
    return module(inputs["image"])


LEFT_TO_THE_LOOP = {
    "a forward of the task's own": lambda: task_for(dense(), forward=lambda m, x: m(-x)),
    "a dict": lambda: task_for(dense(), {"image": batch_for(dense(), n=60)[0]}, forward=images),
    "a convolution": convolutional,
    "dropout in training": lambda: task_for(dense(nn.Dropout(0.3)), train_steps=2),
    "statistics of the batch": lambda: task_for(dense(norm={"track_running_stats": False})),
    "a container as probe": lambda: task_for(nn.Sequential(dense(), nn.Tanh()), probe_layers=["0"]),
    "a probe in front": lambda: task_for(nn.Sequential(nn.Tanh(), *dense()), probe_layers=["0"]),
    "pixels as samples' rows": lambda: task_for(
        dense(), torch.randn(60, 2, 4, 6), metric=Metric(lambda o, t: float(o.mean()), "mean")
    ),
}


@pytest.mark.parametrize("name", LEFT_TO_THE_LOOP)
def test_what_the_batched_engine_cannot_do_is_left_to_the_loop(name):
    task = LEFT_TO_THE_LOOP[name]()
    with pytest.raises(
        ArgumentError, match=r"^engine: expected 'auto' or 'loop' .*, got 'batched'"
    ):
        Evaluator(task, engine="batched")
    auto, loop = Evaluator(task, threads=1), Evaluator(task, engine="loop", threads=1)
    assert auto.engine == "loop"
    context = loop.context(1)
    genomes = masks_for(context, 4)
    expected = evaluate_block(context, genomes, range(4))
    assert loop.measure(genomes, 1, range(4)) == expected
    assert evaluate(replace(auto.context(1), engine="loop"), (genomes, range(4))) == expected


@pytest.mark.parametrize(
    "task",
    [
        lambda: task_for(dense()),
        lambda: task_for(dense(norm={}), train_steps=2),
        lambda: task_for(dense(nn.Dropout(0.3))),
        lambda: task_for(dense(nn.Dropout(0.0)), train_steps=2),
    ],
)
def test_dense_children_are_batched_unless_the_loop_is_asked_for(task):
    assert Evaluator(task()).engine == Evaluator(task(), engine="batched").engine == "batched"
    assert Evaluator(task(), engine="loop").engine == "loop"


@pytest.mark.parametrize("engine", ["cuda", "", None, "Batched"])
def test_an_unknown_engine_is_refused(engine):
    with pytest.raises(ArgumentError, match=r"^engine: expected one of .*'masked'.*, got"):
        Evaluator(task_for(dense()), engine=engine)


@pytest.mark.parametrize(("name", "value"), [("threads", 0), ("memory", 0), ("threads", 1.5)])
def test_threads_and_memory_are_counts(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}: expected a whole number of at least 1"):
        Evaluator(task_for(dense()), **{name: value})


def test_an_engine_that_is_asked_for_measures():
    task = convolutional()
    masked, loop = (Evaluator(task, engine=engine, threads=1) for engine in ("masked", "loop"))
    genomes = masks_for(loop.context(1))
    assert masked.measure(genomes, 1, range(5)) == evaluate_masked(
        masked.context(1), genomes, range(5)
    )
    assert loop.measure(genomes, 1, range(5)) == evaluate_block(loop.context(1), genomes, range(5))
    assert (masked.engine, loop.engine) == ("masked", "loop")


def test_the_masked_engine_leaves_to_the_loop_what_it_cannot_do():
    masked, loop = (Evaluator(convolutional(), engine=engine) for engine in ("masked", "loop"))
    genomes = [*masks_for(loop.context(1)), *learnt_for(loop.context(1))]
    assert masked.measure(genomes, 1, range(8)) == loop.measure(genomes, 1, range(8))
    assert masked.engine == "masked"


class Recording(nn.ReLU):
    """Notes how many samples come through, in any copy of it."""

    sizes: ClassVar[list[int]] = []

    def forward(self, x):
        self.sizes.append(len(x))
        return super().forward(x)


def recording():
    network = build("one convolution", seed=1)
    network[1] = Recording()
    network.insert(2, nn.Conv2d(4, 4, 1)).insert(3, Recording())
    data = (inputs_for(network, n=60, seed=5), torch.arange(60) % 2)
    return Task(network.eval(), data, batch_size=20)


def stop_the_clock(monkeypatch):
    def clock():
        raise AssertionError("something is timed")

    monkeypatch.setattr(time, "perf_counter", clock)


@pytest.mark.parametrize(
    ("exponent", "faster"),
    [
        (0.0, "masked"),  # if time went by calls
        (2.0, "loop"),  # if it went by how much is computed at once, squared
        (1.2, "loop"),  # somewhere between, where the masked engine is faster, but not by much
    ],
)
def test_the_faster_of_the_others_is_chosen_by_the_clock(monkeypatch, exponent, faster):
    evaluator = Evaluator(recording(), threads=1)
    genomes = masks_for(evaluator.context(0), 8)
    calls = 0

    def clock():
        nonlocal calls
        calls += 1
        return sum(n**exponent for n in Recording.sizes)

    monkeypatch.setattr(time, "perf_counter", clock)
    first = evaluator.measure(genomes, 0, range(8))
    assert evaluator.engine == faster
    assert calls > 0
    stop_the_clock(monkeypatch)
    engine = {"masked": evaluate_masked, "loop": evaluate_block}[faster]
    for generation in (0, 1):
        outcomes = evaluator.measure(genomes, generation, range(8))
        assert evaluator.context(generation).engine == faster
        assert outcomes == engine(evaluator.context(generation), genomes, range(8))
        assert generation or outcomes == first


def test_without_a_choice_of_route_nothing_is_timed(monkeypatch):
    evaluator = Evaluator(recording())
    context = evaluator.context(0)
    stop_the_clock(monkeypatch)
    assert faster_route(context, ([], [])) == "loop"
    assert faster_route(context, (learnt_for(context), range(3))) == "loop"


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: task_for(dense()), {"threads": 2}),
        (lambda: task_for(dense()), {"threads": 1, "engine": "batched"}),
        (lambda: task_for(dense()), {"engine": "loop"}),
        (recording, {"engine": "masked"}),
        (lambda: task_for(dense(), metric=Metric(lambda o, t: 1.0, "one")), {}),
        (lambda: task_for(dense(), train_steps=1, loss_fn=lambda o, t: o.sum()), {}),
        (lambda: task_for(dense()), {"block_size": 6}),  # one block: nothing to spread
    ],
)
def test_what_leaves_no_choice_is_never_timed(monkeypatch, make, options):
    evaluator = Evaluator(make(), **{"block_size": 2, **options})
    stop_the_clock(monkeypatch)
    evaluator.measure(masks_for(evaluator.context(0), 6), 0, range(6))
    assert evaluator.threads == options.get("threads", 1)


class Watched(MaskGenome):
    """Notes in which threads children are measured."""

    main: ClassVar[list[None]] = []
    others: ClassVar[list[None]] = []

    @property
    def widths(self):
        mine = threading.current_thread() is threading.main_thread()
        (self.main if mine else self.others).append(None)
        return super().widths


@pytest.mark.parametrize(
    ("cores", "n_blocks", "cost", "chosen"),
    [
        (5, 8, 0.5, 2),  # more than two would be no faster
        (5, 8, 0.95, 1),  # hardly worth it
        (5, 8, 2.0, 1),
        (1, 8, 0.5, 1),
        (5, 1, 0.5, 1),
    ],
)
def test_as_many_threads_as_are_fastest_by_the_clock(monkeypatch, cores, n_blocks, cost, chosen):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    evaluator = Evaluator(task_for(dense()), block_size=2)
    plain = masks_for(evaluator.context(0), 2 * n_blocks)
    genomes = [Watched(genome.masks) for genome in plain]
    monkeypatch.setattr(
        time, "perf_counter", lambda: len(Watched.main) + cost * len(Watched.others)
    )
    outcomes = evaluator.measure(genomes, 1, range(len(genomes)))
    assert evaluator.threads == chosen
    stop_the_clock(monkeypatch)
    assert evaluator.measure(genomes, 2, range(len(genomes)))
    alone = Evaluator(task_for(dense()), block_size=2, threads=1)
    assert alone.measure(plain, 1, range(len(genomes))) == outcomes


def test_populations_settle_the_choice_before_they_are_measured(monkeypatch):
    evaluator = Evaluator(task_for(dense()), block_size=2)
    genomes = masks_for(evaluator.context(0), 8)
    evaluator.settle([])
    evaluator.settle(genomes)
    stop_the_clock(monkeypatch)
    evaluator.settle(genomes)
    evaluator.measure(genomes, 0, range(8))


def test_only_what_calls_nothing_of_a_users_is_spread_over_threads(tiny_task):
    assert can_thread(Evaluator(tiny_task(train_steps=1)).context(0))
    own = Evaluator(tiny_task(train_steps=1, loss_fn=lambda o, t: o.sum())).context(0)
    assert not can_thread(own)
    assert can_thread(replace(own, training=[]))
    assert not can_thread(replace(own, training=[], engine="loop"))
    assert not can_thread(Evaluator(tiny_task(metric=Metric(lambda o, t: 1.0, "one"))).context(0))


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ([], {"engine": "batched"}),
        (["--engine", "loop"], {"engine": "loop", "threads": 1}),
        (["--threads", "2"], {"engine": "batched", "threads": 2}),
    ],
)
def test_a_run_records_what_was_used(asked, used, small_fashion, small_parent_file, tmp_path):
    where = ["--out", str(tmp_path), "--data-dir", str(small_fashion), "--finalise-count", "0"]
    size = ["--population", "6", "--generations", "1", "--parent", str(small_parent_file)]
    assert main(["run", "1", "used", *where, *size, "--quiet", *asked]) == 0
    config = json.loads((tmp_path / "used_1" / "config.json").read_text())
    assert {key: config[key] for key in used} == used
    assert isinstance(config["threads"], int)


def test_blocks_change_no_bit_where_one_probe_layer_is_far_from_the_origin():
    network = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.Softplus())
    network.append(nn.Linear(20, 3))
    fill(network, 2)
    with torch.no_grad():
        network[2].bias += 8.0
    # So many samples that a block's tables are made in several groups.
    task = Task(network, batch_for(network, n=150), batch_size=100)
    whole, single = (Evaluator(task, block_size=n, threads=1) for n in (40, 1))
    genomes = masks_for(whole.context(1), 40)
    assert whole.measure(genomes, 1, range(40)) == single.measure(genomes, 1, range(40))
