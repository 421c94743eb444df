"""Evaluation: from genomes to measurements.

A genome is compiled to a child, the child is trained for some steps, embedded at the probe layers
and measured. The `Evaluator` knows the task; engines measure blocks of children on what a
generation's `Context` holds, and nothing else, so a block can be measured in any process.
"""

from ecomp_deap.evaluation.context import Context, Outcome
from ecomp_deap.evaluation.evaluator import Evaluator
from ecomp_deap.evaluation.loop import evaluate_block
from ecomp_deap.evaluation.scoring import Scorer

__all__ = ["Context", "Evaluator", "Outcome", "Scorer", "evaluate_block"]
