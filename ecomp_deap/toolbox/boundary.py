"""`Toolbox`: a DEAP toolbox with a generation boundary.

DEAP's loops know nothing of batches and seeds. So whatever is registered as ``map``, ``select``
and ``clone`` is called from behind a boundary that does.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from deap import base, tools
from torch import nn

from ecomp_deap.errors import EvaluationError, SelectionError
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.workers import Crew
from ecomp_deap.fitness import Fitness
from ecomp_deap.genomes import Genome, MaskGenome, WeightGenome
from ecomp_deap.measurement import Measurement
from ecomp_deap.operators import check_pairing, selNSGA2
from ecomp_deap.operators.selection import bare
from ecomp_deap.seeding import seed_stream, training_seed
from ecomp_deap.threads import torch_threads

__all__ = ["Asked", "Counters", "Recorder", "Toolbox"]

_BY_DOMINANCE = (selNSGA2, tools.selNSGA2, tools.selNSGA3, tools.selSPEA2)


@dataclass(frozen=True)
class Asked:
    """What a recorder is asked, and told of: the measuring of some genomes.

    Attributes:
        generation: On whose batch they are measured.
        train: Whether they take their gradient steps.
        keys: Of the genomes, see `Genome.key`, in hexadecimal; None where it was not computed.
    """

    generation: int
    train: bool
    keys: tuple[str | None, ...]


class Recorder(Protocol):
    """Keeps measurements, so that a search can be replayed to where it was."""

    def recall(self, asked: Asked) -> Sequence[Measurement] | None:
        """Return what was found for these genomes, in order; None where that is not known."""

    def record(self, asked: Asked, found: Sequence[Measurement]) -> None:
        """Keep what was found, or compare it with what was found before."""


@dataclass
class Counters:
    """What a toolbox has done so far.

    Attributes:
        evaluations: Children measured, in all.
        rescored: Of these, survivors measured again because the batch had changed.
        duplicates: Individuals that got the measurement of an equal genome instead.
        failed: Children that could not be measured.
        training_samples: Samples of all gradient steps, counted for each child that takes them.
    """

    evaluations: int = 0
    rescored: int = 0
    duplicates: int = 0
    failed: int = 0
    training_samples: int = 0


class Toolbox(base.Toolbox):
    """A DEAP toolbox with a generation boundary; made by `make_toolbox`.

    - The n-th ``map(toolbox.evaluate, …)`` is generation n: it fixes the batch, measures the
      individuals, attaches their ``measurement``, and seeds `random` and `numpy.random` for the
      next generation at its end.
    - ``select`` first scores again whoever was scored on an earlier batch. It is given no child
      that failed, as long as there is a sound one.
    - ``clone`` invalidates the fitness, so that clones are scored anew.

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
        self._resumed = False
        self._ready: set[int] = set()
        self._n_measured = 0
        self._n_first = 0
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
        if not isinstance(registered.func, _Bounded):
            super().decorate(alias, *decorators)
            return
        function = registered.func.function
        for decorator in decorators:
            function = decorator(function)
        self.register(alias, function, **registered.keywords)

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

    def _clone(self, function: Callable[..., Any], individual: Any) -> Any:
        clone = function(individual)
        if isinstance(clone, Genome):
            del clone.fitness.values  # type: ignore[attr-defined]
            clone.measurement = clone.batch = None  # type: ignore[attr-defined]
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
        current = self.evaluator.batch_id(max(self.generation, 0))
        stale = {id(i): i for i in individuals if i.batch != current and i.fitness.valid}
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
        return function(_without_failed(individuals, k), k, **options)

    def _refuse_permutation(self, function: Callable[..., Any], n: int, k: int) -> None:
        """Refuse to select all of n again and again; once is how DEAP assigns crowding."""
        chooses = bare(function) in _BY_DOMINANCE and k == n
        self._permutations = self._permutations + 1 if chooses else 0
        if self._permutations >= 2:
            raise SelectionError(
                f"{bare(function).__name__} was asked for {k} of {n} individuals twice running, "
                "which selects nothing: use deap.algorithms.eaMuPlusLambda, which selects among "
                "parents and offspring, or lambda_ > mu with eaMuCommaLambda; eaSimple suits "
                "selection='roulette' or 'tournament' with loss_weights"
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
        first = _first_equal(genomes, by_content=task.train_steps > 0)
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
            seeds = [
                training_seed(self.evaluator.seed, generation, self._n_measured + i)
                if task.train_steps
                else 0
                for i in unique
            ]
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
            reason, n = Counter(failed).most_common(1)[0]
            raise EvaluationError(
                f"generation {generation}: {len(failed)} of {len(individuals)} children failed, "
                f"more than half; {n} of them: {reason}"
            )
        if self.recorder is not None:
            self.recorder.record(asked, [outcomes[i].measurement for i in unique])
        self._n_measured += len(individuals)
        self.counters.evaluations += len(unique)
        self.counters.training_samples += len(unique) * task.step_samples if train else 0
        self.counters.duplicates += len(individuals) - len(unique)
        self.counters.failed += len(failed)
        for individual, index in zip(individuals, first, strict=True):
            outcome = outcomes[index]
            individual.measurement = outcome.measurement
            individual.batch = self.evaluator.batch_id(generation)
            if outcome.arrays is not None and isinstance(individual, MaskGenome):
                individual.rebind(individual.masks, outcome.arrays)

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


def _without_failed(individuals: Sequence[Any], k: int) -> Sequence[Any]:
    """Return what to select k from: no child that failed, as long as there is a sound one.

    Where fewer than k are sound, each is there several times, as often as the others.
    """
    sound = [i for i in individuals if i.measurement is None or not i.measurement.failed]
    if not sound or len(sound) == len(individuals):
        return individuals
    return sound * math.ceil(k / len(sound))


def _first_equal(genomes: Sequence[Genome], *, by_content: bool) -> list[int]:
    """Return for each genome the index of the first equal one.

    Masks and widths are cheap to compare. Weights are hashed only if children train, which costs
    far more.
    """
    seen: dict[bytes, int] = {}
    first = []
    for i, genome in enumerate(genomes):
        cheap = not isinstance(genome, WeightGenome) and getattr(genome, "arrays", None) is None
        first.append(seen.setdefault(genome.key(), i) if cheap or by_content else i)
    return first
