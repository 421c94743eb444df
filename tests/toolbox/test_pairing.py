"""Which selection, fitness and loop suit each other, and what is said when they do not."""

import functools

import pytest
import torch
from deap import algorithms, tools
from torch import nn

from ecomp_deap import Task, make_toolbox
from ecomp_deap.errors import ArgumentError, SelectionError
from ecomp_deap.fitness import ParetoFitness, WeightedFitness
from ecomp_deap.operators import selNSGA2
from tests.toolbox.runs import PARETO, SCALAR, SIZE, comma, evolve, plus, simple


@pytest.mark.parametrize("selection", PARETO)
def test_loss_weights_with_a_pareto_selection_are_refused(selection, tiny_task):
    with pytest.raises(SelectionError, match="use selection 'roulette' or 'tournament'"):
        make_toolbox(tiny_task(), selection=selection, loss_weights=(1, 2, 1))


@pytest.mark.parametrize("selection", SCALAR)
def test_objectives_with_a_scalar_selection_are_refused(selection, tiny_task):
    with pytest.raises(SelectionError, match="use selection 'nsga2', 'nsga3' or 'spea2'"):
        make_toolbox(tiny_task(), selection=selection, objectives=("accuracy", "param_count"))


@pytest.mark.parametrize(
    ("options", "fitness", "selection"),
    [
        ({}, ParetoFitness, selNSGA2),
        ({"loss_weights": (1, 0, 1)}, WeightedFitness, None),
        ({"selection": "tournament"}, WeightedFitness, tools.selTournament),
        ({"objectives": ("accuracy", "mac_count")}, ParetoFitness, selNSGA2),
        ({"selection": "spea2"}, ParetoFitness, tools.selSPEA2),
    ],
)
def test_what_is_left_out_follows_from_the_rest(options, fitness, selection, tiny_task):
    toolbox = make_toolbox(tiny_task(), **options)
    assert isinstance(toolbox.fitness, fitness)
    if selection is not None:
        assert toolbox.select.func.function is selection
    if "loss_weights" in options:
        assert toolbox.fitness.loss_weights == (1, 0, 1)
    population = toolbox.population(n=2)
    values = toolbox.map(toolbox.evaluate, population)
    assert {len(value) for value in values} == {len(toolbox.fitness.signs)}


def test_registering_a_wrong_selection_is_refused_and_changes_nothing(tiny_task):
    pareto = make_toolbox(tiny_task())
    with pytest.raises(SelectionError, match=r"selTournament .*'nsga2', 'nsga3' or 'spea2'"):
        pareto.register("select", tools.selTournament, tournsize=3)
    weighted = make_toolbox(tiny_task(), selection="roulette")
    with pytest.raises(SelectionError, match=r"selNSGA2 .*'roulette' or 'tournament'"):
        weighted.register("select", tools.selNSGA2)
    evolve(pareto, plus)
    evolve(weighted, simple)


def test_registering_a_fitting_selection_is_honoured(tiny_task):
    toolbox = make_toolbox(tiny_task(), selection="roulette")
    toolbox.register("select", tools.selTournament, tournsize=SIZE * 4)
    population, _ = evolve(toolbox, simple, ngen=1)
    assert toolbox.select.keywords == {"tournsize": SIZE * 4}
    assert {individual.batch for individual in population} == {1}


@pytest.mark.parametrize("selection", PARETO)
def test_a_loop_that_selects_everyone_is_refused_at_its_second_selection(selection, tiny_task):
    toolbox = make_toolbox(tiny_task(), selection=selection)
    with pytest.raises(SelectionError, match=r"8 of 8 individuals twice .*eaMuPlusLambda"):
        simple(toolbox, toolbox.population(n=SIZE), ngen=5)
    assert toolbox.generation == 1
    with pytest.raises(SelectionError, match="eaMuPlusLambda"):
        toolbox.select(toolbox.population(n=4), 4)


def test_comma_with_as_many_offspring_as_parents_is_refused(tiny_task):
    toolbox = make_toolbox(tiny_task())
    with pytest.raises(SelectionError, match="eaMuCommaLambda with lambda_ > mu"):
        algorithms.eaMuCommaLambda(
            toolbox.population(n=SIZE), toolbox, SIZE, SIZE, 0.5, 0.5, 3, verbose=False
        )


def test_scalar_selections_may_draw_as_many_as_there_are(tiny_task):
    for selection in SCALAR:
        evolve(make_toolbox(tiny_task(), selection=selection), simple, ngen=3)


def test_a_selection_that_really_selects_forgets_the_permutation(tiny_task):
    toolbox = make_toolbox(tiny_task())
    population = toolbox.population(n=4)
    for individual, values in zip(
        population, toolbox.map(toolbox.evaluate, population), strict=True
    ):
        individual.fitness.values = values
    for k in (4, 2, 4, 3):
        assert len(toolbox.select(population, k)) == k


