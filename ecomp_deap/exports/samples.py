"""Examples: batches of inputs to run a network on, their shapes as plain data, and other sizes."""

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ecomp_deap.errors import DataError, argument_error, one_line

__all__ = ["describe_inputs", "make_example", "n_samples", "with_samples"]

_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "bool"),
    *("complex64", "complex128"),
)
_MOST_DIMENSIONS = 64  # torch takes no more
# Of all tensors of a batch together: 1 GiB of float32.
_MOST_VALUES = 2**28


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
        DataError: The description is none, or one of more than 2²⁸ numbers.
    """
    if isinstance(inputs, Mapping) and not isinstance(inputs.get("shape"), list):
        described = list(inputs.values())
    else:
        described = inputs if isinstance(inputs, list) else [inputs]
    try:
        sizes = [math.prod(_shape(sample, n)) for sample in described]
        if sum(sizes) > _MOST_VALUES:
            raise ValueError(f"they have more than {_MOST_VALUES} numbers")
        generator = torch.Generator().manual_seed(0)
        made = [_make(sample, n, generator) for sample in described]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        shown = reprlib.repr(inputs)
        raise DataError(f"manifest: no inputs can be made of {shown}: {one_line(error)}") from error
    if isinstance(inputs, list):
        return tuple(made)
    return made[0] if described == [inputs] else dict(zip(inputs, made, strict=True))


def _shape(sample: Any, n: int) -> tuple[int, ...]:
    shape = sample["shape"]
    if not isinstance(shape, list) or len(shape) >= _MOST_DIMENSIONS:
        raise ValueError(f"a shape is a list of fewer than {_MOST_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size <= _MOST_VALUES for size in shape):
        raise ValueError(f"a size is a whole number up to {_MOST_VALUES}")
    return (n, *shape)


def _make(sample: Any, n: int, generator: torch.Generator) -> torch.Tensor:
    if sample["dtype"] not in _DTYPES:
        raise ValueError(f"a dtype is one of {', '.join(_DTYPES)}")
    dtype: torch.dtype = getattr(torch, sample["dtype"])
    if not dtype.is_floating_point:
        return torch.zeros(_shape(sample, n), dtype=dtype)
    return torch.randn(_shape(sample, n), generator=generator).to(dtype)


def _map(function: Callable[[torch.Tensor], Any], example: Any) -> Any:
    if isinstance(example, Mapping):
        return {name: function(part) for name, part in example.items()}
    if isinstance(example, Sequence):
        return [function(part) for part in example]
    return function(example)
