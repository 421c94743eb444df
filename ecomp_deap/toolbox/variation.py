"""Variation: which crossover and mutation a toolbox starts with."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ecomp_deap.checks import check_choice, check_sequence, check_type
from ecomp_deap.defaults import LEARNT, MUTATIONS
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.activations import UnitActivations
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.operators import (
    cxBlendWidths,
    cxCutoff,
    cxUniformUnits,
    mutFlipUnits,
    mutMoveBudget,
    mutMoveWidths,
    mutNoise,
    mutOneOf,
    mutResizeGroup,
    mutScaleWeights,
    mutStepWidths,
)
from ecomp_deap.operators.arguments import check_probability
from ecomp_deap.task import Task
from ecomp_deap.toolbox.boundary import Toolbox

__all__ = ["check_variation", "register_variation"]

_FLIP_PROBABILITY, _STEP_PROBABILITY = 0.02, 0.3
# Mutations that flip bits one by one.
_FLIPPING = ("flips", "biased", "mixed")


def check_variation(
    task: Task,
    genome: str,
    *,
    mutation: str | None,
    learnt: str | None,
    recombination_layers: Sequence[str] | None,
    flip_probability: float | None,
    step_probability: float | None,
) -> None:
    """Check what can be judged without an evaluator, see `make_toolbox`.

    Raises:
        ArgumentError: An option out of range, or of another genome.
    """
    if genome != "weights" and recombination_layers is not None:
        raise argument_error(
            "recombination_layers", "genome='weights' to go with it", f"genome={genome!r}"
        )
    if recombination_layers is not None:
        for name in check_sequence("recombination_layers", recombination_layers, "names"):
            check_type("recombination_layers", name, str)
    known = MUTATIONS[genome]
    if mutation is not None and not (isinstance(mutation, str) and mutation in known):
        raise argument_error("mutation", f"one of {known} for genome={genome!r}", mutation)
    if learnt is not None:
        check_choice("learnt", learnt, LEARNT)
    if learnt is not None and not task.inherit:
        raise argument_error("learnt", "inherit=True to go with it", "inherit=False")
    for owner, name, value in (
        ("mask", "flip_probability", flip_probability),
        ("width", "step_probability", step_probability),
    ):
        if value is not None and genome != owner:
            raise argument_error(name, f"genome={owner!r} to go with it", f"genome={genome!r}")
        if value is not None:
            check_probability(name, value)
    chosen = MUTATIONS[genome][0] if mutation is None else mutation
    if flip_probability is not None and chosen not in _FLIPPING:
        raise argument_error(
            "flip_probability", f"a mutation of {_FLIPPING} to go with it", f"mutation={chosen!r}"
        )


def register_variation(
    toolbox: Toolbox,
    genome: str,
    *,
    mutation: str | None,
    learnt: str | None,
    recombination_layers: Sequence[str] | None,
    flip_probability: float | None,
    step_probability: float | None,
) -> None:
    """Register ``mate`` and ``mutate``, see `make_toolbox`."""
    mutation = MUTATIONS[genome][0] if mutation is None else mutation
    if genome == "weights":
        _register_for_weights(toolbox, recombination_layers)
    elif genome == "width":
        probability = _STEP_PROBABILITY if step_probability is None else step_probability
        _register_for_widths(toolbox, mutation, probability)
    else:
        probability = _FLIP_PROBABILITY if flip_probability is None else flip_probability
        _register_for_masks(toolbox, mutation, LEARNT[0] if learnt is None else learnt, probability)


def _register_for_weights(toolbox: Toolbox, layers: Sequence[str] | None) -> None:
    known = [name.removesuffix(".weight") for name in toolbox.evaluator.arrays if "weight" in name]
    for name in layers or ():
        if name not in known:
            raise argument_error("recombination_layers", f"names among {known}", name)
    toolbox.register("mate", cxCutoff, layers=layers)
    toolbox.register("mutate", mutScaleWeights, layers=layers)


def _register_for_widths(toolbox: Toolbox, mutation: str, step_probability: float) -> None:
    structure = toolbox.evaluator.structure
    toolbox.register("mate", cxBlendWidths, structure=structure)
    step: dict[str, Any] = {"structure": structure, "indpb": step_probability}
    if mutation == "steps":
        toolbox.register("mutate", mutStepWidths, **step)
        return
    cost = partial(_param_count, toolbox.evaluator.cost_model)
    operators = [
        partial(mutStepWidths, **step),
        partial(mutMoveWidths, structure=structure, cost=cost),
    ]
    toolbox.register("mutate", mutOneOf, operators=operators, probabilities=(0.5, 0.5))


def _register_for_masks(
    toolbox: Toolbox, mutation: str, learnt: str, flip_probability: float
) -> None:
    evaluator = toolbox.evaluator
    shared: dict[str, Any] = {
        "structure": evaluator.structure,
        "parent_arrays": evaluator.arrays,
    }
    activations = UnitActivations(evaluator) if learnt == "aligned" else None
    toolbox.register("mate", cxUniformUnits, learnt=learnt, activations=activations, **shared)
    flip: dict[str, Any] = {"indpb": flip_probability, **shared}
    if mutation == "flips":
        toolbox.register("mutate", mutFlipUnits, **flip)
        return
    if mutation == "biased":
        toolbox.register("mutate", _by_importance, toolbox, mutFlipUnits, **flip)
        return
    if mutation == "resize":
        toolbox.register("mutate", _by_importance, toolbox, mutResizeGroup, **shared)
        return
    cost = partial(_param_count, evaluator.cost_model)
    operators: list[tuple[float, Callable[..., Any]]] = [
        (4, partial(_by_importance, toolbox, mutResizeGroup, **shared)),
        (1, partial(_by_importance, toolbox, mutMoveBudget, cost=cost, **shared)),
        (1, partial(_by_importance, toolbox, mutFlipUnits, **flip)),
    ]
    if evaluator.task.inherit:
        operators.append((0.5, partial(mutNoise, structure=evaluator.structure)))
    toolbox.register(
        "mutate",
        mutOneOf,
        operators=[operator for _, operator in operators],
        probabilities=[probability for probability, _ in operators],
    )


def _by_importance(
    toolbox: Toolbox, operator: Callable[..., Any], individual: Any, **options: Any
) -> Any:
    """Mutate by an operator that asks for importance, which is not computed before it is needed."""
    evaluator = toolbox.evaluator
    # One random ranking for a whole search would favour the same units throughout.
    importance = None if evaluator.importance_name == "random" else evaluator.importance
    return operator(individual, importance=importance, **options)


def _param_count(cost_model: CostModel, widths: Sequence[int]) -> int:
    # By the formula: it needs no child, and its parameters are exact for every network.
    return cost_model.formula(widths).param_count
