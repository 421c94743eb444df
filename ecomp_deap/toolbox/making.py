"""`make_toolbox`: our types and operators, registered in a DEAP toolbox."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from ecomp_deap.checks import check_choice, check_count, check_number, check_sequence, check_type
from ecomp_deap.defaults import (
    BLOCK_SIZE,
    ENGINES,
    HIGHEST_RATE,
    IMPORTANCES,
    LOSS_WEIGHTS,
    MEMORY,
    PARETO_SELECTIONS,
    WEIGHTED_SELECTIONS,
)
from ecomp_deap.errors import ArgumentError, argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.workers import Crew, Workers, as_workers
from ecomp_deap.fitness import ParetoFitness, WeightedFitness
from ecomp_deap.genomes import WeightGenome, WidthGenome
from ecomp_deap.operators import (
    initial_rates,
    prune_masks,
    pruned_weight_genome,
    pruned_widths,
    random_masks,
)
from ecomp_deap.operators.initialisation import LOWEST_RATE, check_rate, rate_range
from ecomp_deap.operators.selection import make_selection
from ecomp_deap.seeding import POPULATION_STREAM, draw_generator, generator, seed_stream
from ecomp_deap.task import Task, check_task
from ecomp_deap.toolbox.boundary import Toolbox
from ecomp_deap.toolbox.types import GENOMES, individual_class
from ecomp_deap.toolbox.variation import check_variation, register_variation

__all__ = ["make_toolbox"]

# Layers that cut-off crossover knows nothing of.
_BEYOND_WEIGHTS = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)


def make_toolbox(
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
    flip_probability: float | None = None,
    step_probability: float | None = None,
    seed: int = 0,
    block_size: int = BLOCK_SIZE,
    engine: str = "auto",
    threads: int | None = None,
    memory: int = MEMORY,
    workers: Executor | Workers | None = None,
    timeout_s: float | None = None,
) -> Toolbox:
    """Return a DEAP toolbox that evolves children of ``task.parent``.

    Seeds `random` and `numpy.random`, which DEAP's operators draw from.

    It has ``individual``, ``population``, ``mate``, ``mutate``, ``select``, ``evaluate``,
    ``map``, ``clone`` and ``compile``, each of which can be registered anew. ``compile`` gives
    the child as its genome holds it: with ``train_steps`` but without ``inherit`` that is the
    child before the steps it was measured after.

    Args:
        task: What is asked.
        genome: ``"mask"`` (one bit per unit), ``"width"`` (an integer per group; importance says
            which units stay) or ``"weights"`` (the original EComp's).
        selection: Pareto: ``"nsga2"`` (default), ``"nsga3"``, ``"spea2"``; weighted:
            ``"roulette"`` (default with ``loss_weights``), ``"tournament"``.
        objectives: Pareto fitness: the metric's name and of similarity_loss, relative_width,
            param_count, mac_count, size_bytes, latency_ms, and the task's own ``costs``; by default
            the metric, similarity_loss and param_count. Without similarity_loss, a parent needs no
            probe layer.
        loss_weights: Weighted fitness: (accuracy, similarity, compression), by default (1, 2, 1).
            With a similarity of 0, a parent needs no probe layer.
        importance: Which units go first, in the first population, of which evenly spaced rates
            from 0.1 to ``highest_rate`` are pruned (or more, see `rate_range`, so that half of it
            keeps the task's limits), and in all of widths; see `Evaluator`. ``"random"``: other
            units in each individual of the first population; with widths the same in all.
        highest_rate: Upper end, not included, of the rates of the first population, above 0.1 and
            below 1.
        recombination_layers: With weights: the layers that are crossed and mutated, by default
            all.
        mutation: With masks: ``"resize"`` (`mutResizeGroup`), ``"flips"`` (`mutFlipUnits`),
            ``"biased"`` (flips by which important units stay and come more often) or ``"mixed"``
            (one of resizing, biased flips, `mutMoveBudget` and, where children inherit,
            `mutNoise`); with widths: ``"steps"`` (`mutStepWidths`) or ``"mixed"`` (that or
            `mutMoveWidths`); with weights: ``"scale"`` (`mutScaleWeights`). By default the first.
        learnt: With ``inherit``: where children take weights from that both mates have learnt:
            ``"either"`` mate (default), their ``"mean"``, or their mean after units were
            ``"aligned"`` by what they do, see `cxUniformUnits`.
        flip_probability: With mutations that flip: the probability for each unit's bit, by
            default 0.02.
        step_probability: With widths: the probability that mutation changes a group's, by default
            0.3.
        seed: The run's seed.
        block_size: Children measured together, see `Evaluator`, like the next three.
        engine: See there.
        threads: See there.
        memory: See there.
        workers: Who measures blocks, in place of threads of this process: any
            `concurrent.futures.Executor` of ones that can import ecomp_deap, or `ProcessWorkers`,
            `DaskWorkers` or `RayWorkers`, which replace those that end. The result is the same to
            the last bit. It stays yours to close.
        timeout_s: Seconds that workers may take for a block; one that takes longer is given to
            another, and fails if it never ends.

    Raises:
        SelectionError: A selection that does not suit the fitness, naming one that does.
        ArgumentError: Anything else out of range, before any evaluation.
    """
    check_task(task)
    check_choice("genome", genome, tuple(GENOMES))
    if selection is not None:
        check_choice("selection", selection, PARETO_SELECTIONS + WEIGHTED_SELECTIONS)
    check_choice("importance", importance, IMPORTANCES)
    check_choice("engine", engine, ENGINES)
    seed = check_count("seed", seed, minimum=0)
    expected = f"above {LOWEST_RATE} and below 1"
    highest_rate = check_number(
        "highest_rate", highest_rate, above=LOWEST_RATE, below=1.0, expected=expected
    )
    crew = None
    if workers is not None:
        crew = Crew(as_workers(workers), timeout_s=timeout_s)
    elif timeout_s is not None:
        raise argument_error("timeout_s", "None without workers", timeout_s)
    variation: dict[str, Any] = {
        "mutation": mutation,
        "learnt": learnt,
        "recombination_layers": recombination_layers,
        "flip_probability": flip_probability,
        "step_probability": step_probability,
    }
    check_variation(task, genome, **variation)
    if genome == "weights" and engine == "masked":
        raise argument_error("engine", "'auto', 'batched' or 'loop' for genome='weights'", engine)
    if genome != "mask" and task.inherit:
        why = "weight genomes vary by themselves, and widths carry no weights"
        raise argument_error("inherit", f"genome='mask'; {why}", genome)
    if genome == "weights" and task.prune_inputs:
        raise argument_error("prune_inputs", "genome='mask' or 'width'", genome)
    fitness = _make_fitness(task, selection, objectives, loss_weights)
    other = next((m for m in task.parent.modules() if isinstance(m, _BEYOND_WEIGHTS)), None)
    if genome == "weights" and other is not None:
        expected = f"'mask' or 'width' for a parent with {type(other).__name__}"
        raise argument_error("genome", expected, genome)
    evaluator = Evaluator(
        task,
        seed=seed,
        block_size=block_size,
        engine=engine,
        threads=threads,
        memory=memory,
        importance=importance,
        latency=isinstance(fitness, ParetoFitness) and "latency_ms" in fitness.objectives,
        similarity=importance == "similarity" or _compares(fitness),
    )
    if task.limits:
        fitness = replace(fitness, worst=evaluator.worst)
    if genome == "weights" and not evaluator.structure.is_stack:
        expected = "'mask' or 'width' for a parent that is no sequential stack"
        raise argument_error("genome", expected, genome)
    toolbox = Toolbox(evaluator, fitness, individual_class(GENOMES[genome], fitness.signs))
    toolbox.crew = crew
    toolbox.register("evaluate", toolbox.evaluate_individual)
    toolbox.register("compile", toolbox.compile_individual)
    default = (PARETO_SELECTIONS if fitness.is_pareto else WEIGHTED_SELECTIONS)[0]
    chosen = default if selection is None else selection
    select, options = make_selection(chosen, len(fitness.signs))
    toolbox.register("select", select, **options)
    register_variation(toolbox, genome, **variation)
    rates = rate_range(evaluator.limits.feasible_rate, highest_rate)
    toolbox.register("individual", _make_individual, toolbox, importance == "random", rates)
    toolbox.register("population", _make_population, toolbox, importance == "random", rates)
    seed_stream(seed, 0)
    return toolbox


def _make_fitness(
    task: Task,
    selection: str | None,
    objectives: Sequence[str] | None,
    loss_weights: Sequence[float] | None,
) -> ParetoFitness | WeightedFitness:
    if objectives is not None and loss_weights is not None:
        raise argument_error(
            "objectives and loss_weights",
            "one of them: objectives for a Pareto fitness, loss_weights for a weighted one",
            (objectives, loss_weights),
        )
    scalar = selection in WEIGHTED_SELECTIONS
    if loss_weights is not None or (scalar and objectives is None):
        weights = LOSS_WEIGHTS if loss_weights is None else loss_weights
        return WeightedFitness(_check_weights(weights), task.metric)
    names: Sequence[str] = (task.metric.name, "similarity_loss", "param_count")
    if objectives is not None:
        names = check_sequence("objectives", objectives, "names")
        for name in names:
            check_type("objectives", name, str)
    return ParetoFitness(tuple(names), task.metric, own_costs=tuple(task.costs or ()))


def _check_weights(values: Any) -> Any:
    """Return weights as a tuple of Python's numbers, each of at least 0."""
    expected = "three finite numbers of at least 0, not all 0: accuracy, similarity, compression"
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.tolist()
    try:
        check_sequence("loss_weights", values, "numbers")
        numbers = [check_number("loss_weights", weight, minimum=0.0) for weight in values]
    except ArgumentError:  # all of them are to be shown
        raise argument_error("loss_weights", expected, values) from None
    return tuple(
        weight if isinstance(weight, (int, float)) else number
        for weight, number in zip(values, numbers, strict=True)
    )


def _compares(fitness: ParetoFitness | WeightedFitness) -> bool:
    """Return whether a fitness depends on similarity losses."""
    if isinstance(fitness, ParetoFitness):
        return "similarity_loss" in fitness.objectives
    return fitness.loss_weights[1] > 0


def _make_individual(
    toolbox: Toolbox,
    random_units: bool,
    rates: tuple[float, float],
    rate: float | None = None,
    rng: Any = None,
) -> Any:
    """Return an individual pruned at ``rate``, by default a random one of the initial range."""
    if rng is not None:
        check_type("rng", rng, np.random.Generator)
    if rate is not None:
        check_rate(rate)
    rng = draw_generator() if rng is None else rng
    evaluator, cls = toolbox.evaluator, toolbox.individual_class
    if rate is None:
        rate = float(rng.uniform(*rates))
    if issubclass(cls, WidthGenome):
        return cls(pruned_widths(evaluator.structure, rate))
    if random_units:
        masks = random_masks(evaluator.structure, rate, rng)
    else:
        masks = prune_masks(evaluator.structure, evaluator.importance, rate)
    if issubclass(cls, WeightGenome):
        return pruned_weight_genome(
            cls, masks, structure=evaluator.structure, arrays=evaluator.arrays
        )
    return cls(masks)


def _make_population(
    toolbox: Toolbox, random_units: bool, rates: tuple[float, float], n: int
) -> list[Any]:
    """Return n individuals pruned at evenly spaced rates; the same ones for the same seed."""
    n = check_count("n", n, minimum=1)
    rng = generator(toolbox.evaluator.seed, POPULATION_STREAM)
    return [
        _make_individual(toolbox, random_units, rates, rate, rng)
        for rate in initial_rates(n, rates)
    ]
