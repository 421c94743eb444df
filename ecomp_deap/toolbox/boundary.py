"""`Toolbox`: a DEAP toolbox with a generation boundary.

DEAP's loops know nothing of batches and seeds. So whatever is registered as ``map``, ``select``
and ``clone`` is called from behind a boundary that does.
"""

import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from deap import base, tools
from torch import nn

from ecomp_deap.errors import EvaluationError, SelectionError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.workers import Crew, Request
from ecomp_deap.fitness import Fitness
from ecomp_deap.genomes import Genome, MaskGenome, WeightGenome
from ecomp_deap.measurement import Measurement
from ecomp_deap.operators import check_pairing, selNSGA2
from ecomp_deap.operators.selection import bare
from ecomp_deap.seeding import seed_stream, training_seed
from ecomp_deap.threads import torch_threads
from ecomp_deap.toolbox.accounts import Asked, Counters, Recorder
from ecomp_deap.toolbox.births import Births, Varying
from ecomp_deap.toolbox.individuals import first_equal, without_failed

__all__ = ["Toolbox"]

# Operators that tell of what they do, and how many individuals they are given.
_VARIED = {"mate": 2, "mutate": 1}
_BY_DOMINANCE = (selNSGA2, tools.selNSGA2, tools.selNSGA3, tools.selSPEA2)


