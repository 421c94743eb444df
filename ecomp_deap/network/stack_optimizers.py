"""`StackOptimizer`: steps of an optimiser for several children's parameters in one flat tensor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from ecomp_deap.network.schedules import rate
from ecomp_deap.network.stack_stages import Joint
from ecomp_deap.recipe import Recipe

__all__ = ["StackOptimizer"]

_OF_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "maximize": False}
_OF_SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "maximize": False}


class StackOptimizer:
    """Takes steps (in place) as `torch.optim` does with its defaults.

    Args:
        joint: The children's parameters and gradients.
        recipe: The optimiser, its weight decay and its schedule.
        n_steps: Of the whole training.
        learning_rates: The highest rate of each child.
        fused: Whether torch's fused kernels take them, which round in other ways.
    """

    def __init__(
        self,
        joint: Joint,
        recipe: Recipe,
        *,
        n_steps: int,
        learning_rates: Sequence[float],
        fused: bool,
    ) -> None:
        self._n_steps, self._fused, self._kind = n_steps, fused, recipe.optimizer
        self._options = {"weight_decay": recipe.weight_decay}
        self._options |= _OF_SGD if recipe.optimizer == "sgd" else _OF_ADAM
        self._step = 0
        # Where Adam wants it.
        device = joint.flat.device if fused else "cpu"
        self._count = torch.zeros((), dtype=torch.float32, device=device)
        vectors = (joint.flat[: joint.n_trainable], joint.gradient, *joint.moments)
        # One call for all children of one rate.
        self._jobs: list[tuple[Recipe, list[list[torch.Tensor]]]] = []
        for highest in dict.fromkeys(learning_rates):
            own = [i for i, found in enumerate(learning_rates) if found == highest]
            everyone = len(own) == len(learning_rates)
            state = [[v] if everyone else joint.parts(v, own) for v in vectors]
            self._jobs.append((replace(recipe, learning_rate=highest), state))

    def step(self) -> None:
        """Take the next step."""
        if self._fused:
            self._count.add_(1.0)
        for recipe, state in self._jobs:
            self._take(state, rate(recipe, self._step, self._n_steps))
        self._step += 1

    def _take(self, state: list[list[torch.Tensor]], learning_rate: float) -> None:
        parameters, gradients, first, second = state
        options: dict[str, Any] = {**self._options, "lr": learning_rate}
        if self._kind == "sgd":
            if self._fused:
                torch.ops.aten._fused_sgd_(
                    parameters, gradients, first, **options, is_first_step=False
                )
            else:
                buffers: list[torch.Tensor | None] = [*first]
                sgd(parameters, gradients, buffers, foreach=False, fused=False, **options)
            return
        counts = [self._count] * len(parameters)
        tensors: Any = (parameters, gradients, first, second, [], counts)
        step: Any
        if self._fused:
            # What `adam` does with fused=True, without its preparations for many tensors.
            step = {"adam": torch.ops.aten._fused_adam_, "adamw": torch.ops.aten._fused_adamw_}
            step[self._kind](*tensors, **options)
        else:
            step = {"adam": adam, "adamw": adamw}
            step[self._kind](*tensors, foreach=False, fused=False, **options)
