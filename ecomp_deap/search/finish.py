"""Finishing: from a final population to a front of children, scored, trained longer and tested."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ecomp_deap.callbacks import Callback
from ecomp_deap.copying import copy_network
from ecomp_deap.errors import EcompError, EvaluationError, argument_error
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.genomes import Genome, MaskGenome
from ecomp_deap.measurement import Measurement
from ecomp_deap.network import fit_children, size_bytes, train
from ecomp_deap.network.failures import failure
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.runs.choosing import best
from ecomp_deap.search.filling import NEAR
from ecomp_deap.search.front import first_of_parts, log_parts, non_dominated
from ecomp_deap.seeding import training_seed
from ecomp_deap.toolbox import Toolbox

__all__ = ["Child", "Finisher"]

# A trial takes the epochs of the longer training divided by this.
_TRIAL_SHARE = 6


@dataclass(frozen=True)
class Child:
    """A child that was scored on the whole validation data.

    Attributes:
        id: Its name in files, by size.
        module: The network, in eval mode.
        widths: Units kept in each group.
        validation: Its measurement on the validation data.
        test: The metric on the test data, None without test data.
        validation_before: The metric on the validation data before it was finalised, if only for a
            trial; None where it was not.
        test_before: That on the test data, likewise.
        kept: For each group, by name, the indices of the units kept; None for the parent, and
            where weights evolve, whose units are none of the parent's.
        parent: The network that it was cut from; None for the parent.
        births: How its individual came about, see `parse_births`.
    """

    id: str
    module: nn.Module = field(repr=False)
    widths: tuple[int, ...]
    validation: Measurement
    test: float | None = None
    validation_before: float | None = None
    test_before: float | None = None
    kept: Mapping[str, tuple[int, ...]] | None = field(default=None, repr=False)
    parent: nn.Module | None = field(default=None, repr=False)
    births: str | None = field(default=None, repr=False)

    def as_row(self) -> dict[str, Any]:
        """Return the child's row of ``front.csv``."""
        found = self.validation
        name = found.metric_name
        return {
            "id": self.id,
            f"validation_{name}": found.metric,
            f"test_{name}": self.test,
            f"validation_{name}_before": self.validation_before,
            f"test_{name}_before": self.test_before,
            "similarity_loss": found.similarity_loss,
            "relative_width": found.relative_width,
            "param_count": found.param_count,
            "mac_count": found.mac_count,
            "size_bytes": found.size_bytes,
            **({} if found.latency_ms is None else {"latency_ms": found.latency_ms}),
            **dict(found.costs),
            "widths": "-".join(map(str, self.widths)),
        }


