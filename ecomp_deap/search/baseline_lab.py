"""Where baselines make and train their children, and what that takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ecomp_deap.callbacks import Callback
from ecomp_deap.copying import copy_network
from ecomp_deap.measurement import Measurement
from ecomp_deap.network import param_count
from ecomp_deap.network.fitting import fit_children
from ecomp_deap.recipe import Recipe
from ecomp_deap.search.budget import Budget, plan
from ecomp_deap.search.finish import Child, Finisher
from ecomp_deap.search.front import spread
from ecomp_deap.search.pruning import Widths
from ecomp_deap.toolbox import Toolbox

__all__ = ["BaselineResult", "Lab", "Start"]

# Rates that are tried, as multiples of the recipe's for a child's size, each on so many children
# if the budget is enough.
_RATES = (0.5, 1.0, 2.0, 4.0)
_TRIED = 3


@dataclass(frozen=True)
class BaselineResult:
    """What a method found.

    Attributes:
        name: What the method is called.
        children: Those that no other of its children beats in validation metric and parameters,
            from the smallest to the largest.
        samples: Training samples taken, see `Budget`.
        evaluations: Children measured on a batch, as the search does.
        epochs: Of each child's final training.
        learning_rates: The rates that trials found best, by parameters of the child tried; empty
            where the budget had no trials, and the recipe's rate was taken.
    """

    name: str
    children: list[Child]
    samples: int
    evaluations: int
    epochs: int
    learning_rates: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A child before its training."""

    module: nn.Module
    widths: Widths
    kept: Mapping[str, tuple[int, ...]] | None

    @property
    def size(self) -> int:
        return param_count(self.module)


class Lab:
    """Where one method makes and trains its children, and what that took so far.

    Args:
        toolbox: Evaluates children as the search did; nobody was measured with it before.
        budget: What the method may take.
        sizes: n to that many numbers of parameters, for which children are made.
        wanted: Numbers that are among them if they can.
        population: Individuals that are measured on one batch.
        callback: Told of the final training.

    Attributes:
        samples: Training samples taken so far.
        evaluations: Children measured on a batch so far.
        children: Those scored on the validation data so far.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        budget: Budget,
        sizes: Callable[[int], list[int]],
        wanted: Sequence[int],
        population: int,
        callback: Callback,
    ) -> None:
        self.toolbox, self.budget, self.sizes = toolbox, budget, sizes
        self.wanted = wanted
        self.population, self.callback = population, callback
        self.evaluator, self.task = toolbox.evaluator, toolbox.evaluator.task
        self.finisher = Finisher(toolbox, Callback())
        self.samples = self.evaluations = 0
        self.children: list[Child] = []

    def run(
        self, name: str, rule: "Rule", recipe: Recipe, n_children: int, max_epochs: int
    ) -> BaselineResult:
        """Return what a method makes of the budget.

        Args:
            name: What it is called.
            rule: The method.
            recipe: How its children train.
            n_children: How many of them, if the budget is not enough for more.
            max_epochs: No child trains for more.
        """
        make_starts = rule(self)
        n_samples = len(self.task.splits.search)
        n_children, n_tried, trial_epochs = plan(
            self.budget.samples - self.samples,
            n_samples=n_samples,
            n_children=n_children,
            n_rates=len(_RATES),
            n_tried=_TRIED,
            max_epochs=max_epochs,
        )
        starts = make_starts(n_children)
        self.callback.on_phase(f"baseline {name}", len(starts))
        usual = [self._usual_rate(recipe, start) for start in starts]
        best = self._try_rates(spread(starts, n_tried), recipe, trial_epochs)
        left = (self.budget.samples - self.samples) // n_samples
        epochs = min(max_epochs, left // max(len(starts), 1))
        self._train(
            starts,
            [_nearest(best, s.size) * rate for s, rate in zip(starts, usual, strict=True)],
            *(recipe, epochs),
            on_each=self.callback.on_phase_step,
        )
        front = self.finisher.test(self.front())
        whole = self._parent_size
        found = {size: factor * recipe.rate_for(size, whole) for size, factor in best.items()}
        return BaselineResult(name, front, self.samples, self.evaluations, epochs, found)

    def front(self) -> list[Child]:
        """Return the non-dominated of the children scored so far that keep the task's limits."""
        feasible = [child for child in self.children if child.validation.violation == 0]
        return self.finisher.front(feasible)

    @property
    def _parent_size(self) -> int:
        return self.evaluator.cost_model(self.evaluator.structure.widths).param_count

    def _usual_rate(self, recipe: Recipe, start: Start) -> float:
        """Return the rate at which the search would finalise a child."""
        return recipe.rate_for(start.size, self._parent_size)

    def _try_rates(self, tried: Sequence[Start], recipe: Recipe, epochs: int) -> dict[int, float]:
        """Return the best multiple of its usual rate for each child tried, by its parameters."""
        if not epochs or not tried:
            return {}
        trials = [(start, multiple) for start in tried for multiple in _RATES]
        measured = self._train(
            [start for start, _ in trials],
            [multiple * self._usual_rate(recipe, start) for start, multiple in trials],
            *(recipe, epochs),
        )
        sign = 1 if self.task.metric.maximise else -1
        best: dict[int, tuple[float, float]] = {}
        for (start, multiple), found in zip(trials, measured, strict=True):
            value = -math.inf if found.failed else sign * found.metric
            if start.size not in best or value > best[start.size][0]:
                best[start.size] = value, multiple
        return {size: multiple for size, (_, multiple) in best.items()}

    def _train(
        self,
        starts: Sequence[Start],
        rates: Sequence[float],
        recipe: Recipe,
        epochs: int,
        *,
        on_each: Callable[[], None] | None = None,
    ) -> list[Measurement]:
        """Train copies of children, keep and measure them on the validation data."""
        modules = [copy_network(start.module) for start in starts]
        search = self.task.splits.search
        if epochs:
            fit_children(
                *(modules, search),
                epochs=epochs,
                loss_fn=self.task.loss_fn,
                forward=self.task.apply,
                seed=self.evaluator.seed,
                recipe=recipe,
                learning_rates=rates,
                device=self.task.device,
                teacher=self.evaluator.teacher,
                threads=self.evaluator.threads,
                on_each=on_each,
            )
        self.samples += len(modules) * epochs * len(search)
        measured = self.finisher.scorer.score_all(
            [(module, start.widths) for module, start in zip(modules, starts, strict=True)],
            threads=self.evaluator.scoring_threads,
        )
        parent = self.task.parent
        self.children += [
            Child("", module, start.widths, found, kept=start.kept, parent=parent)
            for module, start, found in zip(modules, starts, measured, strict=True)
            if not found.failed
        ]
        return measured


def _nearest(multiples: dict[int, float], size: int) -> float:
    """Return the multiple of the child nearest in the logarithm of its parameters; 1 for none."""
    if not multiples:
        return 1.0
    return multiples[min(multiples, key=lambda tried: abs(math.log(tried / size)))]


#: A method: it may search first, and returns what makes n children to be trained.
Rule = Callable[[Lab], Callable[[int], list[Start]]]
