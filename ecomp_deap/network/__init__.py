"""Networks: from a genome to a working child, and what can be said about one.

`find_structure` finds the groups of units of a parent, `compile_child` makes a standalone child of
a genome, `train`, `fit` and `fit_children` train it, `find_probe_layers` finds where hidden
representations are compared and `embed` records them, `CostModel` counts, `latency_ms` times, and
`inspect` tells what each group of a parent takes.
"""

from ecomp_deap.network.compile import compile_child, learnt_arrays, parent_arrays
from ecomp_deap.network.cost import mac_count, param_count, size_bytes
from ecomp_deap.network.cost_model import CostModel, Costs
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.fitting import fit_children
from ecomp_deap.network.groups import weighted_layers
from ecomp_deap.network.importance import l1_importance
from ecomp_deap.network.inspection import GroupRow, Inspection, inspect
from ecomp_deap.network.latency import Latency, LatencyMeter, latency_ms, speedup
from ecomp_deap.network.parent import load_parent, make_parent
from ecomp_deap.network.probes import default_probe_layers, find_probe_layers
from ecomp_deap.network.recalibration import has_statistics, recalibrate
from ecomp_deap.network.structure import find_structure
from ecomp_deap.network.training import fit, predict, train

__all__ = [
    "CostModel",
    "Costs",
    "GroupRow",
    "Inspection",
    "Latency",
    "LatencyMeter",
    "Probe",
    "compile_child",
    "default_probe_layers",
    "embed",
    "find_probe_layers",
    "find_structure",
    "fit",
    "fit_children",
    "has_statistics",
    "inspect",
    "l1_importance",
    "latency_ms",
    "learnt_arrays",
    "load_parent",
    "mac_count",
    "make_parent",
    "param_count",
    "parent_arrays",
    "predict",
    "recalibrate",
    "size_bytes",
    "speedup",
    "train",
    "weighted_layers",
]
