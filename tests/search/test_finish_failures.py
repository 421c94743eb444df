"""What a user's own code raises in the final training and test costs a child that, and no more."""

import pytest
import torch
from torch import nn

from ecomp_deap import Callback, EvaluationError, Metric, Recipe, Task, compress
from ecomp_deap.search.finish import Finisher
from ecomp_deap.toolbox import make_toolbox

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=GENERATOR)
Y = X[:, :3].argmax(1)
N_CHILDREN = 3
KEPT = "children stay as they were in the final training"


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3))


def through(module, inputs):
    return module(inputs)


class Listener(Callback):
    def __init__(self):
        self.messages, self.steps = [], 0

    def on_phase_step(self):
        self.steps += 1

    def on_message(self, text):
        self.messages.append(text)


def finalised(*, recipe=None, **options):
    """Children before and after the final training of all, and what was told."""
    toolbox = make_toolbox(Task(network(), (X, Y), **{"batch_size": 20, **options}), seed=3)
    listener = Listener()
    finish = Finisher(toolbox, listener)
    children = finish.score(toolbox.population(n=N_CHILDREN))
    options = {} if recipe is None else {"recipe": recipe}
    return children, finish.finalise(children, n=N_CHILDREN, epochs=3, **options), listener.messages


def weights(child):
    return torch.cat([p.detach().flatten() for p in child.module.parameters()])


def same(child, other):
    return child.widths == other.widths and torch.equal(weights(child), weights(other))


class Raising:
    """A loss that raises an error at one call, and whenever that very child comes again."""

    def __init__(self, error, at=1):
        self.error, self.at, self.calls, self.hated = error, at, 0, None

    def __call__(self, outputs, targets):
        self.calls += 1
        if self.calls == self.at:
            self.hated = outputs.detach().clone()
        hated = self.hated
        # Up to rounding, which depends on whether children train together.
        if hated is not None and torch.allclose(outputs, hated, rtol=1e-4, atol=1e-5):
            raise self.error
        return nn.functional.cross_entropy(outputs, targets)


@pytest.mark.parametrize("forward", [None, through])
def test_a_child_whose_loss_raises_stays_as_it_was_and_the_others_train(forward):
    # Of a dense stack all three train at once, else one after the other.
    loss = Raising(ZeroDivisionError("once too often"))
    before, after, told = finalised(loss_fn=loss, forward=forward)
    assert sum(same(old, new) for old, new in zip(before, after, strict=True)) == 1
    assert told == [f"1 of 3 {KEPT}: ZeroDivisionError: once too often"]


