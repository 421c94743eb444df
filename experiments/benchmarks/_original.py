"""The route of the original EComp: child by child, calibrated by scikit-learn.

For each child a torch module is built from its weights, a batch runs through it in eval mode, and
for every hidden layer scikit-learn makes the table of squared distances and calibrates it; NumPy
computes the divergence from the parent's table, which is made once a batch. `OriginalEvaluator`
takes the place of the toolbox's evaluator, so that all else (DEAP's loop, the operators, the
statistics) is the same.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.manifold._t_sne import _joint_probabilities
from sklearn.metrics import pairwise_distances
from torch import nn

from ecomp_deap import Measurement, Task
from ecomp_deap.data import Samples
from ecomp_deap.evaluation import Evaluator
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.measuring import measure
from ecomp_deap.evaluation.scoring import Scorer
from ecomp_deap.genomes import Genome
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.similarity import WORST_LOSS
from ecomp_deap.threads import torch_threads

# Losses agree to so much of themselves; or, where they are next to nothing, to so many nats.
# scikit-learn's bisection ends within 1e-5 nats of the entropy that the perplexity stands for,
# which leaves up to some 1e-7 nats of a loss undecided. Children that trained, batched or in the
# loop, differ in the last digits of every number.
RELATIVE, EXACT, BISECTED, TRAINED = 1e-5, 1e-9, 1e-7, 1e-7


def probabilities(embedding: np.ndarray, perplexity: float) -> np.ndarray:
    """Return the joint probabilities of an embedding, condensed: each pair of samples once."""
    distances = pairwise_distances(embedding, metric="euclidean", squared=True)
    return _joint_probabilities(distances, perplexity, 0)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return the divergence of condensed tables, over ordered pairs: each counts twice."""
    return 2.0 * float(np.dot(p, np.log(p / q)))


class OneBatch:
    """Compares children with the parent on one batch, one after the other.

    Args:
        task: What is asked.
        probes: Where representations are compared.
        perplexity: Of all tables.
        inputs: Of the batch.
        targets: Of the batch.
    """

    def __init__(
        self,
        task: Task,
        probes: Sequence[Probe],
        perplexity: float,
        inputs: Any,
        targets: torch.Tensor,
    ) -> None:
        self.task, self.probes, self.perplexity = task, probes, perplexity
        self.inputs, self.targets = inputs, targets
        _, found = embed(task.parent, inputs, probes, forward=task.apply)
        self.tables = {name: probabilities(e.numpy(), perplexity) for name, e in found.items()}

    def compare(self, child: nn.Module) -> tuple[float, float]:
        """Return a child's metric, and its loss summed over the probe layers."""
        outputs, found = embed(child, self.inputs, self.probes, forward=self.task.apply)
        loss = sum(
            divergence(table, probabilities(found[name].numpy(), self.perplexity))
            for name, table in self.tables.items()
        )
        return self.task.metric.function(outputs, self.targets), loss


class OriginalEvaluator(Evaluator):
    """An evaluator that measures as the original did, on the batches that ours takes.

    Args:
        task: What is asked: fresh batches, no training of children.
        seed: See `Evaluator`.
        threads: Torch threads.
    """

    def __init__(self, task: Task, *, seed: int = 0, threads: int = 1) -> None:
        assert task.evaluation == "fresh"
        assert task.train_steps == 0
        super().__init__(task, seed=seed, engine="loop", threads=threads)

    def measure(
        self,
        genomes: Sequence[Genome],
        generation: int,
        seeds: Sequence[int],
        *,
        train: bool = True,
        map_function: Callable[..., Iterable[Any]] | None = None,
        crew: Any = None,
    ) -> list[Outcome]:
        inputs, targets = self._batches.scoring(generation)
        with torch_threads(self.threads), torch.no_grad():
            batch = OneBatch(self.task, self.probes, self.perplexity, inputs, targets)
            return [
                self._outcome(genome, *batch.compare(self.compile(genome))) for genome in genomes
            ]

    def _outcome(self, genome: Genome, metric: float, loss: float) -> Outcome:
        found = measure(
            metric,
            loss,
            metric=self.task.metric,
            structure=self.structure,
            cost_model=self.cost_model,
            widths=genome.widths,
            worst_similarity=WORST_LOSS * len(self.probe_layers),
        )
        return Outcome(found)

    def scorer(self, samples: Samples) -> Scorer:
        with torch_threads(self.threads):
            return OriginalScorer(self, samples)


