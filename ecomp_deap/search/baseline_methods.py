"""The methods that a search is compared with: how each makes its children."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.search.archive import Archive
from ecomp_deap.search.baseline_lab import Lab, Rule, Start
from ecomp_deap.search.filling import fill
from ecomp_deap.search.pruning import (
    Widths,
    global_widths,
    keep,
    magnitudes,
    random_widths,
    uniform_widths,
)
from ecomp_deap.seeding import BASELINE_STREAM, generator

__all__ = [
    "AS_SEARCH",
    "BASELINES",
    "INPUTS",
    "global_magnitude",
    "initialise",
    "random_masks",
    "random_search",
    "scratch",
    "uniform_as_search",
    "uniform_l1",
]

#: Ends the names of methods for which input features are units as any other.
INPUTS = "_inputs"
#: The method that needs to know how the search ranked units.
AS_SEARCH = "uniform_as_search"

# Children that random search resizes to each size wanted.
_FILLED = 8


def uniform_l1(lab: Lab, *, inputs: bool = False) -> Callable[[int], list[Start]]:
    """Uniform L1 pruning: the same fraction of the units of each group stays.

    Those with the largest L1 norm of their weights (Li et al. 2017, "Pruning Filters for Efficient
    ConvNets"). All input features stay, or they are a group as any other.
    """
    evaluator = lab.evaluator
    importance = l1_importance(evaluator.structure, evaluator.arrays)
    return _by_size(
        lab,
        lambda size: uniform_widths(size, evaluator, inputs=inputs),
        lambda _, widths: _cut(evaluator, keep(widths, importance)),
    )


def uniform_as_search(lab: Lab) -> Callable[[int], list[Start]]:
    """Uniform pruning by the search's own importance: what the search is without evolution.

    Input features go as any other unit if the task prunes them.
    """
    evaluator = lab.evaluator
    return _by_size(
        lab,
        lambda size: uniform_widths(size, evaluator, inputs=True),
        lambda _, widths: _cut(evaluator, keep(widths, evaluator.importance)),
    )


def global_magnitude(lab: Lab) -> Callable[[int], list[Start]]:
    """Global magnitude pruning: units of all groups are ranked together, see `global_widths`.

    What ranks them is the L1 norm of a unit's weights, divided by their number. Input features are
    ranked too, if the task prunes them.
    """
    evaluator = lab.evaluator
    importance = magnitudes(evaluator)
    return _by_size(
        lab,
        lambda size: global_widths(size, evaluator),
        lambda _, widths: _cut(evaluator, keep(widths, importance)),
    )


def random_masks(lab: Lab, *, inputs: bool = False) -> Callable[[int], list[Start]]:
    """Random masks: the widths of uniform L1 pruning, of units that are drawn at random."""
    evaluator = lab.evaluator

    def make(index: int, widths: Widths) -> Start:
        rng = generator(evaluator.seed, BASELINE_STREAM, 1 + index)
        importance = [rng.permutation(n).astype(float) for n in evaluator.structure.widths]
        return _cut(evaluator, keep(widths, importance))

    return _by_size(lab, lambda size: uniform_widths(size, evaluator, inputs=inputs), make)


def scratch(lab: Lab, *, inputs: bool = False) -> Callable[[int], list[Start]]:
    """The small network from scratch: the architectures of uniform L1 pruning, untrained.

    Weights are drawn anew by torch's default initialisation, so that nothing but the widths, and
    the input features where these go, comes from the parent (Liu et al. 2019, "Rethinking the Value
    of Network Pruning").
    """
    evaluator = lab.evaluator
    importance = l1_importance(evaluator.structure, evaluator.arrays)

    def make(index: int, widths: Widths) -> Start:
        start = _cut(evaluator, keep(widths, importance))
        rng = generator(evaluator.seed, BASELINE_STREAM, 1 + index)
        initialise(start.module, seed=int(rng.integers(2**63)))
        return start

    return _by_size(lab, lambda size: uniform_widths(size, evaluator, inputs=inputs), make)


def random_search(lab: Lab) -> Callable[[int], list[Start]]:
    """Random search: as many children as the search measured, with random widths in every group.

    Widths are drawn evenly by their logarithm, and the units stay that matter most by the search's
    importance. The children are measured as in the search: a population at a time on a batch of its
    own, after the task's gradient steps. The non-dominated ones, and copies of them resized to the
    sizes wanted, are scored on the validation data, and some are trained, chosen as the search
    does. Children may stay as they were.
    """
    evaluator, task, toolbox = lab.evaluator, lab.task, lab.toolbox
    cost = task.step_samples
    most = lab.budget.search_samples // cost if cost else lab.budget.evaluations
    # What the search scored at its end, it trained once more, unless children inherit.
    again = bool(cost) and not task.inherit
    n = min(lab.budget.evaluations, max(most - again, 0))
    archive = Archive(max_size=most - n) if again else Archive()
    rng = generator(evaluator.seed, BASELINE_STREAM)
    before = replace(toolbox.counters)
    for first in range(0, n, lab.population):
        drawn = [
            keep(random_widths(evaluator.structure, rng), evaluator.importance)
            for _ in range(min(lab.population, n - first))
        ]
        individuals = [toolbox.individual_class(genome.masks) for genome in drawn]
        values = toolbox.map(toolbox.evaluate, individuals)
        for individual, value in zip(individuals, values, strict=True):
            individual.fitness.values = value
        archive.update(individuals)
    filled = fill(archive, lab.wanted, toolbox, _FILLED)
    if cost:  # they are trained, within the budget
        filled = filled[: max(most - n - (len(archive) if again else 0), 0)]
    found = [*lab.finisher.score(list(archive)), *lab.finisher.score(filled, resized=True)]
    lab.children += found
    lab.evaluations = toolbox.counters.evaluations - before.evaluations
    lab.samples += toolbox.counters.training_samples - before.training_samples

    def starts(n: int) -> list[Start]:
        chosen = [found[i] for i in lab.finisher.candidates(found, n, lab.wanted)]
        return [Start(c.module, c.widths, c.kept) for c in chosen]

    return starts


#: By name: functions that take where children are made, and return what makes n of them.
BASELINES: dict[str, Rule] = {
    "uniform_l1": uniform_l1,
    "uniform_l1_inputs": partial(uniform_l1, inputs=True),
    AS_SEARCH: uniform_as_search,
    "global_magnitude": global_magnitude,
    "random_masks": random_masks,
    "random_masks_inputs": partial(random_masks, inputs=True),
    "random_search": random_search,
    "scratch": scratch,
    "scratch_inputs": partial(scratch, inputs=True),
}


def initialise(module: nn.Module, *, seed: int) -> None:
    """Draw all parameters anew by the default initialisation of torch's layers (in place).

    Raises:
        ArgumentError: Parameters of a layer that has none.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, layer in module.named_modules():
            # Attention has the same under a name of its own.
            reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
            if callable(reset):
                reset()
            elif next(layer.parameters(recurse=False), None) is not None:
                expected = "layers with reset_parameters, to be trained from scratch"
                raise argument_error("parent", expected, name or type(layer).__name__)


def _by_size(
    lab: Lab,
    widths_of: Callable[[int], Widths | None],
    make: Callable[[int, Widths], Start],
) -> Callable[[int], list[Start]]:
    """Return what makes the children of n sizes, without those that there are none of, and twins.

    Args:
        lab: Has the sizes.
        widths_of: The most parameters of a child to its widths.
        make: A number of its own and widths to the child.
    """

    def make_starts(n: int) -> list[Start]:
        found = [widths_of(size) for size in lab.sizes(n)]
        different = dict.fromkeys(widths for widths in found if widths is not None)
        return [make(i, widths) for i, widths in enumerate(different)]

    return make_starts


def _cut(evaluator: Evaluator, genome: MaskGenome) -> Start:
    """Return the parent, cut to the units that a genome keeps."""
    groups = evaluator.structure.groups
    pairs = zip(groups, genome.kept, strict=True)
    kept = {group.name: tuple(units.tolist()) for group, units in pairs}
    return Start(evaluator.compile(genome), genome.widths, kept)
