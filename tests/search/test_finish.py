from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import EcompError
from ecomp_deap.measurement import Measurement
from ecomp_deap.network import param_count
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.search.finish import Child, Finisher
from ecomp_deap.task import Metric, accuracy
from ecomp_deap.toolbox import make_toolbox
from tests.architectures import equal_states, state_of


def child(name, metric, param_count, *, loss=0.1, metric_name="accuracy"):
    found = Measurement(metric, loss, param_count / 100, param_count, 1, 4, metric_name=metric_name)
    return Child(name, nn.Identity(), (param_count,), found)


def finisher(task, **options):
    return Finisher(make_toolbox(task, **options), Callback())


CASES = [
    ([("a", 0.50, 1), ("b", 0.895, 2), ("c", 0.896, 3), ("d", 0.95, 4)], "b"),
    ([("a", 0.50, 1), ("b", 0.80, 2), ("c", 0.85, 3)], "c"),
    ([("a", 0.95, 1), ("b", 0.96, 2)], "a"),
]


@pytest.mark.parametrize(("front", "best"), CASES)
def test_pareto_recommends_the_smallest_good_child_or_the_most_accurate(tiny_task, front, best):
    children = [child(*figures) for figures in front]
    found = finisher(tiny_task()).best(children, child("parent", 0.90, 100))
    assert found.id == best


@pytest.mark.parametrize(("front", "best"), CASES)
def test_a_minimised_metric_turns_the_rule_round(tiny_task, front, best):
    metric = Metric(accuracy, "err", maximise=False, worst=1.0, tolerance=0.01)
    children = [child(n, 1 - value, count, metric_name="err") for n, value, count in front]
    parent = child("parent", 1 - 0.90, 100, metric_name="err")
    assert finisher(tiny_task(metric=metric)).best(children, parent).id == best


@pytest.mark.parametrize(
    ("weights", "best"), [((1, 0, 0), "c"), ((0, 0, 1), "a"), ((0, 1, 0), "b"), ((1, 2, 0), "b")]
)
def test_weighted_recommends_the_highest_sum(tiny_task, weights, best):
    children = [
        child("a", 0.5, 1, loss=0.5),
        child("b", 0.8, 20, loss=0.1),
        child("c", 0.9, 30, loss=0.4),
    ]
    found = finisher(tiny_task(), loss_weights=weights).best(children, child("parent", 0.9, 100))
    assert found.id == best


def test_equal_individuals_are_scored_once_and_failed_ones_left_out(tiny_task):
    toolbox = make_toolbox(tiny_task())
    first, second = toolbox.population(n=2)
    twin = toolbox.clone(first)
    children = Finisher(toolbox, Callback()).score([first, twin, second])
    assert [found.widths for found in children] == [first.widths, second.widths]


@pytest.mark.parametrize("genome", ["mask", "width"])
def test_children_know_which_units_they_kept_of_which_parent(tiny_task, genome):
    toolbox = make_toolbox(tiny_task(), genome=genome)
    individual = toolbox.population(n=3)[-1]
    finish = Finisher(toolbox, Callback())
    (found,) = finish.finalise(finish.front(finish.score([individual])), n=1, epochs=1)
    weight, parent = found.module.layer_1_linear.weight, found.parent.layer_1_linear.weight
    assert [*found.kept] == [group.name for group in toolbox.evaluator.structure.groups]
    assert tuple(map(len, found.kept.values())) == found.widths
    unfinished = finish.score([individual])[0].module.layer_1_linear.weight
    assert (unfinished == parent[list(found.kept["layer_1_linear"])]).all()
    assert weight.shape == unfinished.shape
    assert (finish.parent().kept, finish.parent().parent) == (None, None)


