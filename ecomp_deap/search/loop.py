"""The loop of a search: DEAP's own, watched from the statistics that it asks for each generation.

The watch tells callbacks, saves, stops, and lets a loop go on from a save: there is no loop of
ours.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
from deap import algorithms, tools

from ecomp_deap.algorithms import eaSteadyState
from ecomp_deap.callbacks import Callback, as_callback
from ecomp_deap.checks import check_count, check_type
from ecomp_deap.errors import argument_error, named
from ecomp_deap.logbook import logbook_to_rows, statistics_of
from ecomp_deap.runs.state import State, streams
from ecomp_deap.search.archive import Archive
from ecomp_deap.search.front import hypervolume
from ecomp_deap.search.stopping import Progress, StopRule, objective_hypervolume
from ecomp_deap.toolbox import Toolbox

__all__ = ["StopSearch", "Watch", "check_rules", "run_loop", "watched"]


class StopSearch(Exception):
    """Leaves DEAP's loop after a generation; `run_loop` and `watched` catch it."""


class Watch:
    """Statistics that also tell a callback of each generation, under DEAP's own loops.

    Every stock loop calls ``compile`` exactly once a generation, when it is over.

    Args:
        toolbox: Of the search.
        first: The first population.
        n_generations: Generations after the first.
        callback: Told of each generation.
        state: What is gone on from, if anything.
        stop: Rules that may end the search early, see `stopping.py`.
        on_generation: Called after each generation but the one that was gone on from, with whether
            it is the last.

    Attributes:
        archive: The archive of the search, for ``halloffame``.
        population: Of the last generation.
        records: Of the logbook, one a generation, chapters as dictionaries.
        seconds: Of each generation.
        latency_ms: ``min``, ``mean`` and ``max`` of each generation's latencies, where measured.
        hypervolumes: Of the archive after each generation (of the population where there is none),
            if there are rules; the reference is the worst of the first population.
        front_hypervolumes: Of the population after each generation in error and size, as the
            figures of its batch are, see `hypervolume`; empty where no classes are told apart.
        incidents: What happened to workers in each generation, see `Incidents`, if there are any;
            None for a generation before the one that was gone on from.
        stopped: What the rule said that ended the search, None if none did.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        first: Sequence[Any],
        n_generations: int,
        callback: Callback,
        *,
        state: State | None = None,
        stop: Sequence[StopRule] = (),
        on_generation: Callable[["Watch", bool], None] | None = None,
    ) -> None:
        self._toolbox, self.n_generations = toolbox, n_generations
        self._callback, self._on_generation = callback, on_generation
        self._rules = tuple(stop)
        self.stopped: str | None = None
        self.hypervolumes: list[float] = [] if state is None else list(state.hypervolumes)
        self.front_hypervolumes = [] if state is None else list(state.front_hypervolumes)
        # Those of an older version's save would be too few.
        self._sized = toolbox.evaluator.n_classes > 1 and (
            state is None or bool(state.front_hypervolumes)
        )
        self._worst: list[float] | None = None if state is None else state.worst
        self._statistics = statistics_of(toolbox.evaluator.task)
        self._timed = toolbox.evaluator.limits.times
        evaluator = toolbox.evaluator
        whole = evaluator.cost_model(evaluator.structure.widths)
        self._parent_param_count = whole.param_count
        self._resumed = state
        self.fields = self._statistics.fields
        self.first = list(first if state is None else state.first)
        self.population = list(first if state is None else state.population)
        self.archive = Archive()
        self.records: list[dict[str, Any]] = [] if state is None else list(state.records)
        self.seconds: list[float] = [] if state is None else list(state.seconds)
        self.latency_ms: list[dict[str, float | None]] = (
            [] if state is None else list(state.latency_ms)
        )
        # Of a search that is gone on with, what happened before is not known.
        self.incidents: list[dict[str, int] | None] = [None for _ in self.records]
        self._incidents_before: dict[str, int] = {}
        self._last = time.perf_counter()

    def compile(self, population: Sequence[Any]) -> dict[str, Any]:
        """Return the statistics of a population; what DEAP's loops call."""
        if self._resumed is not None:
            return self._go_on(self._resumed)
        self.population = list(population)
        record = self._statistics.compile(population)
        n_varied = self._toolbox.n_mapped
        self.records.append({"gen": len(self.records), "nevals": n_varied, **record})
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        # Not in the logbook, which is the same whenever a search is repeated.
        found = [i.measurement.latency_ms for i in population if not i.measurement.failed]
        if self._timed:
            self.latency_ms.append(_range_of(found))
        if self._toolbox.crew is not None:
            self._add_incidents(asdict(self._toolbox.crew.incidents))
        if self._sized:
            self._add_front_hypervolume()
        if self._rules:
            self._add_hypervolume()
        generation = len(self.records) - 1
        row = logbook_to_rows(self.logbook_of(self.records[-1:]))[0]
        self._callback.on_generation(generation, self.n_generations, row)
        self._callback.on_front(generation, self._front_rows(), tuple(self.front_hypervolumes))
        self.stopped = self._reason_to_stop()
        last = generation == self.n_generations or self.stopped is not None
        if self._on_generation is not None:
            self._on_generation(self, last)
        if self.stopped is not None:
            raise StopSearch
        self._last = time.perf_counter()
        return record

    def _add_hypervolume(self) -> None:
        costs = np.array([[-value for value in i.fitness.wvalues] for i in self._best()])
        if self._worst is None and len(costs):
            self._worst = costs.max(axis=0).tolist()
        worst = self._worst
        self.hypervolumes.append(0.0 if worst is None else objective_hypervolume(costs, worst))

    def _add_incidents(self, counts: dict[str, int]) -> None:
        before = self._incidents_before
        self.incidents.append({name: n - before.get(name, 0) for name, n in counts.items()})
        self._incidents_before = counts

    def _front_rows(self) -> list[dict[str, float]]:
        """Return what a callback is told of the best, see `Callback.on_front`."""
        found = sorted((i.measurement for i in self._best()), key=lambda m: m.param_count)
        whole = self._parent_param_count
        return [{**m, "param_share": m.param_count / whole} for m in found]

    def _add_front_hypervolume(self) -> None:
        found = [i.measurement for i in self.population if _counts(i)]
        evaluator = self._toolbox.evaluator
        volume = hypervolume(
            [measurement.metric for measurement in found],
            [measurement.param_count for measurement in found],
            parent_param_count=self._parent_param_count,
            n_classes=evaluator.n_classes,
        )
        self.front_hypervolumes.append(volume)

    def _best(self) -> list[Any]:
        """Return the archive's individuals, or the population's, those that count."""
        found = list(self.archive) or self.population
        return [i for i in found if _counts(i)]

    def _reason_to_stop(self) -> str | None:
        """Return what the first rule says that has enough; None for none."""
        if not self._rules:
            return None
        progress = Progress(
            generation=len(self.records) - 1,
            seconds=sum(self.seconds),
            individuals=self._best(),
            hypervolumes=self.hypervolumes,
            maximise=self._toolbox.evaluator.task.metric.maximise,
        )
        reasons = (_asked(rule, progress) for rule in self._rules)
        return next((reason for reason in reasons if reason is not None), None)

    def state(self) -> State:
        """Return the state of the search after the last generation."""
        return State(
            generation=len(self.records) - 1,
            population=self.population,
            first=self.first,
            archive=list(self.archive),
            records=self.records,
            seconds=self.seconds,
            latency_ms=self.latency_ms,
            hypervolumes=self.hypervolumes,
            front_hypervolumes=self.front_hypervolumes,
            worst=self._worst,
            random=streams(),
            toolbox=self._toolbox.state(),
        )

    @property
    def logbook(self) -> tools.Logbook:
        """The logbook so far, as DEAP's loops return it at their end."""
        return self.logbook_of(self.records)

    def logbook_of(self, records: Sequence[Mapping[str, Any]]) -> tools.Logbook:
        """Return records as a logbook of DEAP's."""
        logbook = tools.Logbook()
        logbook.header = ["gen", "nevals", *self.fields]
        for record in records:
            logbook.record(**record)
        return logbook

    def _go_on(self, state: State) -> dict[str, Any]:
        """Begin with the generation that was saved: put all back that the loop's start changed."""
        self._resumed = None
        self.archive.items = list(state.archive)
        state.restore_streams()
        self.stopped = self._reason_to_stop()
        if self.stopped is not None:
            raise StopSearch
        self._last = time.perf_counter()
        return {name: state.records[-1][name] for name in self.fields}


