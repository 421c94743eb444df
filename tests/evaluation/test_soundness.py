"""Samples that hold no finite numbers, and labels that no output stands for, are named in time."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from ecomp_deap import ArgumentError, Callback, Metric, Recipe, Task, compress

OPTIONS = {
    "population": 6,
    "generations": 2,
    "finalise_count": 2,
    "finalise_epochs": 2,
    "objectives": ("accuracy", "param_count"),
}
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=GENERATOR)
Y = X[:, :3].argmax(1)


def network(*front, n_outputs=3):
    torch.manual_seed(1)
    first = (nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return nn.Sequential(*front, *first, nn.Linear(8, n_outputs))


class Rows(Dataset):
    """Samples that are read one by one."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.targets[index]


class Listener(Callback):
    def __init__(self):
        self.messages, self.generations = [], 0

    def on_generation(self, generation, n_generations, record):
        self.generations += 1

    def on_message(self, text):
        self.messages.append(text)


def changed(tensor, value, *place):
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


def search(data, *, parent=None, task=None, callback=None, **options):
    task = {"batch_size": 20, "probe_layers": [], **(task or {})}
    asked = Task(network() if parent is None else parent, data, **task)
    asked_for = {**OPTIONS, **options}
    metric = asked.metric.name
    asked_for["objectives"] = (metric, "param_count")
    return compress(asked, **asked_for, callback=callback)


def refused(match, data, **options):
    listener = Listener()
    with pytest.raises(ArgumentError, match=match):
        search(data, callback=listener, **options)
    return listener


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["search", "validation", "test"])
def test_inputs_that_are_not_finite_are_refused_before_the_search(part, value):
    broken = (changed(X, value, 70, 3), Y)
    parts = {"search": (X, Y), "validation": (X, Y), "test": (X, Y), part: broken}
    task = {"validation": parts["validation"], "test": parts["test"]}
    match = rf"^{part} data: expected finite numbers, got {value} in the inputs of sample 70$"
    assert refused(match, parts["search"], task=task).generations == 0


@pytest.mark.parametrize("kind", [tuple, lambda pair: Rows(*pair)])
def test_samples_have_the_numbers_of_the_data_that_were_given(kind):
    """Of which a part was split off for validation."""
    match = r"^(search|validation) data: .*got nan in the inputs of sample 119$"
    refused(match, kind((changed(X, torch.nan, 119, 3), Y)), task={"train_steps": 40})
    match = r"^(search|validation) targets: .*got 9 \(sample 119\)$"
    refused(match, kind((X, changed(Y, 9, 119))))


def test_inputs_in_containers_are_looked_through():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = network()

        def forward(self, a, b):
            return self.stack(a + b["more"])

    inputs = {"a": X, "b": {"more": changed(X, torch.nan, 5, 0)}}
    match = r"^search data: .*nan in the inputs\['b'\]\['more'\] of sample 5"
    sound = {**inputs, "b": {"more": X}}
    refused(match, (inputs, Y), parent=Two(), task={"validation": (sound, Y)})


def test_targets_that_are_not_finite_are_refused():
    task = {
        "validation": (X, X[:, :2]),
        "metric": Metric(lambda o, t: float((o - t).square().mean()), "mse", False, worst=99.0),
        "loss_fn": nn.functional.mse_loss,
    }
    targets = changed(X[:, :2], torch.inf, 33, 1)
    match = "^search data: expected finite numbers, got inf in the targets of sample 33$"
    refused(match, (X, targets), parent=network(n_outputs=2), task=task)


class Missing(nn.Module):
    """Takes NaN for what was not measured."""

    def forward(self, inputs):
        return torch.nan_to_num(inputs)


def test_a_parent_that_copes_with_such_inputs_may_have_them():
    inputs = changed(X, torch.nan, slice(None, None, 3), 2)

    class Coping(nn.Module):
        def __init__(self):
            super().__init__()
            self.missing, self.stack = Missing(), network()

        def forward(self, inputs):
            return self.stack(self.missing(inputs))

    assert search((inputs, Y), parent=Coping()).front
    # Outputs alone do not tell: a sigmoid of Inf is finite, and has a gradient that is not.
    match = "^search data: expected finite numbers, got inf in the inputs of sample 9$"
    squashed = nn.Sequential(*network()[:1], nn.Sigmoid(), *network()[2:])
    task = {"validation": (X, Y)}
    refused(match, (changed(X, torch.inf, 9, 0), Y), parent=squashed, task=task)


@pytest.mark.parametrize("part", ["search", "validation", "test"])
def test_samples_that_are_read_one_by_one_are_looked_at_as_they_are_read(part):
    broken = Rows(changed(X, torch.nan, slice(None), 3), Y)
    parts = {"search": Rows(X, Y), "validation": Rows(X, Y), "test": Rows(X, Y), part: broken}
    task = {"validation": parts["validation"], "test": parts["test"]}
    match = rf"^{part} data: expected finite numbers, got nan in the inputs of sample \d+$"
    assert refused(match, parts["search"], task=task).generations == 0


