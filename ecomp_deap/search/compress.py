"""`compress` and `evolve`: from a task or a toolbox to a front of finished children."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from deap import tools

from ecomp_deap.callbacks import Callback, as_callback
from ecomp_deap.checks import check_count, check_flag, check_path, check_type
from ecomp_deap.defaults import (
    FINALISE_COUNT,
    FINALISE_EPOCHS,
    GENERATIONS,
    HIGHEST_RATE,
    POPULATION,
    variation_rates,
)
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.workers import Workers, opened
from ecomp_deap.exports.tensors import tensors_sha256
from ecomp_deap.genomes import WeightGenome
from ecomp_deap.interrupts import Interrupts
from ecomp_deap.logbook import logbook_to_rows
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe, check_finalising
from ecomp_deap.runs.checkpoints import Checkpoints
from ecomp_deap.runs.choosing import knee, most_accurate_under, smallest_within
from ecomp_deap.runs.description import describe, describe_settings
from ecomp_deap.search.filling import fill
from ecomp_deap.search.finish import Child, Finisher
from ecomp_deap.search.loop import Watch, check_rules, run_loop
from ecomp_deap.search.stopping import StopRule
from ecomp_deap.task import Metric, Task, check_task
from ecomp_deap.threads import torch_threads
from ecomp_deap.toolbox import Toolbox, make_toolbox

__all__ = ["Result", "check_finish", "compress", "evolve"]


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        front: The non-dominated children, from the smallest to the largest.
        best: For a weighted fitness the child with the highest one; for a Pareto fitness the
            smallest child whose validation metric is worse than the parent's by at most the
            metric's tolerance (0.01 for accuracy), or the most accurate one if there is none.
        parent: The parent, scored like a child.
        logbook: DEAP's logbook, one record a generation.
        population: The final population.
        toolbox: The toolbox that was used.
        training_samples: Samples of all gradient steps of all children, in ``search`` and
            ``finalise``: one sample in one step of one child counts one.
        seconds: ``search`` (evolution and scoring) and ``finalise`` (longer training, scoring
            again, and the test).
        generation_seconds: Wall-clock time of each generation.
        generation_latency_ms: ``min``, ``mean`` and ``max`` of the latency of each generation's
            children that did not fail; empty where latency was not measured.
        generation_hypervolumes: Of each generation's population in error and size, see
            `ecomp_deap.search.front.hypervolume`; empty where no classes are told apart.
        generation_incidents: What happened to workers in each generation, see `Incidents`; None
            where that is not known, as the search was gone on with, and empty without workers.
        stopped: What the rule said that ended the search; None if none did.
        incidents: What happened to workers, and how often, see `Incidents`; empty without any.
        settings: What was asked of the search, by name, in JSON's types.
    """

    front: list[Child]
    best: Child
    parent: Child
    logbook: tools.Logbook
    population: list[Any] = field(repr=False)
    toolbox: Toolbox = field(repr=False)
    training_samples: Mapping[str, int]
    seconds: Mapping[str, float]
    generation_seconds: Sequence[float] = field(repr=False)
    generation_latency_ms: Sequence[Mapping[str, float | None]] = field(repr=False, default=())
    generation_hypervolumes: Sequence[float] = field(repr=False, default=())
    generation_incidents: Sequence[Mapping[str, int] | None] = field(repr=False, default=())
    stopped: str | None = None
    incidents: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def __str__(self) -> str:
        """Return what was found, in a sentence."""
        best, parent, metric = self.best, self.parent, self._metric.name
        samples = "validation" if best.test is None else "test"
        own, whole = (c.validation.metric if c.test is None else c.test for c in (best, parent))
        count, of = best.validation.param_count, parent.validation.param_count
        return (
            f"{len(self.front)} children; the best, {best.id}, has {count:,d} of {of:,d} "
            f"parameters ({count / of:.1%}) and {metric} {own:.4g} on {samples} data (the parent "
            f"{whole:.4g})"
        )

    def save(self, folder: str | Path) -> Path:
        """Write a run's folder, as the command leaves one, and return its path.

        ``ecomp-deap show``, ``report``, ``compare`` and ``export`` take it, and ``list`` finds it.
        It holds the front, the logbook, and every child with its figures; ``ecomp-deap report``
        draws what is to be seen. It cannot be searched on, see ``checkpoint`` of `evolve`.

        Args:
            folder: A new one, or an empty one.

        Raises:
            DataError: It holds something, or cannot be written.
            ArgumentError: Parent or children are of a class that no file can hold, see `export`.
        """
        # Here, as files of results are made of results.
        from ecomp_deap.search.run_files import save_result

        return save_result(self, check_path("folder", folder))

    @property
    def knee(self) -> Child:
        """The child where a little more of accuracy or of size costs much of the other.

        See `ecomp_deap.search.knee`.
        """
        return self.front[knee(*self._figures, maximise=self._metric.maximise)]

    def smallest_within(self, points: float) -> Child:
        """Return the smallest child whose metric is at most ``points`` worse than the parent's.

        Raises:
            ArgumentError: There is none; the message has the one that comes nearest.
        """
        index = smallest_within(
            points,
            *self._figures,
            parent_value=self.parent.validation.metric,
            maximise=self._metric.maximise,
        )
        return self.front[index]

    def most_accurate_under(self, param_count: int) -> Child:
        """Return the child with the best metric of those with ``param_count`` parameters at most.

        Raises:
            ArgumentError: There is none; the message has the one that comes nearest.
        """
        index = most_accurate_under(param_count, *self._figures, maximise=self._metric.maximise)
        return self.front[index]

    def digest(self) -> str:
        """Return the SHA-256 of the logbook, the front with its tensors, and all genomes.

        The same whenever a search is repeated on the same machine, in however many pieces, unless
        latency is measured.
        """
        found = hashlib.sha256(repr(logbook_to_rows(self.logbook)).encode())
        for child in self.front:
            found.update(repr(child.as_row()).encode())
            found.update(tensors_sha256(child.module).encode())
        for individual in self.population:
            found.update(individual.key())
        return found.hexdigest()

    @property
    def _metric(self) -> Metric:
        return self.toolbox.evaluator.task.metric

    @property
    def _figures(self) -> tuple[list[float], list[int]]:
        """What children are chosen by: metric on the validation data, and parameters."""
        found = [child.validation for child in self.front]
        return [f.metric for f in found], [f.param_count for f in found]


