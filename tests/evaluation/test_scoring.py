import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from ecomp_deap.data import DatasetSamples, Splits, TensorSamples
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator, scoring
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network import make_parent
from ecomp_deap.similarity import TSNELoss
from ecomp_deap.task import Metric, Task

PROBES = ("layer_1_act", "layer_2_act")


def activations(module, inputs):
    """Each hidden activation and the outputs of a two-layer stack, by hand."""
    with torch.no_grad():
        first = torch.relu(module.layer_1_linear(inputs))
        second = torch.relu(module.layer_2_linear(first))
        return (first, second), module.output(second)


def score_by_single_tables(parent, child, samples, *, table, perplexity):
    inputs, targets = samples.inputs, samples.targets
    losses = []
    for start in range(0, len(samples) - table + 1, table):
        rows = inputs[start : start + table]
        pairs = zip(activations(parent, rows)[0], activations(child, rows)[0], strict=True)
        losses.append(sum(float(TSNELoss(p, perplexity=perplexity)(c.double())) for p, c in pairs))
    hits = (activations(child, inputs)[1].argmax(1) == targets).double().mean()
    return float(hits), float(np.mean(losses))


@given(n=st.integers(5, 90), batch_size=st.sampled_from([5, 12, 30]))
def test_scores_are_averages_over_single_tables(tiny_splits, n, batch_size):
    parent = make_parent((9, 8), n_inputs=12, n_outputs=3, seed=2)
    data = Splits(tiny_splits.search, tiny_splits.test.subset(np.arange(n)), None)
    task = Task(parent, data, batch_size=batch_size)
    evaluator = Evaluator(task)
    genome = MaskGenome([np.arange(9) < 6, np.arange(8) != 3])
    child = evaluator.compile(genome)
    found = evaluator.scorer(data.validation).score(child, genome.widths)
    table = min(batch_size, n)
    accuracy, loss = score_by_single_tables(
        parent, child, data.validation, table=table, perplexity=min(30, (table - 1) / 3)
    )
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found["similarity_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-8)
    assert found["relative_width"] == 13 / 17


def test_data_are_compared_in_chunks_of_whole_tables(tiny_parent, tiny_splits, monkeypatch):
    monkeypatch.setattr(scoring, "_CHUNK", 1000)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2350, 12, generator=generator)
    data = TensorSamples(inputs, tiny_parent(inputs).argmax(1))
    evaluator = Evaluator(Task(tiny_parent, tiny_splits, batch_size=90, perplexity=5.0))
    genome = MaskGenome([np.arange(16) < 9, np.arange(12) < 8])
    child = evaluator.compile(genome)
    found = evaluator.scorer(data).score(child, genome.widths)
    accuracy, loss = score_by_single_tables(tiny_parent, child, data, table=90, perplexity=5.0)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found["similarity_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_parent_equals_itself(tiny_task):
    evaluator = Evaluator(tiny_task())
    found = evaluator.scorer(evaluator.task.splits.validation).score(
        evaluator.task.parent, evaluator.structure.widths
    )
    # What single precision leaves at each of the two probe layers.
    assert found["similarity_loss"] == pytest.approx(0, abs=2e-8)
    assert found["relative_width"] == 1


def test_a_perplexity_is_cut_to_what_few_samples_allow(tiny_task):
    evaluator = Evaluator(tiny_task(perplexity=9.0))
    few = evaluator.task.splits.validation.subset(np.arange(7))
    genome = MaskGenome([np.arange(16) < 6, np.arange(12) < 5])
    child = evaluator.compile(genome)
    found = evaluator.scorer(few).score(child, genome.widths)
    _, loss = score_by_single_tables(evaluator.task.parent, child, few, table=7, perplexity=2.0)
    assert found["similarity_loss"] == pytest.approx(loss, rel=1e-5)


def test_too_few_samples_are_refused(tiny_task):
    evaluator = Evaluator(tiny_task())
    with pytest.raises(ArgumentError, match="validation: expected at least 5 samples to score"):
        evaluator.scorer(evaluator.task.splits.validation.subset(np.arange(4)))


def test_the_test_metric_is_the_accuracy_on_any_samples(tiny_task):
    evaluator = Evaluator(tiny_task())
    scorer = evaluator.scorer(evaluator.task.splits.validation)
    test = evaluator.task.splits.test
    parent = evaluator.task.parent
    hits = (parent(test.inputs).argmax(1) == test.targets).double().mean()
    assert scorer.test(parent, test) == pytest.approx(float(hits), abs=1e-12)


def test_a_child_that_overflows_on_one_sample_has_failed(tiny_task):
    evaluator = Evaluator(tiny_task())
    sane = evaluator.task.splits.validation
    inputs = sane.inputs.clone()
    inputs[-1] = 1e30
    genome = WeightGenome(
        {
            "layer_1_linear": (np.full((2, 12), 1e10, np.float32), np.zeros(2, np.float32)),
            "layer_2_linear": (np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
            "output": (np.ones((3, 2), np.float32), np.zeros(3, np.float32)),
        }
    )
    for samples, failed in ((sane, False), (TensorSamples(inputs, sane.targets), True)):
        found = evaluator.scorer(samples).score(evaluator.compile(genome), genome.widths)
        assert found.failed == failed
        assert found.reason == ("outputs are not finite" if failed else "")


def test_scoring_changes_nothing(tiny_task):
    evaluator = Evaluator(tiny_task())
    scorer = evaluator.scorer(evaluator.task.splits.validation)
    genome = MaskGenome([np.arange(16) < 6, np.arange(12) < 5])
    child = evaluator.compile(genome)
    first = scorer.score(child, genome.widths)
    assert scorer.score(child, genome.widths) == first
    assert not child.training
    assert all(parameter.grad is None for parameter in child.parameters())
    assert not any(module._forward_hooks for module in child.modules())


def test_the_rest_behind_the_last_table_counts_for_failure(tiny_task):
    evaluator = Evaluator(tiny_task())
    sane = evaluator.task.splits.validation
    inputs, targets = sane.inputs[:35].clone(), sane.targets[:35]
    child = evaluator.compile(MaskGenome([np.ones(16, bool), np.ones(12, bool)]))
    inputs[-1] = float("inf")  # the 35th sample, behind the one table of 30
    parts = [TensorSamples(inputs[:34], targets[:34]), TensorSamples(sane.inputs[:35], targets)]
    for samples in parts:
        assert not evaluator.scorer(samples).score(child, (16, 12)).failed
    assert evaluator.scorer(TensorSamples(inputs, targets)).score(child, (16, 12)).failed


def test_the_metric_never_meets_outputs_that_are_not_finite(tiny_task):
    def strict(outputs, targets):
        assert torch.isfinite(outputs).all()
        return 0.5

    evaluator = Evaluator(tiny_task(metric=Metric(strict, "strict")))
    child = evaluator.compile(MaskGenome([np.ones(16, bool), np.ones(12, bool)]))
    scorer = evaluator.scorer(evaluator.task.splits.validation)
    assert scorer.score(child, (16, 12)).metric == 0.5
    with torch.no_grad():
        child.output.bias.fill_(float("nan"))
    assert scorer.score(child, (16, 12)).failed


def some_children(evaluator, n=7):
    rng = np.random.default_rng(0)
    genomes = [
        MaskGenome([rng.permutation(units) < rng.integers(2, units + 1) for units in (16, 12)])
        for _ in range(n)
    ]
    return [(evaluator.compile(genome), genome.widths) for genome in genomes]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_children_score_as_one_by_one_in_any_number_of_threads(tiny_task, threads):
    evaluator = Evaluator(tiny_task())
    scorer = evaluator.scorer(evaluator.task.splits.validation)
    children = some_children(evaluator)
    told = []
    found = scorer.score_all(children, threads=threads, on_each=lambda: told.append(len(told)))
    assert found == [scorer.score(*child) for child in children]
    assert len({measurement.similarity_loss for measurement in found}) > 5
    assert told == [*range(7)]


def test_no_children_no_scores(tiny_task):
    evaluator = Evaluator(tiny_task())
    assert evaluator.scorer(evaluator.task.splits.validation).score_all([], threads=2) == []


class Rows(Dataset):
    """Reads samples one by one, and notes in which threads."""

    def __init__(self, samples):
        self.samples = samples
        self.threads = set()

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.threads.add(threading.get_ident())
        return self.samples.inputs[index], self.samples.targets[index]


def test_a_users_data_set_is_read_in_the_callers_thread(tiny_task):
    evaluator = Evaluator(tiny_task())
    rows = Rows(evaluator.task.splits.validation)
    children = some_children(evaluator)
    found = evaluator.scorer(DatasetSamples(rows)).score_all(children, threads=2)
    assert rows.threads == {threading.get_ident()}
    plain = evaluator.scorer(evaluator.task.splits.validation)
    assert found == plain.score_all(children, threads=2)
