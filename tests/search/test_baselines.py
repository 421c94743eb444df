import copy

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.network import fit
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.network.layers import InputLinear
from ecomp_deap.recipe import Recipe
from ecomp_deap.search import compress
from ecomp_deap.search.baseline_methods import initialise
from ecomp_deap.search.baselines import BASELINES, baselines, methods_for
from ecomp_deap.search.budget import Budget
from ecomp_deap.search.pruning import global_widths, magnitudes, uniform_widths
from ecomp_deap.task import Metric, Task
from tests.architectures import equal_states, state_of
from tests.network.networks import Residual, images

N = 300  # search samples of the tiny task
UNTRAINED = Budget(0, 0, 40)
OPTIONS = {"between": (60, 300), "sizes": (100,), "children": 3, "population": 10}
HIDDEN = [n for n in BASELINES if not n.endswith("_inputs") and n != "uniform_as_search"]


def run(task, name, budget, **options):
    (found,) = baselines(task, budget=budget, names=[name], **{**OPTIONS, **options})
    assert found.name == name
    return found


def kept_by(child, groups):
    return [set(child.kept[group.name]) for group in groups]


def largest(values, n):
    return set(np.argsort(values, kind="stable")[len(values) - n :].tolist())


@pytest.mark.parametrize("inputs", [False, True])
def test_uniform_l1_keeps_the_same_fraction_of_the_largest_norms(tiny_task, inputs):
    task = tiny_task(prune_inputs=True)
    name = "uniform_l1_inputs" if inputs else "uniform_l1"
    found = run(task, name, UNTRAINED)
    evaluator = Evaluator(task)
    groups, norms = evaluator.structure.groups, l1_importance(evaluator.structure, evaluator.arrays)
    sizes = [uniform_widths(size, evaluator, inputs=inputs) for size in (60, 100, 300)]
    assert {child.widths for child in found.children} <= {*sizes}
    for child in found.children:
        assert kept_by(child, groups) == [
            largest(values, n) for values, n in zip(norms, child.widths, strict=True)
        ]
        assert (child.widths[0] == 12) == (not inputs)
        fractions = np.array(child.widths) / [g.n_units for g in groups]
        assert np.ptp(fractions[0 if inputs else 1 :]) <= 1 / 12 + 1e-9


def test_uniform_as_search_keeps_what_the_search_holds_important(tiny_task):
    task = tiny_task(prune_inputs=True)
    found = run(task, "uniform_as_search", UNTRAINED, importance="reconstruction")
    evaluator = Evaluator(task, importance="reconstruction")
    groups, importance = evaluator.structure.groups, evaluator.importance
    sizes = [uniform_widths(size, evaluator, inputs=True) for size in (60, 100, 300)]
    assert {child.widths for child in found.children} <= {*sizes}
    for child in found.children:
        assert kept_by(child, groups) == [
            largest(values, n) for values, n in zip(importance, child.widths, strict=True)
        ]


def test_random_search_keeps_what_the_search_holds_important(tiny_task):
    kept = []
    for importance in ("l1", "reconstruction"):
        found = run(tiny_task(), "random_search", Budget(0, 0, 20), importance=importance)
        evaluator = Evaluator(tiny_task(), importance=importance)
        for child in found.children:
            expected = [
                largest(values, n)
                for values, n in zip(evaluator.importance, child.widths, strict=True)
            ]
            assert kept_by(child, evaluator.structure.groups) == expected
        kept.append([child.kept for child in found.children])
    assert kept[0] != kept[1]


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("importance", ["l1", "variance"])
def test_methods_that_would_be_the_same_are_left_out(inputs, importance):
    names = methods_for(prune_inputs=inputs, importance=importance)
    assert ("uniform_as_search" in names) == (importance != "l1")
    assert {name for name in names if name.endswith("_inputs")} == (
        {"uniform_l1_inputs", "random_masks_inputs", "scratch_inputs"} if inputs else set()
    )
    others = {"uniform_l1", "global_magnitude", "random_masks", "random_search", "scratch"}
    assert others <= {*names}


