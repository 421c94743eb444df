"""Loops with the signature of DEAP's, for what its own do not do."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from deap import algorithms, tools

from ecomp_deap.checks import check_count, check_flag, check_number, check_sequence, check_type
from ecomp_deap.errors import SelectionError, argument_error
from ecomp_deap.toolbox import Toolbox
from ecomp_deap.toolbox.individuals import is_cheap_to_compare

__all__ = ["eaSteadyState"]

# A child that is known is made anew so often; there may be no others.
_TRIES = 10


def eaSteadyState(
    population: list[Any],
    toolbox: Toolbox,
    cxpb: float,
    mutpb: float,
    ngen: int,
    stats: Any = None,
    halloffame: Any = None,
    verbose: bool = __debug__,
    *,
    block_size: int | None = None,
) -> tuple[list[Any], tools.Logbook]:
    """Evolve without waiting for a whole generation: an asynchronous, (mu + 1) NSGA-II.

    Whenever a worker has room, children are made from the population as it is then, and sent to it;
    whenever they come back, the registered ``select`` chooses who stays of them and the population.
    So no worker waits for a child that takes longer than others. A *generation* is over when as
    many children have come back as the population has individuals; then the statistics are
    compiled, and the next batch is taken. The population is scored again on that, beside the
    children, and until then those that come back wait for it. A child that equals one of the
    population, or another of its generation, is made anew, up to ten times.

    With workers it is **not reproducible to the last bit**: who is selected depends on who comes
    back first. Without, children are measured one block after the other, and it is.

    Args:
        population: The first individuals (changed in place to the last ones).
        toolbox: From `make_toolbox`, with a Pareto fitness.
        cxpb: How often a child comes of crossover, against ``mutpb``. Copies, as DEAP's loops make
            them in the remaining cases, would be nothing new, and are not made.
        mutpb: How often it comes of mutation.
        ngen: Generations after the first.
        stats: See DEAP's loops, like the next two.
        halloffame: See there.
        verbose: See there.
        block_size: Children sent together, by default up to the toolbox's own, and so few that
            there are several for each worker in a population.

    Returns:
        The population, and a logbook with a record for each generation.

    Raises:
        SelectionError: A fitness of one value, whose selections draw with replacement.
        ArgumentError: An argument out of range, or a recorded toolbox, see `recorded`: this cannot
            be replayed.
        EvaluationError: See `Toolbox.stream`.

    Source: Durillo, Nebro, Luna and Alba (2008), "A study of master-slave approaches to parallelize
    NSGA-II", IPDPS: the asynchronous steady-state version.
    """
    check_type("toolbox", toolbox, Toolbox)
    check_sequence("population", population, "individuals")
    ngen = check_count("ngen", ngen, minimum=0)
    for name, rate in (("cxpb", cxpb), ("mutpb", mutpb)):
        check_number(name, rate, minimum=0.0, maximum=1.0)
    check_number("cxpb + mutpb", cxpb + mutpb, above=0.0, maximum=1.0)
    check_flag("verbose", verbose)
    if not toolbox.fitness.is_pareto:
        raise SelectionError(
            "eaSteadyState needs a Pareto fitness: use selection='nsga2', or eaSimple with a "
            "weighted one"
        )
    if toolbox.recorder is not None:
        raise argument_error("toolbox", "one that is not recorded", "one that is")
    if len(population) < 2:
        raise argument_error("population", "at least two individuals", population)
    if toolbox.crew is not None and toolbox.evaluator.limits.times:
        expected = "one without workers where latency counts, as they would disturb its timing"
        raise argument_error("toolbox", expected, "one with workers")
    if block_size is None:
        block_size = _block_size(toolbox, len(population))
    block_size = check_count("block_size", block_size, minimum=1)

    logbook = tools.Logbook()
    logbook.header = ["gen", "nevals", *(stats.fields if stats else [])]

    def end_generation(n: int, n_measured: int) -> None:
        if halloffame is not None:
            halloffame.update(population)
        logbook.record(gen=n, nevals=n_measured, **(stats.compile(population) if stats else {}))
        if verbose:
            print(logbook.stream)

    unknown = [individual for individual in population if not individual.fitness.valid]
    found = toolbox.map(toolbox.evaluate, unknown)
    for individual, values in zip(unknown, found, strict=True):
        individual.fitness.values = values
    end_generation(0, len(unknown))
    vary = partial(algorithms.varOr, toolbox=toolbox, cxpb=cxpb, mutpb=mutpb)
    flow = _Flow(population, toolbox, vary, n_children=ngen * len(population), size=block_size)
    with closing(toolbox.stream(flow.blocks())) as measured:
        for generation in range(1, ngen + 1):
            flow.begin()
            while not flow.has_made(generation):
                flow.take(next(measured))
            end_generation(generation, toolbox.n_mapped)
    return population, logbook


def _block_size(toolbox: Toolbox, n: int) -> int:
    """Return how many children are sent together."""
    workers = toolbox.crew.workers if toolbox.crew is not None else None
    n_blocks = workers.depth * workers.n_workers if workers is not None else 1
    return max(1, min(toolbox.evaluator.block_size, n // (2 * n_blocks)))


class _Flow:
    """The children on their way, and those that wait for the population to be comparable.

    Args:
        population: Changed in place.
        toolbox: Of the search.
        vary: Makes so many children of a population.
        n_children: To be made in all.
        size: Individuals in a block.
    """

    def __init__(
        self, population: list[Any], toolbox: Toolbox, vary: Any, *, n_children: int, size: int
    ) -> None:
        self._population, self._toolbox, self._vary = population, toolbox, vary
        self._n, self._n_children, self._size = len(population), n_children, size
        self._n_made = self._n_back = self._n_flying = 0
        self._back: list[Any] = []
        self._stale: deque[Any] = deque()
        self._seen: set[bytes] = set()

    def begin(self) -> None:
        """Begin a generation; whoever was scored on another batch is scored again first."""
        self._toolbox.begin()
        self._add_stale([*self._population, *self._back])
        self._seen.clear()
        self._see([*self._population, *self._back])

    def blocks(self) -> Iterator[list[Any] | None]:
        """Yield what is measured next; None if that depends on what comes back."""
        while True:
            if self._stale:
                block = [self._stale.popleft() for _ in range(min(self._size, len(self._stale)))]
            # No more than a generation from a population that waits to be comparable.
            elif self._n_made < self._n_children and len(self._back) < self._n:
                # Up to the end of a generation, so that it is one also where a search goes on.
                block = self._make(min(self._size, self._n - self._n_made % self._n))
            elif self._n_flying:
                yield None
                continue
            else:
                return
            self._n_flying += 1
            yield block

    def _make(self, n: int) -> list[Any]:
        """Return n children, none of which is a mere copy, and if possible all of new genomes."""
        children: list[Any] = []
        tries = 0
        while len(children) < n:
            made = self._vary(self._population, lambda_=n - len(children))
            tries += 1
            for child in made:
                is_known = is_cheap_to_compare(child) and child.key() in self._seen
                if not child.fitness.valid and (not is_known or tries > _TRIES):
                    children.append(child)
                    self._see([child])
        self._n_made += n
        return children

    def _see(self, individuals: Sequence[Any]) -> None:
        self._seen.update(i.key() for i in individuals if is_cheap_to_compare(i))

    def take(self, block: Sequence[Any]) -> None:
        """Take in a block that was measured."""
        self._n_flying -= 1
        known = {id(individual) for individual in (*self._population, *self._back)}
        fresh = [individual for individual in block if id(individual) not in known]
        self._n_back += len(fresh)
        self._back += fresh
        self._add_stale(block)
        if self._back and self._is_comparable():
            self._population[:] = self._selected()
            self._back = []

    def _selected(self) -> list[Any]:
        """Return who stays: all sound ones, while there are no more than the population takes."""
        everyone = [*{id(i): i for i in (*self._population, *self._back)}.values()]
        sound = [individual for individual in everyone if not individual.measurement.failed]
        if 2 <= len(sound) <= self._n:
            return sound
        selected: list[Any] = self._toolbox.select(everyone, self._n)
        return selected

    def has_made(self, generation: int) -> bool:
        """Return whether so many generations of children are back, and selected from."""
        return self._n_back >= generation * self._n and self._is_comparable()

    def _is_comparable(self) -> bool:
        """Return whether everyone was scored on the current batch."""
        return not any(map(self._toolbox.is_stale, [*self._population, *self._back]))

    def _add_stale(self, individuals: Sequence[Any]) -> None:
        # One that is there several times is scored once.
        once = {id(i): i for i in individuals if self._toolbox.is_stale(i)}
        self._stale.extend(once.values())
