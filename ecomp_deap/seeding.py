"""Seeding: where every random number of a run comes from.

One stream is drawn from, DEAP's own: the `random` module (and `numpy.random`, which
`deap.tools.selNSGA3` uses). It is seeded for each generation from (run seed, generation), so
that nothing a user draws in between, and no worker's timing, changes a later generation.
"""

import random

import numpy as np

__all__ = [
    "BASELINE_STREAM",
    "POPULATION_STREAM",
    "RANKING_STREAM",
    "draw_generator",
    "generator",
    "seed_stream",
    "training_seed",
]

# Streams derived from the same run seed must never coincide: each has a number of its own.
_VARIATION, _TRAINING, POPULATION_STREAM, RANKING_STREAM, BASELINE_STREAM = 1, 2, 3, 4, 5


def generator(*key: int) -> np.random.Generator:
    """Return a NumPy generator that depends on ``key`` alone.

    >>> bool(generator(1, 2).random() == generator(1, 2).random())
    True
    """
    return np.random.default_rng(list(key))


def seed_stream(run_seed: int, generation: int) -> None:
    """Seed `random` and `numpy.random` for the variation that makes ``generation``.

    Changes global state: DEAP's operators draw from these two modules.
    """
    words = np.random.SeedSequence([run_seed, _VARIATION, generation]).generate_state(16)
    random.seed(int.from_bytes(words[:8].tobytes(), "little"))
    # Other words: both are Mersenne Twisters, and equal seeds would give equal draws.
    np.random.seed(words[8:])  # noqa: NPY002  (DEAP's selNSGA3 draws from it)


def draw_generator() -> np.random.Generator:
    """Return a NumPy generator seeded by one draw of the `random` module."""
    return np.random.default_rng(random.getrandbits(64))


def training_seed(run_seed: int, generation: int, index: int) -> int:
    """Return the torch seed for training the child at ``index`` of ``generation``."""
    sequence = np.random.SeedSequence([run_seed, _TRAINING, generation, index])
    # NumPy 1 shifts no np.uint64 by an int.
    return int(sequence.generate_state(1, np.uint64)[0]) >> 1