def test_global_magnitude_keeps_the_largest_means_of_all(tiny_task):
    task = tiny_task(prune_inputs=True)
    found = run(task, "global_magnitude", UNTRAINED)
    evaluator = Evaluator(task)
    groups, means = evaluator.structure.groups, magnitudes(evaluator)
    assert {c.widths for c in found.children} <= {
        global_widths(size, evaluator) for size in (60, 100, 300)
    }
    for child in found.children:
        kept = kept_by(child, groups)
        lowest_kept = min(means[g][u] for g, units in enumerate(kept) for u in units)
        for values, units, group in zip(means, kept, groups, strict=True):
            gone = set(range(group.n_units)) - units
            assert units == largest(values, len(units))
            if len(units) > group.min_units and gone:
                assert max(values[list(gone)]) <= lowest_kept


def test_random_masks_have_uniform_widths_and_other_units(tiny_task):
    task = tiny_task()
    found = run(task, "random_masks", UNTRAINED)
    other = run(task, "random_masks", UNTRAINED, seed=1)
    evaluator = Evaluator(task)
    sizes = [uniform_widths(size, evaluator, inputs=False) for size in (60, 100, 300)]
    for result in (found, other):
        assert {child.widths for child in result.children} <= {*sizes}
    kept = [[kept_by(c, evaluator.structure.groups) for c in r.children] for r in (found, other)]
    assert kept[0] != kept[1]
    norms = l1_importance(evaluator.structure, evaluator.arrays)
    assert any(
        units != largest(values, len(units))
        for units, values in zip(kept[0][-1], norms, strict=True)
    )


def test_children_from_scratch_know_nothing_of_the_parents_weights(tiny_task):
    task = tiny_task(prune_inputs=True)
    pruned = run(task, "uniform_l1_inputs", UNTRAINED)
    found, again = (run(task, "scratch_inputs", UNTRAINED) for _ in range(2))
    widths = [child.widths for child in run(task, "uniform_l1_inputs", UNTRAINED).children]
    assert {child.widths for child in found.children} & {*widths, pruned.children[-1].widths}
    parent = task.parent.layer_1_linear.weight
    for child, twin in zip(found.children, again.children, strict=True):
        assert equal_states(state_of(child.module), state_of(twin.module))
        layer = child.module.layer_1_linear
        assert isinstance(layer, InputLinear)
        assert layer.weight.abs().max() <= 1 / layer.in_features**0.5  # torch's default
        assert not torch.isin(layer.weight, parent).any()
    other = run(task, "scratch_inputs", UNTRAINED, seed=1)
    assert not torch.equal(
        other.children[-1].module.output.bias, found.children[-1].module.output.bias
    )


def test_everything_is_drawn_anew_or_named():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), attention)
    network[1].running_mean.fill_(3.0)
    before = state_of(network)
    drawn = torch.get_rng_state()
    initialise(network, seed=1)
    assert torch.equal(torch.get_rng_state(), drawn)
    after = state_of(network)
    for name in ("0.weight", "2.self_attn.in_proj_weight", "2.linear1.bias", "1.running_mean"):
        assert not torch.equal(after[name], before[name])
    twin = copy.deepcopy(network)
    initialise(twin, seed=1)
    assert equal_states(state_of(twin), after)
    initialise(twin, seed=2)
    assert not equal_states(state_of(twin), after)
    network.add_module("own", Own())
    with pytest.raises(ArgumentError, match="parent: expected layers with reset_parameters"):
        initialise(network, seed=1)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    "options", [{}, {"train_steps": 2}, {"train_steps": 2, "inherit": True}, {"max_params": 200}]
)
def test_no_method_takes_more_than_the_search_did(tiny_task, options):
    task = tiny_task(**options)
    result = compress(task, population=8, generations=3, finalise_count=3, finalise_epochs=9)
    budget = Budget.of(result)
    counts = [child.validation.param_count for child in result.front]
    found = baselines(
        task, budget=budget, between=(min(counts), max(counts)), children=4, population=8
    )
    assert [r.name for r in found] == HIDDEN
    for r in found:
        assert 0 < r.samples <= budget.samples
        assert r.samples > 0.4 * budget.samples
        assert r.evaluations <= budget.evaluations
        assert (r.evaluations > 0) == (r.name == "random_search")
        assert all(c.validation.violation == 0 and c.test is not None for c in r.children)
        costs = [(-c.validation.metric, c.validation.param_count) for c in r.children]
        assert costs == sorted(costs, key=lambda cost: cost[1])
        assert [accuracy for accuracy, _ in costs] == sorted([a for a, _ in costs], reverse=True)


