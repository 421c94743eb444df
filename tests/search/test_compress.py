import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.callbacks import Callback
from ecomp_deap.data import Splits
from ecomp_deap.defaults import SIMILARITIES
from ecomp_deap.errors import ArgumentError, SelectionError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.logbook import logbook_to_rows
from ecomp_deap.network import size_bytes
from ecomp_deap.recipe import Recipe
from ecomp_deap.search import Finisher, compress, evolve
from ecomp_deap.search.front import hypervolume
from ecomp_deap.similarity import SIMILARITIES as MEASURES
from ecomp_deap.task import Metric, Task
from ecomp_deap.toolbox import make_toolbox
from tests.architectures import equal_states, state_of
from tests.evaluation.workers.scripted import Scripted

SMALL = {"population": 8, "generations": 2, "finalise_count": 0}


def costs_of(front, names=("accuracy", "similarity_loss", "param_count")):
    signs = {"accuracy": -1.0}
    return np.array([[signs.get(n, 1.0) * c.validation[n] for n in names] for c in front])


def assert_mutually_non_dominated(costs):
    costs = np.asarray(costs)
    for cost in costs:
        assert not ((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any()


def rows(result):
    return [child.as_row() for child in result.front]


def test_no_member_of_the_front_dominates_another(tiny_task):
    fronts = [
        compress(tiny_task(), **{**SMALL, "finalise_count": n, "finalise_epochs": 8}).front
        for n in (0, 4)
    ]
    for front in fronts:
        assert len(front) > 1
        assert_mutually_non_dominated(costs_of(front))
    assert len(fronts[1]) < len(fronts[0]), "no child was overtaken: pick another seed"


def test_the_front_goes_from_the_smallest_to_the_largest(tiny_task):
    result = compress(tiny_task(), **SMALL)
    counts = [child.validation["param_count"] for child in result.front]
    assert counts == sorted(counts)
    assert [child.id for child in result.front] == [f"{i:03d}" for i in range(1, len(counts) + 1)]


def test_each_generation_has_its_hypervolume(tiny_task):
    result = compress(tiny_task(), **SMALL)
    found = [i.measurement for i in result.population]
    last = hypervolume(
        [m.metric for m in found],
        [m.param_count for m in found],
        parent_param_count=result.parent.validation.param_count,
        n_classes=3,
    )
    assert len(result.generation_hypervolumes) == SMALL["generations"] + 1
    assert result.generation_hypervolumes[-1] == last > 0


def test_another_metric_than_accuracy_has_no_hypervolume(tiny_task):
    metric = Metric(lambda outputs, targets: float(outputs.abs().mean()), "size", worst=0.0)
    result = compress(tiny_task(metric=metric), **SMALL)
    assert list(result.generation_hypervolumes) == []


def test_children_are_what_the_front_says(tiny_task):
    task = tiny_task()
    result = compress(task, **SMALL)
    for child in result.front:
        for figure, samples in (
            (child.validation["accuracy"], task.splits.validation),
            (child.test, task.splits.test),
        ):
            with torch.no_grad():
                hits = child.module(samples.inputs).argmax(1) == samples.targets
            assert figure == pytest.approx(float(hits.double().mean()), abs=1e-12)
        linear = [m for m in child.module.modules() if isinstance(m, nn.Linear)]
        assert tuple(m.out_features for m in linear[:-1]) == child.widths
        assert sum(p.numel() for p in child.module.parameters()) == child.validation["param_count"]
        assert child.validation["relative_width"] == sum(child.widths) / 28
        assert child.as_row()["widths"] == "-".join(map(str, child.widths))


def test_the_parent_is_scored_like_a_child(tiny_task, tiny_parent):
    task = tiny_task()
    before = state_of(task.parent)
    result = compress(task, **SMALL)
    assert result.parent.id == "parent"
    assert result.parent.widths == (16, 12)
    assert result.parent.validation["similarity_loss"] == pytest.approx(0, abs=2e-8)
    assert equal_states(state_of(task.parent), before)
    assert equal_states(state_of(tiny_parent), before)


def test_pareto_recommends_the_smallest_child_about_as_good_as_the_parent(tiny_task):
    result = compress(tiny_task(), **{**SMALL, "generations": 4})
    enough = result.parent.validation["accuracy"] - 0.01
    good = [child for child in result.front if child.validation["accuracy"] >= enough]
    if good:
        assert result.best == good[0]
    else:
        best = max(child.validation["accuracy"] for child in result.front)
        assert result.best.validation["accuracy"] == best


@pytest.mark.parametrize("weights", [(1, 2, 1), (0, 0, 1), (1, 0, 0), (0, 2, 1)])
def test_weighted_recommends_the_highest_sum(tiny_task, weights):
    result = compress(tiny_task(), loss_weights=weights, **SMALL)

    def fitness(child):
        found = child.validation
        wa, ws, wc = weights
        return (
            wa * found["accuracy"]
            - ws * found["similarity_loss"]
            + wc * (1 - found["relative_width"])
        )

    assert fitness(result.best) == pytest.approx(max(map(fitness, result.front)), abs=1e-12)
    names = [
        name
        for name, weight in zip(
            ("accuracy", "similarity_loss", "relative_width"), weights, strict=True
        )
        if weight
    ]
    assert_mutually_non_dominated(costs_of(result.front, names))


def test_a_metric_that_is_minimised_is_minimised(tiny_splits, tiny_parent):
    def cross_entropy(outputs, targets):
        return float(nn.functional.cross_entropy(outputs, targets))

    metric = Metric(cross_entropy, "nll", maximise=False, worst=1e3)
    result = compress(Task(tiny_parent, tiny_splits, metric=metric, batch_size=30), **SMALL)
    assert_mutually_non_dominated(costs_of(result.front, ("nll", "similarity_loss", "param_count")))
    row = result.best.as_row()
    assert {"validation_nll", "test_nll", "test_nll_before"} <= set(row)
    assert row["test_nll"] > 0
    enough = result.parent.validation["nll"] + 0.01
    good = [child for child in result.front if child.validation["nll"] <= enough]
    best = good[0] if good else min(result.front, key=lambda child: child.validation["nll"])
    assert result.best == best


def test_finalising_trains_chosen_children_and_says_what_it_changed(tiny_task):
    plain = compress(tiny_task(), **SMALL)
    result = compress(tiny_task(), **{**SMALL, "finalise_count": 3, "finalise_epochs": 5})
    assert all(child.test_before is None for child in plain.front)
    finished = [child for child in result.front if child.test_before is not None]
    assert 1 <= len(finished) <= 3
    tests_before = [child.test for child in plain.front]
    for child in finished:
        assert child.test_before in tests_before
        better = child.validation["accuracy"] > child.validation_before
        same_size = [c for c in plain.front if c.widths == child.widths]
        for c in same_size:
            assert equal_states(state_of(child.module), state_of(c.module)) == (not better)
    best = [max(child.validation["accuracy"] for child in r.front) for r in (plain, result)]
    assert best[1] >= best[0]
    gains = [child.test - child.test_before for child in finished]
    assert max(gains) > 0
    assert equal_states(*(state_of(r.parent.module) for r in (plain, result)))


def test_no_epochs_finalise_nobody(tiny_task):
    none = {"finalise_count": 3, "finalise_epochs": 0, "finalise_trials": 4}
    result = compress(tiny_task(), **{**SMALL, **none})
    assert rows(result) == rows(compress(tiny_task(), **SMALL))


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def on_generation(self, generation, n_generations, record):
        self.calls.append(("generation", generation, n_generations))
        assert 0 <= record["accuracy_max"] <= 1

    def on_phase(self, name, total):
        self.calls.append((name, total))

    def on_phase_step(self):
        self.calls.append("step")


def test_callbacks_are_told_of_everything_in_order(tiny_task):
    recorder = Recorder()
    options = {**SMALL, "finalise_count": 2, "finalise_epochs": 1}
    result = compress(tiny_task(), callback=recorder, **options)
    calls = recorder.calls
    assert calls[:3] == [("generation", i, 2) for i in range(3)]
    name, n_scored = calls[3]
    assert name == "scoring"
    assert 8 <= n_scored <= 8 * 3
    assert calls[4 : 4 + n_scored] == ["step"] * n_scored
    n = len(result.front)
    testing = [("testing", n), *["step"] * n]
    assert calls[4 + n_scored :] == [("finalising", 2), "step", "step", *testing]
    assert rows(result) == rows(compress(tiny_task(), **options))


@pytest.mark.parametrize("none", [{"finalise_count": 0}, {"finalise_epochs": 0}])
def test_where_nobody_is_finalised_no_such_phase_begins(tiny_task, none):
    recorder = Recorder()
    compress(tiny_task(), callback=recorder, **{**SMALL, "finalise_count": 2, **none})
    phases = [call[0] for call in recorder.calls if call != "step" and call[0] != "generation"]
    assert phases == ["scoring", "testing"]


class FrontRecorder(Callback):
    def __init__(self):
        self.fronts = []

    def on_front(self, generation, rows, hypervolumes):
        self.fronts.append((generation, rows, hypervolumes))


@pytest.mark.parametrize("options", [{}, {"selection": "roulette"}, {"max_params": 300}])
def test_callbacks_see_the_front_and_change_nothing(tiny_task, options):
    recorder = FrontRecorder()
    limits = {name: options[name] for name in options if name == "max_params"}
    others = {name: options[name] for name in options if name not in limits}
    result = compress(tiny_task(**limits), callback=recorder, **SMALL, **others)
    assert [generation for generation, _, _ in recorder.fronts] == [0, 1, 2]
    _, rows_seen, hypervolumes = recorder.fronts[-1]
    assert list(hypervolumes) == list(result.generation_hypervolumes)
    whole = result.parent.validation.param_count
    counts = [row["param_count"] for row in rows_seen]
    assert counts == sorted(counts)
    assert [row["param_share"] for row in rows_seen] == [count / whole for count in counts]
    assert all(0 <= row["accuracy"] <= 1 and row["similarity_loss"] >= 0 for row in rows_seen)
    if limits:
        assert max(counts) <= 300
    if not options:  # the archive alone
        assert_mutually_non_dominated(
            [(-r["accuracy"], r["similarity_loss"], r["param_count"]) for r in rows_seen]
        )
    assert rows(result) == rows(compress(tiny_task(**limits), **SMALL, **others))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"genome": "weights", "loss_weights": (1, 2, 1)},
        {"genome": "weights", "mutation_rate": 0.5, "crossover_rate": 0.5},
        {"selection": "nsga3", "importance": "random"},
        {"selection": "spea2", "objectives": ("accuracy", "mac_count")},
        {"selection": "tournament"},
    ],
)
def test_same_seed_same_result(tiny_task, options):
    options = {**SMALL, **options}
    first = compress(tiny_task(), seed=5, **options)
    np.random.default_rng().random()
    torch.rand(3)
    again = compress(tiny_task(), seed=5, **options)
    other = compress(tiny_task(), seed=6, **options)
    assert rows(first) == rows(again)
    assert logbook_to_rows(first.logbook) == logbook_to_rows(again.logbook)
    assert logbook_to_rows(first.logbook) != logbook_to_rows(other.logbook)
    assert all(
        equal_states(state_of(a.module), state_of(b.module))
        for a, b in zip(first.front, again.front, strict=True)
    )


