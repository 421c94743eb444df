"""Search: the whole job, from a task to a front of finished children.

`compress` (from a task) and `evolve` (from a toolbox) run one of DEAP's algorithms, score what it
found on the validation data, give chosen children a longer training and return the front.
`run_many` does so for a configuration and leaves run directories behind.
"""

from ecomp_deap.runs.choosing import knee, most_accurate_under, smallest_within
from ecomp_deap.search.archive import Archive
from ecomp_deap.search.compress import Result, compress, evolve
from ecomp_deap.search.finish import Child, Finisher
from ecomp_deap.search.front import hypervolume, non_dominated, spread
from ecomp_deap.search.parent import train_parent

__all__ = [
    "Archive",
    "Child",
    "Finisher",
    "Result",
    "compress",
    "evolve",
    "hypervolume",
    "knee",
    "most_accurate_under",
    "non_dominated",
    "smallest_within",
    "spread",
    "train_parent",
]
