"""Workers: processes, here or elsewhere, that measure blocks of genomes.

A worker gets the parent and the data once, as a *kit*; then only *jobs*, of genomes and seeds. A
*crew* has them measured, whatever becomes of the workers, by a *post* that sends and takes.
"""

from ecomp_deap.evaluation.workers.crew import Crew
from ecomp_deap.evaluation.workers.dask import DaskWorkers
from ecomp_deap.evaluation.workers.job import Answer, Job, run
from ecomp_deap.evaluation.workers.kit import Kit, pack_kit, unpack_kit
from ecomp_deap.evaluation.workers.post import Incidents, Request
from ecomp_deap.evaluation.workers.processes import ProcessWorkers, opened
from ecomp_deap.evaluation.workers.ray import RayWorkers
from ecomp_deap.evaluation.workers.workers import ExecutorWorkers, Lost, Workers, as_workers

__all__ = [
    "Answer",
    "Crew",
    "DaskWorkers",
    "ExecutorWorkers",
    "Incidents",
    "Job",
    "Kit",
    "Lost",
    "ProcessWorkers",
    "RayWorkers",
    "Request",
    "Workers",
    "as_workers",
    "opened",
    "pack_kit",
    "run",
    "unpack_kit",
]
