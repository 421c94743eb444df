import math

import pytest

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation.measuring import failed_measurement
from ecomp_deap.fitness import OBJECTIVES, ParetoFitness, WeightedFitness
from ecomp_deap.genomes import Axis, Group, Structure
from ecomp_deap.measurement import Measurement
from ecomp_deap.similarity import WORST_LOSS
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
STRUCTURE = Structure(
    groups=(Group("hidden", 4),),
    tensors={
        "hidden.weight": (Axis(0), None),
        "hidden.bias": (Axis(0),),
        "output.weight": (None, Axis(0)),
        "output.bias": (None,),
    },
    shapes={
        "hidden.weight": (4, 3),
        "hidden.bias": (4,),
        "output.weight": (2, 4),
        "output.bias": (2,),
    },
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


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXED])
@pytest.mark.parametrize("n_probes", [1, 3])
def test_a_failed_measurement_is_finite_and_the_worst_in_every_objective(metric, n_probes):
    failed = failed_measurement("broken", metric=metric, structure=STRUCTURE, n_probes=n_probes)
    assert failed.failed
    assert failed.reason == "broken"
    assert all(math.isfinite(value) for value in failed.values())
    assert failed["similarity_loss"] == n_probes * WORST_LOSS
    assert failed["param_count"] == 4 * 3 + 4 + 2 * 4 + 2
    assert failed["mac_count"] == 4 * 3 + 2 * 4
    # A sound child that is as bad as one can be without having failed.
    sound = Measurement(
        metric=0.01 if metric.maximise else 9e3,
        similarity_loss=n_probes * WORST_LOSS,
        relative_width=1.0,
        param_count=26,
        mac_count=20,
        metric_name=metric.name,
    )
    pareto = ParetoFitness((metric.name, *OBJECTIVES), metric)
    for sign, worst, value in zip(
        pareto.signs, pareto.values(failed), pareto.values(sound), strict=True
    ):
        assert sign * worst <= sign * value
    weighted = WeightedFitness((1, 2, 1), metric)
    assert weighted.values(failed) < weighted.values(sound)
