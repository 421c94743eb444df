"""Costs of the user's own: objectives, limits, and columns of the logbook like all others."""

import math

import pytest
from deap import algorithms
from torch import nn

import ecomp_deap as ed
from ecomp_deap.logbook import statistics_of
from tests import two_layers

OPTIONS = {"population": 12, "generations": 3, "finalise_count": 2, "finalise_epochs": 1, "seed": 1}


@pytest.fixture(scope="module")
def data():
    return two_layers.samples()


@pytest.fixture(scope="module")
def parent():
    return two_layers.network()


def widest(module):
    """The units of a network's widest layer, by which its memory goes."""
    return max(layer.out_features for layer in module if isinstance(layer, nn.Linear))


def narrowest(module):
    return min(layer.out_features for layer in module if isinstance(layer, nn.Linear))


class Counted:
    """A cost that notes of which widths it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, module):
        self.asked.append((module[0].out_features, module[2].out_features))
        return widest(module)


def task_of(parent, data, **options):
    options = {"costs": {"memory": widest}, **options}
    return ed.Task(parent, data, batch_size=40, **options)


def test_a_search_goes_by_it(parent, data):
    result = ed.compress(task_of(parent, data), objectives=("accuracy", "memory"), **OPTIONS)
    for child in result.front:
        assert child.validation["memory"] == child.as_row()["memory"] == widest(child.module)
    # The front is of what was searched for, and of nothing else.
    found = [(child.validation["accuracy"], -child.validation["memory"]) for child in result.front]
    assert not any(a[0] > b[0] and a[1] > b[1] for a in found for b in found)
    rows = ed.logbook_to_rows(result.logbook)
    assert all(
        3 <= row["memory_min"] <= row["memory_mean"] <= row["memory_max"] <= 12 for row in rows
    )
    assert result.parent.validation["memory"] == 12


@pytest.mark.parametrize("engine", ["batched", "loop", "masked"])
@pytest.mark.parametrize("genome", ["mask", "width"])
def test_children_have_it_in_their_fitness(parent, data, engine, genome):
    task = task_of(parent, data)
    toolbox = ed.make_toolbox(
        task, genome=genome, engine=engine, objectives=("memory", "accuracy"), seed=1
    )
    stats = ed.statistics(costs=task.costs)
    population, logbook = algorithms.eaMuPlusLambda(
        toolbox.population(n=8), toolbox, 8, 8, 0.7, 0.3, 2, stats=stats, verbose=False
    )
    for individual in population:
        assert individual.fitness.values[0] == widest(toolbox.compile(individual))
        assert dict(individual.measurement)["memory"] == individual.fitness.values[0]
    assert logbook.chapters["memory"].select("min")[-1] == min(
        i.fitness.values[0] for i in population
    )


def test_children_of_the_same_widths_are_asked_once(parent, data):
    cost = Counted()
    ed.compress(task_of(parent, data, costs={"memory": cost}), **OPTIONS)
    searched = cost.asked[: len(set(cost.asked))]
    assert len(searched) > 3
    assert len(cost.asked) <= 2 * len(set(cost.asked))  # once in the search, once when it is scored
    assert (12, 8) in cost.asked


def test_it_can_be_limited(parent, data):
    task = task_of(parent, data, max_costs={"memory": 5})
    assert task.limits == {"memory": 5}
    result = ed.compress(task, objectives=("accuracy", "memory"), **OPTIONS)
    assert all(child.validation["memory"] <= 5 for child in result.front)
    with pytest.raises(ed.ArgumentError, match=r"max_costs\['memory'\]: expected at least 3, what"):
        ed.make_toolbox(task_of(parent, data, max_costs={"memory": 2}))


def test_it_is_saved_with_a_search_and_goes_on_from_there(parent, data, tmp_path):
    task, options = task_of(parent, data), {**OPTIONS, "objectives": ("accuracy", "memory")}
    whole = ed.compress(task, **options)

    class Killer(ed.Callback):
        def on_generation(self, generation, n_generations, record):
            if generation == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ed.compress(task, checkpoint=tmp_path, callback=Killer(), **options)
    resumed = ed.compress(task, checkpoint=tmp_path, resume=True, **options)
    assert resumed.digest() == whole.digest()
    other = task_of(parent, data, costs={"memory": narrowest})
    with pytest.raises(ed.DataError, match=r"is of another search: task\.costs: saved with"):
        ed.compress(other, checkpoint=tmp_path, resume=True, **options)


def test_workers_find_the_same(parent, data):
    task, options = task_of(parent, data), {**OPTIONS, "objectives": ("accuracy", "memory")}
    with ed.ProcessWorkers(2) as workers:
        found = ed.compress(task, workers=workers, **options)
    assert found.digest() == ed.compress(task, **options).digest()


def test_a_failed_child_costs_what_the_parent_does(parent, data):
    toolbox = ed.make_toolbox(task_of(parent, data), seed=1)
    assert toolbox.evaluator.worst["memory"] == 12


def test_optuna_is_told(parent, data):
    result = ed.compress(task_of(parent, data), objectives=("accuracy", "memory"), **OPTIONS)
    study = ed.export_optuna(result, None)
    for trial, child in zip(study.trials, result.front, strict=True):
        assert trial.values == [child.validation["accuracy"], child.validation["memory"]]


def test_statistics_of_a_task_know_it(parent, data):
    assert "memory" in statistics_of(task_of(parent, data)).fields


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"costs": [widest]}, r"costs: expected .*Mapping, got \["),
        ({"costs": {"accuracy": widest}}, r"costs: expected names like energy_nj, none of acc"),
        ({"costs": {"param_count": widest}}, r"costs: expected names like .*, got 'param_count'"),
        ({"costs": {"two words": widest}}, r"costs: expected names like .*, got 'two words'"),
        ({"costs": {"memory": 3}}, r"costs\['memory'\]: expected a function of a network, got 3"),
        ({"max_costs": {"power": 3}}, r"max_costs: expected names among \['memory'\], got 'power'"),
        (
            {"max_costs": {"memory": 0}},
            r"max_costs\['memory'\]: expected a .*greater than 0, got 0",
        ),
    ],
)
def test_what_is_no_cost_is_refused(parent, data, options, message):
    with pytest.raises(ed.ArgumentError, match=message):
        task_of(parent, data, **options)


@pytest.mark.parametrize("cost", [lambda module: math.nan, lambda module: "much", lambda m: m.no])
def test_a_function_that_gives_no_number_ends_it_before_the_search(parent, data, cost):
    task = task_of(parent, data, costs={"memory": cost})
    message = r"costs\['memory'\]: expected a finite number for a child of widths \(12, 8\), got "
    with pytest.raises(ed.ArgumentError, match=message):
        ed.make_toolbox(task)
