"""Recipes with every option, and lessons for them, that fast and slow training are compared on."""

import numpy as np
import torch

from ecomp_deap.network import Probe
from ecomp_deap.network.lessons import Teacher, draw_lessons
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import TSNELoss
from ecomp_deap.task import default_forward


def add_noise(inputs, rng):
    noise = torch.from_numpy(rng.normal(scale=0.1, size=inputs.shape))
    return inputs + noise.to(inputs.dtype)


MIXTURE = {"task": 0.5, "distillation": 1.0, "similarity": 0.3}
OPTIONS = {
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "adam with L2": {"weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.01},
    "one cycle": {"schedule": "onecycle"},
    "cosine": {"schedule": "cosine", "optimizer": "sgd"},
    "linear": {"schedule": "linear"},
    "distillation": {"loss": {"distillation": 1.0}, "temperature": 3.0},
    "task and distillation": {"loss": {"task": 0.5, "distillation": 1.0}},
    "similarity": {"loss": {"similarity": 1.0}},
    "all losses": {"loss": MIXTURE},
    "mixup": {"mixup": 0.5},
    "mixup of all losses": {"mixup": 0.5, "loss": MIXTURE},
    "augmentation": {"augment": add_noise},
    "averaging": {"averaging": 0.5},
    "everything": {
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "onecycle",
        "loss": MIXTURE,
        "mixup": 0.3,
        "augment": add_noise,
        "averaging": 0.3,
    },
}


def recipe_of(name, **options):
    return Recipe(**{"learning_rate": 0.01, **OPTIONS[name], **options})


def teacher_for(parent, *probes):
    """The parent, compared with t-SNE at some layers."""

    def measure(name, embedding):
        return TSNELoss(embedding, perplexity=(len(embedding) - 1) / 3)

    return Teacher(parent, default_forward, tuple(map(Probe, probes)), measure)


def lessons_for(recipe, teacher, batches):
    rng = np.random.default_rng(0)
    return list(draw_lessons(batches, recipe, teacher=teacher, rng=rng))
