"""Schedules: how the learning rate changes over the steps of a training."""

import math

from ecomp_deap.recipe import Recipe

__all__ = ["n_averaged", "rate"]

# Of the one-cycle schedule, as torch has them: the share of rising steps, and by how much the
# highest rate exceeds the first one, and the first the last.
_RISING, _FIRST, _LAST = 0.3, 25.0, 1e4


def rate(recipe: Recipe, step: int, n_steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: Its schedule, and the highest rate.
        step: From 0.
        n_steps: Of the whole training.

    Source: OneCycleLR, without its cycle of momenta, and CosineAnnealingLR of
    `torch.optim.lr_scheduler`, as functions of the step.

    >>> [rate(Recipe(learning_rate=1.0, schedule="linear"), step, 4) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return recipe.learning_rate * _FACTORS[recipe.schedule](step, n_steps)


def n_averaged(recipe: Recipe, n_steps: int) -> int:
    """Return how many steps, the last ones, have their weights averaged; 0 for no averaging."""
    return math.ceil(recipe.averaging * n_steps)


def _onecycle(step: int, n_steps: int) -> float:
    last = max(1, n_steps - 1)
    turn = _RISING * (last + 1) - 1
    if step <= turn:
        return _cosine_between(1 / _FIRST, 1.0, step / turn)
    return _cosine_between(1.0, 1 / (_FIRST * _LAST), (step - turn) / (last - turn))


def _cosine_between(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


_FACTORS = {
    "constant": lambda step, n_steps: 1.0,
    "onecycle": _onecycle,
    "cosine": lambda step, n_steps: _cosine_between(1.0, 0.0, step / n_steps),
    "linear": lambda step, n_steps: 1 - step / n_steps,
}