def compress(
    task: Task,
    *,
    genome: str = "mask",
    selection: str | None = None,
    objectives: Sequence[str] | None = None,
    loss_weights: Sequence[float] | None = None,
    importance: str = "l1",
    highest_rate: float = HIGHEST_RATE,
    recombination_layers: Sequence[str] | None = None,
    mutation: str | None = None,
    learnt: str | None = None,
    population: int = POPULATION,
    generations: int = GENERATIONS,
    crossover_rate: float | None = None,
    mutation_rate: float | None = None,
    steady_state: bool = False,
    finalise_count: int = FINALISE_COUNT,
    finalise_epochs: int = FINALISE_EPOCHS,
    finalise_trials: int = 0,
    finalise_sizes: Sequence[int] | None = None,
    finalise_recipe: Recipe = FINALISE_RECIPE,
    seed: int = 0,
    engine: str = "auto",
    threads: int | None = None,
    workers: int | Executor | Workers | None = None,
    timeout_s: float | None = None,
    stop: Sequence[StopRule] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    callback: Callback | Sequence[Callback] | None = None,
) -> Result:
    """Evolve smaller versions of ``task.parent`` and return the front.

    `make_toolbox` and `evolve` in one; they say more of each option.

    Args:
        task: What is asked: parent, data, how children are evaluated, limits.
        genome: What evolves: ``"mask"`` (a bit per unit), ``"width"`` (a number of units per group)
            or ``"weights"`` (as in the original EComp).
        selection: ``"nsga2"`` (default), ``"nsga3"`` or ``"spea2"`` by objectives; ``"roulette"``
            or ``"tournament"`` by loss weights.
        objectives: Two or more of the metric's name, similarity_loss, relative_width, param_count,
            mac_count, size_bytes, latency_ms and the task's own costs; by default the metric,
            similarity_loss and param_count.
        loss_weights: Instead, for one value: weights of accuracy, similarity and compression.
        importance: Which units go first in the first population: ``"l1"``, ``"l2"``,
            ``"variance"``, ``"taylor"``, ``"similarity"``, ``"reconstruction"``, ``"random"``.
        highest_rate: The largest share of units that the first population is pruned by.
        recombination_layers: With weights: the layers that evolve, by default all.
        mutation: How children mutate, see `make_toolbox`.
        learnt: With ``inherit``: where children take weights from that both mates have learnt.
        population: Individuals in a generation.
        generations: Generations after the initial one.
        crossover_rate: Share of a generation that is crossed over.
        mutation_rate: Share of a generation that is mutated.
        steady_state: Whether no worker waits for a slower one's child, see `evolve`.
        finalise_count: Children that are trained longer at the end, spread by size.
        finalise_epochs: Passes over the search data of that training.
        finalise_trials: Children that train for a sixth of these first, to choose who trains on.
        finalise_sizes: Numbers of parameters wanted, for which half of that training is.
        finalise_recipe: How these children train.
        seed: Same seed, same result.
        engine: What measures children: ``"auto"``, ``"batched"``, ``"loop"`` or ``"masked"``.
        threads: Threads that measure, by default as many as prove fastest.
        workers: Who measures children, see `make_toolbox`; or a number of processes on this
            machine, which are ended with the search. The final training is done in this process.
        timeout_s: Seconds that a worker may take for a block of children before another gets it.
        stop: Rules that may end the search early: `TimeBudget`, `TargetMet`, `Stalled`, or yours.
        checkpoint: A folder to save the search in while it runs.
        resume: Whether to go on from what that folder holds, if it holds anything.
        callback: Told of every generation and phase, such as `progress_on`; or several.

    Raises:
        EcompError: As `make_toolbox` and `evolve`, before any work is done.
    """
    check_task(task)
    with opened(workers) as found:
        toolbox = make_toolbox(
            task,
            genome=genome,
            selection=selection,
            objectives=objectives,
            loss_weights=loss_weights,
            importance=importance,
            highest_rate=highest_rate,
            recombination_layers=recombination_layers,
            mutation=mutation,
            learnt=learnt,
            seed=seed,
            engine=engine,
            threads=threads,
            workers=found,
            timeout_s=timeout_s,
        )
        return evolve(
            toolbox,
            population=population,
            generations=generations,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
            steady_state=steady_state,
            finalise_count=finalise_count,
            finalise_epochs=finalise_epochs,
            finalise_trials=finalise_trials,
            finalise_sizes=finalise_sizes,
            finalise_recipe=finalise_recipe,
            stop=stop,
            checkpoint=checkpoint,
            resume=resume,
            callback=callback,
        )


