"""`Evaluator`: measures populations for a task, generation by generation."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from typing import Any

import numpy as np
from torch import nn

from ecomp_deap.checks import check_choice, check_count, check_flag
from ecomp_deap.data import Samples, TensorSamples
from ecomp_deap.defaults import BLOCK_SIZE, IMPORTANCES, MEMORY
from ecomp_deap.errors import argument_error
from ecomp_deap.evaluation.batched import supports_batched
from ecomp_deap.evaluation.batches import Batches
from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.contexts import ContextMaker
from ecomp_deap.evaluation.engines import (
    Block,
    can_thread,
    check_engine,
    check_masked,
    evaluate,
    faster_route,
    faster_threads,
    mapped,
)
from ecomp_deap.evaluation.limits import Limits
from ecomp_deap.evaluation.measuring import failed_measurement
from ecomp_deap.evaluation.parent import check_parent, proof_size
from ecomp_deap.evaluation.ranking import importance_of_units
from ecomp_deap.evaluation.scoring import Scorer
from ecomp_deap.evaluation.soundness import Soundness, learns_labels
from ecomp_deap.evaluation.trial import check_data, check_step
from ecomp_deap.evaluation.workers import Crew, Request
from ecomp_deap.genomes import Genome, WidthGenome, ranked
from ecomp_deap.measurement import Measurement
from ecomp_deap.network.compile import compile_child, parent_arrays
from ecomp_deap.network.cost_model import CostModel
from ecomp_deap.network.lessons import Teacher, check_recipe
from ecomp_deap.network.probes import find_probe_layers
from ecomp_deap.network.recalibration import recalibrate
from ecomp_deap.network.structure import find_structure
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import (
    check_perplexity,
    default_perplexity,
    similarity_class,
)
from ecomp_deap.task import Task, check_task
from ecomp_deap.threads import available_cores, thread_map, torch_threads

__all__ = ["Evaluator"]

# Samples that a recipe is tried on.
_CHECKED = 64


class Evaluator:
    """Measures populations: knows the task, the parent's groups and every generation's batch.

    Args:
        task: What is asked.
        seed: The run's seed; the batches of a generation depend on it and the generation alone.
        block_size: Children measured together, by index, wherever that is.
        threads: Threads that measure blocks side by side, by default as many as are fastest, see
            `settle`. The outcome does not depend on it, but with the other engines than
            ``"batched"`` it is the number of torch threads, 1 unless given, which shows in the
            last bits.
        engine: ``"batched"`` (all children of a block at once), ``"loop"`` (one after the
            other), ``"masked"`` (the parent computes them, masked; for stacks without training and
            statistics of children's own) or ``"auto"``: batched where that applies, else the
            faster of the others, see `settle`.
        memory: Bytes that what engines hold of several children at once may take in all.
        importance: How units are ranked where a genome or an operator asks for it: by the
            ``"l1"`` or ``"l2"`` norm of their weights, the ``"variance"`` of their activations,
            the loss without them to first order (``"taylor"``), or what the ``"similarity"`` loss
            becomes without them, for as many evaluations as there are units. The last three on
            the batch of generation 0. Or so that those that stay stand in for those that go
            (``"reconstruction"``, on 4,000 search samples), or ``"random"``.
        latency: Whether children are timed, even if the task does not limit their latency.
        similarity: Whether similarity losses matter. If not, a parent is taken in which no probe
            layer is found, and they are 0.

    Attributes:
        perplexity: Of the similarity loss, None for measures other than t-SNE.
        probes: The probe layers, and how their outputs lie.
        cost_model: Tells what children cost.
        limits: Tells by how much children exceed the task's limits.
        importance_name: What ranks units.
        engine: The engine that is used.
        threads: The number of threads that is used.

    Raises:
        ArgumentError: A parent that cannot be pruned or has a dead probe layer, unknown probe
            layers or none, a perplexity, batch size or engine that the data or the parent do not
            allow, a limit that no child keeps.
    """

    def __init__(
        self,
        task: Task,
        *,
        seed: int = 0,
        block_size: int = BLOCK_SIZE,
        threads: int | None = None,
        engine: str = "auto",
        memory: int = MEMORY,
        importance: str = "l1",
        latency: bool = False,
        similarity: bool = True,
    ) -> None:
        check_task(task)
        block_size = check_count("block_size", block_size, minimum=1)
        memory = check_count("memory", memory, minimum=1)
        if threads is not None:
            threads = check_count("threads", threads, minimum=1)
        if task.train_steps and not any(p.requires_grad for p in task.parent.parameters()):
            raise argument_error(
                "train_steps", "0 for a parent whose parameters are all frozen", task.train_steps
            )
        check_choice("importance", importance, IMPORTANCES)
        check_flag("latency", latency)
        check_flag("similarity", similarity)
        self.task, self.seed, self.block_size = task, seed, block_size
        self.importance_name = importance
        self.threads = threads or 1
        self._memory = memory // (threads or available_cores())
        # What is open for `settle` to choose.
        self._any_threads, self._any_engine = threads is None, engine == "auto"
        self.perplexity = _perplexity(task)
        self._soundness = Soundness.of(task)
        self._batches = Batches(task, seed=seed)
        # Two, as a norm without statistics of its own takes no single sample.
        two = self._batches.spread(2)
        check_parent(task, two)
        check_data(task, self._soundness)
        self.structure = find_structure(
            task.parent,
            self._batches.spread(proof_size(task, two)),
            forward=task.apply,
            protect=task.protect,
            min_units=task.min_units,
            round_to=task.round_to,
            prune_inputs=task.prune_inputs,
        )
        self.probes = find_probe_layers(
            task.parent,
            task.probe_layers,
            structure=self.structure,
            two=two,
            three=self._batches.spread(3),
            forward=task.apply,
        )
        if similarity and not self.probes:
            expected = "names of layers where representations are compared, as none was found"
            raise argument_error("probe_layers", expected, task.probe_layers)
        batched = self.structure.is_stack and supports_batched(task, self.probe_layers, two)
        self._first_engine = check_engine("auto", batched=batched)
        self.engine = check_engine(engine, batched=batched)
        self.arrays = parent_arrays(task.parent, self.structure)
        self.cost_model = CostModel(
            task.parent,
            self.structure,
            two,
            n_samples=2,
            forward=task.apply,
            arrays=self.arrays,
        )
        self.limits = Limits(task, self.structure, self.cost_model, self.arrays, timed=latency)
        self._contexts = ContextMaker(
            *(task, self.structure, self.arrays, self.cost_model, self.probes),
            *(self._batches, self.perplexity, memory),
        )
        self._context: tuple[int, Context] | None = None
        if task.train_steps:
            self.check_recipe(task.training, name="training")
        context = self.context(0)
        if self.engine == "masked":
            check_masked(context)

    @property
    def probe_layers(self) -> tuple[str, ...]:
        """The names of the probe layers."""
        return tuple(probe.name for probe in self.probes)

    @property
    def teacher(self) -> Teacher:
        """The parent, as children learn from it."""
        return self._contexts.teacher

    def check_recipe(self, recipe: Recipe, *, name: str) -> None:
        """Check that a recipe suits the task, see `check_recipe` and `check_step`."""
        with torch_threads(self.torch_threads):
            check_recipe(recipe, self.teacher, self._batches.spread(_CHECKED), name=name)
            check_step(self.task, recipe, self.teacher, self._soundness, name=name)

    def batch_id(self, generation: int) -> int:
        """Return what tells this generation's scoring batch from others'."""
        return self._batches.identity(generation)

    @property
    def batches_per_epoch(self) -> int:
        """Generations in which every search sample is scored on once."""
        return self._batches.per_epoch

    @property
    def worst(self) -> Measurement:
        """The measurement of a child that failed: no other has worse numbers."""
        found = failed_measurement(
            "",
            metric=self.task.metric,
            costs=self.cost_model(self.structure.widths),
            worst_similarity=similarity_class(self.task.similarity).worst * len(self.probe_layers),
        )
        return self.limits.judge(found, self.structure.widths, lambda: self.task.parent)

    @property
    def n_classes(self) -> int:
        """Classes that the metric counts hits among, 0 where it is no accuracy."""
        return self._soundness.scored_classes

    @property
    def torch_threads(self) -> int:
        """Torch threads of everything but blocks: 1 where threads must not change the result."""
        return 1 if self.engine == "batched" else self.threads

    @property
    def scoring_threads(self) -> int:
        """Threads for `Scorer.score_all`; more than 1 only if nothing of a user's is called."""
        assert self._context is not None  # made at the start
        # No child trains while it is scored.
        return self.threads if can_thread(replace(self._context[1], training=[])) else 1

    def settle(self, genomes: Sequence[Genome], *, time_threads: bool = True) -> None:
        """Choose what is still open of engine and threads, by timing, once.

        Threads are chosen for the batched engine alone. Between the loop and the masked engine the
        masked one is taken if it is 1.5 times as fast.

        Args:
            genomes: Such as will be measured, of generation 0.
            time_threads: Whether threads will measure; workers have one each.
        """
        if not genomes or not (self._any_engine or self._any_threads):
            return
        context = self.context(0)
        blocks = self._blocks([self.unfold(g) for g in genomes], [0] * len(genomes))
        if self._any_engine and self.engine == "loop":
            self.engine = faster_route(context, blocks[0])
        if self._any_threads and time_threads:
            self.threads = faster_threads(context, blocks)
        self._any_engine = self._any_threads = False
        self._context = (0, replace(context, engine=self.engine))

    def adopt(self, *, engine: str, threads: int) -> None:
        """Take the engine and the threads that were chosen before, see `settle`.

        Raises:
            ArgumentError: Another one was asked for.
        """
        if not self._any_engine and self.engine != engine:
            raise argument_error("engine", f"{engine!r}, as it was before", self.engine)
        if not self._any_threads and self.threads != threads:
            raise argument_error("threads", f"{threads}, as it was before", self.threads)
        check_engine(engine, batched=self._first_engine == "batched")
        self.engine, self.threads = engine, threads
        self._any_engine = self._any_threads = False
        self._context = (0, self._make_context(0))

    def context(self, generation: int) -> Context:
        """Return what the children of ``generation`` share; the latest is kept."""
        # Without training, all that generations differ in is the scoring batch.
        key = generation if self.task.train_steps else self.batch_id(generation)
        if self._context is None or self._context[0] != key:
            self._context = (key, self._make_context(generation))
        return self._context[1]

    def measure(
        self,
        genomes: Sequence[Genome],
        generation: int,
        seeds: Sequence[int],
        *,
        train: bool = True,
        map_function: Callable[..., Iterable[Any]] | None = None,
        crew: Crew | None = None,
    ) -> list[Outcome]:
        """Return the outcome of each genome on the generation's batch, in order.

        Args:
            genomes: Plain genomes.
            generation: Whose batches are used.
            seeds: Torch seed of each child's training.
            train: Whether the children take their gradient steps.
            map_function: What spreads blocks over workers, called as ``map(function, blocks)``;
                by default threads of this process.
            crew: Workers that measure in place of these threads.

        Raises:
            ArgumentError: What the map gives is not the outcomes of each block, in order; a sample
                of this generation that shows to be unsound, see `Soundness`.
            EvaluationError: A recipe's ``augment`` or the parent raises an error; workers cannot be
                kept alive.
        """
        unfolded = [self.unfold(genome) for genome in genomes]
        self.settle(unfolded, time_threads=crew is None)
        blocks = self._blocks(unfolded, seeds)
        results: Iterable[list[Outcome]]
        if crew is not None and map_function is None:
            results = crew.measure(
                self, blocks, generation=generation, train=train, failed=self._failed
            )
        else:
            results = self._measure_here(blocks, generation, train, map_function)
        return self._judged(genomes, [outcome for block in results for outcome in block])

    def stream(
        self, requests: Iterator[Request | None], *, crew: Crew | None = None
    ) -> Generator[tuple[int, list[Outcome]], None, None]:
        """Yield the index of each request and the outcomes of its genomes, as they come.

        Args:
            requests: Taken one by one when they can be measured; None where there is none before
                the next outcomes.
            crew: Workers that measure, as many at a time as there are; by default one after the
                other is measured here.

        Raises:
            ArgumentError: See `measure`.
            EvaluationError: See there.
        """
        asked: dict[int, Request] = {}
        numbers = count()

        def unfolded() -> Iterator[Request | None]:
            for request in requests:
                if request is None:
                    yield None
                else:
                    asked[next(numbers)] = request
                    yield replace(request, genomes=[self.unfold(g) for g in request.genomes])

        found = (
            self._stream_here(unfolded())
            if crew is None
            else crew.stream(self, unfolded(), failed=self._failed)
        )
        with closing(found):
            for index, outcomes in found:
                yield index, self._judged(asked.pop(index).genomes, outcomes)

    def _judged(self, genomes: Sequence[Genome], outcomes: list[Outcome]) -> list[Outcome]:
        """Return outcomes with how far each child is beyond the task's limits."""
        # Here and now, when no child is measured beside those that are timed.
        for i, genome in enumerate(genomes if self.limits.matter else ()):
            found = self.limits.judge(
                outcomes[i].measurement, genome.widths, partial(self.compile, genome)
            )
            outcomes[i] = replace(outcomes[i], measurement=found)
        return outcomes

    def _stream_here(
        self, requests: Iterator[Request | None]
    ) -> Generator[tuple[int, list[Outcome]], None, None]:
        for index, request in enumerate(requests):
            if request is None:  # and there are no outcomes that it would wait for
                return
            context = self._context_for(request.generation, train=request.train)
            with torch_threads(self.torch_threads):
                outcomes = evaluate(context, (request.genomes, request.seeds))
            yield index, outcomes

    def _context_for(self, generation: int, *, train: bool) -> Context:
        context = self.context(generation)
        return context if train or not context.training else replace(context, training=[])

    def _measure_here(
        self,
        blocks: list[Block],
        generation: int,
        train: bool,
        map_function: Callable[..., Iterable[Any]] | None,
    ) -> Iterable[list[Outcome]]:
        context = self._context_for(generation, train=train)
        function = partial(evaluate, context)
        if map_function is not None:
            return mapped(map_function, function, blocks)
        if can_thread(context):
            return thread_map(function, blocks, threads=self.threads)
        return map(function, blocks)

    def _failed(self, reason: str) -> Outcome:
        return Outcome(replace(self.worst, reason=reason))

    def _blocks(self, genomes: Sequence[Genome], seeds: Sequence[int]) -> list[Block]:
        size = self.block_size
        return [
            (list(genomes[i : i + size]), list(seeds[i : i + size]))
            for i in range(0, len(genomes), size)
        ]

    def unfold(self, genome: Genome) -> Genome:
        """Return what engines take: of a `WidthGenome` the masks of its most important units."""
        return genome.unfold(self.ranking) if isinstance(genome, WidthGenome) else genome

    @cached_property
    def importance(self) -> list[np.ndarray]:
        """How much each unit matters, one array of shape ``(n_units,)`` per group."""
        # By an engine that is not chosen by timing, and so the same in every run.
        context = replace(self.context(0), engine=self._first_engine)
        with torch_threads(self.torch_threads):
            return importance_of_units(self.importance_name, context, self._batches, seed=self.seed)

    @cached_property
    def ranking(self) -> list[np.ndarray]:
        """For each group the indices of its units, the most important first."""
        return ranked(self.importance)

    def compile(self, genome: Genome) -> nn.Module:
        """Return the child that ``genome`` describes, with batch norms as it is measured.

        See `compile_child`.
        """
        genome = self.unfold(genome)
        child = compile_child(self.task.parent, self.structure, genome, arrays=self.arrays)
        assert self._context is not None  # made at the start
        if replace(self._context[1], training=[]).recalibrates(genome):
            self.recalibrate(child)
        return child

    def recalibrate(self, child: nn.Module) -> None:
        """Give a child's batch norms statistics of their own, if the task wants it (in place)."""
        calibration = self._batches.calibration
        if calibration is not None:
            with torch_threads(self.torch_threads):
                recalibrate(child, calibration, forward=self.task.apply)

    def problem_in_training(self, recipe: Recipe) -> str | None:
        """Return what is wrong with search data for a recipe, as far as it was not checked before.

        All is read, so that it is for when something has gone wrong.
        """
        search = self.task.splits.search
        if isinstance(search, TensorSamples):
            return None
        learnt = learns_labels(self.task.loss_fn, recipe)
        return self._soundness.problem("search", search, learnt=learnt)

    def scorer(self, samples: Samples) -> Scorer:
        """Return a `Scorer` for whole data sets."""
        with torch_threads(self.torch_threads):
            return Scorer(
                self.task,
                self.structure,
                self.cost_model,
                self.limits,
                self.probes,
                samples,
                dense=self.engine == "batched",
            )

    def _make_context(self, generation: int) -> Context:
        with torch_threads(self.torch_threads):
            return self._contexts.make(generation, engine=self.engine, threads=self.threads)


def _perplexity(task: Task) -> float | None:
    """Return the perplexity of the task's measure, None if it has none."""
    if task.similarity != "tsne":
        return None
    if task.perplexity is None:
        return default_perplexity(task.batch_size)
    return check_perplexity(task.perplexity, task.batch_size)
