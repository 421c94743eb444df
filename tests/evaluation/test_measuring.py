import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.defaults import SIMILARITIES
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.measuring import failed_measurement, measure
from ecomp_deap.fitness import OBJECTIVES, ParetoFitness, WeightedFitness
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.measurement import Measurement
from ecomp_deap.network import CostModel, find_structure
from ecomp_deap.similarity import SIMILARITIES as MEASURES
from ecomp_deap.similarity import WORST_LOSS, make_similarity
from ecomp_deap.task import ACCURACY, Metric, accuracy

PERPLEXED = Metric(accuracy, "perplexity", maximise=False, worst=1e4)
PARENT = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
STRUCTURE = find_structure(PARENT)
COST_MODEL = CostModel(PARENT, STRUCTURE)
KNOWN = {
    "structure": STRUCTURE,
    "cost_model": COST_MODEL,
    "worst_similarity": WORST_LOSS,
}


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXED])
@pytest.mark.parametrize("n_probes", [1, 3])
def test_a_failed_measurement_is_finite_and_the_worst_in_every_objective(metric, n_probes):
    failed = failed_measurement(
        "broken",
        metric=metric,
        costs=COST_MODEL(STRUCTURE.widths),
        worst_similarity=n_probes * WORST_LOSS,
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
    found = measure(0.5, 0.25, metric=PERPLEXED, widths=(2,), **KNOWN)
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
    [("ValueError: so", "ValueError: so"), (math.nan, "accuracy is not finite")],
)
def test_what_is_not_finite_has_failed_with_its_reason(value, reason):
    found = measure(value, 0.1, metric=ACCURACY, widths=(2,), **KNOWN)
    assert found.failed
    assert found.reason == reason


PROBES = ("layer_1_act", "layer_2_act")
GENOMES = [
    MaskGenome([np.arange(16) % 3 > 0, np.arange(12) < 7]),
    MaskGenome([np.arange(16) < 5, np.arange(12) % 2 == 0]),
]


def embeddings_of(network, inputs):
    """The two hidden embeddings, from the layers themselves."""
    with torch.no_grad():
        first = network.layer_1_act(network.layer_1_linear(inputs))
        return first, network.layer_2_act(network.layer_2_linear(first))


def losses_of(name, parent, child, inputs):
    """The similarity losses of both layers together, each layer by itself and in double."""
    pairs = zip(embeddings_of(parent, inputs), embeddings_of(child, inputs), strict=True)
    return sum(float(make_similarity(name, p.double())(c.double())) for p, c in pairs)


@pytest.mark.parametrize("engine", ["batched", "loop", "masked"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_children_are_compared_by_the_tasks_measure(tiny_task, name, engine):
    evaluator = Evaluator(tiny_task(similarity=name), engine=engine, threads=1)
    context = evaluator.context(3)
    found = evaluator.measure(GENOMES, 3, [0, 1])
    for genome, outcome in zip(GENOMES, found, strict=True):
        child = evaluator.compile(genome)
        expected = losses_of(name, context.parent, child, context.inputs)
        assert outcome.measurement.similarity_loss == pytest.approx(expected, rel=1e-4)
    assert (evaluator.perplexity is None) == (name != "tsne")
    assert pickle.loads(pickle.dumps(context.losses)).keys() == set(PROBES)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_whole_data_are_compared_by_the_tasks_measure(tiny_task, name):
    evaluator = Evaluator(tiny_task(similarity=name))
    samples = evaluator.task.splits.validation
    child = evaluator.compile(GENOMES[0])
    parts = [samples.inputs[i : i + 30] for i in range(0, len(samples), 30)]
    expected = np.mean([losses_of(name, evaluator.task.parent, child, part) for part in parts])
    found = evaluator.scorer(samples).score(child, GENOMES[0].widths)
    assert found.similarity_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_failed_and_dead_children_score_the_measures_own_worst(tiny_task, name):
    evaluator = Evaluator(tiny_task(similarity=name))
    worst = 2 * MEASURES[name].worst
    for value in (math.nan, 0.0):
        weights = {
            "layer_1_linear": (np.full((2, 12), value, np.float32), np.zeros(2, np.float32)),
            "layer_2_linear": (np.ones((2, 2), np.float32), np.zeros(2, np.float32)),
            "output": (np.ones((3, 2), np.float32), np.zeros(3, np.float32)),
        }
        (outcome,) = evaluator.measure([WeightGenome(weights)], 0, [0])
        assert outcome.measurement.failed == math.isnan(value)
        assert outcome.measurement.similarity_loss == pytest.approx(worst, rel=1e-6)
        child = evaluator.compile(WeightGenome(weights))
        scored = evaluator.scorer(evaluator.task.splits.validation).score(child, (2, 2))
        assert scored.failed == math.isnan(value)
        assert scored.similarity_loss == pytest.approx(worst, rel=1e-6)
    assert evaluator.worst.similarity_loss == worst


@pytest.mark.parametrize("name", [name for name in SIMILARITIES if name != "tsne"])
def test_five_samples_are_enough_for_every_measure(tiny_task, name):
    evaluator = Evaluator(tiny_task(similarity=name, batch_size=5))
    (outcome,) = evaluator.measure(GENOMES[:1], 0, [0])
    assert 0 <= outcome.measurement.similarity_loss <= evaluator.worst.similarity_loss


@pytest.mark.parametrize("name", [name for name in SIMILARITIES if name != "tsne"])
def test_a_dead_layer_of_the_parent_is_named(tiny_task, tiny_parent, name):
    with torch.no_grad():
        tiny_parent.layer_1_linear.bias.fill_(-100)
    with pytest.raises(ArgumentError, match="probe layer 'layer_1_act' of the parent: origin"):
        Evaluator(tiny_task(similarity=name))
