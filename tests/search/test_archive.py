from dataclasses import replace

import numpy as np
import pytest
from deap import algorithms
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.measuring import failed_measurement
from ecomp_deap.measurement import Measurement
from ecomp_deap.search.archive import Archive
from ecomp_deap.toolbox import make_toolbox


@pytest.fixture(scope="module")
def toolbox():
    """Any toolbox: only its kind of individual matters here."""
    import torch

    from ecomp_deap.network import make_parent
    from ecomp_deap.task import Task

    data = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    parent = make_parent((30,), n_inputs=5, n_outputs=2)
    return make_toolbox(Task(parent, data, batch_size=10), objectives=("accuracy", "param_count"))


def make(toolbox, accuracy, param_count, *, failed=False, unit=0):
    mask = np.zeros(30, dtype=bool)
    mask[[unit, 29]] = True
    individual = toolbox.individual_class([mask])
    found = Measurement(accuracy, 0.0, 0.5, param_count, 1, 4)
    individual.measurement = replace(found, failed=failed)
    individual.fitness.values = (accuracy, param_count)
    return individual


def figures(archive):
    return sorted(individual.fitness.values for individual in archive)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=20), st.integers(0, 20))
def test_it_holds_those_that_no_other_dominates(toolbox, points, cut):
    everyone = [make(toolbox, a / 10, n, unit=i) for i, (a, n) in enumerate(points)]
    archive = Archive()
    archive.update(everyone[:cut])
    archive.update(everyone[cut:])
    values = {individual.fitness.values for individual in everyone}
    expected = sorted(
        (a, n)
        for a, n in values
        if not any(b >= a and m <= n and (b, m) != (a, n) for b, m in values)
    )
    assert figures(archive) == expected
    assert len(archive) == len(expected)


def test_it_keeps_copies(toolbox):
    individual = make(toolbox, 0.5, 10)
    archive = Archive()
    archive.update([individual])
    (kept,) = archive
    assert kept is not individual
    individual.fitness.values = (0.1, 99)
    individual.rebind([np.ones(30, dtype=bool)])
    assert kept.fitness.values == (0.5, 10)
    assert kept.widths == (2,)
    assert kept.measurement is individual.measurement


def test_those_it_holds_stay_the_same_objects(toolbox):
    archive = Archive()
    archive.update([make(toolbox, 0.5, 10)])
    (before,) = archive
    archive.update([make(toolbox, 0.6, 20, unit=1)])
    assert len(archive) == 2
    assert any(item is before for item in archive)


def test_it_leaves_failed_ones_out(toolbox):
    archive = Archive()
    archive.update([make(toolbox, 0.99, 1, failed=True), make(toolbox, 0.5, 10, unit=1)])
    assert figures(archive) == [(0.5, 10)]
    archive.update([make(toolbox, 1.0, 1, failed=True, unit=2)])
    assert figures(archive) == [(0.5, 10)]


def test_equal_genomes_are_held_once(toolbox):
    archive = Archive()
    archive.update([make(toolbox, 0.5, 10), make(toolbox, 0.6, 20)])
    archive.update([make(toolbox, 0.7, 5)])
    assert len(archive) == 1


def test_it_is_bounded_and_keeps_the_ends(toolbox):
    archive = Archive(max_size=5)
    for start in (0, 10):
        archive.update([make(toolbox, i / 30, i, unit=i) for i in range(start + 1, start + 11)])
    assert len(archive) == 5
    assert figures(archive)[0] == (1 / 30, 1)
    assert figures(archive)[-1] == (20 / 30, 20)


def test_nobody_at_all(toolbox):
    archive = Archive()
    archive.update([])
    assert list(archive) == []


def test_it_serves_as_deaps_hall_of_fame(tiny_task):
    toolbox = make_toolbox(tiny_task(evaluation="fixed"))
    archive = Archive()
    algorithms.eaMuPlusLambda(
        toolbox.population(n=8), toolbox, 8, 8, 0.6, 0.4, 3, halloffame=archive, verbose=False
    )
    costs = np.array([[-v for v in i.fitness.wvalues] for i in archive])
    assert len(costs) > 1
    for cost in costs:
        assert not ((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any()


def test_a_failed_measurement_is_what_the_archive_leaves_out(tiny_task):
    evaluator = Evaluator(tiny_task())
    costs = evaluator.cost_model(evaluator.structure.widths)
    found = failed_measurement(
        "broken", metric=evaluator.task.metric, costs=costs, worst_similarity=2.0
    )
    assert found.failed


def test_individuals_beyond_the_limits_stay_until_there_is_one_within(tiny_task):
    toolbox = make_toolbox(tiny_task(max_params=100), objectives=("accuracy", "param_count"))
    everyone = [toolbox.individual(rate=rate) for rate in (0.0, 0.2, 0.9)]
    values = toolbox.map(toolbox.evaluate, everyone)
    for individual, found in zip(everyone, values, strict=True):
        individual.fitness.values = found
    archive = Archive()
    archive.update(everyone[:2])
    assert [item.key() for item in archive] == [everyone[1].key()]
    archive.update(everyone)
    assert [item.key() for item in archive] == [everyone[2].key()]
