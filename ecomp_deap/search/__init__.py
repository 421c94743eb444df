"""Search: the whole job, from a task to a front of finished children.

`compress` runs one of DEAP's algorithms on a task, scores what it found on the validation data,
gives chosen children a longer training and reports the front. `run_many` does so for a
configuration and leaves run directories behind.
"""

from ecomp_deap.search.compress import Result, compress
from ecomp_deap.search.finish import Child
from ecomp_deap.search.front import hypervolume, non_dominated
from ecomp_deap.search.parent import train_parent

__all__ = ["Child", "Result", "compress", "hypervolume", "non_dominated", "train_parent"]
