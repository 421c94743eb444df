"""What would show after a whole search shows before it: each case was seen to do so, or to pass.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import pytest
import torch
from torch import nn

from ecomp_deap import ArgumentError, Callback, Metric, Recipe, Task, compress
from ecomp_deap.task import accuracy

OPTIONS = {
    "population": 6,
    "generations": 1,
    "finalise_count": 1,
    "finalise_epochs": 1,
    "objectives": ("accuracy", "param_count"),
}


def network(*behind, n_outputs=3):
    torch.manual_seed(1)
    first = (nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return nn.Sequential(*first, nn.Linear(8, n_outputs), *behind)


GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=GENERATOR)
Y = torch.randint(0, 3, (120,), generator=GENERATOR)


class NoWork(Callback):
    def on_generation(self, generation, n_generations, record):
        raise AssertionError("a generation was evaluated")


def refused(match, parent=None, data=(X, Y), *, task=None, **options):
    task = {"batch_size": 20, "probe_layers": [], **(task or {})}
    with pytest.raises(ArgumentError, match=match):
        compress(
            Task(parent or network(), data, **task), **{**OPTIONS, **options}, callback=NoWork()
        )


EACH, CALL = r"\(n,\)", r"\(\)"
INTEGERS = f"integers of shape {EACH}, one class a sample, as the metric is accuracy"
OTHER = "another task takes a metric and a loss_fn of your own$"


def labels(change, index=3):
    changed = Y.clone()
    changed[index] = change
    return changed


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (labels(-1), "labels from 0 to 2, .* got -1"),
        (labels(-100), "labels from 0 to 2, .* got -100"),
        (labels(3), "labels from 0 to 2, .* got 3"),
        (Y + 50, "labels from 0 to 2"),
        (Y.float(), f"{INTEGERS}, got float32 of shape {EACH}; use targets.long{CALL}$"),
        (Y > 0, f"{INTEGERS}, got bool of shape {EACH}; use targets.long{CALL}$"),
        (Y[:, None], rf"{INTEGERS}, got int64 of shape \(n, 1\); use targets.squeeze\(1\)$"),
        (
            Y[:, None].double(),
            rf"{INTEGERS}, got float64 of shape \(n, 1\); use targets.squeeze\(1\).long{CALL}$",
        ),
        (
            nn.functional.one_hot(Y),
            rf"{INTEGERS}, got int64 of shape \(n, 3\); use targets.argmax\(dim=1\)$",
        ),
        (
            nn.functional.one_hot(Y).float(),
            rf"{INTEGERS}, got float32 of shape \(n, 3\); use targets.argmax\(dim=1\)$",
        ),
        (Y + 0.5, f"{INTEGERS}, got float32 of shape {EACH}; {OTHER}"),
        (Y + 0j, f"{INTEGERS}, got complex64 of shape {EACH}; {OTHER}"),
        (torch.ones(120, 3), rf"{INTEGERS}, got float32 of shape \(n, 3\); {OTHER}"),
        (torch.ones(120, 4), rf"{INTEGERS}, got float32 of shape \(n, 4\); {OTHER}"),
    ],
)
@pytest.mark.parametrize("part", ["search", "validation", "test"])
def test_labels_that_are_none_are_refused_in_each_part(targets, match, part):
    if part == "search":
        data, task = (X, targets), {"validation": (X, Y)}
    else:
        data, task = (X, Y), {part: (X, targets)}
    refused(rf"^{part} targets: expected {match}", data=data, task=task)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_inputs_of_another_type_than_the_weights_are_told_to_be_converted(part):
    match = rf"^{part} data: .* takes, but inputs are float64, the network float32: inputs.float\("
    refused(match, task={part: (X[:10].double(), Y[:10])})


@pytest.mark.parametrize(
    "inputs", [torch.randn(10, 5), torch.ones(10, 6, dtype=torch.int64), X[:10].double()]
)
@pytest.mark.parametrize("part", ["validation", "test"])
def test_inputs_that_the_parent_does_not_take_are_refused(inputs, part):
    refused(rf"^{part} data: expected samples that the parent takes", task={part: (inputs, Y[:10])})


@pytest.mark.parametrize(
    ("parent", "match"),
    [
        (
            network(nn.Unflatten(1, (3, 1))),
            r"search targets: expected integers of shape \(n, 1\), one class each, .* of shape "
            rf"\(n,\); {OTHER}",
        ),
        (
            nn.Sequential(network(), nn.Unflatten(1, (3, 1)), nn.Flatten(0, 1), nn.Identity()),
            rf"search targets: expected integers of shape \(48,\), .* of shape \(n,\); {OTHER}",
        ),
        (network(n_outputs=2), "labels from 0 to 1"),
        (network(nn.Flatten(0)), "parent: expected outputs of shape"),
    ],
)
def test_outputs_that_have_no_classes_for_the_labels_are_refused(parent, match):
    refused(match, parent, finalise_count=0)


@pytest.mark.parametrize(
    "loss_fn",
    [
        lambda: None,
        lambda outputs, targets: 0.5,
        lambda outputs, targets: None,
        lambda outputs, targets: outputs,
        lambda outputs, targets: outputs.detach().mean(),
        lambda outputs, targets: outputs.mean() * torch.nan,
    ],
)
def test_a_loss_that_is_none_is_refused(loss_fn):
    refused(r"^loss_fn: expected a function of outputs and targets", task={"loss_fn": loss_fn})


@pytest.mark.parametrize(
    "augment",
    [
        lambda inputs, rng: None,
        lambda inputs: inputs,
        lambda inputs, rng: inputs[:3],
        lambda inputs, rng: inputs.double(),
        lambda inputs, rng: (inputs, inputs),
    ],
)
def test_an_augment_that_makes_something_else_is_refused(augment):
    recipe = Recipe(augment=augment)
    refused(r"^finalise_recipe\.augment: expected", finalise_recipe=recipe)


def test_a_network_of_several_outputs_is_told_to_choose_one():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = network()

        def forward(self, inputs):
            return self.stack(inputs), inputs

    refused("got 'tuple'; forward= can take one of several outputs$", Tagger())
    refused(r"got 'shape \(48,\)'$", network(nn.Flatten(0)))


def test_a_network_without_outputs_in_training_is_refused():
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = network()

        def forward(self, inputs):
            return None if self.training else self.stack(inputs)

    refused(r"^loss_fn: .*NoneType", Silent())


@pytest.mark.parametrize(
    "rule", [lambda: None, lambda progress: True, lambda progress: 1 / 0, lambda progress: 5]
)
def test_a_rule_that_says_something_else_is_named(rule):
    with pytest.raises(ArgumentError, match=r"^stop: expected a function of a Progress"):
        compress(Task(network(), (X, Y), batch_size=20), **OPTIONS, stop=[rule])


def test_rules_may_come_from_a_generator():
    # They were used up by the check before, and none applied.
    task = Task(network(), (X, Y), batch_size=20)
    rules = (rule for rule in [lambda progress: "enough"])
    assert compress(task, **OPTIONS, stop=rules).stopped == "enough"


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        *[({name: "no"}, name) for name in ("balanced", "prune_inputs", "inherit")],
        *[({"device": value}, "device") for value in (1.5, "x", -1, [], None, "meta")],
        *[({"loss_fn": value}, "loss_fn") for value in (None, 3)],
        *[({"forward": value}, "forward") for value in (3, "x")],
        *[({"probe_layers": value}, "probe_layers") for value in ("13", 3)],
        *[({"similarity": value}, "similarity") for value in ([], torch.zeros(2), None)],
        *[({"max_latency_ms": value}, "max_latency_ms") for value in (True, "x", 10**400)],
        ({"metric": accuracy}, "metric"),
    ],
)
def test_options_of_a_task_have_their_types(options, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        Task(network(), (X, Y), **{"batch_size": 20, **options})


def test_a_parent_without_weights_is_refused():
    with pytest.raises(ArgumentError, match=r"^parent: expected a network with weights"):
        Task(network().to("meta"), (X, Y))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        *[({"function": value}, "metric function") for value in (None, 1)],
        *[({"name": value}, "metric name") for value in (5, b"x", ["x"], "")],
        *[({"tolerance": value}, "tolerance") for value in (-1, "x", torch.nan)],
        *[({"worst": value}, "worst") for value in ("x", torch.inf, True)],
        ({"maximise": "x"}, "maximise"),
    ],
)
def test_metrics_have_their_types(options, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        Metric(**{"function": accuracy, "name": "m", **options})


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        *[({"callback": value}, "callback") for value in (3, Callback)],
        *[({"resume": value}, "resume") for value in ("x", 1)],
        *[({"checkpoint": value}, "checkpoint") for value in (3, b"x", [], "a\0b")],
        *[({"population": value}, "population") for value in (10**30, 1.5, "x")],
        *[({"generations": value}, "generations") for value in (10**30, None)],
        *[({"stop": value}, "stop") for value in (None, 5, [5])],
    ],
)
def test_options_of_a_search_have_their_types(options, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        compress(Task(network(), (X, Y), batch_size=20), **{**OPTIONS, **options})


def test_a_parent_that_is_one_layer_is_refused():
    refused(
        "^parent: expected at least one layer to prune, got .*outputs",
        nn.Linear(6, 3),
        task={"probe_layers": None},
    )


@pytest.mark.parametrize("inputs", [X.to_sparse(), X.to("meta")])
def test_inputs_that_samples_cannot_be_taken_from_are_refused(inputs):
    with pytest.raises(ArgumentError, match=r"^data inputs: expected a "):
        Task(network(), (inputs, Y))
