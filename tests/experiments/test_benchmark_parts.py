import json
import math

import numpy as np
import pytest
import torch
from sklearn.manifold._t_sne import _joint_probabilities
from sklearn.metrics import pairwise_distances

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.measurement import Measurement
from tests.experiments.benchmarks import load

original = load("_original")
tasks = load("_tasks")
floors = load("_floors")
memory = load("_memory")
phases = load("_phases")


def measurement(accuracy=0.5, similarity_loss=0.1):
    return Measurement(accuracy, similarity_loss, 1.0, 10, 10, 40)


@pytest.fixture
def genomes(tiny_task):
    """Plain genomes of both kinds for the tiny task."""
    return [
        individual.plain()
        for genome in ("mask", "weights")
        for individual in tasks.Search(genome).toolbox(tiny_task()).population(n=4)
    ]


# The original's route


def test_the_divergence_counts_every_ordered_pair():
    rng = np.random.default_rng(0)
    p, q = (original.probabilities(rng.random((40, 5)).astype("float32"), 9.0) for _ in "pq")
    full = [np.zeros((40, 40)) for _ in "pq"]
    upper = np.triu_indices(40, 1)
    for table, condensed in zip(full, (p, q), strict=True):
        table[upper] = condensed
        table += table.T
    off = ~np.eye(40, dtype=bool)
    expected = (full[0][off] * np.log(full[0][off] / full[1][off])).sum()
    assert original.divergence(p, q) == pytest.approx(expected, rel=1e-12)
    assert original.divergence(p, p) == 0