def evolve(
    toolbox: Toolbox,
    *,
    population: int = POPULATION,
    generations: int = GENERATIONS,
    crossover_rate: float | None = None,
    mutation_rate: float | None = None,
    steady_state: bool = False,
    finalise_count: int = FINALISE_COUNT,
    finalise_epochs: int = FINALISE_EPOCHS,
    finalise_trials: int = 0,
    finalise_sizes: Sequence[int] | None = None,
    finalise_recipe: Recipe = FINALISE_RECIPE,
    stop: Sequence[StopRule] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    callback: Callback | Sequence[Callback] | None = None,
    interrupts: Interrupts | None = None,
) -> Result:
    """Do the whole job with a toolbox: evolve, score, finalise, test.

    A Pareto fitness runs through DEAP's `eaMuPlusLambda`, a weighted one through its `eaSimple`;
    what was registered anew in the toolbox is used.

    Args:
        toolbox: From `make_toolbox`; it has not evaluated anyone yet.
        population: Individuals in a generation.
        generations: Generations after the initial one.
        crossover_rate: See `ecomp_deap.defaults.variation_rates` for the default.
        mutation_rate: Likewise.
        steady_state: Whether to run `eaSteadyState` instead, with a Pareto fitness: no worker waits
            for a child that takes longer than others, and with workers nothing is reproducible to
            the last bit. What is saved is gone on from, without the children that were on their
            way.
        finalise_count: Children that get the longer training, spread by size, see
            `Finisher.candidates`.
        finalise_epochs: Passes over the search data of that training.
        finalise_trials: Children that train for a sixth of these first; by what they are then worth
            ``finalise_count`` are chosen, and train on. More than these, or 0 for none.
        finalise_sizes: Numbers of parameters wanted: half of the longer training goes to children
            that just keep them, and the nearest children are resized to do so (`fill`). At least
            two of ``finalise_count`` for each; not for genomes of weights.
        finalise_recipe: How these children train.
        stop: Rules, asked after each generation, that may end the search early: `TimeBudget`,
            `TargetMet`, `Stalled`, or a function of one's own. Its children are finalised as ever.
        checkpoint: A folder to save the search in while it runs; None saves nothing.
        resume: Whether to go on from what the folder holds, if it holds anything. The result is the
            same to the last bit as without the interruption. What was finalised is done again.
        callback: Told of every generation and phase; or several.
        interrupts: Whose signals wait for the end of a generation, which is then saved.

    Raises:
        ArgumentError: A number out of range, or a toolbox that was used before.
        DataError: The folder cannot be written, is in use, holds only damaged saves, or a search
            with another parent, data or configuration, see `Checkpoints`.
        Interrupted: A signal came; the search is saved.
    """
    check_type("toolbox", toolbox, Toolbox)
    callback = as_callback(callback)
    if interrupts is not None:
        check_type("interrupts", interrupts, Interrupts)
    check_flag("resume", resume)
    if check_flag("steady_state", steady_state) and not toolbox.fitness.is_pareto:
        raise argument_error("steady_state", "False with a weighted fitness", steady_state)
    if checkpoint is not None:
        checkpoint = check_path("checkpoint", checkpoint)
    rules = check_rules(stop)
    # More than any machine does, and than a mistyped number may ask for.
    check_count("population", population, minimum=2, maximum=10**6)
    check_count("generations", generations, minimum=0, maximum=10**9)
    sizes = check_finish(
        toolbox,
        count=finalise_count,
        epochs=finalise_epochs,
        trials=finalise_trials,
        sizes=finalise_sizes,
        recipe=finalise_recipe,
    )
    if toolbox.generation >= 0:
        raise argument_error("toolbox", "one that has not evaluated anyone", "one in use")
    if resume and checkpoint is None:
        raise argument_error("resume", "False without a checkpoint to go on from", resume)
    rates = _rates(toolbox, crossover_rate, mutation_rate)
    # Before the search, so that whatever is wrong with these data shows at once.
    finisher = Finisher(toolbox, callback)
    with torch_threads(toolbox.evaluator.torch_threads):
        parent = finisher.parent()
    settings = {
        "population": population,
        "generations": generations,
        "rates": rates,
        "finalise_count": finalise_count,
        "finalise_epochs": finalise_epochs,
        "finalise_trials": finalise_trials,
        "finalise_sizes": sizes,
        "finalise_recipe": finalise_recipe,
        "stop": rules,
        **({"steady_state": True} if steady_state else {}),
    }
    checkpoints = None
    if checkpoint is not None:
        description = describe(toolbox, **settings)
        checkpoints = Checkpoints(
            checkpoint, toolbox, description, callback.on_message, replayable=not steady_state
        )
    # Held to the end of the final training, so that no one else begins it.
    with nullcontext() if checkpoints is None else checkpoints.opened(resume=resume) as saved:
        started = time.perf_counter()
        watch = Watch(
            toolbox,
            [] if saved else toolbox.population(n=population),
            generations,
            callback,
            state=saved,
            stop=rules,
            on_generation=partial(_after_generation, checkpoints, interrupts),
        )
        with nullcontext() if interrupts is None else interrupts.held():
            run_loop(watch, toolbox, rates, steady_state=steady_state)
        if watch.stopped is not None:
            callback.on_message(f"the search ended early: {watch.stopped}")
        return _finish(
            *(watch, finisher, toolbox, parent, started),
            count=finalise_count,
            epochs=finalise_epochs,
            trials=finalise_trials,
            sizes=sizes,
            recipe=finalise_recipe,
            settings=describe_settings(toolbox, **settings),
        )


