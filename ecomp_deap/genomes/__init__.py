"""Genomes: what evolves.

A genome is plain data that says which units of the parent a child keeps, and possibly with what
weights. It knows neither DEAP nor torch, holds no module, shares its immutable arrays with its
copies, and is told from others by `key()`. With a DEAP ``fitness`` attached it is an individual.
"""

from ecomp_deap.genomes.base import Genome
from ecomp_deap.genomes.mask import MaskGenome, realign
from ecomp_deap.genomes.structure import Axis, Group, MixedAxis, Structure, making_dim
from ecomp_deap.genomes.weights import WeightGenome
from ecomp_deap.genomes.widths import WidthGenome, ranked

__all__ = [
    "Axis",
    "Genome",
    "Group",
    "MaskGenome",
    "MixedAxis",
    "Structure",
    "WeightGenome",
    "WidthGenome",
    "making_dim",
    "ranked",
    "realign",
]
