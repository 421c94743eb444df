import pytest
from deap import algorithms

from ecomp_deap.search import Archive
from ecomp_deap.toolbox import make_toolbox
from ecomp_deap.toolbox.births import parse_births


def run_plus(toolbox, n=6, generations=5):
    population, _ = algorithms.eaMuPlusLambda(
        toolbox.population(n=n), toolbox, n, n, 0.6, 0.4, generations, verbose=False
    )
    return population


def test_individuals_tell_how_they_came_about(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=3, mutation="resize")
    population = run_plus(toolbox)
    lines = [parse_births(individual.births) for individual in population]
    seen = set()
    for individual, line in zip(population, lines, strict=True):
        generations = [generation for generation, *_ in line]
        assert generations == sorted(set(generations))
        assert generations[0] == 0
        assert line[0][1] == []
        assert line[-1][2] == individual.measurement.param_count
        for generation, events, *_ in line[1:]:
            (event,) = events  # mu + lambda varies each by one operator
            name, _, mate = event.partition("@")
            seen.add(name)
            assert name == "mutResizeGroup" or 0 <= int(mate) < generation
    assert seen == {"cxUniformUnits", "mutResizeGroup"}


def test_one_that_is_crossed_and_mutated_tells_of_both(tiny_task):
    toolbox = make_toolbox(tiny_task(), loss_weights=(1, 1, 1), selection="tournament", seed=1)
    population, _ = algorithms.eaSimple(toolbox.population(n=6), toolbox, 1, 1, 2, verbose=False)
    for individual in population:
        first, *later = parse_births(individual.births)
        assert first[:2] == [0, []]
        assert [events for _, events, *_ in later] == [
            ["cxUniformUnits@0", "mutResizeGroup"],
            ["cxUniformUnits@1", "mutResizeGroup"],
        ]


def test_operators_of_a_users_own_are_told_by_their_names(tiny_task):
    def mutNothing(individual):
        return (individual,)

    def twice(operator):
        def decorated(*args, **options):
            return operator(*args, **options)

        return decorated

    toolbox = make_toolbox(tiny_task(), seed=3)
    toolbox.register("mutate", mutNothing)
    child = toolbox.clone(*toolbox.population(n=1))
    assert toolbox.mutate(child)[0] is child
    toolbox.map(toolbox.evaluate, [child])
    assert [events for _, events, *_ in parse_births(child.births)] == [["mutNothing"]]
    toolbox.decorate("mutate", twice)
    again = toolbox.clone(child)
    toolbox.mutate(again)
    toolbox.map(toolbox.evaluate, [again])
    assert [events for _, events, *_ in parse_births(again.births)] == [
        ["mutNothing"],
        ["decorated"],
    ]
    assert parse_births(child.births) == parse_births(again.births)[:1]


def test_operators_with_arguments_are_decorated_with_them(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=3, mutation="resize")
    calls = []

    def counted(operator):
        def called(*args, **options):
            calls.append(len(args))
            return operator(*args, **options)

        return called

    toolbox.decorate("mutate", counted)
    toolbox.mutate(*toolbox.population(n=1))
    assert calls == [3]  # the toolbox, the operator and the individual


def test_long_lines_keep_their_beginning_and_end(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=3)
    (individual,) = toolbox.population(n=1)
    for _ in range(90):
        individual = toolbox.clone(individual)
        toolbox.map(toolbox.evaluate, [individual])
    line = parse_births(individual.births)
    assert [part[0] for part in line if part] == [0, *range(31, 90)]
    assert line[1] == []


def test_copies_in_an_archive_tell_the_same(tiny_task):
    toolbox = make_toolbox(tiny_task(), seed=3)
    archive = Archive()
    algorithms.eaMuPlusLambda(
        toolbox.population(n=6), toolbox, 6, 6, 0.6, 0.4, 2, halloffame=archive, verbose=False
    )
    assert len(archive) > 0
    for individual in archive:
        assert parse_births(individual.births)[-1][2] == individual.measurement.param_count


@pytest.mark.parametrize("text", [None, 3, "", "x", "1:2", "0::-3:0.5", "0:<b>&:3:0.5", "a::3:0.5"])
def test_what_is_no_line_has_no_parts(text):
    assert parse_births(text) == []