def check_finish(
    toolbox: Toolbox,
    *,
    count: int,
    epochs: int,
    trials: int,
    sizes: Sequence[int] | None,
    recipe: Recipe,
) -> list[int]:
    """Check what is asked of the final training, see `evolve`; return the sizes wanted, in order.

    Raises:
        ArgumentError: It cannot be done with this task.
    """
    wanted = _sizes(toolbox, sizes)
    for name, number in (("count", count), ("epochs", epochs), ("trials", trials)):
        check_count(f"finalise_{name}", number, minimum=0, maximum=10**9)
    check_finalising(count, trials, wanted)
    if not isinstance(recipe, Recipe):
        raise argument_error("finalise_recipe", "a Recipe", recipe)
    if count and epochs:
        if not any(p.requires_grad for p in toolbox.evaluator.task.parent.parameters()):
            expected = "0 for a parent whose parameters are all frozen"
            raise argument_error("finalise_epochs", expected, epochs)
        toolbox.evaluator.check_recipe(recipe, name="finalise_recipe")
    return wanted


def _after_generation(
    checkpoints: Checkpoints | None, interrupts: Interrupts | None, watch: Watch, last: bool
) -> None:
    """Save the search if it is time to, and stop if a signal asked for it."""
    stopping = interrupts is not None and interrupts.pending
    if checkpoints is not None:
        checkpoints.after_generation(watch.state, now=last or stopping)
    if interrupts is not None:
        interrupts.check()


