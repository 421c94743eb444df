"""Soundness: tensors that samples can be taken from, of finite numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ecomp_deap.data._trees import leaves, map_leaves
from ecomp_deap.errors import ArgumentError, argument_error

__all__ = ["check_dense", "check_finite"]

# Samples that a network is asked about at once.
_ASKED = 256


def check_dense(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor``.

    Raises:
        ArgumentError: It is sparse or otherwise laid out, or holds no numbers.
    """
    if tensor.layout is not torch.strided:
        raise argument_error(name, "a dense tensor", f"one with layout {tensor.layout}")
    if tensor.is_meta:
        raise argument_error(name, "a tensor that holds numbers", "one on the device 'meta'")
    return tensor


def check_finite(
    part: str,
    inputs: Any,
    targets: torch.Tensor,
    numbers: np.ndarray,
    *,
    copes: Callable[[Any], bool],
) -> None:
    """Check that samples hold finite numbers, or inputs that the network is made for.

    Args:
        part: Of the data, for errors.
        inputs: A tensor, or tensors in containers, each of shape ``(n, ...)``.
        targets: Shape ``(n, ...)``.
        numbers: Of the samples, shape ``(n,)``, for errors.
        copes: Whether a network copes with inputs of a few samples that are not finite, as one does
            that takes NaN for what is missing. It is not asked about others.

    Raises:
        ArgumentError: A sample with NaN or Inf, the first one.
    """
    for path, tensor in [*leaves(inputs, "inputs"), ("targets", targets)]:
        rows = _rows_not_finite(tensor)
        if tensor is not targets:
            rows = _refused(inputs, rows, copes)
        if len(rows):
            row = int(rows[0])
            found = _comparable(tensor[row].flatten())
            value = found[~found.isfinite()][0].item()
            got = f"{value} in the {path} of sample {numbers[row]}"
            raise ArgumentError(f"{part} data: expected finite numbers, got {got}")


def _rows_not_finite(tensor: torch.Tensor) -> torch.Tensor:
    """Return the indices of the samples of a tensor that hold NaN or Inf, shape ``(k,)``."""
    none = torch.empty(0, dtype=torch.int64)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point() or not tensor.numel():
        return none
    tensor = _comparable(tensor)
    # One pass without memory of its own: both are NaN if a single number is.
    low, high = tensor.aminmax()
    if low.isfinite() and high.isfinite():
        return none
    return (~tensor.reshape(len(tensor), -1).isfinite().all(dim=1)).nonzero()[:, 0].cpu()


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers in a type that torch compares, which it does not for those of one byte."""
    one_byte = tensor.is_floating_point() and tensor.element_size() == 1
    return tensor.float() if one_byte else tensor


def _refused(inputs: Any, rows: torch.Tensor, copes: Callable[[Any], bool]) -> torch.Tensor:
    """Return the first of the rows that a network does not cope with, shape ``(1,)``; or none."""

    def taken(some: torch.Tensor) -> Any:
        return map_leaves(lambda leaf, _: leaf[some.to(leaf.device)], inputs, "inputs")

    for asked in rows.split(_ASKED) if len(rows) else ():
        if copes(taken(asked)):
            continue
        # Twice, as a norm without statistics of its own takes no single sample.
        alone = (row for row in asked.split(1) if not copes(taken(row.repeat(2))))
        return next(alone, asked[:1])
    return rows[:0]
