import inspect

import pytest

from ecomp_deap import compress, defaults, evolve, make_toolbox
from ecomp_deap.defaults import variation_rates
from ecomp_deap.operators.selection import make_selection
from ecomp_deap.runs import RunConfig


@pytest.mark.parametrize(
    ("given", "pareto", "genome", "rates"),
    [
        ((None, None), True, "mask", (0.7, 0.3)),
        ((None, None), True, "weights", (0.7, 0.3)),
        ((None, None), False, "mask", (0.7, 0.3)),
        ((None, None), False, "weights", (1.0, 0.01)),
        ((0.9, None), False, "weights", (0.9, 0.01)),
        ((None, 0.2), False, "mask", (0.7, 0.2)),
        ((0.25, None), True, "mask", (0.25, 0.75)),
        ((None, 0.25), True, "weights", (0.75, 0.25)),
        ((0.5, 0.1), True, "mask", (0.5, 0.1)),
    ],
)
def test_rates_that_are_not_given(given, pareto, genome, rates):
    assert variation_rates(*given, genome=genome, pareto=pareto) == rates


@pytest.mark.parametrize("pareto", [True, False])
@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_command_and_api_have_the_same_rates(pareto, genome):
    selection = (defaults.PARETO_SELECTIONS if pareto else defaults.WEIGHTED_SELECTIONS)[0]
    config = RunConfig(genome=genome, selection=selection).resolved()
    expected = variation_rates(None, None, genome=genome, pareto=pareto)
    assert (config.crossover_rate, config.mutation_rate) == expected


@pytest.mark.parametrize("function", [compress, evolve, make_toolbox])
def test_command_and_api_have_the_same_defaults(function):
    config = RunConfig().resolved()
    for name, parameter in inspect.signature(function).parameters.items():
        given = parameter.default
        if given is not parameter.empty and given is not None and hasattr(config, name):
            assert getattr(config, name) == given, name


@pytest.mark.parametrize("name", defaults.PARETO_SELECTIONS + defaults.WEIGHTED_SELECTIONS)
def test_every_selection_that_is_named_exists(name):
    function, _ = make_selection(name, 2)
    assert callable(function)
