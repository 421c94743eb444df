"""The phases of a generation: each by the program's own functions, on a generation's own inputs."""

import random
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from _floors import Work
from _tasks import Search, Stamps

from ecomp_deap import Task, statistics
from ecomp_deap.defaults import variation_rates
from ecomp_deap.evaluation import Outcome
from ecomp_deap.evaluation.batched import _Chunk
from ecomp_deap.evaluation.measuring import outcomes, similarity_losses
from ecomp_deap.seeding import seed_stream

# What a calibration takes at least of every entry of a table: two Newton steps with the weights,
# their sum and two moments, the final weights, the joint table, and a logarithm for the divergence.
_STEPS, _STEP_FLOPS, _LAST_FLOPS = 2, 6, 9


class Phases:
    """A population that was evaluated, its offspring, and a generation in phases; one thread.

    Args:
        search: DEAP's `eaSimple` with a genome.
        task: What is asked.
        n: Individuals.
    """

    def __init__(self, search: Search, task: Task, n: int) -> None:
        self.search, self.task, self.n = search, task, n
        self.toolbox = search.toolbox(task, threads=1)
        self.evaluator = self.toolbox.evaluator
        self.rates = variation_rates(None, None, genome=search.genome, pareto=False)
        self.population = search.run(self.toolbox, self.toolbox.population(n=n), 1)
        self.offspring = self._varied()
        self.genomes = [individual.plain() for individual in self.offspring]
        self.toolbox.map(self.toolbox.evaluate, self.offspring)
        size = self.evaluator.block_size
        self.blocks = [self.genomes[i : i + size] for i in range(0, n, size)]
        self.generation = 100
        # What one phase leaves for the next.
        self.chunks = self._embedded()
        self.losses = self._losses()
        self.metrics = [chunk._metrics() for chunk in self.chunks]
        self.outcomes = self._outcomes()
        samples = task.batch_size
        self._table = torch.empty(samples, samples)
        self._differences = torch.empty(samples * max(self.evaluator.structure.widths))

    def whole(self) -> float:
        """Return the seconds of a generation of DEAP's own loop."""
        # DEAP's loop begins with another generation, and nobody is to be scored again in it.
        self._scored_in(self.toolbox.generation + 1)
        stamps = Stamps()
        self.search.run(self.toolbox, list(self.population), 1, stamps)
        return stamps.seconds

    @property
    def turns(self) -> dict[str, Callable[[], float]]:
        """For each phase, in order, a function that does it and returns its seconds."""
        return {
            "selection": self._selection,
            "cloning": self._cloning,
            "crossover": self._crossover,
            "mutation": self._mutation,
            "batch, parent's tables": self._context,
            "layer products": self._products,
            "distances": self._distances,
            "calibration, divergence": self._calibration,
            "accuracy": self._accuracy,
            "measurements": self._measurements,
            "map, seeds, fitness": self._boundary,
            "statistics": self._statistics,
        }

    @cached_property
    def work(self) -> dict[str, Work]:
        """What must be done in those phases that compute or move more than Python objects."""
        samples = self.task.batch_size
        weights = [s for s in self.evaluator.structure.shapes.values() if len(s) == 2]
        inputs, outputs = weights[0][1], weights[-1][0]
        parent = self.evaluator.structure.widths
        own = [genome.widths for genome in self.genomes]
        is_masks = self.search.genome == "mask"
        context = Work(bytes=8.0 * samples * inputs)
        context += _layers(samples, (inputs, *parent, outputs))
        own_tables = [_table(samples, width) + _calibrated(samples) for width in parent]
        products, distances = Work(), Work()
        for widths in own:
            if is_masks:
                # The first layer is the parent's own, gathered, as are the weights behind it.
                products += Work(bytes=8.0 * samples * widths[0])
                products += _layers(samples, (*widths, outputs), gathered=True)
            else:
                products += _layers(samples, (inputs, *widths, outputs))
            distances += sum((_table(samples, width) for width in widths), Work())
        # Every child's weights or masks are read and written.
        numbers = [_numbers((inputs, *widths, outputs)) for widths in own]
        moved = 2.0 * sum(parent) * self.n if is_masks else 8.0 * sum(numbers)
        crossover, mutation = self.rates
        return {
            "crossover": Work(bytes=crossover * moved),
            "mutation": Work(bytes=mutation * moved),
            "batch, parent's tables": sum((table.in_double() for table in own_tables), context),
            "layer products": products,
            "distances": distances,
            "calibration, divergence": _calibrated(samples).times(self.n * len(parent)),
            "accuracy": Work(bytes=4.0 * samples * outputs * self.n),
        }

    def _varied(self) -> list[Any]:
        chosen = self._chosen()
        clones = [self.toolbox.clone(individual) for individual in chosen]
        self._mate(clones)
        self._mutate(clones)
        return clones

    def _chosen(self) -> list[Any]:
        self._scored_in(self.toolbox.generation)
        seed_stream(0, 1)
        return self.toolbox.select(self.population, self.n)

    def _mate(self, clones: list[Any]) -> None:
        for first, second in zip(clones[::2], clones[1::2], strict=False):
            if random.random() < self.rates[0]:
                self.toolbox.mate(first, second)

    def _mutate(self, clones: list[Any]) -> None:
        for clone in clones:
            if random.random() < self.rates[1]:
                self.toolbox.mutate(clone)

    def _scored_in(self, generation: int) -> None:
        for individual in self.population:
            individual.batch = self.evaluator.batch_id(generation)

    def _selection(self) -> float:
        self._scored_in(self.toolbox.generation)
        return _seconds(lambda: self.toolbox.select(self.population, self.n))

    def _cloning(self) -> float:
        chosen = self._chosen()
        return _seconds(lambda: [self.toolbox.clone(individual) for individual in chosen])

    def _crossover(self) -> float:
        clones = [self.toolbox.clone(individual) for individual in self._chosen()]
        return _seconds(lambda: self._mate(clones))

    def _mutation(self) -> float:
        clones = [self.toolbox.clone(individual) for individual in self._chosen()]
        return _seconds(lambda: self._mutate(clones))

    def _context(self) -> float:
        self.generation += 1
        return _seconds(lambda: self.evaluator.context(self.generation))

    def _chunks(self) -> list[_Chunk]:
        context = self.evaluator.context(self.generation)
        return [_Chunk(context, block) for block in self.blocks]

    def _products(self) -> float:
        chunks = self._chunks()
        return _seconds(lambda: [chunk.embed() for chunk in chunks])

    def _embedded(self) -> list[_Chunk]:
        chunks = self._chunks()
        for chunk in chunks:
            chunk.embed()
        return chunks

    def _table_products(self) -> None:
        """Do what the tables begin with: the samples' differences from one of them, multiplied."""
        for chunk in self.chunks:
            for embedding in (e for own in chunk.embeddings.values() for e in own):
                x = self._differences[: embedding.numel()].view(embedding.shape)
                torch.sub(embedding, embedding[:1], out=x)
                torch.addmm(self._table, x, x.T, beta=0.0, alpha=-2.0, out=self._table)

    def _distances(self) -> float:
        return _seconds(self._table_products)

    def _losses(self) -> list[dict[str, list[float]]]:
        return [similarity_losses(chunk.context, chunk.embeddings) for chunk in self.chunks]

    def _calibration(self) -> float:
        return _seconds(self._losses) - _seconds(self._table_products)

    def _accuracy(self) -> float:
        return _seconds(lambda: [chunk._metrics() for chunk in self.chunks])

    def _measurements(self) -> float:
        return _seconds(self._outcomes)

    def _outcomes(self) -> list[Outcome]:
        found = []
        for chunk, metrics, losses in zip(self.chunks, self.metrics, self.losses, strict=True):
            own = {name: [losses[name][p[name]] for p in chunk.places] for name in losses}
            learnt = [None] * len(chunk.genomes)
            found += outcomes(chunk.context, chunk.genomes, metrics, own, learnt)
        return found

    def _boundary(self) -> float:
        """Do all that the toolbox's map does but for the evaluator's part."""
        toolbox, stand_in = self.toolbox, copy(self.evaluator)
        stand_in.measure = lambda genomes, *_, **__: self.outcomes[: len(genomes)]
        toolbox.evaluator = stand_in
        try:
            return _seconds(lambda: toolbox.map(toolbox.evaluate, self.offspring))
        finally:
            toolbox.evaluator = self.evaluator

    def _statistics(self) -> float:
        found = statistics()
        return _seconds(lambda: found.compile(self.population))


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _numbers(sizes: Sequence[int]) -> int:
    """Return the weights and biases of dense layers between so many units."""
    return sum((a + 1) * b for a, b in pairwise(sizes))


def _layers(samples: int, sizes: Sequence[int], *, gathered: bool = False) -> Work:
    """Return the work of dense layers: products, and weights read; gathered ones written too."""
    weights = sum(a * b for a, b in pairwise(sizes))
    return Work(single=2.0 * samples * weights, bytes=4.0 * weights * (2 if gathered else 1))


def _table(samples: int, width: int) -> Work:
    """Return the work of one table of squared distances, as a product in single precision."""
    return Work(single=2.0 * samples**2 * width, bytes=4.0 * samples * width)


def _calibrated(samples: int) -> Work:
    """Return the work of one calibration in single precision, and of its divergence."""
    entries = samples**2
    return Work(
        single=float((_STEPS * _STEP_FLOPS + _LAST_FLOPS) * entries),
        # Of each step, of the final weights, and the logarithm.
        single_exps=float((_STEPS + 2) * entries),
    )
