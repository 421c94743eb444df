"""`make_toolbox`: our types and operators, registered in a DEAP toolbox."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import nn

from ecomp_deap.defaults import (
    BLOCK_SIZE,
    LOSS_WEIGHTS,
    MEMORY,
    PARETO_SELECTIONS,
    WEIGHTED_SELECTIONS,
)
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.fitness import Fitness, ParetoFitness, WeightedFitness
from ecomp_deap.genomes import WeightGenome
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.operators import (
    cxCutoff,
    cxUniformUnits,
    initial_rates,
    mutFlipUnits,
    mutScaleWeights,
    prune_masks,
    pruned_weight_genome,
    random_masks,
)
from ecomp_deap.operators.initialisation import HIGHEST_RATE, LOWEST_RATE
from ecomp_deap.operators.selection import make_selection
from ecomp_deap.seeding import POPULATION_STREAM, draw_generator, generator, seed_stream
from ecomp_deap.task import Task
from ecomp_deap.toolbox.boundary import Toolbox
from ecomp_deap.toolbox.types import GENOMES, individual_class

__all__ = ["make_toolbox"]

# Layers that cut-off crossover knows nothing of.
_BEYOND_WEIGHTS = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
# One array of shape (n_units,) per group, or None where random units are pruned.
Importance = Sequence[np.ndarray] | None


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
    block_size: int = BLOCK_SIZE,
    engine: str = "auto",
    threads: int | None = None,
    memory: int = MEMORY,
) -> Toolbox:
    """Return a DEAP toolbox that evolves children of ``task.parent``.

    Seeds `random` and `numpy.random`, which DEAP's operators draw from.

    It has ``individual``, ``population``, ``mate``, ``mutate``, ``select``, ``evaluate``,
    ``map``, ``clone`` and ``compile``, each of which can be registered anew. ``compile`` gives
    the child as its genome holds it: with ``train_steps`` but without ``inherit`` that is the
    child before the steps it was measured after.

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
        block_size: Children measured together, see `Evaluator`, like the next three.
        engine: See there.
        threads: See there.
        memory: See there.

    Raises:
        SelectionError: A selection that does not suit the fitness, naming one that does.
        ArgumentError: Anything else out of range, before any evaluation.
    """
    if genome not in GENOMES:
        raise argument_error("genome", f"one of {tuple(GENOMES)}", genome)
    if initialisation not in ("l1", "random"):
        raise argument_error("initialisation", "'l1' or 'random'", initialisation)
    if genome == "mask" and recombination_layers is not None:
        raise argument_error(
            "recombination_layers", "genome='weights' to go with it", f"genome={genome!r}"
        )
    if genome == "weights" and task.inherit:
        raise argument_error("inherit", "genome='mask'; weight genomes vary by themselves", genome)
    fitness = _make_fitness(task, selection, objectives, loss_weights)
    other = next((m for m in task.parent.modules() if isinstance(m, _BEYOND_WEIGHTS)), None)
    if genome == "weights" and other is not None:
        raise argument_error("genome", f"'mask' for a parent with {type(other).__name__}", genome)
    evaluator = Evaluator(
        task, seed=seed, block_size=block_size, engine=engine, threads=threads, memory=memory
    )
    if genome == "weights" and not evaluator.structure.is_stack:
        raise argument_error("genome", "'mask' for a parent that is no sequential stack", genome)
    toolbox = Toolbox(evaluator, fitness, individual_class(GENOMES[genome], fitness.signs))
    toolbox.register("evaluate", toolbox.evaluate_individual)
    toolbox.register("compile", toolbox.compile_individual)
    default = (PARETO_SELECTIONS if fitness.is_pareto else WEIGHTED_SELECTIONS)[0]
    select, options = make_selection(selection or default, len(fitness.signs))
    toolbox.register("select", select, **options)
    _register_variation(toolbox, recombination_layers, flip_probability)
    importance = (
        l1_importance(evaluator.structure, evaluator.arrays) if initialisation == "l1" else None
    )
    toolbox.register("individual", _make_individual, toolbox, importance)
    toolbox.register("population", _make_population, toolbox, importance)
    seed_stream(seed, 0)
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
    scalar = selection in WEIGHTED_SELECTIONS
    if loss_weights is not None or (scalar and objectives is None):
        weights: Any = LOSS_WEIGHTS if loss_weights is None else loss_weights
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
    toolbox: Toolbox, importance: Importance, rate: float | None = None, rng: Any = None
) -> Any:
    """Return an individual pruned at ``rate``, by default a random one of the initial range."""
    rng = draw_generator() if rng is None else rng
    rate = float(rng.uniform(LOWEST_RATE, HIGHEST_RATE)) if rate is None else rate
    evaluator = toolbox.evaluator
    if importance is None:
        masks = random_masks(evaluator.structure, rate, rng)
    else:
        masks = prune_masks(evaluator.structure, importance, rate)
    cls = toolbox.individual_class
    if issubclass(cls, WeightGenome):
        return pruned_weight_genome(
            cls, masks, structure=evaluator.structure, arrays=evaluator.arrays
        )
    return cls(masks)


def _make_population(toolbox: Toolbox, importance: Importance, n: int) -> list[Any]:
    """Return n individuals pruned at evenly spaced rates; the same ones for the same seed."""
    if n < 1:
        raise argument_error("n", "at least 1 individual", n)
    rng = generator(toolbox.evaluator.seed, POPULATION_STREAM)
    return [_make_individual(toolbox, importance, rate, rng) for rate in initial_rates(n)]
