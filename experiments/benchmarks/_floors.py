"""Floors: the least time that a piece of work can take on this machine, from what it must do."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

# Numbers that exponentials are taken of at once, as the tables do: they stay near a core's cache.
_BLOCK = 130_000
_REPEATS = 5


@dataclass(frozen=True)
class Work:
    """What must be done, however it is done.

    Attributes:
        single: Floating-point operations in single precision; a multiply-add counts two.
        double: The same in double precision.
        single_exps: Exponentials in single precision.
        double_exps: Exponentials and logarithms in double precision.
        bytes: Read and written, each once, beyond what a cache holds.
    """

    single: float = 0.0
    double: float = 0.0
    single_exps: float = 0.0
    double_exps: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)))

    def in_double(self) -> "Work":
        """Return the same operations in double precision."""
        return Work(double=self.single, double_exps=self.single_exps, bytes=self.bytes)

    def times(self, n: int) -> "Work":
        return Work(*(n * getattr(self, f.name) for f in fields(Work)))


@dataclass(frozen=True)
class Machine:
    """What one thread of this machine does in a second, at best.

    Attributes:
        single: Floating-point operations of a large matrix product in single precision.
        double: In double precision.
        single_exps: Exponentials in single precision, of numbers in the cache.
        double_exps: In double precision.
        bytes: Read and written while a large array is copied.
    """

    single: float
    double: float
    single_exps: float
    double_exps: float
    bytes: float

    def floor(self, work: Work) -> float:
        """Return the seconds that work takes at least; moving bytes may overlap with the rest."""
        computing = sum(
            getattr(work, name) / getattr(self, name)
            for name in ("single", "double", "single_exps", "double_exps")
        )
        return max(computing, work.bytes / self.bytes)

    def __str__(self) -> str:
        return (
            f"{self.single / 1e9:.0f} GFLOP/s in single and {self.double / 1e9:.0f} in double "
            f"precision (large matrix products), {self.single_exps / 1e9:.2g} and "
            f"{self.double_exps / 1e9:.2g} billion exponentials a second, "
            f"{self.bytes / 1e9:.1f} GB/s (a large copy, read and write)"
        )


def measure_machine(*, size: int = 2048, copied: int = 2**28) -> Machine:
    """Return what one thread does at best.

    Args:
        size: Rows of the matrices.
        copied: Bytes of the array that is copied.
    """
    source = torch.zeros(copied // 4)
    target = torch.empty_like(source)
    copying = _shortest(lambda: target.copy_(source))
    return Machine(
        2.0 * size**3 / _product_seconds(size, torch.float32),
        2.0 * size**3 / _product_seconds(size, torch.float64),
        _BLOCK / _exp_seconds(torch.float32),
        _BLOCK / _exp_seconds(torch.float64),
        2.0 * copied / copying,
    )


def _product_seconds(size: int, dtype: torch.dtype) -> float:
    a, b = torch.rand(2, size, size, dtype=dtype)
    out = torch.empty_like(a)
    return _shortest(lambda: torch.mm(a, b, out=out))


def _exp_seconds(dtype: torch.dtype) -> float:
    x = -torch.rand(_BLOCK, dtype=dtype)
    out = torch.empty_like(x)
    return _shortest(lambda: torch.exp(x, out=out), calls=50)


def _shortest(function: Callable[[], object], *, calls: int = 1) -> float:
    function()
    found = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        found.append((time.perf_counter() - start) / calls)
    return min(found)
