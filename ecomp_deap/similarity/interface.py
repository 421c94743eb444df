"""`SimilarityLoss`: what every similarity measure offers, and the checks that all share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch

from ecomp_deap.errors import argument_error

__all__ = [
    "SimilarityLoss",
    "as_origin",
    "as_tensor",
    "check_child",
    "check_children",
    "is_constant",
    "refuse_dead",
]


class SimilarityLoss(ABC):
    """Compares children's embeddings with the parent's, of the same samples and of any width.

    Constructed from the parent's embedding, ``(n_samples, n_units)``; or from several tables,
    ``(..., n_samples, n_units)``, each compared with the child's table in the same place. It is 0
    for equal representations, more where they differ more, and finite whatever a child's
    embedding holds. Picklable.

    Attributes:
        worst: What a failed or dead child scores, whose embedding is constant or not finite; no
            child scores more.
        differentiable: Whether the loss has a gradient in the child's embedding; that of a dead
            child is 0.
        n_samples: Samples of the parent's embedding.
    """

    worst: ClassVar[float]
    differentiable: ClassVar[bool] = True
    n_samples: int

    @abstractmethod
    def __init__(self, origin_embeddings: Any) -> None:
        """Keep what depends on the parent's embedding alone.

        Raises:
            ArgumentError: An embedding that is not finite, or constant (a dead layer), or of too
                few samples.
        """

    @abstractmethod
    def __call__(self, compressed_embeddings: Any) -> Any:
        """Return the losses of children of one width.

        Args:
            compressed_embeddings: Array or tensor of shape ``(n_samples, n_units)`` for one
                child, or ``(n_children, n_samples, n_units)``. Any number of units. Where the
                origin is several tables, ``(..., n_samples, n_units)`` with the same ones last.

        Returns:
            A scalar, or shape ``(n_children,)``: a tensor of the embeddings' dtype for tensors,
            a double for arrays.

        Raises:
            ArgumentError: Another number of samples, or of tables, than the parent's embedding;
                a gradient is asked of a measure that has none.
        """

    @abstractmethod
    def of_children(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the losses of children of different widths.

        Args:
            embeddings: One tensor of shape ``(n_samples, n_units)`` per child; with the origin's
                tables in front where it has several.

        Returns:
            Double tensor of shape ``(n_children,)``, or ``(n_children, ...)`` with those tables.

        Raises:
            ArgumentError: As calling the loss does.
        """


def as_tensor(name: str, value: Any) -> tuple[torch.Tensor, bool]:
    """Return an embedding as a floating tensor, and whether it came as something else.

    Raises:
        ArgumentError: Anything but real numbers of shape ``(..., n_samples, n_units)``.
    """
    is_array = not isinstance(value, torch.Tensor)
    if is_array:
        try:
            array = np.array(value)
            sound = array.dtype.kind in "biuf"
            tensor = torch.as_tensor(array) if sound else torch.empty(0)
        except Exception:  # whatever an object's own conversion raises
            raise argument_error(name, "real numbers", value) from None
        if not sound:
            raise argument_error(name, "real numbers", array.dtype)
    else:
        tensor = value
        _check_kind(name, tensor)
    if tensor.ndim < 2 or tensor.shape[-1] == 0 or tensor.shape[-2] < 2:
        raise argument_error(
            name, "shape (n_samples, n_units), at least 2 samples and 1 unit", tuple(tensor.shape)
        )
    return (tensor if tensor.is_floating_point() else tensor.double()), is_array


def as_origin(value: Any) -> torch.Tensor:
    """Return the parent's embedding as a floating tensor without gradient.

    Raises:
        ArgumentError: As `as_tensor`; or not a single table.
    """
    tensor, _ = as_tensor("origin_embeddings", value)
    if tensor.numel() == 0:
        raise argument_error("origin_embeddings", "at least one table", tuple(tensor.shape))
    return tensor.detach()


def check_children(embeddings: Any) -> None:
    """Refuse what is no sequence of children's embeddings."""
    if isinstance(embeddings, (str, bytes)) or not isinstance(embeddings, Sequence):
        raise argument_error("embeddings", "a sequence of one tensor per child", embeddings)


def _check_kind(name: str, tensor: torch.Tensor) -> None:
    """Refuse tensors that hold no real numbers, or none that can be reckoned with here."""
    if tensor.is_complex() or tensor.is_quantized:
        raise argument_error(name, "real numbers", tensor.dtype)
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise argument_error(name, "a dense tensor", tensor.layout)
    if tensor.is_meta:
        raise argument_error(name, "a tensor that holds numbers", "one on the meta device")


def check_child(compressed: torch.Tensor, n_samples: int, tables: Sequence[int]) -> None:
    """Refuse a child's embedding whose shape does not fit the parent's.

    Args:
        compressed: The child's embedding.
        n_samples: The parent's samples.
        tables: Shape of the parent's tables, empty for a single one.
    """
    if not isinstance(compressed, torch.Tensor):
        raise argument_error("compressed_embeddings", "a tensor", compressed)
    _check_kind("compressed_embeddings", compressed)
    if compressed.ndim < 2 or compressed.shape[-2] != n_samples:
        raise argument_error(
            "compressed_embeddings", f"{n_samples} samples", tuple(compressed.shape)
        )
    if compressed.shape[-2 - len(tables) : -2] != torch.Size(tables):
        raise argument_error(
            "compressed_embeddings",
            f"shape (..., {', '.join(map(str, tables))}, {n_samples}, n_units)",
            tuple(compressed.shape),
        )


def is_constant(embeddings: torch.Tensor) -> torch.Tensor:
    """Return where all samples of an embedding are equal, of shape ``(...)``."""
    return (embeddings == embeddings[..., :1, :]).all(dim=-1).all(dim=-1)


def refuse_dead(origin: torch.Tensor) -> NoReturn:
    """Raise the error for a parent's embedding that nothing can be compared with."""
    if not torch.isfinite(origin).all():
        raise argument_error("origin_embeddings", "finite values", "NaN or Inf")
    if is_constant(origin).any():
        raise argument_error(
            "origin_embeddings",
            "samples that differ",
            "a constant embedding (a dead layer of the parent)",
        )
    raise argument_error(
        "origin_embeddings",
        "samples that the measure tells apart",
        "an embedding whose samples are all alike to it, or too large for it",
    )