class Toolbox(base.Toolbox):
    """A DEAP toolbox with a generation boundary; made by `make_toolbox`.

    - The n-th ``map(toolbox.evaluate, …)`` is generation n: it fixes the batch, measures the
      individuals, attaches their ``measurement``, and seeds `random` and `numpy.random` for the
      next generation at its end.
    - ``select`` first scores again whoever was scored on an earlier batch. It is given no child
      that failed, as long as there is a sound one.
    - ``clone`` invalidates the fitness, so that clones are scored anew.
    - ``mate`` and ``mutate`` tell of what they do, for each individual's ``births``.

    A loop that does not wait for a whole generation takes `stream` in place of ``map``, and says
    itself where one ends, by `begin`.

    Attributes:
        evaluator: The `Evaluator` behind ``evaluate``.
        fitness: How measurements become fitness values.
        individual_class: The DEAP type of its individuals.
        generation: Number of the current generation, −1 before the first.
        n_mapped: Individuals that it was mapped over.
        counters: What was done so far.
        crew: Workers that measure, in place of threads of this process; None for none.
        recorder: Told of every measurement, and asked first whether it knows it; None for none.
    """

    def __init__(self, evaluator: Evaluator, fitness: Fitness, individual_class: type[Any]) -> None:
        self.evaluator = evaluator
        self.fitness = fitness
        self.individual_class = individual_class
        self.generation = -1
        self.n_mapped = 0
        self.counters = Counters()
        self.crew: Crew | None = None
        self.recorder: Recorder | None = None
        self._births = Births()
        self._resumed = False
        self._ready: set[int] = set()
        self._n_measured = 0
        self._n_first = 0
        self._failures: Counter[str] = Counter()
        self._permutations = 0
        super().__init__()

    def register(self, alias: str, function: Callable[..., Any], *args: Any, **kargs: Any) -> None:
        """Register a function as DEAP does; ``map``, ``select`` and ``clone`` keep the boundary.

        Raises:
            SelectionError: A selection that does not suit the fitness, naming one that does.
        """
        boundaries: dict[str, Callable[..., Any]] = {
            "map": self._map,
            "select": self._select,
            "clone": self._clone,
        }
        if alias in _VARIED and not isinstance(function, Varying):
            function = Varying(function, self._births, _VARIED[alias])
        boundary = boundaries.get(alias)
        if boundary is None or isinstance(function, _Bounded):
            super().register(alias, function, *args, **kargs)
            return
        if alias == "select":
            check_pairing(function, len(self.fitness.signs))
        # Bound here, or the boundary would take the first of them for what it is called with.
        function = partial(function, *args) if args else function
        super().register(alias, _Bounded(boundary, function), **kargs)

    def decorate(self, alias: str, *decorators: Callable[..., Any]) -> None:
        """Decorate as DEAP does; behind a boundary the registered function is decorated."""
        registered = getattr(self, alias)
        if not isinstance(registered.func, (_Bounded, Varying)):
            super().decorate(alias, *decorators)
            return
        function = registered.func.function
        for decorator in decorators:
            function = decorator(function)
        self.register(alias, function, *registered.args, **registered.keywords)

    def compile_individual(self, individual: Genome) -> nn.Module:
        """Return the standalone child of an individual; registered as ``compile``."""
        return self.evaluator.compile(individual)

    def evaluate_individual(self, individual: Any) -> tuple[float, ...]:
        """Return an individual's fitness values on the current batch; registered as ``evaluate``.

        Attaches the ``measurement``.
        """
        if id(individual) not in self._ready:
            self._measure([individual])
        return self.fitness.values(individual.measurement)

    def validate(self, individuals: Iterable[Any]) -> list[Measurement]:
        """Return each individual's measurement on the whole validation data, in order.

        The figures of a fitness come from one batch, and a hall of fame collects lucky ones;
        these do not. Children are scored as ``compile`` gives them. Nothing is changed.
        """
        scorer = self.evaluator.scorer(self.evaluator.task.splits.validation)
        with torch_threads(self.evaluator.torch_threads):
            return scorer.score_all(
                [(self.compile(i), i.widths) for i in individuals],
                threads=self.evaluator.scoring_threads,
            )

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, in JSON's types: where the generation boundary stands."""
        return {
            "generation": self.generation,
            "n_measured": self._n_measured,
            "n_first": self._n_first,
            "permutations": self._permutations,
            "counters": asdict(self.counters),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where another toolbox of the same task stood.

        A loop that is started then with individuals that all have a fitness begins with the next
        generation.
        """
        self.generation = state["generation"]
        self._n_measured = state["n_measured"]
        self._n_first = state["n_first"]
        self._permutations = state["permutations"]
        self.counters = Counters(**state["counters"])
        self._resumed = True

    def settle(self, n: int) -> None:
        """Choose engine and threads for populations of n, see `Evaluator.settle`.

        The first evaluation does so anyhow; this is for those who want to know before.
        """
        genomes = [individual.plain() for individual in self.population(n=n)]
        self.evaluator.settle(genomes, time_threads=self.crew is None)

    def begin(self) -> None:
        """Begin the next generation: another batch, on which everyone from before is scored again.

        ``map`` does so by itself.
        """
        self.generation += 1
        self.n_mapped = self._n_measured = 0
        self._failures.clear()
        seed_stream(self.evaluator.seed, self.generation)

    def is_stale(self, individual: Any) -> bool:
        """Return whether an individual was scored on another batch than the current one."""
        current: int = self.evaluator.batch_id(max(self.generation, 0))
        return bool(individual.batch != current)

    def stream(
        self, blocks: Iterator[Sequence[Any] | None]
    ) -> Generator[Sequence[Any], None, None]:
        """Measure blocks of individuals, and yield each when that is done, in whatever order.

        They are measured on the batch of the generation in which they were taken, and have their
        ``measurement`` and their fitness values then. ``evaluate`` is called for them, ``map`` is
        not.

        Args:
            blocks: Taken one by one when a worker has room for one (without workers, when the one
                before is done); None where there is none before the next is done. In a block all
                are new, or all have a measurement and are scored again.

        Raises:
            EvaluationError: More of a generation have failed than half of the first one.
        """
        flying: dict[int, tuple[Sequence[Any], Request]] = {}
        numbers = count()

        def requests() -> Iterator[Request | None]:
            for block in blocks:
                request = None if block is None else self._request(block)
                if block is not None and request is not None:
                    flying[next(numbers)] = block, request
                yield request

        with closing(self.evaluator.stream(requests(), crew=self.crew)) as found:
            for index, outcomes in found:
                individuals, request = flying.pop(index)
                self._take(individuals, request, outcomes)
                yield individuals

    def _take(
        self, individuals: Sequence[Any], request: Request, outcomes: Sequence[Outcome]
    ) -> None:
        """Give individuals what a request has found, and count it (in place)."""
        n, task = len(individuals), self.evaluator.task
        is_new = individuals[0].measurement is None
        for individual, outcome in zip(individuals, outcomes, strict=True):
            self._attach(individual, outcome, request.generation)
            if is_new:
                self._births.write(individual, request.generation)
        for individual, values in zip(individuals, self._values(individuals), strict=True):
            individual.fitness.values = values
        failed = [o.measurement.reason for o in outcomes if o.measurement.failed]
        self.n_mapped += n if is_new else 0
        self.counters.evaluations += n
        self.counters.rescored += 0 if is_new else n
        self.counters.training_samples += n * task.step_samples if request.train else 0
        self.counters.failed += len(failed)
        self._failures.update(failed if is_new else ())
        if self._failures.total() > max(self._n_first, self.n_mapped) // 2 > 0:
            raise _too_many([*self._failures.elements()], self.n_mapped, self.generation)

    def _clone(self, function: Callable[..., Any], individual: Any) -> Any:
        clone = function(individual)
        if isinstance(clone, Genome):
            del clone.fitness.values  # type: ignore[attr-defined]
            clone.measurement = clone.batch = None  # type: ignore[attr-defined]
            self._births.begin(clone)
        return clone

    def _map(
        self,
        function: Callable[..., Any],
        called: Callable[..., Any],
        *iterables: Iterable[Any],
        **options: Any,
    ) -> Any:
        if called is not getattr(self, "evaluate", None):
            return function(called, *iterables, **options)
        individuals = list(iterables[0])
        if self._resumed and not individuals:
            self._resumed = False  # a loop's start, with a population that was evaluated before
            return []
        self.generation += 1
        self.n_mapped = len(individuals)
        self._n_measured = 0
        self._n_first = self._n_first or len(individuals)
        # A loop may vary a few individuals only, of whom one or two may fail.
        self._measure(individuals, n_failures=max(self._n_first, len(individuals)) // 2)
        for individual in individuals:
            self._births.write(individual, self.generation)
        values = self._values(individuals)
        seed_stream(self.evaluator.seed, self.generation + 1)
        return values

    def _values(self, individuals: Sequence[Any]) -> list[tuple[float, ...]]:
        """Return fitness values through the registered ``evaluate``, decorations included."""
        self._ready = {id(individual) for individual in individuals}
        try:
            return [self.evaluate(individual) for individual in individuals]
        finally:
            self._ready = set()

    def _select(
        self, function: Callable[..., Any], individuals: Sequence[Any], k: int, **options: Any
    ) -> Any:
        self._refuse_permutation(function, len(individuals), k)
        stale = {id(i): i for i in individuals if i.fitness.valid and self.is_stale(i)}
        if stale:
            survivors = list(stale.values())
            self.counters.rescored += len(survivors)
            with _kept_streams():
                self._measure(survivors, train=not self.evaluator.task.inherit)
                found = self._values(survivors)
            for individual, values in zip(survivors, found, strict=True):
                individual.fitness.values = values
        if bare(function) in _BY_DOMINANCE:
            # Mu + lambda's mere copies are the very same objects, and would crowd out the rest.
            distinct = list({id(i): i for i in individuals}.values())
            individuals = distinct if len(distinct) >= k else individuals
        return function(without_failed(individuals, k), k, **options)

    def _refuse_permutation(self, function: Callable[..., Any], n: int, k: int) -> None:
        """Refuse to select all of n again and again; once is how DEAP assigns crowding."""
        chooses = bare(function) in _BY_DOMINANCE and k == n
        self._permutations = self._permutations + 1 if chooses else 0
        if self._permutations >= 2:
            raise SelectionError(
                f"{bare(function).__name__} was asked for {k} of {n} individuals twice running, "
                "which selects nothing: use eaMuPlusLambda, or eaMuCommaLambda with lambda_ > mu; "
                "eaSimple suits selection='roulette' or 'tournament'"
            )

    def _measure(
        self, individuals: Sequence[Any], *, train: bool = True, n_failures: int | None = None
    ) -> None:
        """Measure individuals on the current batch and attach what was found (in place).

        With more than ``n_failures`` that fail nothing is attached or recorded, so that they are
        measured again when the search goes on.
        """
        generation = max(self.generation, 0)
        task = self.evaluator.task
        genomes = [individual.plain() for individual in individuals]
        first = first_equal(genomes, by_content=task.train_steps > 0)
        unique = sorted(set(first))
        asked = Asked(
            generation, train, tuple(self._key(genomes[i]) for i in unique if self.recorder)
        )
        known = None
        if self.recorder is not None and None not in asked.keys and not task.inherit:
            known = self.recorder.recall(asked)
        if known is not None:
            outcomes = dict(zip(unique, map(Outcome, known), strict=True))
        else:
            # Seeds take their time, so only those are made that are used.
            seeds = self._seeds(unique)
            found = self.evaluator.measure(
                [genomes[i] for i in unique],
                generation,
                seeds,
                train=train,
                map_function=self._workers_map,
                crew=self.crew,
            )
            outcomes = dict(zip(unique, found, strict=True))
        failed = [r.reason for i in first if (r := outcomes[i].measurement).failed]
        if n_failures is not None and len(failed) > n_failures:
            raise _too_many(failed, len(individuals), generation)
        if self.recorder is not None:
            self.recorder.record(asked, [outcomes[i].measurement for i in unique])
        self._n_measured += len(individuals)
        self.counters.evaluations += len(unique)
        self.counters.training_samples += len(unique) * task.step_samples if train else 0
        self.counters.duplicates += len(individuals) - len(unique)
        self.counters.failed += len(failed)
        for individual, index in zip(individuals, first, strict=True):
            self._attach(individual, outcomes[index], generation)

    def _attach(self, individual: Any, outcome: Outcome, generation: int) -> None:
        """Give an individual what was found on a generation's batch (in place)."""
        individual.measurement = outcome.measurement
        individual.batch = self.evaluator.batch_id(generation)
        if outcome.arrays is not None and isinstance(individual, MaskGenome):
            individual.rebind(individual.masks, outcome.arrays)

    def _request(self, individuals: Sequence[Any]) -> Request:
        """Return what is asked of the current generation; who has a measurement trains no more."""
        generation, task = max(self.generation, 0), self.evaluator.task
        train = individuals[0].measurement is None or not task.inherit
        seeds = self._seeds(range(len(individuals)))
        self._n_measured += len(individuals)
        return Request([i.plain() for i in individuals], seeds, generation, train)

    def _seeds(self, indices: Iterable[int]) -> list[int]:
        """Return the seeds of training, of individuals at these indices among those that follow."""
        evaluator, generation = self.evaluator, max(self.generation, 0)
        if not evaluator.task.train_steps:
            return [0 for _ in indices]
        return [training_seed(evaluator.seed, generation, self._n_measured + i) for i in indices]

    def _key(self, genome: Genome) -> str | None:
        """Return a genome's key as text; None where hashing would take longer than measuring."""
        cheap = not isinstance(genome, WeightGenome) or self.evaluator.task.train_steps > 0
        return genome.key().hex() if cheap else None

    @property
    def _workers_map(self) -> Callable[..., Any] | None:
        registered = self.map
        if registered.func.function is map:
            return None
        return partial(registered.func.function, **registered.keywords)


def _too_many(reasons: Sequence[str], n: int, generation: int) -> EvaluationError:
    """Return the error of a generation of n of which too many have failed, for these reasons."""
    reason, n_of_it = Counter(reasons).most_common(1)[0]
    return EvaluationError(
        f"generation {generation}: {len(reasons)} of {n} children failed, more than half; "
        f"{n_of_it} of them: {reason}"
    )


class _Bounded:
    """A registered function behind a boundary: ``boundary(function, *args)``."""

    def __init__(self, boundary: Callable[..., Any], function: Callable[..., Any]) -> None:
        self.boundary, self.function = boundary, function
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kargs: Any) -> Any:
        return self.boundary(self.function, *args, **kargs)


@contextmanager
def _kept_streams() -> Iterator[None]:
    """Put `random` and `numpy.random` back at the end, whatever a user's functions drew."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