def test_decorators_of_selection_and_variation_are_honoured(tiny_task):
    calls = {"select": 0, "mate": 0, "mutate": 0, "clone": 0, "map": 0}

    def counting(alias):
        def decorator(function):
            @functools.wraps(function)
            def wrapper(*args, **kargs):
                calls[alias] += 1
                return function(*args, **kargs)

            return wrapper

        return decorator

    toolbox = make_toolbox(tiny_task(), selection="tournament")
    for alias in calls:
        toolbox.decorate(alias, counting(alias))
    population, _ = evolve(toolbox, comma, ngen=2)
    assert calls["select"] == 2
    assert calls["mate"] + calls["mutate"] == 2 * 2 * SIZE
    assert calls["clone"] == 2 * calls["mate"] + calls["mutate"]
    # Once for each generation's children.
    assert calls["map"] == 3
    assert {individual.batch for individual in population} == {2}


def test_a_penalty_on_the_evaluation_is_honoured_when_survivors_are_scored_again(tiny_task):
    toolbox = make_toolbox(tiny_task(), objectives=("accuracy", "param_count"))
    limit = 15

    def feasible(individual):
        return sum(individual.widths) <= limit

    toolbox.decorate("evaluate", tools.DeltaPenalty(feasible, (0.0, 1e6)))
    population, _ = evolve(toolbox, plus, ngen=4, size=12)
    assert toolbox.counters.rescored > 0
    for individual in population:
        expected = toolbox.fitness.values(individual.measurement)
        assert individual.fitness.values == (expected if feasible(individual) else (0.0, 1e6))
    assert any(feasible(individual) for individual in population)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"genome": "widths"}, r"genome: expected one of .*, got 'widths'"),
        ({"importance": "l3"}, "importance: expected one of .*, got 'l3'"),
        ({"selection": "best"}, "selection: expected one of .* got 'best'"),
        ({"recombination_layers": ["output"]}, "recombination_layers: expected genome='weights'"),
        (
            {"genome": "weights", "recombination_layers": ["hidden"]},
            r"recombination_layers: expected names among .*'output'.* got 'hidden'",
        ),
        ({"flip_probability": 1.5}, r"flip_probability: expected a number in \[0, 1\], got 1.5"),
        ({"objectives": ("accuracy", "size")}, "objectives: expected names among .* got 'size'"),
        ({"objectives": ()}, "objectives: expected at least two different names"),
        ({"loss_weights": ()}, "loss_weights: expected three finite numbers"),
        ({"loss_weights": 2}, "loss_weights: expected three finite numbers"),
        ({"block_size": 0}, "block_size: expected a whole number of at least 1, got 0"),
        (
            {"objectives": ("accuracy", "mac_count"), "loss_weights": (1, 1, 1)},
            "objectives and loss_weights: expected one of them",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, match, tiny_task):
    with pytest.raises(ArgumentError, match=match):
        make_toolbox(tiny_task(), **options)


def test_weights_do_not_inherit(tiny_task):
    with pytest.raises(ArgumentError, match="inherit: expected genome='mask'"):
        make_toolbox(tiny_task(train_steps=1, inherit=True), genome="weights")


def test_a_selection_is_known_behind_partial_and_decorators(tiny_task):
    @functools.wraps(tools.selNSGA2)
    def watched(individuals, k):
        return tools.selNSGA2(individuals, k)

    pareto = make_toolbox(tiny_task())
    with pytest.raises(SelectionError, match="selTournament would go by the first objective"):
        pareto.register("select", functools.partial(tools.selTournament, tournsize=2))
    pareto.register("select", watched)
    with pytest.raises(SelectionError, match="selNSGA2 was asked for 12 of 12"):
        algorithms.eaSimple(pareto.population(12), pareto, 0.5, 0.5, 3, verbose=False)
    with pytest.raises(SelectionError, match="selNSGA2 ranks by several objectives"):
        make_toolbox(tiny_task(), selection="roulette").register("select", watched)


@pytest.mark.parametrize(
    ("front", "name"),
    [
        ((nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()), "BatchNorm1d"),
        ((nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 6, 2), nn.Flatten()), "Conv2d"),
    ],
)
def test_weight_genomes_need_dense_layers_alone(front, name):
    network = nn.Sequential(*front, nn.Linear(6, 2))
    task = Task(network, (torch.randn(60, 4), torch.arange(60) % 2), batch_size=20)
    match = f"genome: expected 'mask' or 'width' for a parent with {name}"
    with pytest.raises(ArgumentError, match=match):
        make_toolbox(task, genome="weights", loss_weights=(1, 2, 1))
    for genome in ("mask", "width"):
        toolbox = make_toolbox(task, genome=genome, loss_weights=(1, 2, 1))
        population = toolbox.population(n=4)
        toolbox.map(toolbox.evaluate, population)
        assert not any(individual.measurement.failed for individual in population)