def _finish(
    watch: Watch,
    finisher: Finisher,
    toolbox: Toolbox,
    parent: Child,
    started: float,
    *,
    count: int,
    epochs: int,
    trials: int,
    sizes: Sequence[int],
    recipe: Recipe,
    settings: Mapping[str, Any],
) -> Result:
    """Score what the loop ended with, train some of it longer, and return the result."""
    individuals = watch.population
    with torch_threads(toolbox.evaluator.torch_threads):
        # A weighted search is to end where its weights point, and not where it began.
        began = watch.first if toolbox.fitness.is_pareto else []
        found = [*watch.archive, *individuals, *began]
        scored = finisher.score(found)
        if count and epochs and sizes:
            n = math.ceil(max(count, trials) / 2 / len(sizes))
            known = {individual.key() for individual in found}
            filled = [i for i in fill(found, sizes, toolbox, n) if i.key() not in known]
            scored += finisher.score(filled, resized=True)
        searched, taken = time.perf_counter(), toolbox.counters.training_samples
        scored = finisher.finalise(
            scored, n=count, epochs=epochs, trials=trials, sizes=sizes, recipe=recipe
        )
        front = finisher.test(finisher.front(scored), announced=True)
    return Result(
        front=front,
        best=finisher.best(front, parent),
        parent=parent,
        logbook=watch.logbook,
        population=individuals,
        toolbox=toolbox,
        training_samples={
            "search": taken,
            "finalise": toolbox.counters.training_samples - taken,
        },
        seconds={"search": searched - started, "finalise": time.perf_counter() - searched},
        generation_seconds=watch.seconds,
        generation_latency_ms=watch.latency_ms,
        generation_hypervolumes=watch.front_hypervolumes,
        generation_incidents=() if toolbox.crew is None else watch.incidents,
        stopped=watch.stopped,
        incidents={} if toolbox.crew is None else asdict(toolbox.crew.incidents),
        settings=settings,
    )


def _sizes(toolbox: Toolbox, given: Sequence[int] | None) -> list[int]:
    """Return the numbers of parameters wanted, in order."""
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise argument_error("finalise_sizes", "a sequence of whole numbers", given)
    sizes = sorted({check_count("finalise_sizes", size, minimum=1) for size in given})
    if sizes and issubclass(toolbox.individual_class, WeightGenome):
        expected = "none with genome='weights', whose children are not resized"
        raise argument_error("finalise_sizes", expected, given)
    evaluator = toolbox.evaluator
    least = evaluator.cost_model(evaluator.cost_model.smallest).param_count
    most = evaluator.cost_model(evaluator.structure.widths).param_count
    most = min(most, int(evaluator.task.limits.get("param_count", most)))
    for size in sizes:
        if not least <= size <= most:
            expected = f"numbers from {least}, which the smallest child has, to {most}"
            raise argument_error("finalise_sizes", expected, size)
    return sizes


def _rates(
    toolbox: Toolbox, crossover_rate: float | None, mutation_rate: float | None
) -> tuple[float, float]:
    """Return the rates, with the defaults that suit genome and fitness."""
    pareto = toolbox.fitness.is_pareto
    weights = issubclass(toolbox.individual_class, WeightGenome)
    crossover, mutation = variation_rates(
        crossover_rate, mutation_rate, genome="weights" if weights else "mask", pareto=pareto
    )
    for name, value in (("crossover_rate", crossover), ("mutation_rate", mutation)):
        if not 0 <= value <= 1:
            raise argument_error(name, "a number in [0, 1]", value)
    if pareto and crossover + mutation > 1:
        raise argument_error(
            "crossover_rate", "at most 1 together with mutation_rate", (crossover, mutation)
        )
    return crossover, mutation
