"""The toolbox: the one place where DEAP's creator and toolbox receive our types and operators.

`make_toolbox` returns a DEAP toolbox whose ``map``, ``select`` and ``clone`` pass through the
generation boundary, whatever a user registers there, so that DEAP's own algorithms score everyone
on the same fresh batch and give the same result for the same seed.
"""

from ecomp_deap.toolbox.accounts import Counters
from ecomp_deap.toolbox.boundary import Toolbox
from ecomp_deap.toolbox.making import make_toolbox

__all__ = ["Counters", "Toolbox", "make_toolbox"]