def test_the_probabilities_are_scikit_learns():
    embedding = np.random.default_rng(1).random((40, 5)).astype("float32")
    squared = pairwise_distances(embedding) ** 2
    expected = _joint_probabilities(squared, 9.0, 0)
    np.testing.assert_allclose(original.probabilities(embedding, 9.0), expected, rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_originals_route_measures_what_the_loop_does(tiny_task, genomes, threads):
    seeds = [0] * len(genomes)
    found = [
        [outcome.measurement for outcome in evaluator.measure(genomes, 3, seeds)]
        for evaluator in (
            original.OriginalEvaluator(tiny_task(), seed=5, threads=threads),
            Evaluator(tiny_task(), seed=5, engine="loop"),
        )
    ]
    apart = original.agreement(*found, 30, absolute=1e-6)
    assert apart.sound
    assert apart.samples == 0
    assert apart.absolute > 0
    assert [m.param_count for m in found[0]] == [m.param_count for m in found[1]]


def test_the_originals_route_scores_what_the_scorer_does(tiny_task, genomes):
    evaluator = original.OriginalEvaluator(tiny_task())
    samples = tiny_task().splits.search
    theirs, ours = evaluator.scorer(samples), Evaluator(tiny_task()).scorer(samples)
    child = evaluator.compile(genomes[2])
    found = [scorer.score(child, genomes[2].widths) for scorer in (theirs, ours)]
    assert found[0].metric == pytest.approx(found[1].metric, abs=1e-9)
    assert found[0].similarity_loss == pytest.approx(found[1].similarity_loss, rel=1e-4)


def test_the_originals_route_scores_whole_batches_only(tiny_task):
    samples = tiny_task().splits.search.subset(np.arange(100))
    with pytest.raises(SystemExit, match="100 samples are no whole number of batches of 30"):
        original.OriginalEvaluator(tiny_task()).scorer(samples)


def test_agreement_is_in_samples_and_in_losses():
    found = [measurement(0.5, 0.1), measurement(0.25, 0.2)]
    expected = [measurement(0.51, 0.1), measurement(0.25, 0.2 + 1e-6)]
    apart = original.agreement(found, expected, 100)
    assert apart.samples == 1
    assert apart.relative == pytest.approx(5e-6, rel=1e-3)
    assert apart.absolute == pytest.approx(1e-6, rel=1e-3)
    assert apart.sound


@pytest.mark.parametrize(
    ("other", "sound"),
    [
        (measurement(0.5, 0.1 + 0.9e-6), True),
        (measurement(0.5, 0.1 + 1.1e-6), False),
        (measurement(0.51, 0.1), True),
        (measurement(0.52, 0.1), False),
    ],
)
def test_losses_may_differ_by_1e_5_and_accuracies_by_a_tie(other, sound):
    apart = original.agreement([other], [measurement()], 100)
    assert apart.sound is sound
    if not sound:
        with pytest.raises(SystemExit, match="the two do not agree"):
            original.check_agreement("the two", apart)


def test_the_worst_agreement_holds_the_largest_of_each():
    found = [
        original.Agreement(0, 1e-6, 1e-7, True),
        original.Agreement(3, 1e-7, 1e-5, False),
    ]
    assert original.worst(found) == original.Agreement(3, 1e-6, 1e-5, False)


# Searches


@pytest.mark.parametrize(
    "search",
    [tasks.Search("weights"), tasks.Search("mask"), tasks.Search("mask", "nsga2")],
    ids=str,
)
def test_searches_go_the_same_way_whatever_evaluates(tiny_task, search):
    keys = []
    for engine in ("batched", "loop", tasks.ORIGINAL):
        toolbox = search.toolbox(tiny_task(), engine=engine, threads=1, seed=2)
        stamps = tasks.Stamps()
        final = search.run(toolbox, toolbox.population(n=6), 3, stamps)
        keys.append([individual.key() for individual in final])
        assert len(stamps.times) == 4
    assert keys[0] == keys[1] == keys[2]


def test_a_generation_is_a_mean_without_the_initial_one():
    stamps = tasks.Stamps()
    stamps.times = [100.0, 103.0, 110.0]
    assert stamps.seconds == 5.0


# Floors and phases


def test_a_floor_is_the_longer_of_computing_and_moving():
    machine = floors.Machine(single=1e9, double=5e8, single_exps=1e8, double_exps=1e7, bytes=1e9)
    computing = floors.Work(single=1e9, double=5e8, single_exps=1e8, double_exps=1e7, bytes=2e9)
    assert machine.floor(computing) == 4.0
    assert machine.floor(computing + floors.Work(bytes=3e9)) == 5.0
    assert machine.floor(floors.Work()) == 0.0


def test_work_adds_up():
    work = floors.Work(single=1.0, single_exps=2.0, bytes=3.0)
    assert work.in_double() == floors.Work(double=1.0, double_exps=2.0, bytes=3.0)
    assert work + work == work.times(2)


def test_the_machine_is_measured():
    machine = floors.measure_machine(size=32, copied=2**16)
    assert all(speed > 0 for speed in vars(machine).values())


@pytest.mark.parametrize("genome", ["weights", "mask"])
def test_the_phases_do_what_the_engine_does(tiny_task, genome):
    with torch.no_grad():
        found = phases.Phases(tasks.Search(genome), tiny_task(), 6)
        seconds = {name: turn() for name, turn in found.turns.items()}
        assert found.whole() > 0
    assert all(math.isfinite(value) for value in seconds.values())
    expected = Evaluator(tiny_task()).measure(found.genomes, found.generation, [0] * 6)
    alike = Evaluator(tiny_task()).measure(found.genomes, 100, [0] * 6)
    assert [o.measurement for o in found.outcomes] == [o.measurement for o in alike]
    assert alike != expected, "another generation has another batch"
    assert found.toolbox.evaluator is found.evaluator


def test_the_work_of_weights_is_that_of_their_layers(tiny_task):
    with torch.no_grad():
        found = phases.Phases(tasks.Search("weights"), tiny_task(), 6)
    macs = sum(outcome.measurement.mac_count for outcome in found.outcomes)
    params = sum(outcome.measurement.param_count for outcome in found.outcomes)
    assert found.work["layer products"].single == 2 * 30 * macs
    assert found.work["crossover"].bytes == 8 * params
    widths = sum(sum(genome.widths) for genome in found.genomes)
    assert found.work["distances"].single == 2 * 30**2 * widths


def test_masks_of_an_untrained_parent_need_no_first_layer(tiny_task):
    with torch.no_grad():
        found = phases.Phases(tasks.Search("mask"), tiny_task(), 6)
    behind = sum(a * b + b * 3 for a, b in (genome.widths for genome in found.genomes))
    assert found.work["layer products"].single == 2 * 30 * behind


# Memory


@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_genomes_whose_memory_is_measured_differ(monkeypatch, tiny_splits, tiny_parent, genome):
    monkeypatch.setattr(memory, "DISTINCT", 5)
    point = memory.Point(genome, children=7, batch=30)
    genomes = point.genomes(point.evaluator(tiny_splits, tiny_parent))
    assert len(genomes) == 7
    assert len({id(g) for g in genomes}) == 7
    # Weights are shared from the sixth genome on.
    assert len({g.key() for g in genomes}) == (7 if genome == "mask" else 5)


def test_larger_batches_take_more_memory(small_fashion):
    peaks = [
        memory.peak_bytes(
            memory.Point("mask", 4, batch, 64, threads=1, data_dir=str(small_fashion))
        )
        for batch in (40, 400)
    ]
    if None in peaks:
        pytest.skip("no /proc")
    # A table of 400 samples alone has 640,000 bytes in single precision.
    assert peaks[1] > peaks[0] + 640_000


def test_an_evaluation_that_fails_is_not_measured():
    with pytest.raises(SystemExit, match="batch_size"):
        memory.peak_bytes(memory.Point("mask", batch=1))


def test_a_memory_point_is_plain_json():
    point = memory.Point("weights", children=3)
    assert memory.Point(**json.loads(json.dumps(vars(point)))) == point
