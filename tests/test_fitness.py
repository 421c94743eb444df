import math
from dataclasses import replace

import pytest
from deap import base
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.fitness import OBJECTIVES, ParetoFitness, WeightedFitness
from ecomp_deap.measurement import Measurement
from ecomp_deap.task import ACCURACY, Metric, accuracy

PERPLEXED = Metric(accuracy, "perplexity", maximise=False, worst=1e4)

FOUND = Measurement(
    metric=0.75,
    similarity_loss=0.2,
    relative_width=0.4,
    param_count=130,
    mac_count=120,
    size_bytes=520,
    latency_ms=0.25,
)
LOST = replace(FOUND, metric=12.0, metric_name="perplexity")


def test_pareto_values_are_the_objectives_in_their_order():
    fitness = ParetoFitness(("param_count", "accuracy", "relative_width"), ACCURACY)
    assert fitness.values(FOUND) == (130.0, 0.75, 0.4)
    assert all(type(value) is float for value in fitness.values(FOUND))
    assert fitness.signs == (-1.0, 1.0, -1.0)


def test_every_objective_but_a_maximised_metric_is_minimised():
    assert ParetoFitness(("accuracy", *OBJECTIVES), ACCURACY).signs == (1.0, *[-1.0] * 6)
    fitness = ParetoFitness(("perplexity", *OBJECTIVES), PERPLEXED)
    assert fitness.signs == (-1.0,) * 7
    assert fitness.values(LOST) == (12.0, 0.2, 0.4, 130.0, 120.0, 520.0, 0.25)


@pytest.mark.parametrize(
    ("objectives", "match"),
    [
        (("accuracy", "size"), r"objectives: expected names among .*'latency_ms'\), got 'size'"),
        (("metric", "param_count"), "objectives: expected names among .* got 'metric'"),
        (("accuracy", "accuracy"), "objectives: expected at least two different names"),
        (("accuracy",), "objectives: expected at least two different names"),
        ((), "objectives: expected at least two different names"),
    ],
)
def test_unknown_repeated_or_lonely_objectives_are_refused(objectives, match):
    with pytest.raises(ArgumentError, match=match):
        ParetoFitness(objectives, ACCURACY)


def test_accuracy_is_no_objective_of_a_task_with_another_metric():
    with pytest.raises(ArgumentError, match=r"expected names among .'perplexity'.* got 'accuracy'"):
        ParetoFitness(("accuracy", "param_count"), PERPLEXED)


@pytest.mark.parametrize(
    ("loss_weights", "expected"),
    [
        ((1, 0, 0), 0.75),
        ((0, 1, 0), -0.2),
        ((0, 0, 1), 0.6),
        ((1, 2, 1), 0.75 - 0.4 + 0.6),
        ((0.5, 0.25, 3.0), 0.375 - 0.05 + 1.8),
    ],
)
def test_weighted_value_is_the_originals_sum(loss_weights, expected):
    fitness = WeightedFitness(loss_weights, ACCURACY)
    (value,) = fitness.values(FOUND)
    assert value == pytest.approx(expected)
    assert type(value) is float
    assert fitness.signs == (1.0,)


def test_a_minimised_metric_enters_with_a_minus():
    fitness = WeightedFitness((1, 0, 0), PERPLEXED)
    assert fitness.values(LOST) == (-12.0,)
    assert fitness.signs == (1.0,)


@pytest.mark.parametrize(
    "loss_weights",
    [
        (1, 2),
        (1, 2, 1, 0),
        (0, 0, 0),
        (1, -1, 1),
        (1, math.nan, 1),
        (1, math.inf, 1),
        ("1", 2, 1),
        (),
        None,
        5,
    ],
)
def test_weights_out_of_range_are_refused(loss_weights):
    with pytest.raises(ArgumentError, match="loss_weights: expected three finite numbers"):
        WeightedFitness(loss_weights, ACCURACY)