@pytest.mark.parametrize("part", ["validation", "test"])
def test_all_samples_that_are_read_before_the_search_are_looked_at(part):
    task = {"validation": (X, Y), part: Rows(changed(X, torch.nan, 119, 3), Y)}
    match = f"^{part} data: expected finite numbers, got nan in the inputs of sample 119$"
    assert refused(match, (X, Y), task=task).generations == 0


def test_a_sample_that_shows_in_the_search_is_named():
    rows = Rows(changed(X, torch.nan, 70, 3), Y)
    task = {"validation": (X, Y), "train_steps": 8}
    refused("^search data: .*nan in the inputs of sample 70$", rows, task=task, generations=20)


def test_a_sample_that_shows_in_the_final_training_is_told_of():
    """At batches of five of 119 samples, no generation before has met it."""
    rows = Rows(changed(X, torch.nan, 70, 3), Y)
    listener = Listener()
    task = {"validation": (X, Y), "batch_size": 5}
    result = search(rows, task=task, callback=listener, generations=0)
    assert [c.validation.metric == c.validation_before for c in result.front]
    (told,) = [m for m in listener.messages if "final training" in m]
    assert told == (
        "2 of 2 children stay as they were in the final training: outputs are not finite "
        "(search data: expected finite numbers, got nan in the inputs of sample 70)"
    )


@pytest.mark.parametrize("part", ["search", "validation", "test"])
def test_labels_of_samples_that_are_read_anyway_are_all_checked(part):
    task = {"validation": (X, Y), "test": (X, Y)}
    data = (X, Y)
    broken = Rows(X, changed(Y, 9, 100))
    if part == "search":
        del task["validation"]  # to split it off by label, all labels are read
        data = broken
    else:
        task[part] = broken
    match = rf"^(search|{part}) targets: expected labels from 0 to 2, .* got 9 \(sample \d+\)"
    assert refused(match, data, task=task).generations == 0


OWN = Metric(lambda o, t: float((o.argmax(1) == t).double().mean()), "hits")


@pytest.mark.parametrize("trains", ["search", "final"])
def test_the_default_loss_takes_labels_whatever_the_metric(trains):
    data = (X, changed(Y, 9, 100))
    task = {"validation": (X, Y), "metric": OWN}
    options = {}
    if trains == "search":
        task["train_steps"], options["finalise_count"] = 1, 0
    match = r"^search targets: expected labels from 0 to 2, .* got 9 \(sample 100\)"
    assert refused(match, data, task=task, **options).generations == 0


def test_targets_that_the_default_loss_takes_are_no_labels():
    # Samples that it ignores, and probabilities.
    task = {"validation": (X, Y), "metric": OWN, "train_steps": 1}
    assert search((X, changed(Y, -100, 100)), task=task).front
    shares = nn.functional.one_hot(Y, 3).float()
    metric = Metric(lambda o, t: float((o.argmax(1) == t.argmax(1)).double().mean()), "hits")
    assert search((X, shares), task={"metric": metric, "train_steps": 1}).front
    # Nor are there labels where no child trains.
    task = {"validation": (X, Y), "metric": Metric(lambda o, t: float(o.mean()), "mean")}
    assert search((X, changed(Y, 9, 100)), task=task, finalise_count=0).front


@pytest.mark.parametrize("engine", ["batched", "loop"])
def test_a_label_that_shows_in_the_search_is_named(engine):
    rows = Rows(X, changed(Y, 9, 100))
    task = {"validation": (X, Y), "train_steps": 8}
    match = r"^search targets: expected labels from 0 to 2, .* got 9 \(sample 100\)"
    refused(match, rows, task=task, generations=20, engine=engine)


@pytest.mark.parametrize("engine", ["batched", "loop"])
def test_a_label_that_shows_in_the_final_training_is_told_of(engine):
    rows = Rows(X, changed(Y, 9, 70))
    listener = Listener()
    task = {"validation": (X, Y), "batch_size": 5}
    result = search(rows, task=task, callback=listener, generations=0, engine=engine)
    assert [c.validation.metric == c.validation_before for c in result.front]
    (told,) = [m for m in listener.messages if "final training" in m]
    assert told.startswith("2 of 2 children stay as they were in the final training: ")
    assert "(search targets: expected labels from 0 to 2," in told


def test_batches_for_training_fit_the_data():
    task = {"train_steps": 1, "training": Recipe(batch_size=10**9)}
    match = "^training.batch_size: expected at most 100, the number of search samples, got 10000000"
    assert refused(match, (X, Y), task=task).generations == 0
    # In the final training a batch is all samples at most.
    assert search((X, Y), finalise_recipe=Recipe(batch_size=10**9)).front
