"""`Recipe`: how children train, in the search and when they are finalised."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ecomp_deap.errors import argument_error

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "FINALISE_RECIPE",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SEARCH_RECIPE",
    "LossWeights",
    "Recipe",
    "check_finalising",
]

#: What a training loss may consist of; the first alone is the default.
LOSSES = ("task", "distillation", "similarity")
#: What may take the steps; the first is the default.
OPTIMIZERS = ("adam", "adamw", "sgd")
#: How the rate may change over the steps; the first is the default.
SCHEDULES = ("constant", "onecycle", "cosine", "linear")


class LossWeights(Mapping[str, float]):
    """Weights of losses by name: a mapping that cannot change, with a hash.

    >>> weights = LossWeights({"distillation": 0.5, "task": 1})
    >>> weights
    {'task': 1.0, 'distillation': 0.5}
    >>> weights == {"task": 1.0, "distillation": 0.5}
    True
    >>> print(weights)
    task=1,distillation=0.5

    Raises:
        ArgumentError: A name that is no loss, a weight that is negative or not finite, or no
            weight above 0.
    """

    __slots__ = ("_pairs",)

    def __init__(self, weights: Mapping[str, float]) -> None:
        if not isinstance(weights, Mapping):
            raise argument_error("loss", "a mapping from names to weights", weights)
        for name, weight in weights.items():
            if not isinstance(name, str) or name not in LOSSES:
                raise argument_error("loss", f"names among {', '.join(LOSSES)}", name)
            _check_number(f"loss[{name!r}]", weight, at_least=0.0)
        # Those of weight 0 are no part of the sum.
        self._pairs = tuple((n, float(weights[n])) for n in LOSSES if weights.get(n))
        if not self._pairs:
            raise argument_error("loss", "a weight above 0", dict(weights))

    def __getitem__(self, name: str) -> float:
        return dict(self._pairs)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return repr(dict(self._pairs))

    def __str__(self) -> str:
        return ",".join(f"{name}={weight:g}" for name, weight in self._pairs)


@dataclass(frozen=True)
class Recipe:
    """How children train.

    Attributes:
        learning_rate: The highest of the schedule.
        loss: Weights of the losses that are summed: ``"task"``, the task's ``loss_fn``;
            ``"distillation"``, from the parent's logits (Hinton et al. 2015, "Distilling the
            Knowledge in a Neural Network"); ``"similarity"``, the task's similarity loss of the
            training batch, summed over probe layers.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (with momentum 0.9).
        weight_decay: Decoupled for ``adamw``, L2 for the others, as in torch.
        schedule: ``"constant"``, ``"onecycle"`` (Smith & Topin 2018, "Super-Convergence"),
            ``"cosine"`` or ``"linear"``, which end at 0.
        batch_size: Samples of a gradient step. None is the task's in the search, and 128 when
            finalising.
        temperature: Of distillation.
        mixup: Alpha of the Beta(alpha, alpha) distribution that samples are mixed by (Zhang et al.
            2018, "mixup"). 0 mixes none.
        augment: ``(inputs, generator) -> inputs`` for the inputs of a batch, which it may change.
        averaging: Last fraction of the steps whose weights are averaged (Izmailov et al. 2018,
            "Averaging Weights Leads to Wider Optima"). 0 keeps the last step's.
        size_power: When finalising, a child's learning rate is multiplied by (the parent's
            parameters / the child's) to this power, as small networks want higher rates than large
            ones.

    Raises:
        ArgumentError: A value is unknown or out of range.
    """

    learning_rate: float = 1e-3
    loss: Mapping[str, float] = field(default_factory=lambda: LossWeights({"task": 1.0}))
    optimizer: str = OPTIMIZERS[0]
    weight_decay: float = 0.0
    schedule: str = SCHEDULES[0]
    batch_size: int | None = None
    temperature: float = 2.0
    mixup: float = 0.0
    augment: "Callable[[Any, np.random.Generator], Any] | None" = None
    averaging: float = 0.0
    size_power: float = 0.0

    def __post_init__(self) -> None:
        _check_number("learning_rate", self.learning_rate, above=0.0)
        object.__setattr__(self, "loss", LossWeights(self.loss))
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise argument_error(name, f"one of {', '.join(known)}", value)
        _check_number("weight_decay", self.weight_decay, at_least=0.0)
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise argument_error("batch_size", "a whole number of at least 1, or None", size)
        _check_number("temperature", self.temperature, above=0.0)
        _check_number("mixup", self.mixup, at_least=0.0)
        if self.augment is not None and not callable(self.augment):
            raise argument_error("augment", "a callable, or None", self.augment)
        _check_number("averaging", self.averaging, at_least=0.0)
        if self.averaging > 1:
            raise argument_error("averaging", "a fraction of at most 1", self.averaging)
        _check_number("size_power", self.size_power, at_least=0.0)
        if self.size_power > 1:
            raise argument_error("size_power", "a power of at most 1", self.size_power)

    def rate_for(self, param_count: int, parent_param_count: int) -> float:
        """Return the highest learning rate of a child in the final training, see ``size_power``.

        >>> Recipe(learning_rate=0.001, size_power=0.5).rate_for(100, 10_000)
        0.01
        """
        return self.learning_rate * (parent_param_count / param_count) ** self.size_power

    @property
    def needs_teacher(self) -> bool:
        """Whether its losses need the parent."""
        return self.loss.keys() != {"task"}


def check_finalising(count: int, trials: int, sizes: Sequence[int]) -> None:
    """Check that what is asked of the final training goes together.

    Args:
        count: Children to train longer.
        trials: Children to choose them from, 0 for none.
        sizes: Numbers of parameters wanted.

    Raises:
        ArgumentError: No more trials than children, or fewer than two children for a size.
    """
    if count and 0 < trials <= count:
        raise argument_error("finalise_trials", f"0, or more than finalise_count={count}", trials)
    if 0 < count < 2 * len(sizes):
        expected = f"at least {2 * len(sizes)}, two for each of finalise_sizes"
        raise argument_error("finalise_count", expected, count)


def _check_number(
    name: str, value: Any, *, above: float | None = None, at_least: float = -math.inf
) -> None:
    low = f"of at least {at_least:g}" if above is None else f"greater than {above:g}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A whole number may be below infinity and yet too large for a float.
    is_finite = is_number and abs(value) <= sys.float_info.max
    if not is_finite or value < at_least or (above is not None and value <= above):
        raise argument_error(name, f"a finite number {low}", value)


#: How children train in the search by default.
SEARCH_RECIPE = Recipe()
#: How the chosen children train by default.
FINALISE_RECIPE = Recipe(learning_rate=2e-3, schedule="onecycle", batch_size=128)
