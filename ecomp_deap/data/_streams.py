"""Named streams of random numbers: one purpose each, so that none repeats another's draws.

The numbers are arbitrary, large and distinct; changing one changes every result drawn from it.
"""

import numpy as np

from ecomp_deap.checks import check_count

__all__ = [
    "CALIBRATION",
    "EPOCH",
    "FIRST_BATCH",
    "FIXED",
    "SEARCH_DRAW",
    "TRAINING",
    "VALIDATION_DRAW",
    "generator",
]

FIRST_BATCH = 0x9D3A_51C7
EPOCH = 0xB10C_7E2F
TRAINING = 0xC4E8_0A35
FIXED = 0xE21B_96D9
VALIDATION_DRAW = 0xA57F_3B43
SEARCH_DRAW = 0xD806_C48B
CALIBRATION = 0x8F21_6BD4


def generator(seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """Return a new generator for draw number ``index`` of ``stream``.

    Raises:
        ArgumentError: ``seed`` is no whole number of at least 0.
    """
    return np.random.default_rng([check_count("seed", seed, minimum=0), stream, index])