@pytest.mark.parametrize("inherit", [False, True])
def test_children_that_train_during_the_search(tiny_task, inherit):
    task = tiny_task(train_steps=2, inherit=inherit, training=Recipe(learning_rate=0.01))
    first, again = (compress(task, **SMALL) for _ in range(2))
    assert rows(first) == rows(again)
    assert_mutually_non_dominated(costs_of(first.front))
    untrained = compress(tiny_task(), **SMALL)
    assert rows(first) != rows(untrained)


def test_the_logbook_has_a_record_for_each_generation(tiny_task):
    result = compress(tiny_task(), **SMALL)
    found = logbook_to_rows(result.logbook)
    assert [row["gen"] for row in found] == [0, 1, 2]
    assert len(result.generation_seconds) == 3
    assert set(result.seconds) == {"search", "finalise"}
    assert all(seconds >= 0 for seconds in (*result.seconds.values(), *result.generation_seconds))
    assert len(result.population) == 8


def test_without_test_data_nothing_is_said_of_them(tiny_splits, tiny_parent):
    splits = Splits(tiny_splits.search, tiny_splits.validation, None)
    task = Task(tiny_parent, splits, batch_size=30)
    result = compress(task, **{**SMALL, "finalise_count": 2, "finalise_epochs": 1})
    assert all(child.test is None and child.test_before is None for child in result.front)
    assert result.parent.test is None


