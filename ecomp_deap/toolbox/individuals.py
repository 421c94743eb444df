"""Which of some individuals are measured, and which are selected from."""

import math
from collections.abc import Sequence
from typing import Any

from ecomp_deap.genomes import Genome, WeightGenome

__all__ = ["first_equal", "is_cheap_to_compare", "without_failed"]


def without_failed(individuals: Sequence[Any], k: int) -> Sequence[Any]:
    """Return what to select k from: no child that failed, as long as there is a sound one.

    Where fewer than k are sound, each is there several times, as often as the others.
    """
    sound = [i for i in individuals if i.measurement is None or not i.measurement.failed]
    if not sound or len(sound) == len(individuals):
        return individuals
    return sound * math.ceil(k / len(sound))


def first_equal(genomes: Sequence[Genome], *, by_content: bool) -> list[int]:
    """Return for each genome the index of the first equal one.

    Masks and widths are cheap to compare. Weights are hashed only if children train, which costs
    far more.
    """
    seen: dict[bytes, int] = {}
    first = []
    for i, genome in enumerate(genomes):
        by_key = by_content or is_cheap_to_compare(genome)
        first.append(seen.setdefault(genome.key(), i) if by_key else i)
    return first


def is_cheap_to_compare(genome: Genome) -> bool:
    """Return whether a genome's key takes no hash of weights."""
    return not isinstance(genome, WeightGenome) and getattr(genome, "arrays", None) is None
