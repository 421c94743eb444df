"""Arguments of the public functions that are none: each is refused by its name, and at once.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import json
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ecomp_deap as ed
from ecomp_deap import operators
from ecomp_deap.callbacks import Callback
from ecomp_deap.defaults import variation_rates
from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Axis, Group, MaskGenome, Structure, WeightGenome, WidthGenome
from ecomp_deap.runs.choosing import best, choose, knee, most_accurate_under, smallest_within
from ecomp_deap.similarity import (
    SIMILARITIES,
    CKALoss,
    TSNELoss,
    losses_of_children,
    make_similarity,
    squared_distances,
)
from ecomp_deap.toolbox import Toolbox

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
ARRAY, TENSOR = np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])

# What is no argument of that kind at all.
NO_NUMBERS = (True, "x", [], {}, ARRAY, TENSOR, 1j, object(), NAN, INF, -INF, HUGE)
NO_COUNTS = (True, -1, 1.5, NAN, INF, "x", None, [], ARRAY)
NO_CHOICES = ("", "x", 0, True, [], {}, ARRAY, b"l1")
NO_SEQUENCES = (0, 3, True, "x", "", b"x", {}, TENSOR, object())
NO_OBJECTS = (None, 0, 5, "x", [], ARRAY, object())
NO_PROBABILITIES = (-0.1, 1.5, None, *NO_NUMBERS)
ABOVE_0 = (0, -1, None, *NO_NUMBERS)

GROUPS = (Group("a", 4), Group("b", 3))
STRUCTURE = Structure(
    GROUPS,
    {"a.weight": (Axis(0), None), "b.weight": (Axis(1), Axis(0)), "c.weight": (None, Axis(1))},
    {"a.weight": (4, 2), "b.weight": (3, 4), "c.weight": (2, 3)},
)
ARRAYS = {name: np.ones(shape) for name, shape in STRUCTURE.shapes.items()}
SHARED = {"structure": STRUCTURE, "parent_arrays": ARRAYS}
IMPORTANCE = [np.arange(4.0), np.arange(3.0)]


def masked(*sizes):
    return MaskGenome([np.ones(size, dtype=bool) for size in sizes or (4, 3)])


def learnt():
    return MaskGenome(masked().masks, ARRAYS)


def weighted():
    return WeightGenome({"a": (np.ones((4, 2)), np.ones(4)), "b": (np.ones((3, 4)), None)})


def cases(function, **bad):
    """Return (function, argument, value) for each value that an argument is not."""
    return [(function, name, value) for name, values in bad.items() for value in values]


def check(function, argument, value, *, named=None):
    """Check that an argument is refused by name, before the random stream is touched."""
    state = random.getstate()
    named = argument if named is None else named
    with pytest.raises(ArgumentError, match=rf"^{named}(\[[^]]*\])?\S*: expected "):
        function(**{argument: value})
    assert random.getstate() == state


def label(value):
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return value if isinstance(value, str) and value else type(value).__name__


def uniform(**options):
    given = {"ind1": masked(), "ind2": masked(), **SHARED}
    return operators.cxUniformUnits(**{**given, **options})


def k_point(**options):
    return operators.cxKPointUnits(**{"ind1": masked(), "ind2": masked(), **SHARED, **options})


def blend(**options):
    given = {"ind1": WidthGenome([1, 2]), "ind2": WidthGenome([3, 3]), "structure": STRUCTURE}
    return operators.cxBlendWidths(**{**given, **options})


def cutoff(**options):
    return operators.cxCutoff(**{"ind1": weighted(), "ind2": weighted(), **options})


def flip(**options):
    return operators.mutFlipUnits(**{"individual": masked(), "indpb": 0.1, **SHARED, **options})


def resize(**options):
    return operators.mutResizeGroup(**{"individual": masked(), **SHARED, **options})


def move_budget(**options):
    return operators.mutMoveBudget(**{"individual": masked(), "cost": sum, **SHARED, **options})


def move_widths(**options):
    given = {"individual": WidthGenome([2, 2]), "structure": STRUCTURE, "cost": sum}
    return operators.mutMoveWidths(**{**given, **options})


def step(**options):
    given = {"individual": WidthGenome([2, 2]), "structure": STRUCTURE, "indpb": 0.5}
    return operators.mutStepWidths(**{**given, **options})


def noise(**options):
    return operators.mutNoise(**{"individual": learnt(), "structure": STRUCTURE, **options})


def scale(**options):
    return operators.mutScaleWeights(**{"individual": weighted(), **options})


def one_of(**options):
    given = {"individual": masked(), "operators": [abs, abs], "probabilities": [1, 1]}
    return operators.mutOneOf(**{**given, **options})


def roulette(**options):
    return operators.selSoftmaxRoulette(**{"individuals": individuals(), "k": 1, **options})


def nsga2(**options):
    return operators.selNSGA2(**{"individuals": individuals(), "k": 1, **options})


def align(**options):
    given = {"structure": STRUCTURE, "reference": learnt(), "individual": learnt()}
    return operators.align_units(**{**given, "activations": abs, **options})


def prune(**options):
    given = {"structure": STRUCTURE, "importance": IMPORTANCE, "rate": 0.5}
    return operators.prune_masks(**{**given, **options})


def individuals():
    class Fitness:
        wvalues, weights = (1.0,), (1.0,)

    one = masked()
    one.fitness = Fitness()
    return [one]


NO_MASKED = (*NO_OBJECTS, WidthGenome([4, 3]), weighted(), masked(4), masked(4, 2))
NO_WIDTHS = (*NO_OBJECTS, masked(), weighted(), WidthGenome([4]))
NO_WEIGHTED = (*NO_OBJECTS, masked(), WidthGenome([4, 3]))
NO_IMPORTANCE = (3, "x", {}, [], IMPORTANCE[:1], [3, 4], IMPORTANCE[::-1], [["x"] * 4] * 2)
NO_FUNCTIONS = (3, "x", [])
NO_LAYERS = ("a", 3, [3], [[]], ["z"], [None])

OPERATORS = [
    *cases(
        uniform,
        ind1=NO_MASKED,
        ind2=NO_MASKED,
        structure=NO_OBJECTS,
        parent_arrays=(None, 3, "x", []),
        indpb=NO_PROBABILITIES,
        learnt=(None, *NO_CHOICES),
        activations=NO_FUNCTIONS,
    ),
    *cases(k_point, ind1=NO_MASKED, ind2=NO_MASKED, k=(0, *NO_COUNTS), structure=NO_OBJECTS),
    *cases(
        blend,
        ind1=NO_WIDTHS,
        ind2=NO_WIDTHS,
        structure=NO_OBJECTS,
        alpha=(-0.1, None, *NO_NUMBERS),
    ),
    *cases(cutoff, ind1=NO_WEIGHTED, ind2=NO_WEIGHTED, layers=NO_LAYERS),
    *cases(
        flip,
        individual=NO_MASKED,
        structure=NO_OBJECTS,
        parent_arrays=(None, 3, "x", []),
        indpb=NO_PROBABILITIES,
        importance=NO_IMPORTANCE,
    ),
    *cases(resize, individual=NO_MASKED, fraction=ABOVE_0, importance=NO_IMPORTANCE),
    *cases(
        move_budget,
        individual=NO_MASKED,
        parent_arrays=(None, 3),
        cost=(None, 3, "x"),
        fraction=ABOVE_0,
        tolerance=ABOVE_0,
    ),
    *cases(
        move_widths,
        individual=NO_WIDTHS,
        structure=NO_OBJECTS,
        cost=(None, 3, "x"),
        fraction=ABOVE_0,
        tolerance=ABOVE_0,
    ),
    *cases(step, individual=NO_WIDTHS, indpb=NO_PROBABILITIES, scale=ABOVE_0),
    *cases(noise, individual=(*NO_OBJECTS, WidthGenome([4, 3])), scale=(-1, None, *NO_NUMBERS)),
    *cases(
        scale,
        individual=NO_WEIGHTED,
        low=(None, *NO_NUMBERS),
        high=(None, *NO_NUMBERS),
        layers=NO_LAYERS,
    ),
    *cases(
        one_of,
        operators=(3, "x", [3, 3], None),
        probabilities=(3, None, "xy", [1], [1, -1], [0, 0], [1, NAN], [1, "x"], [1e308, 1e308]),
    ),
    *cases(
        roulette,
        individuals=(None, 3, "x", [], [3], [masked()]),
        k=NO_COUNTS,
        temperature=ABOVE_0,
    ),
    *cases(nsga2, individuals=(None, 3, "x", [3], [masked()]), k=NO_COUNTS),
    *cases(
        align,
        structure=NO_OBJECTS,
        reference=(*NO_MASKED, masked()),
        individual=(*NO_MASKED, masked()),
        activations=(None, 3, "x"),
    ),
    *cases(prune, structure=NO_OBJECTS, importance=NO_IMPORTANCE, rate=(-0.1, 1, *NO_NUMBERS)),
    *cases(operators.initial_rates, n=NO_COUNTS),
    *cases(
        lambda between: operators.initial_rates(3, between),
        between=(3, "xy", (0.1,), (0.5, 0.1), (0, NAN), (0.1, 2), (0.1, 0.2, 0.3)),
    ),
]


@pytest.mark.parametrize(("function", "argument", "value"), OPERATORS, ids=label)
def test_operators_refuse_by_name(function, argument, value):
    check(function, argument, value)


def test_to_align_units_takes_activations():
    check(uniform, "learnt", "aligned", named="activations")


@pytest.mark.parametrize("found", [NAN, INF, "x", None, ARRAY])
@pytest.mark.parametrize("move", [move_budget, move_widths])
def test_a_cost_is_a_number(move, found):
    # What a user's function gives is seen when it is called.
    with pytest.raises(ArgumentError, match=r"^cost: expected a function that returns a finite"):
        move(cost=lambda widths: found)


@pytest.mark.parametrize("wvalues", [(), (NAN,), (INF,)])
def test_a_roulette_takes_no_fitness_without_an_order(wvalues):
    (one,) = individuals()
    one.fitness.wvalues = wvalues
    with pytest.raises(ArgumentError, match=r"individuals\[0\]\.fitness\.wvalues: expected a val"):
        operators.selSoftmaxRoulette([one], 1)


def test_a_range_of_factors_that_overflows_is_refused():
    with pytest.raises(ArgumentError, match="low and high: expected a finite number between"):
        scale(low=-1e308, high=1e308)


def test_learnt_weights_need_all_the_parents_arrays():
    part = {"a.weight": ARRAYS["a.weight"]}
    with pytest.raises(ArgumentError, match=r"parent_arrays: expected 'b.weight' of shape"):
        uniform(ind1=learnt(), ind2=learnt(), parent_arrays=part)


def test_a_selection_that_cannot_be_hashed_is_a_selection():
    class Select(list):
        def __call__(self, individuals, k):
            return individuals[:k]

    operators.check_pairing(Select(), 1)
    with pytest.raises(ArgumentError, match="function: expected a selection, got 3"):
        operators.check_pairing(3, 1)


GENOMES = [
    *cases(MaskGenome, masks=(None, 3, "x", b"x", {}, {1}, np.array(3), [], [None], [["x"], []])),
    *cases(lambda arrays: MaskGenome([[True]], arrays), arrays=(3, "x", [], {"a": object()})),
    *cases(WidthGenome, widths=(None, 3, "x", {}, {1}, np.array(3), [], [0], [1.5], ["x"], [NAN])),
    *cases(lambda ranking: WidthGenome([1]).unfold(ranking), ranking=(None, 3, "x", [3], [[0, 1]])),
]


@pytest.mark.parametrize(("function", "argument", "value"), GENOMES, ids=label)
def test_genomes_refuse_by_name(function, argument, value):
    check(function, argument, value)


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        *[(value, "layers") for value in (None, 3, "x", [], {}, [("a", 1)])],
        *[({"a": value}, "layer 'a'") for value in (None, 3, "xy", (1,), (1, 2, 3))],
        *[({"a": (value, None)}, "weight of layer 'a'") for value in ("x", 3, [[object()]])],
        *[({"a": ([[1.0]], value)}, "bias of layer 'a'") for value in ("x", [1, 2], [object()])],
    ],
)
def test_weights_refuse_by_name(layers, name):
    with pytest.raises(ArgumentError, match=f"^{name}: expected "):
        WeightGenome(layers)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"name": 3}, "name"),
        ({"n_units": "x"}, "n_units of group 'a'"),
        ({"n_units": 2.5}, "n_units of group 'a'"),
        ({"min_units": None}, "min_units of group 'a'"),
        ({"round_to": True}, "round_to of group 'a'"),
        ({"is_input": "yes"}, "is_input"),
    ],
)
def test_groups_refuse_by_name(options, name):
    with pytest.raises(ArgumentError, match=f"^{name}: expected "):
        Group(**{"name": "a", "n_units": 3, **options})


ORIGIN = np.random.default_rng(0).standard_normal((20, 4))
NO_EMBEDDINGS = (
    *(None, 3, "x", b"x", [], {}, object(), [["x"]], [[1.0], [1.0, 2.0]], ORIGIN[0], ORIGIN[:1]),
    *(np.array(["x"] * 20), ORIGIN.astype(object), ORIGIN.astype(complex)),
    *(torch.empty(20, 4, device="meta"), torch.eye(20).to_sparse(), torch.randn(0, 20, 4)),
    *(torch.full((20, 4), NAN), torch.zeros(20, 4), torch.full((20, 4), INF)),
)
NO_KERNELS = (7, None, "", "x", [], {}, ARRAY, True)


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("value", NO_EMBEDDINGS, ids=label)
def test_measures_refuse_what_is_no_embedding_of_the_parent(name, value):
    function = partial(make_similarity, name)
    check(function, "origin_embeddings", value)


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("value", [v for v in NO_EMBEDDINGS[:-4] if v is not None], ids=label)
def test_measures_refuse_what_is_no_embedding_of_a_child(name, value):
    loss = make_similarity(name, ORIGIN)
    check(loss, "compressed_embeddings", value)
    check(lambda value: loss.of_children([value]), "value", value, named="compressed_embeddings")


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        *cases(lambda name: make_similarity(name, ORIGIN), name=(None, *NO_CHOICES)),
        *cases(
            lambda kernel: make_similarity("cka", ORIGIN, kernel=kernel),
            kernel=("student", *NO_KERNELS),
        ),
        *cases(lambda kernel: make_similarity("tsne", ORIGIN, kernel=kernel), kernel=NO_KERNELS),
        *cases(
            lambda perplexity: make_similarity("cka", ORIGIN, perplexity=perplexity),
            perplexity=(0, 3, *NO_NUMBERS),
        ),
        *cases(
            lambda perplexity: TSNELoss(ORIGIN, perplexity=perplexity),
            perplexity=(0, 1, 7, -1, *NO_NUMBERS),
        ),
        *cases(TSNELoss(ORIGIN).of_children, embeddings=(3, None, "x")),
        *cases(CKALoss(ORIGIN).of_children, embeddings=(3, None, "x")),
        *cases(lambda losses: losses_of_children(losses, []), losses=(3, None, "x")),
        *cases(
            lambda embeddings: losses_of_children([CKALoss(ORIGIN)], embeddings),
            embeddings=(3, None, "x", [], [3], [[], []]),
        ),
        *cases(squared_distances, embeddings=(3, None, "x", ORIGIN, TENSOR)),
    ],
    ids=label,
)
def test_similarity_refuses_by_name(function, argument, value):
    check(function, argument, value)


TOOLBOX = {
    "genome": (None, *NO_CHOICES),
    "selection": NO_CHOICES,
    "objectives": (*NO_SEQUENCES, (), ["accuracy", 3], [[], []], ["accuracy", "accuracy"]),
    "loss_weights": (
        *NO_SEQUENCES,
        *((), (1, 1), (1, -1, 1), (1, NAN, 1), ("x", 1, 1), (0, 0, 0), (True, 1, 1), (1, HUGE, 1)),
        torch.tensor(1),
    ),
    "importance": (None, *NO_CHOICES),
    "highest_rate": (None, 0.1, 1, *NO_NUMBERS),
    "mutation": NO_CHOICES,
    "flip_probability": (-0.1, 1.5, *NO_NUMBERS),
    "seed": NO_COUNTS,
    "block_size": (0, *NO_COUNTS),
    "engine": (None, *NO_CHOICES),
    "threads": [v for v in (0, *NO_COUNTS) if v is not None],
    "memory": (0, *NO_COUNTS),
}


@pytest.mark.parametrize("argument", TOOLBOX)
def test_a_toolbox_refuses_by_name(argument, tiny_task):
    mutation = {"mutation": "flips"} if argument == "flip_probability" else {}
    task = tiny_task()
    for value in TOOLBOX[argument]:
        check(lambda **options: ed.make_toolbox(task, **mutation, **options), argument, value)


def test_a_toolbox_refuses_what_goes_with_other_genomes_by_name(tiny_task):
    for value in (*NO_SEQUENCES, [3], ["x"]):
        check(
            lambda **options: ed.make_toolbox(tiny_task(), genome="weights", **options),
            "recombination_layers",
            value,
        )
    for value in (-0.1, 1.5, *NO_NUMBERS):
        check(
            lambda **options: ed.make_toolbox(tiny_task(), genome="width", **options),
            "step_probability",
            value,
        )
    inheriting = tiny_task(inherit=True, train_steps=1)
    for value in NO_CHOICES:
        check(lambda **options: ed.make_toolbox(inheriting, **options), "learnt", value)
    for value in NO_OBJECTS:
        check(ed.make_toolbox, "task", value)


def test_a_seed_may_be_any_whole_number(tiny_task):
    for seed in (np.int64(1), torch.tensor(1)):
        toolbox = ed.make_toolbox(tiny_task(), seed=seed)
        assert type(toolbox.evaluator.seed) is int
        assert random.random() == pytest.approx(first_draw(tiny_task))


def first_draw(task):
    ed.make_toolbox(task(), seed=1)
    return random.random()


@pytest.fixture
def toolbox(tiny_task) -> Toolbox:
    return ed.make_toolbox(tiny_task(), seed=0)


def test_populations_and_individuals_refuse_by_name(toolbox):
    for n in (0, *NO_COUNTS):
        check(toolbox.population, "n", n)
    for rate in (-0.1, 1, *NO_NUMBERS):
        check(toolbox.individual, "rate", rate)
    for rng in (3, "x", random):
        check(toolbox.individual, "rng", rng)


class Watcher(Callback):
    pass


def test_watching_refuses_by_name_before_the_block(toolbox):
    for value in NO_OBJECTS:
        check(ed.watched, "toolbox", value)
    options = {
        "n_generations": [v for v in NO_COUNTS if v is not None],
        "callback": (3, "x", [3], [Watcher], Watcher, print),
        "stop": (3, None, True, [1], ["x"], "x", ed.Stalled(2), ed.Stalled, [ed.Stalled], [None]),
    }
    for argument, values in options.items():
        for value in values:
            check(lambda **given: ed.watched(toolbox, **given), argument, value)


def test_rules_may_come_from_a_generator(toolbox):
    rules = (rule for rule in [lambda progress: "enough"])
    with ed.watched(toolbox, stop=rules) as watch:
        population = toolbox.population(n=4)
        for individual, values in zip(
            population, toolbox.map(toolbox.evaluate, population), strict=True
        ):
            individual.fitness.values = values
        watch.compile(population)
    assert watch.stopped == "enough"


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        *cases(ed.TimeBudget, seconds=ABOVE_0),
        *cases(lambda metric: ed.TargetMet(metric, 5), metric=(None, *NO_NUMBERS)),
        *cases(lambda max_params: ed.TargetMet(0.5, max_params), max_params=(0, *NO_COUNTS)),
        *cases(ed.Stalled, generations=(0, *NO_COUNTS), by=(-1, None, *NO_NUMBERS)),
        *cases(ed.Archive, max_size=NO_COUNTS),
        *cases(ed.Archive().update, population=(3, None, "x", [3], [masked()])),
        *cases(
            lambda **options: variation_rates(
                **{"crossover_rate": None, "mutation_rate": None, **options},
                genome="mask",
                pareto=True,
            ),
            crossover_rate=(-0.1, 2, *NO_NUMBERS),
            mutation_rate=(-0.1, 2, *NO_NUMBERS),
        ),
        *cases(ed.statistics, metric=(None, 3, "", [], "fitness", ARRAY)),
    ],
    ids=label,
)
def test_parts_of_a_search_refuse_by_name(function, argument, value):
    check(function, argument, value)


def test_the_rate_that_was_given_is_the_one_that_is_named(tiny_task):
    for name in ("crossover_rate", "mutation_rate"):
        with pytest.raises(ArgumentError, match=rf"^{name}: expected a number in \[0, 1\], got 2"):
            ed.compress(tiny_task(), population=4, generations=1, **{name: 2})


FIGURES = {"values": [0.8, 0.9], "param_counts": [10, 20]}
NO_FIGURES = {
    "values": (None, 3, "xy", [], [0.8], [0.8, NAN], [0.8, "x"], [0.8, None], [0.8, True]),
    "param_counts": (None, 3, "xy", [10, -1], [10, "x"], [10, None], [10, 1.5]),
    "maximise": (None, 1, "x"),
}
OF_THE_PARENT = {"parent_value": (None, *NO_NUMBERS)}


def within(**options):
    return smallest_within(**{"points": 0.1, "parent_value": 0.9, **FIGURES, **options})


def under(**options):
    return most_accurate_under(**{"param_count": 15, **FIGURES, **options})


def the_best(**options):
    return best(**{"parent_value": 0.9, **FIGURES, **options})


def the_knee(**options):
    return knee(**{**FIGURES, **options})


def chosen(**options):
    given = {"word": "knee", "ids": ["1", "2"], "parent_value": 0.9, **FIGURES}
    return choose(**{**given, **options})


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        *cases(within, points=(None, *NO_NUMBERS), **OF_THE_PARENT, **NO_FIGURES),
        *cases(under, param_count=(None, *NO_NUMBERS), **NO_FIGURES),
        *cases(the_best, tolerance=(-1, *NO_NUMBERS), **OF_THE_PARENT, **NO_FIGURES),
        *cases(the_knee, **NO_FIGURES),
        *cases(chosen, word=(None, 3, ["knee"]), ids=(None, 3, [])),
    ],
    ids=label,
)
def test_choosing_refuses_by_name(function, argument, value):
    check(function, argument, value)


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        *cases(
            ed.make_parent,
            hidden=(3, None, "x", b"x", {}, [-1], [0], [1.5], ["x"], [True], [10**30]),
            n_inputs=(0, 10**30, *NO_COUNTS),
            n_outputs=(0, 10**30, *NO_COUNTS),
            seed=(10**30, *NO_COUNTS),
        ),
        *cases(
            ed.Recipe,
            learning_rate=ABOVE_0,
            loss=(3, None, "x", [], {3: 1}, {"task": "x"}, {"task": HUGE}),
            optimizer=(None, *NO_CHOICES),
            weight_decay=(-1, None, *NO_NUMBERS),
            schedule=(None, *NO_CHOICES),
            batch_size=[v for v in (0, *NO_COUNTS) if v is not None],
            temperature=ABOVE_0,
            mixup=(-1, None, *NO_NUMBERS),
            augment=(3, "x", []),
            averaging=(-1, 1.5, None, *NO_NUMBERS),
            size_power=(-1, 1.5, None, *NO_NUMBERS),
        ),
    ],
    ids=label,
)
def test_parents_and_recipes_refuse_by_name(function, argument, value):
    check(function, argument, value)


def frozen():
    network = nn.Linear(12, 3)
    network.weight.requires_grad_(False)
    network.bias.requires_grad_(False)
    return network


def test_training_a_parent_refuses_by_name_and_early(tiny_splits):
    told = []
    options = {
        "network": (3, "x", [], nn.Linear, frozen(), nn.Linear(5, 3), nn.Linear(12, 1), nn.ReLU()),
        "epochs": NO_COUNTS,
        "seed": (10**30, *NO_COUNTS),
        "recipe": (None, 3, "x", {}, ed.Recipe, ed.Recipe(loss={"distillation": 1})),
        "on_epoch": (3, "x", []),
    }
    for argument, values in options.items():
        for value in values:
            given = {"epochs": 1, "on_epoch": lambda: told.append(1), argument: value}
            with pytest.raises(ArgumentError, match=f"^{argument}: expected "):
                ed.train_parent(tiny_splits, **given)
    for value in (None, 3, "x", [], (torch.ones(3, 2), [0, 1, 2])):
        check(ed.train_parent, "data", value)
    assert told == []


def test_trying_a_network_before_its_training_changes_nothing(tiny_splits):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    before = json.dumps([t.tolist() for t in network.state_dict().values()])
    first, second = (ed.train_parent(tiny_splits, network, epochs=1) for _ in range(2))
    assert json.dumps([t.tolist() for t in network.state_dict().values()]) == before
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_exports_refuse_by_name(tmp_path):
    child, example = nn.Linear(2, 1), torch.ones(3, 2)
    options = {
        "path": (None, 3, [], b"x", "a\0.pt2", tmp_path / "x.txt"),
        "format": (3, "", "x", [], ARRAY),
        "factory": (3, "x"),
        "metadata": (3, "x", [1], {"a": object()}, {"a": NAN}),
        "example": (3, "x", [], object()),
    }
    for argument, values in options.items():
        for value in values:
            given = {"path": tmp_path / "child", "format": "safetensors", "example": example}
            if argument == "path":
                given = {"example": example}
            with pytest.raises(ArgumentError, match=f"^{argument}: expected "):
                ed.export(child, **{**given, argument: value})
    with pytest.raises(ArgumentError, match=r"^child: expected "):
        ed.export(3, tmp_path / "child.safetensors")
    assert list(tmp_path.iterdir()) == []
