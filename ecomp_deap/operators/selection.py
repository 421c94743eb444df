"""Selection: who goes on, and which selection suits which fitness."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from deap import tools

from ecomp_deap.checks import check_callable, check_choice, check_count, check_number
from ecomp_deap.defaults import PARETO_SELECTIONS, WEIGHTED_SELECTIONS
from ecomp_deap.errors import SelectionError, argument_error
from ecomp_deap.operators.arguments import wvalues_of
from ecomp_deap.operators.nsga2 import selNSGA2

__all__ = ["bare", "check_pairing", "make_selection", "selSoftmaxRoulette"]


def selSoftmaxRoulette(
    individuals: Sequence[Any], k: int, *, temperature: float = 1.0
) -> list[Any]:
    """Select k individuals with replacement, with probabilities softmax(fitness / temperature).

    Unlike `deap.tools.selRoulette` it takes negative fitness. Individuals that failed, or exceed
    the task's limits, are selected only if there are no others.

    Args:
        individuals: With a fitness of one value.
        k: Number to select.
        temperature: Above 0; the higher, the weaker the selection.

    Raises:
        ArgumentError: No individuals, one without a sound fitness, a negative k, or a temperature
            that is not positive.

    Source: the original EComp.
    """
    wvalues = wvalues_of(individuals)
    if not wvalues:
        raise argument_error("individuals", "at least one", individuals)
    k = check_count("k", k, minimum=0)
    temperature = check_number("temperature", temperature, above=0.0)
    ranks = [_rank(individual) for individual in individuals]
    lowest = min(ranks)
    chosen = [i for i, rank in enumerate(ranks) if rank == lowest]
    eligible = [individuals[i] for i in chosen]
    for i in chosen:
        # −Inf is never selected; NaN and Inf have no place in an order of likelihoods.
        if len(wvalues[i]) == 0 or not wvalues[i][0] < math.inf:
            expected = "a value that is neither NaN nor Inf"
            raise argument_error(f"individuals[{i}].fitness.wvalues", expected, wvalues[i])
    values = [wvalues[i][0] for i in chosen]
    largest = max(values)
    if largest == -math.inf:
        raise argument_error("individuals", "one with a finite fitness", largest)
    # The difference first: dividing a huge fitness by a small temperature would overflow.
    weights = [math.exp((value - largest) / temperature) for value in values]
    return random.choices(eligible, weights=weights, k=k)


def _rank(individual: Any) -> int:
    """Return 0 for a child within the task's limits, 1 for one beyond them, 2 for a failed one."""
    measurement = getattr(individual, "measurement", None)
    if measurement is None:
        return 0
    return 2 if measurement.failed else int(measurement.violation > 0)


def make_selection(name: str, n_objectives: int) -> tuple[Callable[..., list[Any]], dict[str, Any]]:
    """Return the selection of this name, and the keyword arguments to register it with.

    Raises:
        ArgumentError: An unknown name.
    """
    check_choice("selection", name, PARETO_SELECTIONS + WEIGHTED_SELECTIONS)
    if name == "roulette":
        return selSoftmaxRoulette, {}
    if name == "tournament":
        return tools.selTournament, {"tournsize": 3}
    if name == "nsga2":
        return selNSGA2, {}
    if name == "spea2":
        return tools.selSPEA2, {}
    divisions = 12 if n_objectives <= 3 else 4
    points = tools.uniform_reference_points(n_objectives, p=divisions)
    return tools.selNSGA3, {"ref_points": points}


# What DEAP's selections need: those that compare by `<` see only the first of several objectives
# that differs, and those that rank by dominance do nothing useful with one value.
_NEEDS_ONE_VALUE = {
    selSoftmaxRoulette,
    tools.selBest,
    tools.selDoubleTournament,
    tools.selRoulette,
    tools.selStochasticUniversalSampling,
    tools.selTournament,
    tools.selWorst,
}
_NEEDS_OBJECTIVES = {
    selNSGA2,
    tools.selNSGA2,
    tools.selNSGA3,
    tools.selSPEA2,
    tools.selTournamentDCD,
}


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind `functools.partial` and decorators that keep ``__wrapped__``."""
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None:
            return function
        function = inner


def check_pairing(function: Callable[..., Any], n_values: int) -> None:
    """Refuse a selection that does not suit a fitness of ``n_values`` values.

    Raises:
        SelectionError: Naming what goes with what.
        ArgumentError: No function.
    """
    function = bare(check_callable("function", function, "a selection"))
    n_values = check_count("n_values", n_values, minimum=1)
    name = getattr(function, "__name__", str(function))
    if n_values > 1 and any(function is one for one in _NEEDS_ONE_VALUE):
        raise SelectionError(
            f"{name} would go by the first objective alone: use selection 'nsga2', 'nsga3' or "
            "'spea2', or loss_weights instead of objectives"
        )
    if n_values == 1 and any(function is one for one in _NEEDS_OBJECTIVES):
        raise SelectionError(
            f"{name} ranks by several objectives, but loss_weights make one value: use selection "
            "'roulette' or 'tournament', or objectives instead of loss_weights"
        )
