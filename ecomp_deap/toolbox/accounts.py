"""What a toolbox has measured: `Counters` of it, and `Recorder`, which keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ecomp_deap.measurement import Measurement

__all__ = ["Asked", "Counters", "Recorder"]


@dataclass(frozen=True)
class Asked:
    """What a recorder is asked, and told of: the measuring of some genomes.

    Attributes:
        generation: On whose batch they are measured.
        train: Whether they take their gradient steps.
        keys: Of the genomes, see `Genome.key`, in hexadecimal; None where it was not computed.
    """

    generation: int
    train: bool
    keys: tuple[str | None, ...]


class Recorder(Protocol):
    """Keeps measurements, so that a search can be replayed to where it was."""

    def recall(self, asked: Asked) -> Sequence[Measurement] | None:
        """Return what was found for these genomes, in order; None where that is not known."""

    def record(self, asked: Asked, found: Sequence[Measurement]) -> None:
        """Keep what was found, or compare it with what was found before."""


@dataclass
class Counters:
    """What a toolbox has done so far.

    Attributes:
        evaluations: Children measured, in all.
        rescored: Of these, survivors measured again because the batch had changed.
        duplicates: Individuals that got the measurement of an equal genome instead.
        failed: Children that could not be measured.
        training_samples: Samples of all gradient steps, counted for each child that takes them.
    """

    evaluations: int = 0
    rescored: int = 0
    duplicates: int = 0
    failed: int = 0
    training_samples: int = 0