def test_children_of_weights_keep_no_units_of_the_parent(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights", loss_weights=(1, 2, 1))
    (found,) = Finisher(toolbox, Callback()).score(toolbox.population(n=1))
    assert found.kept is None


def test_finalising_leaves_the_children_it_was_given_alone(tiny_task):
    toolbox = make_toolbox(tiny_task())
    finish = Finisher(toolbox, Callback())
    children = finish.front(finish.score(toolbox.population(n=4)))
    before = [state_of(child.module) for child in children]
    finished = finish.finalise(children, n=4, epochs=2)
    for old, state, new in zip(children, before, finished, strict=True):
        assert equal_states(state_of(old.module), state)
        kept = new.validation == old.validation
        assert equal_states(state_of(new.module), state) == kept
        assert new.validation.metric >= old.validation.metric
        assert new.validation_before == old.validation.metric
        assert new.test_before == finish.test([old])[0].test
        assert not new.module.training
    assert any(
        new.validation != old.validation for old, new in zip(children, finished, strict=True)
    )


def test_the_tolerance_of_other_metrics_is_relative(tiny_task):
    metric = Metric(accuracy, "loss", maximise=False, worst=1.0)
    figures = [("a", 2.1e-4, 1), ("b", 2.015e-4, 2), ("c", 1.9e-4, 3)]
    children = [child(*row, metric_name="loss") for row in figures]
    parent = child("parent", 2e-4, 100, metric_name="loss")
    assert finisher(tiny_task(metric=metric)).best(children, parent).id == "b"


def test_rows_name_the_metric():
    row = child("007", 0.25, 3, metric_name="mse").as_row()
    assert list(row) == [
        "id",
        "validation_mse",
        "test_mse",
        "validation_mse_before",
        "test_mse_before",
        "similarity_loss",
        "relative_width",
        "param_count",
        "mac_count",
        "size_bytes",
        "widths",
    ]
    assert row["widths"] == "3"


def test_if_all_failed_the_commonest_reason_is_told(tiny_task):
    toolbox = make_toolbox(tiny_task(), genome="weights", loss_weights=(1, 2, 1))
    (individual,) = toolbox.population(n=1)
    broken = {n: (np.full_like(w, np.inf), b) for n, (w, b) in individual.layers.items()}
    individual.rebind(broken)
    with pytest.raises(EcompError, match="no child could be measured; 1 of 1: outputs are not"):
        Finisher(toolbox, Callback()).score([individual])


def finalised(task, recipe=FINALISE_RECIPE, *, threads=None, epochs=2, n=4):
    toolbox = make_toolbox(task, threads=threads)
    finish = Finisher(toolbox, Callback())
    children = finish.front(finish.score(toolbox.population(n=6)))
    return finish.finalise(children, n=n, epochs=epochs, recipe=recipe)


def same_children(found, expected):
    return all(
        a.validation == b.validation and equal_states(state_of(a.module), state_of(b.module))
        for a, b in zip(found, expected, strict=True)
    )


def test_the_recipe_decides_how_children_are_finalised(tiny_task):
    losses = {"task": 1.0, "distillation": 1.0, "similarity": 0.1}
    recipe = Recipe(learning_rate=0.01, loss=losses, batch_size=30, mixup=0.2)
    first = finalised(tiny_task(), recipe)
    assert same_children(finalised(tiny_task(), recipe), first)
    assert not same_children(finalised(tiny_task()), first)


def test_small_children_get_higher_rates(tiny_task, monkeypatch):
    asked = {}

    def note(modules, samples, *, learning_rates, **options):
        asked.update(zip(map(param_count, modules), learning_rates, strict=True))

    monkeypatch.setattr("ecomp_deap.search.finish.fit_children", note)
    task = tiny_task()
    finalised(task, Recipe(learning_rate=0.01, size_power=0.5))
    whole = param_count(task.parent)
    assert len(asked) > 1
    for size, rate in asked.items():
        assert rate == pytest.approx(0.01 * (whole / size) ** 0.5)
    asked.clear()
    finalised(task, Recipe(learning_rate=0.01))
    assert set(asked.values()) == {0.01}


def test_threads_and_engines_finalise_alike(tiny_task):
    expected = finalised(tiny_task(), threads=1)
    assert same_children(finalised(tiny_task(), threads=2), expected)


def test_a_child_that_got_worse_stays_as_it_was_and_says_so(tiny_task):
    ruin = Recipe(learning_rate=30.0, optimizer="sgd")
    toolbox = make_toolbox(tiny_task())
    finish = Finisher(toolbox, Callback())
    children = finish.front(finish.score(toolbox.population(n=4)))
    for old, new in zip(
        children, finish.finalise(children, n=9, epochs=1, recipe=ruin), strict=True
    ):
        assert new.module is old.module
        assert new.validation == old.validation
        assert new.validation_before == old.validation.metric
        row = finish.test([new])[0].as_row()
        assert row["validation_accuracy"] == row["validation_accuracy_before"]
        assert row["test_accuracy"] == row["test_accuracy_before"]


def test_children_are_scored_after_the_training_that_the_search_gave_them(tiny_task):
    recipe = Recipe(learning_rate=0.03, schedule="cosine", mixup=0.3)
    toolbox = make_toolbox(tiny_task(train_steps=5, training=recipe))
    finish = Finisher(toolbox, Callback())
    individual = toolbox.population(n=1)[0]
    (found,) = finish.score([individual])
    untrained = toolbox.compile(individual)
    assert not equal_states(state_of(found.module), state_of(untrained))
    (again,) = finish.score([individual])
    assert same_children([found], [again])


def test_each_part_of_the_range_of_sizes_gives_its_best_child(tiny_task):
    finish = finisher(tiny_task(), objectives=("accuracy", "param_count"))
    small, lucky, beaten, large, largest = children = [
        child("small", 0.70, 10),
        child("lucky", 0.85, 30),
        child("beaten", 0.60, 32),  # in the same third as the lucky one, off the front
        child("large", 0.83, 90),  # off the front, and yet the best of the largest third
        child("largest", 0.82, 100),
    ]
    assert finish.candidates(children, 3) == [0, 1, 3]
    assert finish.candidates(children, 4) == [0, 1, 2, 3]
    assert finish.candidates(children, 9) == [0, 1, 2, 3, 4]
    assert finish.candidates(children, 0) == []
    beyond = replace(large, validation=replace(large.validation, violation=0.1))
    assert finish.candidates([small, lucky, beaten, beyond, largest], 3) == [0, 1, 4]


def test_half_of_the_children_are_for_the_sizes_wanted(tiny_task):
    finish = finisher(tiny_task(), objectives=("accuracy", "param_count"))
    children = [
        child("tiny", 0.50, 10),
        child("too small for 100", 0.72, 89),
        child("for 100", 0.71, 90),
        child("for 100, the best", 0.73, 99),
        child("too large for 100", 0.90, 101),
        child("for 1000", 0.74, 1000),
        child("large", 0.95, 3000),
    ]
    assert finish.candidates(children, 4, (100, 1000)) == [3, 4, 5, 6]
    assert finish.candidates(children, 6, (100, 1000)) == [0, 2, 3, 4, 5, 6]
    assert finish.candidates(children, 1, (100,)) == [6]
    # Under a limit accuracy is all that counts, on the front or behind it.
    behind = [child("front", 0.80, 910), child("best", 0.905, 930), child("behind", 0.90, 990)]
    assert finish.candidates(behind, 4, (1000,)) == [0, 1, 2]
    assert finish.candidates([*behind, *children[:1], *children[-1:]], 4, (1000,)) == [1, 2, 3, 4]
    assert finish.candidates(children, 4, (50,)) == finish.candidates(children, 4)


def test_a_minimised_metric_gives_the_lowest_child(tiny_task):
    metric = Metric(accuracy, "err", maximise=False, worst=1.0)
    figures = [(0.3, 10), (0.2, 9), (0.1, 12), (0.9, 1)]
    children = [child(str(m), m, n, metric_name="err") for m, n in figures]
    finish = finisher(tiny_task(metric=metric), objectives=("err", "param_count"))
    assert finish.candidates(children, 2) == [2, 3]
    assert finish.candidates(children, 2, (12,)) == [1, 2]
    assert finish.candidates(children[:2], 1) == [1]


def test_trials_decide_who_gets_the_longer_training(tiny_task, monkeypatch):
    toolbox = make_toolbox(tiny_task(), objectives=("accuracy", "param_count"))
    finish = Finisher(toolbox, Callback())
    children = finish.score(toolbox.population(n=6))
    small, *others = (
        c.validation for c in sorted(children, key=lambda c: c.validation.param_count)
    )
    trained = []

    def note(modules, samples, *, epochs, **options):
        trained.append((len(modules), epochs, {param_count(module) for module in modules}))

    def score_all(pairs, **options):
        """Make the trials of all but the smallest child failures."""
        sizes = [param_count(module) for module, _ in pairs]
        return [replace(small, metric=float(n == small.param_count), param_count=n) for n in sizes]

    monkeypatch.setattr("ecomp_deap.search.finish.fit_children", note)
    monkeypatch.setattr(finish.scorer, "score_all", score_all)
    finished = finish.finalise(children, n=1, epochs=13, trials=6)
    tried = {child.validation.param_count for child in children}
    assert trained == [(6, 2, tried), (1, 13, {small.param_count})]
    n_samples = len(toolbox.evaluator.task.splits.search)
    assert toolbox.counters.training_samples == (6 * 2 + 13) * n_samples
    assert [new.validation.metric == 1.0 for new in finished] == [
        old.validation == small for old in children
    ]
    assert len(others) == 5


def test_after_trials_the_figures_before_are_those_of_the_search(tiny_task):
    toolbox = make_toolbox(tiny_task())
    finish = Finisher(toolbox, Callback())
    children = finish.test(finish.score(toolbox.population(n=4)))
    finished = finish.test(finish.finalise(children, n=2, epochs=6, trials=4))
    tried = finish.finalise(children, n=4, epochs=1)
    better = 0
    for old, once, new in zip(children, tried, finished, strict=True):
        assert new.validation_before == old.validation.metric
        assert new.test_before == old.test
        assert new.validation.metric >= once.validation.metric
        better += not equal_states(state_of(new.module), state_of(once.module))
    assert 1 <= better <= 2


def test_trials_are_for_the_sizes_wanted_too(tiny_task, monkeypatch):
    toolbox = make_toolbox(tiny_task(), objectives=("accuracy", "param_count"))
    finish = Finisher(toolbox, Callback())
    children = finish.score(toolbox.population(n=12))
    asked = []
    candidates = finish.candidates

    def note(children, n, sizes=()):
        asked.append((n, tuple(sizes)))
        return candidates(children, n, sizes)

    monkeypatch.setattr(finish, "candidates", note)
    finish.finalise(children, n=2, epochs=1, trials=4, sizes=(200,))
    assert set(asked) == {(4, (200,)), (2, (200,))}
