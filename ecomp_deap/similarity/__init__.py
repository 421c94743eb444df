"""Similarity: how closely a child's hidden representations match the parent's.

A similarity measure compares two embeddings of the same samples, of any two widths. The maths is
pure functions of tensors; a thin class per measure holds what depends on the parent alone.
"""

from ecomp_deap.similarity.calibration import Calibration, calibrate
from ecomp_deap.similarity.distances import squared_distances
from ecomp_deap.similarity.tsne import (
    WORST_LOSS,
    TSNELoss,
    check_perplexity,
    default_perplexity,
    joint_probabilities,
    kl_divergence,
    losses_of_children,
    student_probabilities,
)

__all__ = [
    "WORST_LOSS",
    "Calibration",
    "TSNELoss",
    "calibrate",
    "check_perplexity",
    "default_perplexity",
    "joint_probabilities",
    "kl_divergence",
    "losses_of_children",
    "squared_distances",
    "student_probabilities",
]
