"""Seen to fail without what protects: experiments/reliability/protections.py."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from ecomp_deap import compress, make_toolbox
from ecomp_deap.data import Splits
from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import make_parent
from ecomp_deap.task import ACCURACY, Metric, Task, accuracy, default_forward

INPUTS, LABELS = torch.randn(60, 12), torch.arange(60) % 3


def make_task(**options):
    return Task(make_parent((4,), n_inputs=12, n_outputs=3), (INPUTS, LABELS), **options)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_accuracy_counts_the_largest_logits(pairs):
    guesses, targets = map(list, zip(*pairs, strict=True))
    outputs = nn.functional.one_hot(torch.tensor(guesses), 3).float()
    hits = sum(guess == target for guess, target in pairs)
    assert accuracy(outputs, torch.tensor(targets)) == pytest.approx(hits / len(pairs), abs=1e-15)


def test_a_parent_that_keeps_its_activations_is_copied():
    parent = make_parent((4,), n_inputs=12, n_outputs=3)
    parent.latest = parent(INPUTS)
    task = Task(parent, (INPUTS, LABELS))
    assert not task.parent.latest.requires_grad
    with pytest.raises(ArgumentError, match="module '0': expected one that has its weights"):
        Task(nn.Sequential(nn.LazyLinear(3)), (INPUTS, LABELS))


def test_default_metric_is_accuracy():
    assert make_task().metric is ACCURACY
    assert (ACCURACY.name, ACCURACY.maximise, ACCURACY.worst) == ("accuracy", True, 0.0)


def test_task_works_on_a_copy_in_eval_mode():
    parent = make_parent((4,), n_inputs=12, n_outputs=3).train()
    task = Task(parent, (INPUTS, LABELS))
    with torch.no_grad():
        parent.output.bias.fill_(7)
    assert parent.training
    assert not task.parent.training
    assert not (task.parent.output.bias == 7).any()


def test_validation_is_split_off():
    task = make_task()
    assert (len(task.splits.search), len(task.splits.validation)) == (50, 10)
    assert task.splits.test is None


def test_own_validation_and_test_data_are_kept():
    task = make_task(validation=(INPUTS[:7], LABELS[:7]), test=TensorDataset(INPUTS, LABELS))
    parts = task.splits
    assert [len(part) for part in (parts.search, parts.validation, parts.test)] == [60, 7, 60]


def test_splits_are_taken_as_they_are(tiny_splits, tiny_parent):
    task = Task(tiny_parent, tiny_splits)
    assert isinstance(task.splits, Splits)
    assert task.splits is tiny_splits


@pytest.mark.parametrize("name", ["validation", "test"])
def test_splits_and_data_of_its_own_contradict(tiny_splits, tiny_parent, name):
    with pytest.raises(ArgumentError, match="validation and test: expected nothing"):
        Task(tiny_parent, tiny_splits, **{name: (INPUTS, LABELS)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4}, "batch_size: expected a whole number of at least 5, got 4"),
        ({"batch_size": 30.0}, "batch_size: expected a whole number"),
        ({"batch_size": True}, "batch_size: expected a whole number"),
        ({"train_steps": -1}, "train_steps: expected a whole number of at least 0, got -1"),
        ({"evaluation": "stale"}, "evaluation: expected 'fresh' or 'fixed', got 'stale'"),
        ({"training": {"learning_rate": 0.1}}, "training: expected a Recipe"),
        ({"metric": accuracy}, "metric: expected a Metric"),
        ({"inherit": True}, "inherit: expected train_steps of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        make_task(**options)


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ArgumentError, match=r"^similarity: expected one of .*'pkt'.* got 'cosine'"):
        make_task(similarity="cosine")


@pytest.mark.parametrize("options", [{"perplexity": 3.0}, {"kernel": "student"}])
def test_other_measures_have_no_perplexity_and_no_kernel(options):
    (name,) = options
    with pytest.raises(ArgumentError, match=f"^{name}: expected nothing, as similarity 'cka' has"):
        make_task(similarity="cka", **options)
    assert make_task(**options).similarity == "tsne"
    assert make_task(similarity="cka").similarity == "cka"


def test_an_unknown_kernel_is_refused_by_itself():
    with pytest.raises(ArgumentError, match=r"^kernel: expected 'gaussian' or 'student'"):
        make_task(kernel="cauchy")


def test_a_parent_that_is_no_module_is_refused():
    with pytest.raises(ArgumentError, match=r"parent: expected a torch.nn.Module, got 'function'"):
        Task(lambda x: x, (INPUTS, LABELS))
    with pytest.raises(ArgumentError, match=r"got the class Recorder: give Recorder\(\)$"):
        Task(Recorder, (INPUTS, LABELS))


def test_a_task_cannot_be_changed():
    task = make_task()
    with pytest.raises(AttributeError, match="cannot assign to field 'batch_size'"):
        task.batch_size = 7


class Recorder(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        ((1, 2), (1, 2), {}),
        ([1, 2], (1, 2), {}),
        ({"a": 1, "b": 2}, (), {"a": 1, "b": 2}),
    ],
)
def test_containers_of_inputs_are_spread_over_arguments(inputs, args, kwargs):
    assert default_forward(Recorder(), inputs) == (args, kwargs)


def test_a_tensor_is_the_one_argument():
    (found,), kwargs = default_forward(Recorder(), INPUTS)
    assert found is INPUTS
    assert kwargs == {}


def test_own_forward_takes_the_place_of_the_default():
    assert make_task().apply is default_forward

    def forward(module, inputs):
        return module(inputs[0])

    assert make_task(forward=forward).apply is forward


def test_metric_says_which_way_is_better():
    metric = Metric(lambda outputs, targets: 0.0, "mse", maximise=False, worst=100.0)
    assert (metric.maximise, metric.worst) == (False, 100.0)


@pytest.mark.parametrize("name", ["", "param_count", "failed", "fitness"])
def test_a_metric_has_a_name_of_its_own(name):
    with pytest.raises(ArgumentError, match="metric name: expected one that is not among"):
        Metric(accuracy, name)


def test_a_failed_child_must_not_get_the_best_value():
    assert Metric(accuracy, "hits").worst == 0.0
    with pytest.raises(ArgumentError, match="worst: expected a value for failed children"):
        Metric(accuracy, "error", maximise=False)
    with pytest.raises(ArgumentError, match="worst: expected a finite number, got inf"):
        Metric(accuracy, "error", maximise=False, worst=float("inf"))


def test_limits_are_those_that_are_given():
    assert make_task().limits == {}
    task = make_task(max_params=7, max_macs=6, max_size_bytes=5, max_latency_ms=0.5)
    assert task.limits == {"param_count": 7, "mac_count": 6, "size_bytes": 5, "latency_ms": 0.5}
    assert make_task(max_macs=3).limits == {"mac_count": 3}


@pytest.mark.parametrize("name", ["max_params", "max_macs", "max_size_bytes", "latency_batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "many"])
def test_limits_are_positive(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected a whole number of at least 1"):
        make_task(**{name: value})


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "fast"])
def test_a_limit_of_latency_is_a_positive_time(value):
    with pytest.raises(ArgumentError, match="max_latency_ms: expected a finite number greater"):
        make_task(max_latency_ms=value)


@pytest.mark.parametrize(
    "as_number", [torch.tensor, np.float64, np.array, lambda x: torch.tensor([x]).double()]
)
def test_a_metric_may_give_any_kind_of_number(as_number, tmp_path):
    """A tensor got through the trial, and failed after the search or while it was saved."""

    def run(kind, folder):
        def hits(outputs, targets):
            return kind(float((outputs.argmax(1) == targets).float().mean()))

        task = make_task(metric=Metric(hits, "hits"), batch_size=10, test=(INPUTS, LABELS))
        return compress(
            task,
            objectives=("hits", "param_count"),
            population=6,
            generations=2,
            finalise_count=1,
            finalise_epochs=1,
            checkpoint=tmp_path / folder,
        )

    found, plain = run(as_number, "found"), run(float, "plain")
    assert type(found.parent.validation.metric) is type(found.parent.test) is float
    if as_number is torch.tensor:  # in single precision
        assert found.parent.test == pytest.approx(plain.parent.test, rel=1e-6)
    else:
        assert found.digest() == plain.digest()


@pytest.mark.parametrize("value", ["0.5", None, torch.zeros(2), 1j, [0.5]])
def test_a_metric_that_gives_no_number_is_refused(value):
    with pytest.raises(ArgumentError, match=r"^metric: expected a function of outputs and targets"):
        make_toolbox(
            make_task(metric=Metric(lambda outputs, targets: value, "mine"), batch_size=10),
            objectives=("mine", "param_count"),
        )