class OriginalScorer(Scorer):
    """A scorer that goes through a data set batch by batch as the original did.

    Args:
        evaluator: Knows the task, the parent's groups and the probe layers.
        samples: The data set, a whole number of batches.
    """

    def __init__(self, evaluator: Evaluator, samples: Samples) -> None:
        self.task, self.structure, self.samples = evaluator.task, evaluator.structure, samples
        self.cost_model, self.limits = evaluator.cost_model, evaluator.limits
        size = self.task.batch_size
        if len(samples) % size:
            raise SystemExit(f"{len(samples)} samples are no whole number of batches of {size}")
        with torch.no_grad():
            self.batches = [
                OneBatch(
                    self.task,
                    evaluator.probes,
                    evaluator.perplexity,
                    *samples.span(first, first + size),
                )
                for first in range(0, len(samples), size)
            ]

    def _score(self, child: nn.Module, widths: tuple[int, ...]) -> Measurement:
        with torch.no_grad():
            metric, loss = np.mean([batch.compare(child) for batch in self.batches], axis=0)
        return measure(
            float(metric),
            float(loss),
            metric=self.task.metric,
            structure=self.structure,
            cost_model=self.cost_model,
            widths=widths,
            worst_similarity=WORST_LOSS * len(self.batches[0].tables),
        )


class Agreement(NamedTuple):
    """How far measurements of the same children are apart.

    Attributes:
        samples: Most samples that a child gets right in one and not in the other.
        relative: Largest difference of similarity losses, relative to the loss.
        absolute: Largest difference of similarity losses, in nats.
        sound: Whether that is what rounding may do.
    """

    samples: int
    relative: float
    absolute: float
    sound: bool

    def __str__(self) -> str:
        counts = "counts equal" if self.samples == 0 else f"counts off by {self.samples}"
        return f"{counts}, losses within {self.relative:.1g} of themselves ({self.absolute:.1g})"


def agreement(
    measurements: Sequence[Measurement],
    expected: Sequence[Measurement],
    n_samples: int,
    *,
    absolute: float = EXACT,
) -> Agreement:
    """Return how far measurements of the same children on ``n_samples`` samples are apart.

    Sound are losses within 1e-5 of themselves or within ``absolute``, and accuracies that differ by
    no more than the one sample whose logits may tie within rounding.

    Args:
        measurements: One a child.
        expected: What they should be.
        n_samples: Samples that they are of.
        absolute: `EXACT`, `BISECTED` against scikit-learn's tables, or `TRAINED` for children that
            trained, each number of which is off by rounding.
    """
    counts = [
        [round(m.metric * n_samples) for m in measured] for measured in (measurements, expected)
    ]
    losses = [
        np.array([m.similarity_loss for m in measured]) for measured in (measurements, expected)
    ]
    samples = int(np.abs(np.subtract(*counts)).max())
    apart = np.abs(losses[0] - losses[1])
    return Agreement(
        samples,
        float((apart / np.maximum(losses[1], absolute)).max()),
        float(apart.max()),
        samples <= 1 and bool((apart <= RELATIVE * losses[1] + absolute).all()),
    )


def worst(found: Sequence[Agreement]) -> Agreement:
    """Return the largest difference of each kind."""
    return Agreement(
        max(a.samples for a in found),
        max(a.relative for a in found),
        max(a.absolute for a in found),
        all(a.sound for a in found),
    )


def check_agreement(what: str, found: Agreement) -> None:
    """End the program if measurements are too far apart."""
    if not found.sound:
        raise SystemExit(f"{what} do not agree: {found}")