def test_costs_are_what_counts_and_minimised():
    pareto = ParetoFitness(("accuracy", "param_count"), ACCURACY)
    assert pareto.is_pareto
    assert pareto.costs(FOUND) == (-0.75, 130.0)
    assert not WeightedFitness((1, 0, 1), ACCURACY).is_pareto
    assert WeightedFitness((1, 0, 1), ACCURACY).costs(FOUND) == (-0.75, 0.4)
    assert WeightedFitness((0, 2, 0), ACCURACY).costs(FOUND) == (0.2,)
    assert WeightedFitness((1, 2, 1), PERPLEXED).costs(LOST) == (12.0, 0.2, 0.4)


WORST = Measurement(
    metric=0.0,
    similarity_loss=70.7,
    relative_width=1.0,
    param_count=1000,
    mac_count=900,
    size_bytes=4000,
    latency_ms=0.5,
    failed=True,
)
FITNESSES = st.sampled_from(
    [
        ParetoFitness(("accuracy", *OBJECTIVES), ACCURACY, WORST),
        ParetoFitness(("param_count", "latency_ms"), ACCURACY, WORST),
        WeightedFitness((1, 2, 1), ACCURACY, WORST),
        WeightedFitness((0, 0, 1), ACCURACY, WORST),
    ]
)


@st.composite
def measurements(draw):
    return Measurement(
        metric=draw(st.floats(0, 1)),
        similarity_loss=draw(st.floats(0, 70.7)),
        relative_width=draw(st.floats(0.001, 1)),
        param_count=draw(st.integers(1, 1000)),
        mac_count=draw(st.integers(1, 900)),
        size_bytes=draw(st.integers(4, 4000)),
        latency_ms=draw(st.floats(0.001, 5.0)),
    )


def deap_fitness(fitness, measurement):
    cls = type("Any", (base.Fitness,), {"weights": fitness.signs})
    return cls(fitness.values(measurement))


violations = st.floats(1e-9, 1e6)


@given(FITNESSES, measurements(), measurements(), violations)
def test_whoever_keeps_the_limits_dominates_whoever_does_not(fitness, within, beyond, violation):
    good = deap_fitness(fitness, within)
    bad = deap_fitness(fitness, replace(beyond, violation=violation))
    assert good.dominates(bad)
    assert good > bad
    assert all(a > b for a, b in zip(good.wvalues, bad.wvalues, strict=True))


@given(FITNESSES, measurements(), measurements(), violations, st.floats(1.001, 1e3))
def test_who_exceeds_the_limits_less_dominates(fitness, first, second, violation, times):
    less = deap_fitness(fitness, replace(first, violation=violation))
    more = deap_fitness(fitness, replace(second, violation=violation * times))
    assert less.dominates(more)
    failed = deap_fitness(fitness, replace(second, failed=True))
    assert more.dominates(failed)
    assert all(map(math.isfinite, failed.values))


@given(FITNESSES, measurements())
def test_within_the_limits_values_are_as_without_limits(fitness, found):
    found = replace(found, latency_ms=min(found.latency_ms, 0.5))
    assert fitness.values(found) == replace(fitness, worst=None).values(found)


@given(FITNESSES, measurements(), st.booleans(), st.floats(0, 10))
def test_without_limits_failure_and_violation_change_no_value(fitness, found, failed, violation):
    fitness = replace(fitness, worst=None)
    changed = replace(found, failed=failed, violation=violation)
    assert fitness.values(changed) == fitness.values(found)


def test_a_metric_worse_than_its_worst_is_still_better_than_a_child_beyond_the_limits():
    worst = replace(LOST, metric=1e4, param_count=1000)
    fitness = ParetoFitness(("perplexity", "param_count"), PERPLEXED, worst)
    within = replace(LOST, metric=1e9)
    assert fitness.values(within) == (1e4, 130.0)
    beyond = deap_fitness(fitness, replace(LOST, metric=1.0, violation=0.01))
    assert deap_fitness(fitness, within).dominates(beyond)
