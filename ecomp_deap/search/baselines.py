"""Baselines: what simpler methods make of the training samples and evaluations of a search.

Each method makes children at sizes spread over the range of the search's front, by a rule of its
own. All are then trained alike: trials of several learning rates on the smallest, a middle and the
largest of them (on fewer if the budget is small), judged on the validation data and part of the
budget; then every child with the rate that was best for the trial nearest in size. Validation data
choose each method's front. Only random search has a use for evaluations, which would cost the
others training samples.
"""

from collections.abc import Sequence

from ecomp_deap.callbacks import Callback
from ecomp_deap.checks import check_count
from ecomp_deap.defaults import IMPORTANCES, POPULATION
from ecomp_deap.errors import argument_error
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.search.baseline_lab import BaselineResult, Lab
from ecomp_deap.search.baseline_methods import AS_SEARCH, BASELINES, INPUTS
from ecomp_deap.search.budget import Budget
from ecomp_deap.search.pruning import log_sizes
from ecomp_deap.task import Task
from ecomp_deap.threads import torch_threads
from ecomp_deap.toolbox import make_toolbox

__all__ = ["BASELINES", "CHILDREN", "MAX_EPOCHS", "BaselineResult", "baselines", "methods_for"]

#: Children that a method trains, if the budget is not enough for more, and their most epochs.
CHILDREN, MAX_EPOCHS = 8, 60


def baselines(
    task: Task,
    *,
    budget: Budget,
    between: tuple[int, int],
    sizes: Sequence[int] = (),
    names: Sequence[str] | None = None,
    importance: str = IMPORTANCES[0],
    recipe: Recipe = FINALISE_RECIPE,
    children: int = CHILDREN,
    max_epochs: int = MAX_EPOCHS,
    population: int = POPULATION,
    seed: int = 0,
    engine: str = "auto",
    threads: int | None = None,
    callback: Callback | None = None,
) -> list[BaselineResult]:
    """Return what each method makes of a search's budget.

    Args:
        task: What was asked of the search.
        budget: What it took, see `Budget.of`. No method takes more.
        between: Parameters of the smallest and of the largest child of its front.
        sizes: Numbers of parameters, such as limits that children are compared under, that have to
            be among the sizes that children are made for.
        names: Methods of `BASELINES`, by default all; those that end in ``_inputs`` only if the
            task prunes input features, and ``uniform_as_search`` only with another importance than
            ``"l1"``.
        importance: By which the search ranked units, see `make_toolbox`.
        recipe: How the search finalised its children; trials go from half its rate to four times.
        children: Children that a method trains; more if all had ``max_epochs`` otherwise.
        max_epochs: No child trains for more.
        population: Individuals of random search that are measured on one batch.
        seed: Same seed, same result.
        engine: See `make_toolbox`.
        threads: See there.
        callback: Told of every phase.

    Raises:
        ArgumentError: An unknown method, a number out of range, a recipe that does not suit the
            task, or a parent that a method cannot work on.
    """
    for name, value, minimum in (
        ("children", children, 1),
        ("max_epochs", max_epochs, 0),
        ("population", population, 1),
    ):
        check_count(name, value, minimum=minimum)
    low, high = (check_count("between", count, minimum=1) for count in between)
    if low > high:
        raise argument_error("between", "a smaller and a larger number", between)
    known = methods_for(prune_inputs=task.prune_inputs, importance=importance)
    chosen = _names(known, names)
    toolbox = make_toolbox(
        task,
        objectives=(task.metric.name, "param_count"),
        importance=importance,
        seed=seed,
        engine=engine,
        threads=threads,
    )
    toolbox.evaluator.check_recipe(recipe, name="recipe")
    callback = Callback() if callback is None else callback
    found = []
    for name in chosen:
        lab = Lab(
            *(toolbox, budget, lambda n: log_sizes(low, high, n, sizes), sizes),
            *(population, callback),
        )
        with torch_threads(toolbox.evaluator.torch_threads):
            found.append(lab.run(name, BASELINES[name], recipe, children, max_epochs))
    return found


def methods_for(*, prune_inputs: bool, importance: str) -> list[str]:
    """Return the methods of `BASELINES` that differ from each other for a search.

    Args:
        prune_inputs: Whether its task prunes input features.
        importance: By which it ranked units.
    """
    return [
        name
        for name in BASELINES
        if (prune_inputs or not name.endswith(INPUTS))
        # With the L1 norm it is uniform L1 pruning once more.
        and (importance != "l1" or name != AS_SEARCH)
    ]


def _names(known: list[str], names: Sequence[str] | None) -> list[str]:
    """Return the methods that were asked for."""
    if names is None:
        return known
    for name in names:
        if name not in known:
            raise argument_error("names", f"names among {', '.join(known)}", name)
    return list(dict.fromkeys(names))