def watched(
    toolbox: Toolbox,
    *,
    n_generations: int | None = None,
    stop: Sequence[StopRule] = (),
    callback: Callback | Sequence[Callback] | None = None,
) -> AbstractContextManager[Watch]:
    """Let a loop of DEAP's, or one of a user's, be watched and stopped: give it ``stats=watch``.

    A rule that stops the search ends the block; the watch has the last population and the logbook.

    Args:
        toolbox: From `make_toolbox`.
        n_generations: What callbacks are told; None where that is not known.
        stop: Rules that may end the search.
        callback: Told of each generation; or several.

    Raises:
        ArgumentError: An argument of another type or out of range.

    Example:
        with ed.watched(toolbox, stop=[ed.Stalled(10)]) as watch:
            algorithms.eaMuPlusLambda(..., stats=watch, halloffame=watch.archive)
        watch.population, watch.logbook, watch.stopped
    """
    check_type("toolbox", toolbox, Toolbox)
    n = 0 if n_generations is None else check_count("n_generations", n_generations, minimum=0)
    return _watched(Watch(toolbox, [], n, as_callback(callback), stop=check_rules(stop)))


def check_rules(stop: Any) -> tuple[StopRule, ...]:
    """Return stop rules as a tuple, which a generator of them does not survive twice."""
    expected = "a sequence of functions of a Progress"
    try:
        rules = tuple(stop)
    except TypeError:
        raise argument_error("stop", expected, stop) from None
    for rule in rules:
        # A class can be called too, but makes a rule of the progress it is given.
        if not callable(rule) or isinstance(rule, type):
            raise argument_error("stop", expected, rule)
    return rules


