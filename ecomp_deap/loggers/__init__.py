"""A logger is a callback that takes a search to where people already look: its figures of each
generation, and what it found at the end. A search is the same with and without one, and goes on
where one fails. Each needs a package of its own, which is imported when the logger is made.
"""

from ecomp_deap.loggers.logger import Logger
from ecomp_deap.loggers.mlflow import MLflowLogger
from ecomp_deap.loggers.optuna import export_optuna
from ecomp_deap.loggers.tensorboard import TensorBoardLogger

__all__ = ["Logger", "MLflowLogger", "TensorBoardLogger", "export_optuna"]
