"""Similarity: how closely a child's hidden representations match the parent's.

A similarity measure compares two embeddings of the same samples, of any two widths. The maths is
pure functions of tensors; a thin class per measure, a `SimilarityLoss`, holds what depends on the
parent alone. `SIMILARITIES` has them by name.
"""

from ecomp_deap.similarity.calibration import Calibration, calibrate
from ecomp_deap.similarity.cka import CKALoss
from ecomp_deap.similarity.distance_correlation import DistanceCorrelationLoss
from ecomp_deap.similarity.distance_mse import DistanceMSELoss
from ecomp_deap.similarity.distances import squared_distances
from ecomp_deap.similarity.interface import SimilarityLoss
from ecomp_deap.similarity.knn_jaccard import KNNJaccardLoss
from ecomp_deap.similarity.measures import (
    SIMILARITIES,
    losses_of_children,
    make_similarity,
    similarity_class,
)
from ecomp_deap.similarity.pkt import PKTLoss
from ecomp_deap.similarity.procrustes import ProcrustesLoss
from ecomp_deap.similarity.table_loss import TableLoss
from ecomp_deap.similarity.tsne import (
    WORST_LOSS,
    TSNELoss,
    check_perplexity,
    default_perplexity,
    joint_probabilities,
    kl_divergence,
    student_probabilities,
)

__all__ = [
    "SIMILARITIES",
    "WORST_LOSS",
    "CKALoss",
    "Calibration",
    "DistanceCorrelationLoss",
    "DistanceMSELoss",
    "KNNJaccardLoss",
    "PKTLoss",
    "ProcrustesLoss",
    "SimilarityLoss",
    "TSNELoss",
    "TableLoss",
    "calibrate",
    "check_perplexity",
    "default_perplexity",
    "joint_probabilities",
    "kl_divergence",
    "losses_of_children",
    "make_similarity",
    "similarity_class",
    "squared_distances",
    "student_probabilities",
]