@pytest.mark.parametrize("name", ["uniform_l1", "random_search", "scratch"])
def test_same_seed_same_children(tiny_task, name):
    task = tiny_task(train_steps=1)
    budget = Budget(3000, 40 * N, 30)
    first, again, other = (run(task, name, budget, seed=seed) for seed in (3, 3, 4))
    rows = [[c.as_row() for c in r.children] for r in (first, again, other)]
    assert rows[0] == rows[1] != rows[2]
    together = baselines(task, budget=budget, seed=3, **OPTIONS)
    alone = next(r for r in together if r.name == name)
    assert [c.as_row() for c in alone.children] == rows[0]


def test_random_search_measures_as_many_children_as_it_may(tiny_task):
    found = run(tiny_task(), "random_search", Budget(0, 0, 37))
    assert 30 < found.evaluations <= 37
    assert found.samples == 0
    assert len({child.widths for child in found.children}) == len(found.children) > 2
    # Two children at most are paid for: one that is measured, and the same when it is scored.
    steps = tiny_task(train_steps=2).step_samples
    few = run(tiny_task(train_steps=2), "random_search", Budget(2 * steps, 0, 37))
    assert (few.evaluations, few.samples) == (1, 2 * steps)
    most = run(tiny_task(train_steps=2), "random_search", Budget(41 * steps, 0, 40))
    assert most.samples == (most.evaluations + 1) * steps <= 41 * steps
    none = run(tiny_task(train_steps=2), "random_search", Budget(steps - 1, 0, 37))
    assert (none.evaluations, none.samples, none.children) == (0, 0, [])


def test_budgets_are_spent_on_trials_and_on_epochs(tiny_task):
    task = tiny_task()
    found = run(task, "uniform_l1", Budget(0, 100 * N, 0))
    assert len(found.learning_rates) == 3
    assert {*found.learning_rates.values()} <= {0.001, 0.002, 0.004, 0.008}
    # 12 trials of 2 epochs, and 25 epochs for each of three children.
    assert (found.samples, found.epochs) == ((24 + 3 * 25) * N, 25)
    found = run(task, "uniform_l1", Budget(0, 100 * N, 0), max_epochs=1)
    assert found.epochs == 1
    assert found.samples <= 100 * N
    poor = run(task, "uniform_l1", Budget(0, 2 * N, 0))
    assert (poor.samples, poor.epochs, poor.learning_rates) == (2 * N, 1, {})
    none = run(task, "uniform_l1", Budget(0, N - 1, 0))
    assert (none.samples, none.epochs) == (0, 0)


def test_children_train_as_the_recipe_says(tiny_task):
    task = tiny_task()
    recipe = Recipe(learning_rate=0.02, optimizer="sgd", batch_size=50)
    found = run(task, "uniform_l1", Budget(0, 3 * N, 0), recipe=recipe, between=(200, 200))
    (child,) = found.children
    (start,) = run(task, "uniform_l1", UNTRAINED, between=(200, 200)).children
    module = copy.deepcopy(start.module)
    fit(
        module,
        task.splits.search,
        epochs=found.epochs,
        loss_fn=task.loss_fn,
        forward=task.apply,
        seed=0,
        recipe=recipe,
    )
    for own, expected in zip(child.module.parameters(), module.parameters(), strict=True):
        assert torch.allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize("maximise", [False, True])
