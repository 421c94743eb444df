"""ecomp_deap evolves smaller PyTorch networks with DEAP.

A trained parent network and data go in; a front of smaller children comes out, each with its
accuracy, its size and how closely its hidden representations match the parent's.

Names are imported when they are first used, so that the command line answers without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecomp_deap._version import __version__
from ecomp_deap.errors import ArgumentError, DataError, EcompError, EvaluationError, SelectionError

if TYPE_CHECKING:
    from ecomp_deap.algorithms import eaSteadyState
    from ecomp_deap.callbacks import Callback, Callbacks
    from ecomp_deap.data import (
        Splits,
        load_fashion_mnist,
        load_fashion_mnist_original,
    )
    from ecomp_deap.evaluation import Evaluator
    from ecomp_deap.evaluation.workers import DaskWorkers, ProcessWorkers, RayWorkers, Workers
    from ecomp_deap.exports import export, load_child
    from ecomp_deap.genomes import MaskGenome, WeightGenome, WidthGenome
    from ecomp_deap.logbook import export_logbook, logbook_to_rows, read_logbook, statistics
    from ecomp_deap.loggers import Logger, MLflowLogger, TensorBoardLogger, export_optuna
    from ecomp_deap.measurement import Measurement
    from ecomp_deap.network import Inspection, inspect, load_parent, make_parent
    from ecomp_deap.progress import progress_on
    from ecomp_deap.recipe import Recipe
    from ecomp_deap.runs.recording import recorded
    from ecomp_deap.search import Archive, Result, compress, evolve, train_parent
    from ecomp_deap.search.loop import watched
    from ecomp_deap.search.stopping import Progress, Stalled, TargetMet, TimeBudget
    from ecomp_deap.similarity import SimilarityLoss, TableLoss, TSNELoss, make_similarity
    from ecomp_deap.task import Metric, Task
    from ecomp_deap.toolbox import Toolbox, make_toolbox

_MODULE_OF = {
    "Archive": "search",
    "Callback": "callbacks",
    "Callbacks": "callbacks",
    "DaskWorkers": "evaluation.workers",
    "Evaluator": "evaluation",
    "Inspection": "network",
    "Logger": "loggers",
    "MLflowLogger": "loggers",
    "MaskGenome": "genomes",
    "Measurement": "measurement",
    "Metric": "task",
    "ProcessWorkers": "evaluation.workers",
    "Progress": "search.stopping",
    "RayWorkers": "evaluation.workers",
    "Recipe": "recipe",
    "Result": "search",
    "SimilarityLoss": "similarity",
    "Splits": "data",
    "Stalled": "search.stopping",
    "TSNELoss": "similarity",
    "TableLoss": "similarity",
    "TargetMet": "search.stopping",
    "Task": "task",
    "TensorBoardLogger": "loggers",
    "TimeBudget": "search.stopping",
    "Toolbox": "toolbox",
    "WeightGenome": "genomes",
    "WidthGenome": "genomes",
    "Workers": "evaluation.workers",
    "compress": "search",
    "eaSteadyState": "algorithms",
    "evolve": "search",
    "export": "exports",
    "export_logbook": "logbook",
    "export_optuna": "loggers",
    "inspect": "network",
    "load_child": "exports",
    "load_fashion_mnist": "data",
    "load_fashion_mnist_original": "data",
    "load_parent": "network",
    "logbook_to_rows": "logbook",
    "make_parent": "network",
    "make_similarity": "similarity",
    "make_toolbox": "toolbox",
    "progress_on": "progress",
    "read_logbook": "logbook",
    "recorded": "runs.recording",
    "statistics": "logbook",
    "train_parent": "search",
    "watched": "search.loop",
}

__all__ = [
    "Archive",
    "ArgumentError",
    "Callback",
    "Callbacks",
    "DaskWorkers",
    "DataError",
    "EcompError",
    "EvaluationError",
    "Evaluator",
    "Inspection",
    "Logger",
    "MLflowLogger",
    "MaskGenome",
    "Measurement",
    "Metric",
    "ProcessWorkers",
    "Progress",
    "RayWorkers",
    "Recipe",
    "Result",
    "SelectionError",
    "SimilarityLoss",
    "Splits",
    "Stalled",
    "TSNELoss",
    "TableLoss",
    "TargetMet",
    "Task",
    "TensorBoardLogger",
    "TimeBudget",
    "Toolbox",
    "WeightGenome",
    "WidthGenome",
    "Workers",
    "__version__",
    "compress",
    "eaSteadyState",
    "evolve",
    "export",
    "export_logbook",
    "export_optuna",
    "inspect",
    "load_child",
    "load_fashion_mnist",
    "load_fashion_mnist_original",
    "load_parent",
    "logbook_to_rows",
    "make_parent",
    "make_similarity",
    "make_toolbox",
    "progress_on",
    "read_logbook",
    "recorded",
    "statistics",
    "train_parent",
    "watched",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