class Finisher:
    """Turns individuals into children that were scored on the whole validation data.

    Args:
        toolbox: What the search ran with.
        callback: Told of every phase.
    """

    def __init__(self, toolbox: Toolbox, callback: Callback) -> None:
        self.toolbox, self.callback = toolbox, callback
        self.evaluator = toolbox.evaluator
        self.task = toolbox.evaluator.task
        self.scorer = self.evaluator.scorer(self.task.splits.validation)

    def parent(self) -> Child:
        """Return the parent, scored and tested like a child.

        Raises:
            ArgumentError: Its outputs or its metric on these data are not finite, or the test data
                are unsound, see `Scorer.test`.
        """
        widths = self.evaluator.structure.widths
        found = self.scorer.score(self.task.parent, widths)
        if found.failed:
            expected = "a network with finite outputs and metric on the validation data"
            raise argument_error("parent", expected, found.reason)
        test = self.task.splits.test
        tested = None if test is None else self.scorer.test(self.task.parent, test)
        if isinstance(tested, str):
            expected = "a network with finite outputs and metric on the test data"
            raise argument_error("parent", expected, tested)
        # A child of all inputs lists them, and so takes more.
        found = replace(found, size_bytes=size_bytes(self.task.parent))
        return Child("parent", self.task.parent, widths, found, tested)

    def score(self, individuals: Sequence[Any], *, resized: bool = False) -> list[Child]:
        """Return the children of all different individuals, in order, failed ones left out.

        Each is scored after the gradient steps that children of the search took: where they keep
        what they learnt they have taken them before.

        Args:
            individuals: Of the search.
            resized: Whether they were resized since, and have to learn with their units as they
                are now.

        Raises:
            EcompError: All failed, with the commonest reason; not where they were resized.
        """
        unique = list({individual.key(): individual for individual in individuals}.values())
        self.callback.on_phase("scoring", len(unique))
        made = [self._as_in_search(i, index, resized=resized) for index, i in enumerate(unique)]
        reasons = [reason for reason in made if isinstance(reason, str)]
        self._tell("could not be made again as in the search", reasons, len(made))
        pairs = [(i, m) for i, m in zip(unique, made, strict=True) if not isinstance(m, str)]
        measurements = self.scorer.score_all(
            [(module, individual.widths) for individual, module in pairs],
            threads=self.evaluator.scoring_threads,
            on_each=self.callback.on_phase_step,
        )
        children = [
            Child(
                "",
                module,
                individual.widths,
                found,
                kept=_kept(individual, self.evaluator),
                parent=self.task.parent,
                births=getattr(individual, "births", None),
            )
            for (individual, module), found in zip(pairs, measurements, strict=True)
            if not found.failed
        ]
        reasons += [found.reason for found in measurements if found.failed]
        if reasons and not children and not resized:
            reason, n = Counter(reasons).most_common(1)[0]
            raise EcompError(f"no child could be measured; {n} of {len(reasons)}: {reason}")
        return children

    def front(self, children: Sequence[Child]) -> list[Child]:
        """Return the non-dominated children, from the smallest to the largest, numbered so.

        Those beyond the task's limits are left out. A weighted fitness compares what has a weight
        above 0.

        Raises:
            EcompError: No child keeps the limits.
        """
        feasible = [child for child in children if child.validation.violation == 0]
        if children and not feasible:
            raise self.evaluator.limits.unreached([child.validation for child in children])
        costs = [self.toolbox.fitness.costs(child.validation) for child in feasible]
        members = [feasible[i] for i in non_dominated(costs)]
        sign = 1 if self.task.metric.maximise else -1
        members.sort(key=lambda c: (c.validation.param_count, -sign * c.validation.metric))
        return [replace(child, id=f"{i:03d}") for i, child in enumerate(members, start=1)]

    def finalise(
        self,
        children: Sequence[Child],
        *,
        n: int,
        epochs: int,
        trials: int = 0,
        sizes: Sequence[int] = (),
        recipe: Recipe = FINALISE_RECIPE,
    ) -> list[Child]:
        """Return the children with n of them, see `candidates`, trained for longer.

        With trials, more children are chosen first and trained for a few epochs, and the n are
        chosen by what these are then worth, and train on, as what children gain by the longer
        training is large against their differences before it (Jamieson & Talwalkar 2016,
        "Non-stochastic Best Arm Identification and Hyperparameter Optimization").

        Args:
            children: As `score` gives them; their modules are not changed.
            n: Number of children to train; 0 for none.
            epochs: Passes over the search data, 0 for none. A child that is worse for it on the
                validation data stays as it was. So does one that fails at it, and the callback is
                told why.
            trials: Number of children to try for a sixth of the epochs, at least one; 0 for none.
            sizes: See `candidates`.
            recipe: How they train.
        """
        n = min(n, sum(c.validation.violation == 0 for c in children)) if epochs else 0
        tried = self.candidates(children, trials if n else 0, sizes)
        if tried or n:
            self.callback.on_phase("finalising", len(tried) + n)
        children = self._train_longer(children, tried, max(epochs // _TRIAL_SHARE, 1), recipe)
        return self._train_longer(children, self.candidates(children, n, sizes), epochs, recipe)

    def candidates(self, children: Sequence[Child], n: int, sizes: Sequence[int] = ()) -> list[int]:
        """Return the places of n children that are worth the longer training, in order.

        They are spread by size: the range of sizes is cut into n parts, evenly by the logarithm,
        and each gives its best child, the most accurate on the front, or behind it where it has
        none there, as one lucky child may have left a gap. Where parts are empty, the others give
        more. Those beyond the task's limits are left out.

        Args:
            children: Children, scored.
            n: How many to choose; all if there are not more.
            sizes: Numbers of parameters that are wanted: half of the n are the most accurate
                children which have one of these at most, and no less than nine tenths of it, as
                many of each.
        """
        sign = 1 if self.task.metric.maximise else -1
        able = [i for i, child in enumerate(children) if child.validation.violation == 0]
        costs = [self.toolbox.fitness.costs(children[i].validation) for i in able]
        front = {able[i] for i in non_dominated(costs)}
        able.sort(key=lambda i: -sign * children[i].validation.metric)
        kept = {i: _size_kept(children[i].validation.param_count, sizes) for i in able}
        wanted = {i: size for i, size in kept.items() if size is not None}
        keeping = list(wanted)
        chosen = {keeping[place] for place in first_of_parts(list(wanted.values()), n // 2)}
        rest = sorted((i for i in able if i not in chosen), key=lambda i: i not in front)
        parts = log_parts([children[i].validation.param_count for i in rest], n - len(chosen))
        chosen |= {rest[place] for place in first_of_parts(parts, n - len(chosen))}
        return sorted(chosen)

    def test(self, children: Iterable[Child], *, announced: bool = False) -> list[Child]:
        """Return the children with their metric on the test data, if there are any.

        Where outputs are not finite, or a user's own code raises an error, it is the worst, as of a
        child that failed, and the callback is told why.

        Args:
            children: Children, scored.
            announced: Whether this is a phase that the callback is told of, for many children.
        """
        test = self.task.splits.test
        if test is None:
            return list(children)
        found, children = [], list(children)
        if announced:
            self.callback.on_phase("testing", len(children))
        for child in children:
            found.append(self.scorer.test(child.module, test))
            if announced:
                self.callback.on_phase_step()
        metric = self.task.metric
        self._tell(
            f"have the worst {metric.name} on the test data",
            [value for value in found if isinstance(value, str)],
            len(found),
        )
        return [
            replace(child, test=metric.worst if isinstance(value, str) else value)
            for child, value in zip(children, found, strict=True)
        ]

    def best(self, front: Sequence[Child], parent: Child) -> Child:
        """Return the child to recommend, see `Result.best`."""
        fitness = self.toolbox.fitness
        if not fitness.is_pareto:
            return max(front, key=lambda child: fitness.values(child.validation))
        metric = self.task.metric
        return front[
            best(
                [child.validation.metric for child in front],
                [child.validation.param_count for child in front],
                parent_value=parent.validation.metric,
                maximise=metric.maximise,
                tolerance=metric.tolerance,
            )
        ]

    def _train_longer(
        self, children: Sequence[Child], places: Sequence[int], epochs: int, recipe: Recipe
    ) -> list[Child]:
        """Return the children with those at some places trained."""
        chosen = self._with_figures_before([children[i] for i in places])
        modules = [copy_network(child.module) for child in chosen]
        failed = self._fit(chosen, modules, epochs, recipe)
        trained = [i for i in range(len(chosen)) if i not in failed]
        scored = self.scorer.score_all(
            [(modules[i], chosen[i].widths) for i in trained],
            threads=self.evaluator.scoring_threads,
        )
        for i, found in zip(trained, scored, strict=True):
            if found.failed:
                failed[i] = found.reason
            else:
                chosen[i] = self._better(chosen[i], modules[i], found)
        cause = self.evaluator.problem_in_training(recipe) if failed else None
        self._tell(
            "stay as they were in the final training",
            [reason if cause is None else f"{reason} ({cause})" for reason in failed.values()],
            len(chosen),
        )
        finished = dict(zip(places, chosen, strict=True))
        return [finished.get(i, child) for i, child in enumerate(children)]

    def _fit(
        self, chosen: Sequence[Child], modules: Sequence[nn.Module], epochs: int, recipe: Recipe
    ) -> dict[int, str]:
        """Train copies of children (in place); return why some could not be, by their places."""
        whole = self.evaluator.cost_model(self.evaluator.structure.widths).param_count
        failed: dict[int, str] = {}
        try:
            fit_children(
                *(modules, self.task.splits.search),
                recipe=recipe,
                learning_rates=[recipe.rate_for(c.validation.param_count, whole) for c in chosen],
                epochs=epochs,
                loss_fn=self.task.loss_fn,
                forward=self.task.apply,
                seed=self.evaluator.seed,
                device=self.task.device,
                teacher=self.evaluator.teacher,
                threads=self.evaluator.threads,
                on_each=self.callback.on_phase_step,
                on_failure=failed.__setitem__,
            )
        except EvaluationError as error:  # of what all of them train by
            failed = dict.fromkeys(range(len(chosen)), str(error))
        self.toolbox.counters.training_samples += (
            len(chosen) * epochs * len(self.task.splits.search)
        )
        return failed

    def _tell(self, what: str, reasons: Sequence[str], n: int) -> None:
        """Tell of children among n that failed at something, for each reason."""
        for reason, count in Counter(reasons).items():
            self.callback.on_message(f"{count} of {n} children {what}: {reason}")

    def _with_figures_before(self, children: Sequence[Child]) -> list[Child]:
        """Return children that have their figures from before they were finalised."""
        without = [i for i, child in enumerate(children) if child.validation_before is None]
        found = list(children)
        for i, tested in zip(without, self.test([children[i] for i in without]), strict=True):
            before = tested.validation.metric
            found[i] = replace(tested, validation_before=before, test_before=tested.test)
        return found

    def _better(self, child: Child, module: nn.Module, found: Measurement) -> Child:
        """Return a finalised child, or the child as it was if it got worse."""
        sign = 1 if self.task.metric.maximise else -1
        if sign * found.metric < sign * child.validation.metric:
            return child
        return replace(child, module=module, validation=found, test=None)

    def _as_in_search(self, individual: Any, index: int, *, resized: bool) -> nn.Module | str:
        """Return an individual's child as it was scored in the search, or why there is none."""
        try:
            module: nn.Module = self.toolbox.compile(individual)
            self._train_as_in_search(module, index, resized=resized)
        except Exception as error:  # whatever a user's network or loss raises
            self.callback.on_phase_step()
            return failure(error)
        return module

    def _train_as_in_search(self, module: nn.Module, index: int, *, resized: bool) -> None:
        """Take the gradient steps that a child was scored after, unless it has taken them."""
        if self.task.train_steps == 0 or (self.task.inherit and not resized):
            return
        generation = max(self.toolbox.generation, 0)
        context = self.evaluator.context(generation)
        train(
            module,
            context.training,
            recipe=context.recipe,
            n_steps=len(context.training),
            loss_fn=context.loss_fn,
            forward=context.forward,
            seed=training_seed(self.evaluator.seed, generation + 1, index),
        )
        self.toolbox.counters.training_samples += self.task.step_samples
        self.evaluator.recalibrate(module)


def _size_kept(param_count: int, sizes: Sequence[int]) -> int | None:
    """Return which of some sizes a child was made for: it has at most so many parameters."""
    kept = [size for size in sizes if NEAR * size <= param_count <= size]
    return min(kept, default=None)


def _kept(genome: Genome, evaluator: Evaluator) -> dict[str, tuple[int, ...]] | None:
    """Return the units of each group that a genome keeps, see `Child.kept`."""
    masks = evaluator.unfold(genome)
    if not isinstance(masks, MaskGenome):
        return None
    groups = evaluator.structure.groups
    return {g.name: tuple(units.tolist()) for g, units in zip(groups, masks.kept, strict=True)}
