"""`Archive`: the non-dominated individuals of a whole search, as a DEAP hall of fame."""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from ecomp_deap.checks import check_count, check_sequence
from ecomp_deap.errors import argument_error
from ecomp_deap.operators import selNSGA2
from ecomp_deap.search.front import non_dominated

__all__ = ["Archive"]


class Archive:
    """Keeps copies of the individuals that no other dominates; takes the place of `ParetoFront`.

    Unlike `deap.tools.ParetoFront` it leaves failed individuals out, ranks with moocore, and
    holds at most ``max_size``, the most crowded ones leaving first. One beyond the task's limits is
    in it only until there is one within them, as its fitness is worse in every objective.

    Args:
        max_size: At most so many individuals are kept.

    Raises:
        ArgumentError: No whole number of at least 1.
    """

    def __init__(self, max_size: int = 200) -> None:
        self.max_size = check_count("max_size", max_size, minimum=0)
        self.items: list[Any] = []

    def update(self, population: Sequence[Any]) -> None:
        """Take in the individuals of ``population`` that are not dominated (copied).

        Raises:
            ArgumentError: One that was not evaluated.
        """
        for i, individual in enumerate(check_sequence("population", population, "individuals")):
            if getattr(individual, "measurement", None) is None:
                raise argument_error(f"population[{i}]", "an evaluated individual", individual)
        known = {item.key() for item in self.items}
        fresh: dict[bytes, Any] = {}
        for individual in population:
            if not individual.measurement.failed and individual.key() not in known:
                fresh.setdefault(individual.key(), individual)
        merged = _front([*self.items, *fresh.values()])
        if len(merged) > self.max_size:
            merged = selNSGA2(merged, self.max_size)
        old = {id(item) for item in self.items}
        self.items = [item if id(item) in old else deepcopy(item) for item in merged]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def _front(individuals: Iterable[Any]) -> list[Any]:
    individuals = list(individuals)
    costs = [[-value for value in i.fitness.wvalues] for i in individuals]
    return [individuals[i] for i in non_dominated(costs)]