def test_no_generations_give_the_pruned_parents(tiny_task):
    result = compress(tiny_task(), **{**SMALL, "generations": 0})
    assert len(result.logbook) == 1
    assert result.front


def test_evolve_uses_what_was_registered_anew(tiny_task):
    toolbox = make_toolbox(tiny_task())
    mutated = []

    def mutate(individual):
        mutated.append(individual)
        return (individual,)

    toolbox.register("mutate", mutate)
    result = evolve(toolbox, crossover_rate=0.0, mutation_rate=1.0, **SMALL)
    assert len(mutated) == 16
    assert result.toolbox is toolbox
    with pytest.raises(ArgumentError, match="toolbox: expected one that has not evaluated anyone"):
        evolve(toolbox, **SMALL)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"genome": "tree"}, ArgumentError, "genome: expected one of"),
        ({"selection": "best"}, ArgumentError, "selection"),
        ({"selection": "roulette", "objectives": ("accuracy", "mac_count")}, SelectionError, ""),
        ({"selection": "nsga2", "loss_weights": (1, 2, 1)}, SelectionError, ""),
        ({"objectives": ("accuracy",)}, ArgumentError, "objectives: expected at least two"),
        ({"population": 0}, ArgumentError, "population"),
        ({"generations": -1}, ArgumentError, "generations"),
        ({"crossover_rate": 0.9, "mutation_rate": 0.9}, ArgumentError, "crossover_rate"),
        ({"mutation_rate": 1.5}, ArgumentError, "rate: expected a number in"),
        ({"finalise_count": -1}, ArgumentError, "finalise_count"),
        ({"finalise_recipe": 0.1}, ArgumentError, "finalise_recipe: expected a Recipe, got 0.1"),
        (
            {
                "finalise_recipe": Recipe(loss={"similarity": 1.0}, batch_size=3),
                "finalise_count": 1,
            },
            ArgumentError,
            "finalise_recipe.batch_size: expected at least 5",
        ),
    ],
)
def test_bad_options_are_refused_before_any_work(tiny_task, options, error, message):
    recorder = Recorder()
    with pytest.raises(error, match=message or "use selection"):
        compress(tiny_task(), callback=recorder, **{**SMALL, **options})
    assert recorder.calls == []


