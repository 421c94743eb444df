"""What the benchmarks of the engine measure: a parent, tasks, and searches by DEAP's own loops."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _original import OriginalEvaluator
from deap import algorithms
from torch import nn

from ecomp_deap import Splits, Task, load_fashion_mnist, make_toolbox, statistics, train_parent
from ecomp_deap.defaults import LOSS_WEIGHTS, variation_rates
from ecomp_deap.network import load_parent
from ecomp_deap.toolbox import Toolbox

ORIGINAL = "original"


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that `load_inputs` reads."""
    parser.add_argument(
        "--parent", type=Path, help="weights of 784-256-256-10 (.safetensors); else one is trained"
    )
    parser.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")


def load_inputs(options: argparse.Namespace) -> tuple[nn.Module, Splits]:
    """Return the parent and the data that the options name."""
    data = load_fashion_mnist(options.data_dir)
    return load_or_train(options, data), data


def load_or_train(options: argparse.Namespace, data: Splits) -> nn.Module:
    """Return the parent that the options name, else one trained on ``data``."""
    if options.parent is not None:
        return load_parent(options.parent)
    return train_parent(data, epochs=1 if options.quick else 10)


@dataclass(frozen=True)
class Search:
    """One of DEAP's loops, with a genome, a selection and this program's default rates."""

    genome: str
    selection: str = "roulette"

    @property
    def is_pareto(self) -> bool:
        return self.selection == "nsga2"

    def __str__(self) -> str:
        loop = "eaMuPlusLambda" if self.is_pareto else "eaSimple"
        return f"{loop}, {self.selection}"

    def toolbox(
        self, task: Task, *, engine: str = "batched", threads: int | None = None, seed: int = 0
    ) -> Toolbox:
        """Return a toolbox for the search.

        Args:
            task: What is asked.
            engine: See `Evaluator`; or ``"original"`` for `OriginalEvaluator`.
            threads: See `Evaluator`.
            seed: Of the run.
        """
        toolbox = make_toolbox(
            task,
            genome=self.genome,
            selection=self.selection,
            loss_weights=None if self.is_pareto else LOSS_WEIGHTS,
            engine="loop" if engine == ORIGINAL else engine,
            threads=threads,
            seed=seed,
        )
        if engine == ORIGINAL:
            toolbox.evaluator = OriginalEvaluator(task, seed=seed, threads=threads or 1)
        return toolbox

    def run(
        self,
        toolbox: Toolbox,
        population: list[Any],
        generations: int,
        stats: "Stamps | None" = None,
    ) -> list[Any]:
        """Run DEAP's own loop and return the final population."""
        crossover, mutation = variation_rates(None, None, genome=self.genome, pareto=self.is_pareto)
        rates = {"cxpb": crossover, "mutpb": mutation, "ngen": generations}
        if self.is_pareto:
            n = len(population)
            final, _ = algorithms.eaMuPlusLambda(
                population, toolbox, mu=n, lambda_=n, **rates, stats=stats, verbose=False
            )
        else:
            final, _ = algorithms.eaSimple(population, toolbox, **rates, stats=stats, verbose=False)
        return final


class Stamps:
    """Statistics that note when they were asked: every loop of DEAP does once a generation."""

    def __init__(self) -> None:
        self._statistics = statistics()
        self.fields = self._statistics.fields
        self.times: list[float] = []

    def compile(self, population: Sequence[Any]) -> dict[str, Any]:
        record = self._statistics.compile(population)
        self.times.append(time.perf_counter())
        return record

    @property
    def seconds(self) -> float:
        """Seconds of a generation: the mean over all but the initial one."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)