@contextmanager
def _watched(watch: Watch) -> Iterator[Watch]:
    with suppress(StopSearch):
        yield watch


def run_loop(
    watch: Watch, toolbox: Toolbox, rates: tuple[float, float], *, steady_state: bool = False
) -> None:
    """Run DEAP's own algorithm for the fitness at hand, until its end or `StopSearch`.

    Args:
        watch: Has what the loop begins with, and then what it ended with.
        toolbox: Of the search.
        rates: Of crossover and mutation.
        steady_state: Whether to run `eaSteadyState` instead.
    """
    crossover_rate, mutation_rate = rates
    # A list of its own, which eaSimple changes.
    individuals, size = list(watch.population), len(watch.population)
    left = watch.n_generations - max(len(watch.records) - 1, 0)
    options: dict[str, Any] = {"cxpb": crossover_rate, "mutpb": mutation_rate, "ngen": left}
    with suppress(StopSearch):
        if steady_state:
            eaSteadyState(
                individuals,
                toolbox,
                **options,
                stats=watch,
                halloffame=watch.archive,
                verbose=False,
            )
        elif toolbox.fitness.is_pareto:
            algorithms.eaMuPlusLambda(
                individuals,
                toolbox,
                mu=size,
                lambda_=size,
                **options,
                stats=watch,
                halloffame=watch.archive,
                verbose=False,
            )
        else:
            # The last generation alone is what a weighted search ends with, as in the original. It
            # may have no child within the limits, so that the best of all is kept where there are
            # some.
            algorithms.eaSimple(
                individuals,
                toolbox,
                **options,
                stats=watch,
                halloffame=watch.archive if toolbox.evaluator.task.limits else None,
                verbose=False,
            )


def _asked(rule: StopRule, progress: Progress) -> str | None:
    """Return what a rule says, which may be a user's function.

    Raises:
        ArgumentError: It says neither why to stop nor None, or raises an error.
    """
    expected = "a function of a Progress that returns why to stop, or None"
    try:
        reason: Any = rule(progress)
    except Exception as error:
        raise argument_error("stop", expected, named(error)) from error
    if reason is not None and not isinstance(reason, str):
        raise argument_error("stop", expected, reason)
    return reason


def _counts(individual: Any) -> bool:
    """Return whether an individual did not fail and keeps the limits."""
    return not individual.measurement.failed and individual.measurement.violation == 0


def _range_of(figures: Sequence[float]) -> dict[str, float | None]:
    """Return the figures' ``min``, ``mean`` and ``max``, each None if there are no figures."""
    if not figures:
        return dict.fromkeys(("min", "mean", "max"))
    return {"min": min(figures), "mean": fmean(figures), "max": max(figures)}