def test_what_is_no_task_is_refused(tiny_parent):
    match = r"^task: expected a Task, got 'Sequential'; ed\.Task\(network, data\) makes one$"
    for take in (compress, make_toolbox, Evaluator):
        with pytest.raises(ArgumentError, match=match):
            take(tiny_parent)


def test_a_dead_parent_is_refused(tiny_splits, tiny_parent):
    with torch.no_grad():
        tiny_parent.layer_1_linear.bias.fill_(-100)
    with pytest.raises(ArgumentError, match="probe layer 'layer_1_act' of the parent"):
        compress(Task(tiny_parent, tiny_splits, batch_size=30), **SMALL)


def test_results_can_be_copied_and_their_children_trained(tiny_task):
    result = compress(tiny_task(), **SMALL)
    child = copy.deepcopy(result.best.module).train()
    child(torch.ones(2, 12)).sum().backward()
    assert all(parameter.grad is not None for parameter in child.parameters())


def test_validation_data_are_checked_before_the_search(tiny_parent, tiny_splits):
    few = replace(tiny_splits, validation=tiny_splits.validation.subset(np.arange(4)))
    recorder = Recorder()
    with pytest.raises(ArgumentError, match="validation: expected at least 5 samples to score"):
        compress(Task(tiny_parent, few, batch_size=30), callback=recorder, **SMALL)
    assert recorder.calls == []