@pytest.mark.parametrize(("learning_rate", "best"), [(2e-5, 8e-5), (0.4, 0.2)])
def test_trials_choose_by_validation(tiny_parent, tiny_splits, maximise, learning_rate, best):
    """Where all rates are too low the highest is best, where all are too high the lowest."""

    def function(outputs, targets):
        value = float(nn.functional.cross_entropy(outputs, targets))
        return -value if maximise else value

    metric = Metric(function, "nll", maximise=maximise, worst=-1e9 if maximise else 1e9)
    task = Task(tiny_parent, tiny_splits, metric=metric, batch_size=30)
    recipe = Recipe(learning_rate=learning_rate)
    found = run(task, "uniform_l1", Budget(0, 100 * N, 0), recipe=recipe)
    assert {*found.learning_rates.values()} == {best}


def test_networks_of_other_kinds_are_pruned_too():
    network = Residual().eval()
    inputs = images(60)
    labels = torch.arange(60) % 3
    task = Task(network, (inputs, labels), test=(inputs, labels), batch_size=10, balanced=False)
    n = len(task.splits.search)
    count = sum(p.numel() for p in network.parameters())
    found = baselines(
        task, budget=Budget(0, 30 * n, 5), between=(count // 4, count), children=2, population=5
    )
    assert [result.name for result in found] == HIDDEN
    assert all(result.children and result.samples <= 30 * n for result in found)


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def on_phase(self, name, total):
        self.calls.append((name, total))

    def on_phase_step(self):
        self.calls.append("step")


def test_callbacks_are_told_of_every_method(tiny_task):
    recorder = Recorder()
    run(tiny_task(), "uniform_l1", Budget(0, 10 * N, 0), callback=recorder)
    assert recorder.calls == [("baseline uniform_l1", 3), "step", "step", "step"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["evolution"]}, "names: expected names among uniform_l1, global_magnitude"),
        ({"names": ["scratch_inputs"]}, "names: expected names among"),
        ({"names": ["uniform_as_search"]}, "names: expected names among"),
        ({"children": 0}, "children: expected a whole number of at least 1"),
        ({"max_epochs": -1}, "max_epochs: expected a whole number of at least 0"),
        ({"population": 0}, "population: expected a whole number of at least 1"),
        ({"between": (0, 5)}, "between: expected a whole number of at least 1"),
        ({"between": (6, 5)}, "between: expected a smaller and a larger number"),
    ],
)
def test_bad_options_are_refused(tiny_task, options, message):
    with pytest.raises(ArgumentError, match=message):
        baselines(tiny_task(), budget=UNTRAINED, **{**OPTIONS, **options})


def test_a_recipe_is_checked_before_any_work(tiny_splits, tiny_parent):
    def own_forward(module, inputs):
        return {"logits": module(inputs)}

    def own_loss(outputs, targets):
        return nn.functional.cross_entropy(outputs["logits"], targets)

    metric = Metric(lambda outputs, targets: 0.5, "half")
    task = Task(
        *(tiny_parent, tiny_splits),
        forward=own_forward,
        loss_fn=own_loss,
        metric=metric,
        batch_size=30,
    )
    with pytest.raises(ArgumentError, match="distillation: expected a parent whose outputs"):
        baselines(task, budget=UNTRAINED, recipe=Recipe(loss={"distillation": 1.0}), **OPTIONS)


@pytest.mark.parametrize("name", ["uniform_l1", "random_search"])
def test_a_method_without_a_child_within_the_limits_ends_with_none(tiny_task, name):
    # The methods make children by their parameters, of which the bytes know nothing.
    found = run(tiny_task(max_size_bytes=84), name, Budget(0, 2 * N, 5), between=(200, 300))
    assert found.children == []
