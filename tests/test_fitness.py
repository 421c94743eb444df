import math

import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.fitness import OBJECTIVES, ParetoFitness, WeightedFitness
from ecomp_deap.measurement import Measurement
from ecomp_deap.task import ACCURACY, Metric, accuracy

PERPLEXED = Metric(accuracy, "perplexity", maximise=False, worst=1e4)

FOUND = Measurement(
    metric=0.75, similarity_loss=0.2, relative_width=0.4, param_count=130, mac_count=120
)
LOST = Measurement(
    metric=12.0,
    similarity_loss=0.2,
    relative_width=0.4,
    param_count=130,
    mac_count=120,
    metric_name="perplexity",
)


def test_pareto_values_are_the_objectives_in_their_order():
    fitness = ParetoFitness(("param_count", "accuracy", "relative_width"), ACCURACY)
    assert fitness.values(FOUND) == (130.0, 0.75, 0.4)
    assert all(type(value) is float for value in fitness.values(FOUND))
    assert fitness.signs == (-1.0, 1.0, -1.0)


def test_every_objective_but_a_maximised_metric_is_minimised():
    assert ParetoFitness(("accuracy", *OBJECTIVES), ACCURACY).signs == (1.0, -1.0, -1.0, -1.0, -1.0)
    fitness = ParetoFitness(("perplexity", *OBJECTIVES), PERPLEXED)
    assert fitness.signs == (-1.0,) * 5
    assert fitness.values(LOST) == (12.0, 0.2, 0.4, 130.0, 120.0)


@pytest.mark.parametrize(
    ("objectives", "match"),
    [
        (("accuracy", "size"), r"objectives: expected names among .*'mac_count'\), got 'size'"),
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