def test_one_rate_makes_the_other_its_complement(tiny_task):
    result = compress(tiny_task(), mutation_rate=0.5, **{**SMALL, "generations": 1})
    assert len(result.logbook) == 2


def test_a_frozen_parent_is_refused_before_the_search_unless_nothing_is_trained(tiny_task):
    task = tiny_task()
    task.parent.requires_grad_(False)
    with pytest.raises(ArgumentError, match="finalise_epochs: expected 0 for a parent whose"):
        compress(task, population=4, generations=1)
    assert compress(task, population=4, generations=1, finalise_epochs=0).front


def test_the_parents_bytes_are_its_own_where_inputs_can_go(tiny_task):
    task = tiny_task(prune_inputs=True)
    result = compress(task, population=4, generations=1, finalise_count=0)
    assert result.parent.validation.size_bytes == size_bytes(task.parent)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_any_measure_of_similarity_can_be_the_objective(tiny_task, name):
    result = compress(tiny_task(similarity=name), seed=2, **SMALL)
    assert_mutually_non_dominated(costs_of(result.front))
    assert result.parent.validation["similarity_loss"] == pytest.approx(0, abs=2e-8)
    losses = [child.validation["similarity_loss"] for child in result.front]
    assert all(0 <= loss < 2 * MEASURES[name].worst for loss in losses)
    assert any(loss > 1e-4 for loss in losses)
    again = compress(tiny_task(similarity=name), seed=2, **SMALL)
    assert rows(again) == rows(result)


def test_units_can_be_ranked_by_any_measure(tiny_task):
    result = compress(tiny_task(similarity="cka"), importance="similarity", **SMALL)
    assert result.front


def test_a_search_that_compares_nothing_saves_the_comparison(tiny_task):
    task = tiny_task(probe_layers=[])
    result = compress(
        task, objectives=("accuracy", "param_count"), population=6, generations=1, finalise_count=0
    )
    assert {child.validation.similarity_loss for child in result.front} == {0.0}
    with pytest.raises(ArgumentError, match="probe_layers: expected names of layers"):
        compress(task, population=6, generations=1)


def test_units_that_stand_in_for_others_come_first_in_a_search(tiny_task):
    options = {"population": 6, "generations": 1, "finalise_count": 0}
    found = compress(tiny_task(prune_inputs=True), importance="reconstruction", **options)
    again = compress(tiny_task(prune_inputs=True), importance="reconstruction", **options)
    other = compress(tiny_task(prune_inputs=True), **options)
    assert [c.kept for c in found.front] == [c.kept for c in again.front]
    assert [c.kept for c in found.front] != [c.kept for c in other.front]


def test_a_recipe_for_the_end_alone_is_refused_in_the_search(tiny_task):
    with pytest.raises(ArgumentError, match="training: expected a recipe with a size_power of 0"):
        tiny_task(train_steps=1, training=Recipe(size_power=0.5))


