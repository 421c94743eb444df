"""Measurement: what one evaluation of a child found."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from ecomp_deap.errors import argument_error

__all__ = ["Measurement"]


@dataclass(frozen=True)
class Measurement(Mapping[str, float]):
    """What was found when a child was evaluated; always finite.

    It reads like a mapping from names to numbers, where the task's metric goes by its own name:

    >>> found = Measurement(metric=0.9, similarity_loss=0.05, relative_width=0.5,
    ...                     param_count=120, mac_count=100, size_bytes=480)
    >>> found["accuracy"], found["param_count"]
    (0.9, 120)

    Attributes:
        metric: The task's metric, by default accuracy in [0, 1].
        similarity_loss: By the task's measure (of t-SNE in nats), summed over probe layers.
        relative_width: Units kept / the parent's units, in (0, 1].
        param_count: Number of parameters.
        mac_count: Multiply-accumulate operations for one sample.
        size_bytes: Bytes of its parameters and buffers.
        failed: True when the child could not be measured; the numbers are then the worst ones.
        reason: Why it failed, else an empty string.
        metric_name: The name under which ``metric`` is found.
        latency_ms: Milliseconds that a forward pass takes; None, and no number of the mapping,
            where that is not measured.
        violation: By how much the child exceeds the task's limits: what each cost is above its
            limit, relative to the limit, summed. 0 within them.
        costs: The task's own costs, pairs of name and number.

    Raises:
        ArgumentError: A number is not finite, or the metric has another number's name.
    """

    metric: float
    similarity_loss: float
    relative_width: float
    param_count: int
    mac_count: int
    size_bytes: int
    failed: bool = False
    reason: str = ""
    metric_name: str = "accuracy"
    latency_ms: float | None = None
    violation: float = 0.0
    costs: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.metric_name in _NUMBERS[1:]:
            raise argument_error("metric_name", "a name that no other number has", self.metric_name)
        values = (
            *(self.metric, self.similarity_loss, self.relative_width),
            *(self.param_count, self.mac_count, self.size_bytes),
            *(self.latency_ms or 0.0, self.violation, *(value for _, value in self.costs)),
        )
        if not all(map(math.isfinite, values)):
            numbers = {**self, "violation": self.violation}
            name, value = next(pair for pair in numbers.items() if not math.isfinite(pair[1]))
            raise argument_error(name, "a finite number", value)

    def __getitem__(self, name: str) -> float:
        if name == self.metric_name:
            return self.metric
        if name in _NUMBERS and name != "metric":
            value = getattr(self, name)
        else:
            value = dict(self.costs).get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        yield self.metric_name
        for name in _NUMBERS[1:]:
            if getattr(self, name) is not None:
                yield name
        yield from (name for name, _ in self.costs)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_NUMBERS = (*[f.name for f in fields(Measurement)][:6], "latency_ms")
