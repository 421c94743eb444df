"""Examples: batches of inputs to run a network on, their shapes as plain data, and other sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ecomp_deap.errors import DataError, argument_error

__all__ = ["describe_inputs", "make_example", "n_samples", "with_samples"]


def n_samples(example: Any) -> int:
    """Return the number of samples of a batch: a tensor, or a tuple, list or dict of tensors.

    Raises:
        ArgumentError: It is something else, empty, or its tensors differ in their first dimension.
    """
    parts = [example]
    if isinstance(example, Mapping):
        parts = list(example.values())
    elif isinstance(example, Sequence):
        parts = list(example)
    lengths = {
        len(part) if isinstance(part, torch.Tensor) and part.ndim else type(part).__name__
        for part in parts
    }
    if len(lengths) != 1 or not isinstance(n := lengths.pop(), int) or n < 1:
        got = type(example).__name__ if parts == [example] else lengths or parts
        raise argument_error(
            "example", "a batch of inputs, a tensor or a tuple, list or dict of tensors", got
        )
    return n


def with_samples(example: Any, n: int) -> Any:
    """Return a batch of n samples, which repeats those of another in order."""

    def take(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[torch.arange(n, device=tensor.device) % len(tensor)]

    return _map(take, example)


def describe_inputs(example: Any) -> Any:
    """Return shape and type of one sample, in JSON's types: per tensor, in the same containers.

    >>> describe_inputs(torch.zeros(2, 3))
    {'shape': [3], 'dtype': 'float32'}
    """
    return _map(
        lambda tensor: {
            "shape": list(tensor.shape[1:]),
            "dtype": str(tensor.dtype).removeprefix("torch."),
        },
        example,
    )


def make_example(inputs: Any, n: int) -> Any:
    """Return a batch of n samples of what `describe_inputs` described.

    Floating-point numbers are drawn from a normal distribution, always the same ones; integers are
    0, as they may be indices.

    Raises:
        DataError: The description is none.
    """
    generator = torch.Generator().manual_seed(0)

    def make(sample: Any) -> torch.Tensor:
        dtype = getattr(torch, sample["dtype"])
        shape = (n, *sample["shape"])
        if not dtype.is_floating_point:
            return torch.zeros(shape, dtype=dtype)
        return torch.randn(shape, generator=generator).to(dtype)

    try:
        if isinstance(inputs, Mapping) and not isinstance(inputs.get("shape"), list):
            return {name: make(sample) for name, sample in inputs.items()}
        if isinstance(inputs, list):
            return tuple(make(sample) for sample in inputs)
        return make(inputs)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(f"manifest: no inputs can be made of {inputs!r}") from error


def _map(function: Callable[[torch.Tensor], Any], example: Any) -> Any:
    if isinstance(example, Mapping):
        return {name: function(part) for name, part in example.items()}
    if isinstance(example, Sequence):
        return [function(part) for part in example]
    return function(example)