@pytest.mark.parametrize(
    ("options", "expected"), [({}, True), ({"loss_weights": (1, 2, 1)}, False)]
)
def test_a_pareto_search_keeps_what_pruning_by_importance_gives(
    tiny_task, monkeypatch, options, expected
):
    scored = []
    score = Finisher.score

    def note(finisher, individuals, **options):
        scored.extend(individual.key() for individual in individuals)
        return score(finisher, individuals, **options)

    monkeypatch.setattr(Finisher, "score", note)
    toolbox = make_toolbox(tiny_task(), **options)
    first = {individual.key() for individual in toolbox.population(n=8)}
    result = evolve(toolbox, population=8, generations=6, finalise_count=0)
    assert first - {individual.key() for individual in result.population}, "pick another seed"
    assert (first <= set(scored)) == expected


def test_what_is_asked_of_the_final_training_reaches_it(tiny_task, monkeypatch):
    asked = {}
    finalise = Finisher.finalise

    def note(finisher, children, **options):
        asked.update(options)
        return finalise(finisher, children, **options)

    monkeypatch.setattr(Finisher, "finalise", note)
    options = {"finalise_count": 3, "finalise_epochs": 2, "finalise_trials": 5}
    result = compress(tiny_task(), finalise_sizes=[150], **{**SMALL, **options})
    given = {"n": 3, "epochs": 2, "trials": 5, "sizes": [150]}
    assert given.items() <= asked.items()
    n_samples = len(tiny_task().splits.search)
    assert result.training_samples["finalise"] == (5 * 1 + 3 * 2) * n_samples


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finalise_sizes": 5}, "finalise_sizes: expected a sequence of whole numbers, got 5"),
        ({"finalise_sizes": "100"}, "finalise_sizes: expected a sequence of whole numbers"),
        ({"finalise_sizes": [0]}, "finalise_sizes: expected a whole number of at least 1"),
        (
            {"finalise_sizes": [10**6]},
            "finalise_sizes: expected numbers from .* to 451, got 1000000",
        ),
        ({"finalise_sizes": [3]}, "finalise_sizes: expected numbers from .*, got 3"),
        ({"finalise_sizes": [100, 200]}, "finalise_count: expected at least 4, two for each"),
        ({"finalise_trials": 3}, "finalise_trials: expected 0, or more than finalise_count=3"),
        ({"finalise_trials": -1}, "finalise_trials: expected a whole number of at least 0"),
    ],
)
def test_what_does_not_go_together_at_the_end_is_refused(tiny_task, options, message):
    toolbox = make_toolbox(tiny_task())
    with pytest.raises(ArgumentError, match=message):
        evolve(toolbox, population=4, generations=1, finalise_count=3, **options)
    assert toolbox.generation == -1


def test_sizes_beyond_the_limits_or_of_weights_are_refused(tiny_task):
    limited = make_toolbox(tiny_task(max_params=200))
    with pytest.raises(ArgumentError, match=r"finalise_sizes: expected numbers from .* to 200"):
        evolve(limited, finalise_sizes=[201])
    weights = make_toolbox(tiny_task(), genome="weights", loss_weights=(1, 2, 1))
    with pytest.raises(ArgumentError, match="finalise_sizes: expected none with genome='weights'"):
        evolve(weights, finalise_sizes=[100])


def test_what_happens_to_workers_is_counted_by_generation(tiny_task):
    # Blocks 0 to 3 are the first population's, four more each generation's.
    workers = Scripted(lambda n, genomes: "alone" if n in (9, 10) else "answer")
    toolbox = make_toolbox(tiny_task(), workers=workers, block_size=2)
    result = evolve(toolbox, population=8, generations=2, finalise_count=0)
    lost = [counts["lost"] for counts in result.generation_incidents]
    assert sum(lost) == result.incidents["lost"] == 2
    assert (lost[0], len(lost)) == (0, 3)
    assert evolve(make_toolbox(tiny_task()), population=8, generations=1).generation_incidents == ()
