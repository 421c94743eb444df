import math

import pytest
from torch import nn

from ecomp_deap.evaluation.measuring import failed_measurement, measure
from ecomp_deap.fitness import OBJECTIVES, ParetoFitness, WeightedFitness
from ecomp_deap.measurement import Measurement
from ecomp_deap.network import CostModel, find_structure
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.task import ACCURACY, Metric, accuracy

PERPLEXED = Metric(accuracy, "perplexity", maximise=False, worst=1e4)
PARENT = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
STRUCTURE = find_structure(PARENT)
COST_MODEL = CostModel(PARENT, STRUCTURE)
OF_ONE_PROBE = {"structure": STRUCTURE, "cost_model": COST_MODEL, "n_probes": 1}


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXED])
@pytest.mark.parametrize("n_probes", [1, 3])
def test_a_failed_measurement_is_finite_and_the_worst_in_every_objective(metric, n_probes):
    failed = failed_measurement(
        "broken", metric=metric, costs=COST_MODEL(STRUCTURE.widths), n_probes=n_probes
    )
    assert failed.failed
    assert failed.reason == "broken"
    assert all(math.isfinite(value) for value in failed.values())
    assert failed["similarity_loss"] == n_probes * WORST_LOSS
    assert failed["param_count"] == 4 * 3 + 4 + 2 * 4 + 2
    assert failed["mac_count"] == 4 * 3 + 2 * 4
    assert failed["size_bytes"] == 4 * failed["param_count"]
    # A sound child that is as bad as one can be without having failed.
    sound = Measurement(
        metric=0.01 if metric.maximise else 9e3,
        similarity_loss=n_probes * WORST_LOSS,
        relative_width=1.0,
        param_count=26,
        mac_count=20,
        size_bytes=104,
        metric_name=metric.name,
    )
    untimed = [name for name in OBJECTIVES if name != "latency_ms"]
    pareto = ParetoFitness((metric.name, *untimed), metric)
    for sign, worst, value in zip(
        pareto.signs, pareto.values(failed), pareto.values(sound), strict=True
    ):
        assert sign * worst <= sign * value
    weighted = WeightedFitness((1, 2, 1), metric)
    assert weighted.values(failed) < weighted.values(sound)


def test_a_sound_measurement_counts_the_childs_size():
    found = measure(0.5, 0.25, metric=PERPLEXED, widths=(2,), **OF_ONE_PROBE)
    assert dict(found) == {
        "perplexity": 0.5,
        "similarity_loss": 0.25,
        "relative_width": 0.5,
        "param_count": 2 * 3 + 2 + 2 * 2 + 2,
        "mac_count": 2 * 3 + 2 * 2,
        "size_bytes": 4 * (2 * 3 + 2 + 2 * 2 + 2),
    }
    assert not found.failed


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "outputs are not finite"), (math.nan, "accuracy is not finite")],
)
def test_what_is_not_finite_has_failed_with_its_reason(value, reason):
    found = measure(value, 0.1, metric=ACCURACY, widths=(2,), **OF_ONE_PROBE)
    assert found.failed
    assert found.reason == reason