@pytest.mark.parametrize("forward", [None, through])
def test_the_others_learn_what_they_would_have_learnt(forward):
    loss = Raising(ZeroDivisionError("once too often"))
    before, after, _ = finalised(loss_fn=loss, forward=forward)
    _, whole, _ = finalised(forward=forward)
    for old, new, other in zip(before, after, whole, strict=True):
        if not same(old, new):
            torch.testing.assert_close(weights(new), weights(other), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("forward", [None, through])
@pytest.mark.parametrize("error", [MemoryError("full"), torch.OutOfMemoryError("full")])
def test_memory_is_no_childs_fault(error, forward):
    with pytest.raises(type(error), match="full"):
        finalised(loss_fn=Raising(error), forward=forward)


def test_a_forward_pass_that_raises_costs_its_child_the_training():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = network()

        def forward(self, inputs):
            outputs = self.stack(inputs)
            if self.training and torch.is_grad_enabled() and self.stack[0].out_features < 12:
                raise KeyError("too narrow")
            return outputs

    toolbox = make_toolbox(Task(Picky(), (X, Y), batch_size=20), seed=3)
    listener = Listener()
    finish = Finisher(toolbox, listener)
    children = finish.score(toolbox.population(n=N_CHILDREN))
    after = finish.finalise(children, n=N_CHILDREN, epochs=3)
    assert all(map(same, children, after))
    assert listener.messages == [f"3 of 3 {KEPT}: KeyError: 'too narrow'"]


@pytest.mark.parametrize("forward", [None, through])
def test_an_augment_that_raises_is_told_of(forward):
    calls = []

    def augment(inputs, rng):
        calls.append(1)
        if len(calls) > 4:
            raise OSError("no more noise")
        return inputs

    before, after, told = finalised(recipe=Recipe(augment=augment, batch_size=20), forward=forward)
    assert all(map(same, before, after))
    (line,) = told
    assert line.startswith(f"3 of 3 {KEPT}: augment: ")
    assert "OSError: no more noise" in line


@pytest.mark.parametrize("forward", [None, through])
def test_weights_that_do_not_stay_finite_are_told_of(forward):
    def diverging(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) * torch.tensor(float("inf"))

    before, after, told = finalised(loss_fn=diverging, forward=forward)
    assert all(map(same, before, after))
    assert told == [f"3 of 3 {KEPT}: outputs are not finite"]


def test_a_child_that_is_only_worse_for_it_is_not_told_of():
    _, _, told = finalised(recipe=Recipe(learning_rate=50.0))
    assert told == []


def test_a_metric_that_raises_on_the_test_data_costs_that_child_its_figure():
    calls = []

    def hits(outputs, targets):
        if len(targets) == 50:  # the test data
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("no figure")
        return float((outputs.argmax(1) == targets).double().mean())

    toolbox = make_toolbox(
        Task(network(), (X, Y), test=(X[:50], Y[:50]), batch_size=20, metric=Metric(hits, "hits")),
        objectives=("hits", "param_count"),
    )
    listener = Listener()
    finish = Finisher(toolbox, listener)
    found = finish.test(finish.score(toolbox.population(n=N_CHILDREN)))
    assert [child.test == 0.0 for child in found] == [False, True, False]
    assert listener.messages == [
        "1 of 3 children have the worst hits on the test data: RuntimeError: no figure"
    ]


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_child_that_cannot_train_as_in_the_search_is_left_out(engine):
    loss = Raising(ZeroDivisionError("once too often"), at=10**9)
    toolbox = make_toolbox(
        Task(network(), (X, Y), batch_size=20, train_steps=2, loss_fn=loss), engine=engine
    )
    listener = Listener()
    finish = Finisher(toolbox, listener)
    population = toolbox.population(n=N_CHILDREN)
    whole = finish.score(population)
    loss.at = loss.calls + 3  # in the first step of the second child
    assert [c.widths for c in finish.score(population)] == [whole[0].widths, whole[2].widths]
    expected = "1 of 3 children could not be made again as in the search: ZeroDivisionError"
    assert listener.messages == [f"{expected}: once too often"]


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_an_augment_that_raises_in_the_search_is_named(engine):
    calls = []

    def augment(inputs, rng):
        calls.append(1)
        if len(calls) > 4:
            raise OSError("no more noise")
        return inputs

    task = Task(network(), (X, Y), batch_size=20, train_steps=2, training=Recipe(augment=augment))
    with pytest.raises(EvaluationError, match=r"^augment: .*OSError: no more noise") as caught:
        compress(task, population=6, generations=5, finalise_count=0, engine=engine)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_parent_that_raises_in_the_search_is_named():
    calls = []

    def forward(module, inputs):
        calls.append(1)
        if len(calls) > most:
            raise OSError("no more calls")
        return module(inputs)

    most = 10**9
    toolbox = make_toolbox(Task(network(), (X, Y), batch_size=20, forward=forward), engine="loop")
    toolbox.map(toolbox.evaluate, toolbox.population(n=4))
    most = len(calls)
    with pytest.raises(EvaluationError, match=r"^parent: .*OSError: no more calls") as caught:
        toolbox.map(toolbox.evaluate, toolbox.population(n=4))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_loss_that_raises_fails_one_child_of_the_search(engine):
    loss = Raising(ZeroDivisionError("once too often"), at=10**9)
    task = Task(network(), (X, Y), batch_size=20, train_steps=3, loss_fn=loss)
    toolbox = make_toolbox(task, engine=engine)
    toolbox.settle(6)
    population = toolbox.population(n=6)
    loss.at = loss.calls + 7
    toolbox.map(toolbox.evaluate, population)
    assert [i.measurement.reason for i in population if i.measurement.failed] == [
        "ZeroDivisionError: once too often"
    ]


@pytest.mark.parametrize("error", [MemoryError("full"), torch.OutOfMemoryError("full")])
@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_memory_fails_no_child_of_the_search(engine, error):
    loss = Raising(error, at=10**9)
    toolbox = make_toolbox(
        Task(network(), (X, Y), batch_size=20, train_steps=3, loss_fn=loss), engine=engine
    )
    population = toolbox.population(n=6)
    loss.at = loss.calls + 7
    with pytest.raises(type(error), match="full"):
        toolbox.map(toolbox.evaluate, population)
