"""Short runs of DEAP's stock loops, and what can be compared about them."""

import random
from typing import Any

import numpy as np
from deap import algorithms

from ecomp_deap import logbook_to_rows, statistics
from ecomp_deap.toolbox import Toolbox

SIZE, GENERATIONS = 8, 2

SCALAR = ("roulette", "tournament")
PARETO = ("nsga2", "nsga3", "spea2")


def simple(toolbox: Toolbox, population: list[Any], *, ngen: int = GENERATIONS, **options: Any):
    return algorithms.eaSimple(population, toolbox, 0.7, 0.3, ngen, verbose=False, **options)


def plus(toolbox: Toolbox, population: list[Any], *, ngen: int = GENERATIONS, **options: Any):
    n = len(population)
    return algorithms.eaMuPlusLambda(
        population, toolbox, n, n, 0.7, 0.3, ngen, verbose=False, **options
    )


def comma(toolbox: Toolbox, population: list[Any], *, ngen: int = GENERATIONS, **options: Any):
    n = len(population)
    return algorithms.eaMuCommaLambda(
        population, toolbox, n, 2 * n, 0.7, 0.3, ngen, verbose=False, **options
    )


#: Every stock loop with every selection that suits it.
FITTING = [
    *((loop, selection) for loop in (simple, plus, comma) for selection in SCALAR),
    *((loop, selection) for loop in (plus, comma) for selection in PARETO),
]


def evolve(toolbox: Toolbox, loop=plus, *, size: int = SIZE, ngen: int = GENERATIONS):
    """Return the final population and the rows of the logbook."""
    population, logbook = loop(toolbox, toolbox.population(n=size), ngen=ngen, stats=statistics())
    return population, logbook_to_rows(logbook)


def trace(toolbox: Toolbox, loop=plus, **options: Any) -> tuple[list[bytes], list[tuple], list]:
    """Return all that a run leaves behind, to the last bit."""
    population, rows = evolve(toolbox, loop, **options)
    return [i.key() for i in population], [i.fitness.values for i in population], rows


def disturb() -> None:
    """Draw from the global generators, an unknown number of times."""
    random.seed()
    for _ in range(random.randrange(1, 9)):
        random.random()
        np.random.random()  # noqa: NPY002
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
