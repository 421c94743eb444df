"""The one place where DEAP's creator and toolbox receive our types and operators.

`make_toolbox` returns a DEAP toolbox whose ``map``, ``select`` and ``clone`` pass through the
generation boundary, whatever a user registers there, so that DEAP's own algorithms score everyone
on the same fresh batch and give the same result for the same seed.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from deap import base, creator, tools
from torch import nn

from ecomp_deap.errors import SelectionError, argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.fitness import Fitness, ParetoFitness, WeightedFitness
from ecomp_deap.genomes import Genome, MaskGenome, WeightGenome
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.operators import (
    check_pairing,
    cxCutoff,
    cxUniformUnits,
    initial_rates,
    mutFlipUnits,
    mutScaleWeights,
    prune_masks,
    pruned_mask_genome,
    pruned_weight_genome,
    random_masks,
)
from ecomp_deap.operators.initialisation import HIGHEST_RATE, LOWEST_RATE
from ecomp_deap.operators.selection import SCALAR_SELECTIONS, make_selection
from ecomp_deap.seeding import (
    POPULATION_STREAM,
    draw_generator,
    generator,
    seed_stream,
    training_seed,
)
from ecomp_deap.task import Task

__all__ = ["Counters", "Toolbox", "make_toolbox"]

DEFAULT_LOSS_WEIGHTS = (1.0, 2.0, 1.0)


@dataclass
class Counters:
    """What a toolbox has done so far.

    Attributes:
        evaluations: Children measured, in all.
        rescored: Of these, survivors measured again because the batch had changed.
        duplicates: Individuals that got the measurement of an equal genome instead.
        failed: Children that could not be measured.
    """

    evaluations: int = 0
    rescored: int = 0
    duplicates: int = 0
    failed: int = 0


def _create_once(name: str, base_class: type, **attributes: Any) -> type[Any]:
    """Return DEAP's creator class ``name``, created if need be, never rebound.

    Raises:
        RuntimeError: The name is taken by something else.
    """
    existing = getattr(creator, name, None)
    if existing is None:
        creator.create(name, base_class, **attributes)
        return getattr(creator, name)
    if _recipe(existing) != (name, base_class, _recipes(attributes)):
        raise RuntimeError(f"deap.creator.{name} exists already and is something else")
    return existing


def _recipe(value: Any) -> Any:
    """Return what a creator class was made from; anything else stands for itself.

    Unpickling an individual rebinds creator's names to new classes of the same recipe.
    """
    made_from = getattr(value, "reduce_args", None)
    return value if made_from is None else (*made_from[:2], _recipes(made_from[2]))


def _recipes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _recipe(value) for name, value in attributes.items()}


def _individual_class(genome_class: type[Genome], signs: Sequence[float]) -> type[Any]:
    """Return the individual type for a genome and the signs of its fitness."""
    suffix = "".join("Max" if sign > 0 else "Min" for sign in signs)
    fitness = _create_once(f"EcompFitness{suffix}", base.Fitness, weights=tuple(signs))
    name = f"Ecomp{genome_class.__name__}{suffix}"
    return _create_once(name, genome_class, fitness=fitness, measurement=None, batch=None)


_GENOMES: dict[str, type[Genome]] = {"mask": MaskGenome, "weights": WeightGenome}
# The usual types exist from import on, so that pickles of them can be read.
for _genome_class in _GENOMES.values():
    for _signs in ((1.0,), (1.0, -1.0), (1.0, -1.0, -1.0)):
        _individual_class(_genome_class, _signs)


class Toolbox(base.Toolbox):
    """A DEAP toolbox with a generation boundary; made by `make_toolbox`.

    - The n-th ``map(toolbox.evaluate, …)`` is generation n: it fixes the batch, measures the
      individuals, attaches their ``measurement``, and seeds `random` and `numpy.random` for the
      next generation at its end.
    - ``select`` first scores again whoever was scored on an earlier batch.
    - ``clone`` invalidates the fitness, so that clones are scored anew.

    Attributes:
        evaluator: The `Evaluator` behind ``evaluate``.
        fitness: How measurements become fitness values.
        individual_class: The DEAP type of its individuals.
        generation: Number of the current generation, −1 before the first.
        counters: What was done so far.
    """

    def __init__(self, evaluator: Evaluator, fitness: Fitness, individual_class: type[Any]) -> None:
        self.evaluator = evaluator
        self.fitness = fitness
        self.individual_class = individual_class
        self.generation = -1
        self.counters = Counters()
        self._ready: set[int] = set()
        self._n_measured = 0
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
        self.generation += 1
        self._n_measured = 0
        self._measure(individuals)
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
        return function(individuals, k, **options)

    def _refuse_permutation(self, function: Callable[..., Any], n: int, k: int) -> None:
        """Refuse to select all of n again and again; once is how DEAP assigns crowding."""
        chooses = function in (tools.selNSGA2, tools.selNSGA3, tools.selSPEA2)
        self._permutations = self._permutations + 1 if chooses and k == n else 0
        if self._permutations >= 2:
            raise SelectionError(
                f"{function.__name__} was asked for {k} of {n} individuals twice running, which "
                "selects nothing: use deap.algorithms.eaMuPlusLambda, which selects among parents "
                "and offspring, or lambda_ > mu with eaMuCommaLambda; eaSimple suits "
                "selection='roulette' or 'tournament' with loss_weights"
            )

    def _measure(self, individuals: Sequence[Any], *, train: bool = True) -> None:
        """Measure individuals on the current batch and attach what was found (in place)."""
        generation = max(self.generation, 0)
        task = self.evaluator.task
        genomes = [individual.plain() for individual in individuals]
        first = _first_equal(genomes, by_content=task.train_steps > 0)
        unique = sorted(set(first))
        seeds = [
            training_seed(self.evaluator.seed, generation, self._n_measured + i) for i in unique
        ]
        outcomes = dict(
            zip(
                unique,
                self.evaluator.measure(
                    [genomes[i] for i in unique],
                    generation,
                    seeds,
                    train=train,
                    map_function=self._workers_map,
                ),
                strict=True,
            )
        )
        self._n_measured += len(individuals)
        self.counters.evaluations += len(unique)
        self.counters.duplicates += len(individuals) - len(unique)
        for individual, index in zip(individuals, first, strict=True):
            outcome = outcomes[index]
            self.counters.failed += outcome.measurement.failed
            individual.measurement = outcome.measurement
            individual.batch = self.evaluator.batch_id(generation)
            if outcome.arrays is not None and isinstance(individual, MaskGenome):
                individual.rebind(individual.masks, outcome.arrays)

    @property
    def _workers_map(self) -> Callable[..., Any]:
        registered = self.map
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


def _first_equal(genomes: Sequence[Genome], *, by_content: bool) -> list[int]:
    """Return for each genome the index of the first equal one.

    Masks are cheap to compare. Weights are hashed only if children train, which costs far more.
    """
    seen: dict[bytes, int] = {}
    first = []
    for i, genome in enumerate(genomes):
        cheap = isinstance(genome, MaskGenome) and genome.arrays is None
        first.append(seen.setdefault(genome.key(), i) if cheap or by_content else i)
    return first


def make_toolbox(
    task: Task,
    *,
    genome: str = "mask",
    selection: str | None = None,
    objectives: Sequence[str] | None = None,
    loss_weights: Sequence[float] | None = None,
    initialisation: str = "l1",
    recombination_layers: Sequence[str] | None = None,
    flip_probability: float = 0.02,
    seed: int = 0,
    block_size: int = 50,
    threads: int = 1,
) -> Toolbox:
    """Return a DEAP toolbox that evolves children of ``task.parent``.

    It has ``individual``, ``population``, ``mate``, ``mutate``, ``select``, ``evaluate``,
    ``map``, ``clone`` and ``compile``, each of which can be registered anew.

    Args:
        task: What is asked.
        genome: ``"mask"`` (one bit per unit) or ``"weights"`` (the original EComp's).
        selection: Pareto: ``"nsga2"`` (default), ``"nsga3"``, ``"spea2"``; weighted:
            ``"roulette"`` (default with ``loss_weights``), ``"tournament"``.
        objectives: Pareto fitness: the metric's name and of similarity_loss, relative_width,
            param_count, mac_count; by default the metric, similarity_loss and param_count.
        loss_weights: Weighted fitness: (accuracy, similarity, compression), by default (1, 2, 1).
        initialisation: ``"l1"``: evenly spaced rates from 0.1 to 0.8 of the units with the
            smallest incoming weights are pruned; ``"random"``: the same rates, random units.
        recombination_layers: With weights: the layers that are crossed and mutated, by default
            all.
        flip_probability: With masks: the probability that mutation flips a unit's bit.
        seed: The run's seed.
        block_size: Children measured together.
        threads: Torch threads to measure with; more than one seldom pays for small networks,
            and costs much where other processes want the cores.

    Raises:
        SelectionError: A selection that does not suit the fitness, naming one that does.
        ArgumentError: Anything else out of range, before any evaluation.
    """
    if genome not in _GENOMES:
        raise argument_error("genome", f"one of {tuple(_GENOMES)}", genome)
    if initialisation not in ("l1", "random"):
        raise argument_error("initialisation", "'l1' or 'random'", initialisation)
    if genome == "mask" and recombination_layers is not None:
        raise argument_error(
            "recombination_layers", "genome='weights' to go with it", f"genome={genome!r}"
        )
    if genome == "weights" and task.inherit:
        raise argument_error("inherit", "genome='mask'; weight genomes vary by themselves", genome)
    fitness = _make_fitness(task, selection, objectives, loss_weights)
    evaluator = Evaluator(task, seed=seed, block_size=block_size, threads=threads)
    toolbox = Toolbox(evaluator, fitness, _individual_class(_GENOMES[genome], fitness.signs))
    toolbox.register("evaluate", toolbox.evaluate_individual)
    toolbox.register("compile", toolbox.compile_individual)
    default = "nsga2" if len(fitness.signs) > 1 else "roulette"
    select, options = make_selection(selection or default, len(fitness.signs))
    toolbox.register("select", select, **options)
    _register_variation(toolbox, recombination_layers, flip_probability)
    toolbox.register("individual", _make_individual, toolbox, initialisation)
    toolbox.register("population", _make_population, toolbox, initialisation)
    return toolbox


def _make_fitness(
    task: Task,
    selection: str | None,
    objectives: Sequence[str] | None,
    loss_weights: Sequence[float] | None,
) -> Fitness:
    if objectives is not None and loss_weights is not None:
        raise argument_error(
            "objectives and loss_weights",
            "one of them: objectives for a Pareto fitness, loss_weights for a weighted one",
            (objectives, loss_weights),
        )
    scalar = selection in SCALAR_SELECTIONS
    if loss_weights is not None or (scalar and objectives is None):
        weights: Any = DEFAULT_LOSS_WEIGHTS if loss_weights is None else loss_weights
        weights = tuple(weights) if isinstance(weights, Iterable) else weights
        return WeightedFitness(weights, task.metric)
    names = (task.metric.name, "similarity_loss", "param_count")
    return ParetoFitness(names if objectives is None else tuple(objectives), task.metric)


def _register_variation(
    toolbox: Toolbox, layers: Sequence[str] | None, flip_probability: float
) -> None:
    evaluator = toolbox.evaluator
    if issubclass(toolbox.individual_class, WeightGenome):
        known = [name.removesuffix(".weight") for name in evaluator.arrays if "weight" in name]
        for name in layers or ():
            if name not in known:
                raise argument_error("recombination_layers", f"names among {known}", name)
        toolbox.register("mate", cxCutoff, layers=layers)
        toolbox.register("mutate", mutScaleWeights, layers=layers)
        return
    if not 0 <= flip_probability <= 1:
        raise argument_error("flip_probability", "a number in [0, 1]", flip_probability)
    shared = {"structure": evaluator.structure, "parent_arrays": evaluator.arrays}
    toolbox.register("mate", cxUniformUnits, **shared)
    toolbox.register("mutate", mutFlipUnits, indpb=flip_probability, **shared)


def _make_individual(
    toolbox: Toolbox, initialisation: str, rate: float | None = None, rng: Any = None
) -> Any:
    """Return an individual pruned at ``rate``, by default a random one of the initial range."""
    rng = draw_generator() if rng is None else rng
    rate = float(rng.uniform(LOWEST_RATE, HIGHEST_RATE)) if rate is None else rate
    evaluator = toolbox.evaluator
    if initialisation == "l1":
        importance = l1_importance(evaluator.structure, evaluator.arrays)
        masks = prune_masks(evaluator.structure, importance, rate)
    else:
        masks = random_masks(evaluator.structure, rate, rng)
    cls = toolbox.individual_class
    if issubclass(cls, WeightGenome):
        return pruned_weight_genome(
            cls, masks, structure=evaluator.structure, arrays=evaluator.arrays
        )
    return pruned_mask_genome(cls, masks)


def _make_population(toolbox: Toolbox, initialisation: str, n: int) -> list[Any]:
    """Return n individuals pruned at evenly spaced rates; the same ones for the same seed."""
    if n < 1:
        raise argument_error("n", "at least 1 individual", n)
    rng = generator(toolbox.evaluator.seed, POPULATION_STREAM)
    return [_make_individual(toolbox, initialisation, rate, rng) for rate in initial_rates(n)]
