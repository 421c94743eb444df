"""Limits: whose violation is what, and what is said where they cannot be kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.errors import ArgumentError, EcompError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.limits import Limits
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import CostModel, find_structure, parent_arrays
from ecomp_deap.operators import pruned_widths
from ecomp_deap.task import LIMITS, Task

PARENT = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
STRUCTURE = find_structure(PARENT)
COSTS = CostModel(PARENT, STRUCTURE)


def limits(parent=PARENT, **options):
    task = Task(parent, (torch.zeros(30, parent[0].in_features), torch.arange(30) % 3), **options)
    structure = find_structure(parent)
    return Limits(task, structure, CostModel(parent, structure), parent_arrays(parent, structure))


def genome(*widths, of):
    pairs = zip(of.widths, widths, strict=True)
    return MaskGenome([np.arange(n) < width for n, width in pairs])


def measure(evaluator, *widths):
    found = evaluator.measure([genome(*widths, of=evaluator.structure)], 0, [0])
    return found[0].measurement


@pytest.mark.parametrize("cost", ["param_count", "mac_count", "size_bytes"])
def test_the_violation_is_what_a_cost_is_above_its_limit(cost, tiny_task):
    whole = Evaluator(tiny_task()).cost_model((16, 12))
    limit = getattr(whole, cost) // 2
    evaluator = Evaluator(tiny_task(**{LIMITS[cost]: limit}))
    assert measure(evaluator, 16, 12).violation == getattr(whole, cost) / limit - 1
    assert measure(evaluator, 2, 2).violation == 0


def test_violations_of_several_limits_add_up(tiny_task):
    evaluator = Evaluator(tiny_task(max_params=300, max_macs=200))
    found = measure(evaluator, 16, 12)
    assert found.violation == pytest.approx(found.param_count / 300 + found.mac_count / 200 - 2)


def test_a_cost_of_just_the_limit_keeps_it(tiny_task):
    params = Evaluator(tiny_task()).cost_model((5, 4)).param_count
    for limit, keeps in ((params, True), (params - 1, False)):
        evaluator = Evaluator(tiny_task(max_params=limit))
        assert (measure(evaluator, 5, 4).violation == 0) == keeps


def test_without_limits_nothing_is_violated(tiny_task):
    evaluator = Evaluator(tiny_task())
    assert not evaluator.limits.matter
    assert measure(evaluator, 16, 12).violation == 0
    assert evaluator.limits.feasible_rate == 0


def test_whole_data_sets_are_judged_like_batches(tiny_task):
    task = tiny_task(max_params=100)
    evaluator = Evaluator(task)
    scorer = evaluator.scorer(task.splits.validation)
    children = [
        (evaluator.compile(genome(*w, of=evaluator.structure)), w) for w in ((16, 12), (2, 2))
    ]
    found = scorer.score_all(children, threads=2)
    assert [m.violation for m in found] == [measure(evaluator, *w).violation for _, w in children]
    assert [m.violation == 0 for m in found] == [False, True]
    assert scorer.score(*children[0]) == found[0]


@given(share=st.floats(0.0, 1.0), cost=st.sampled_from(["param_count", "mac_count", "size_bytes"]))
def test_the_feasible_rate_is_the_least_that_keeps_the_limits(share, cost):
    least, most = (getattr(COSTS(w), cost) for w in (COSTS.smallest, STRUCTURE.widths))
    limit = round(least + share * (most - least))
    rate = limits(**{LIMITS[cost]: limit}).feasible_rate
    assert getattr(COSTS(pruned_widths(STRUCTURE, rate)), cost) <= limit
    if rate > 0.001:
        assert getattr(COSTS(pruned_widths(STRUCTURE, rate - 0.001)), cost) > limit


def test_large_groups_can_be_pruned_to_their_last_unit():
    parent = nn.Sequential(nn.Linear(1, 5000), nn.Linear(5000, 1))
    tight = limits(parent, max_macs=2)
    assert pruned_widths(find_structure(parent), tight.feasible_rate) == (1,)


@pytest.mark.parametrize(
    ("argument", "smallest"),
    [("max_params", "21"), ("max_macs", "16"), ("max_size_bytes", "84")],
)
def test_a_limit_that_no_child_keeps_is_refused_with_the_least_possible(
    argument, smallest, tiny_task
):
    message = f"{argument}: expected at least {smallest}, what the smallest child takes, got 5"
    with pytest.raises(ArgumentError, match=message):
        Evaluator(tiny_task(**{argument: 5}))
    Evaluator(tiny_task(**{argument: int(smallest)}))


def test_the_smallest_child_has_the_least_units_that_are_allowed(tiny_task):
    least = Evaluator(tiny_task()).cost_model((4, 4)).param_count
    options = {"min_units": 3, "round_to": 4}
    with pytest.raises(ArgumentError, match=f"max_params: expected at least {least}, .* got 50"):
        Evaluator(tiny_task(max_params=50, **options))
    assert Evaluator(tiny_task(max_params=least, **options)).cost_model.smallest == (4, 4)


def test_what_keeps_no_limit_is_told_with_the_closest_child(tiny_task):
    evaluator = Evaluator(tiny_task(max_params=100, max_macs=500))
    found = [measure(evaluator, *widths) for widths in ((16, 12), (8, 2), (9, 3))]
    error = evaluator.limits.unreached(found)
    assert type(error) is EcompError
    assert str(error) == (
        f"no child keeps the limits (max_params=100: the closest has {found[1].param_count}, the "
        "smallest possible child 21): search longer or with more individuals, or allow more"
    )


def test_children_are_timed_only_where_that_counts(tiny_task):
    assert measure(Evaluator(tiny_task(max_params=100)), 3, 3).latency_ms is None
    for evaluator in (
        Evaluator(tiny_task(), latency=True),
        Evaluator(tiny_task(max_latency_ms=1e6)),
    ):
        found = measure(evaluator, 3, 3)
        assert 0 < found.latency_ms < 1e3
        assert found.violation == 0
        # Of the same widths, timed once.
        assert measure(evaluator, 3, 3).latency_ms == found.latency_ms
        # A child may be slower than its parent, and is better than one that failed all the same.
        assert 100 * measure(evaluator, 16, 12).latency_ms < evaluator.worst.latency_ms


def test_a_latency_that_no_child_has_is_refused(tiny_task):
    with pytest.raises(ArgumentError, match=r"max_latency_ms: expected at least .* got 1e-09"):
        Evaluator(tiny_task(max_latency_ms=1e-9))


def test_a_batch_for_timing_takes_as_many_samples(tiny_task):
    with pytest.raises(ArgumentError, match="latency_batch_size: expected at most 300,"):
        Evaluator(tiny_task(latency_batch_size=301), latency=True)
    assert Evaluator(tiny_task(latency_batch_size=301)).worst.latency_ms is None


@pytest.mark.parametrize("options", [{}, {"max_params": 100}])
def test_the_worst_measurement_is_that_of_a_failed_child(options, tiny_task):
    evaluator = Evaluator(tiny_task(**options))
    worst = evaluator.worst
    assert worst.failed
    assert worst.violation == 0
    assert worst.param_count == evaluator.cost_model((16, 12)).param_count
    spoilt = {n: np.full_like(a, np.nan) for n, a in evaluator.arrays.items()}
    broken = genome(16, 12, of=evaluator.structure)
    broken.rebind(broken.masks, spoilt)
    (outcome,) = evaluator.measure([broken], 0, [0])
    assert replace(outcome.measurement, reason="") == worst
