"""Samples: what a task trains, scores and compares on, fetched in batches by index."""

import hashlib
import operator
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from ecomp_deap.checks import check_indices
from ecomp_deap.data._trees import leaves, map_leaves, restore_containers
from ecomp_deap.data.soundness import check_dense
from ecomp_deap.errors import ArgumentError, DataError, argument_error, named, one_line

__all__ = ["DatasetSamples", "Samples", "TensorSamples", "as_samples", "fingerprint"]

_READ_BATCH = 1024  # samples held at once while a whole set is read


class Samples(ABC):
    """n samples of inputs and targets; n is at least 1 and never changes.

    Subclass it to serve data from anywhere: a batch must depend on its indices alone.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def batch(self, indices: np.ndarray) -> tuple[Any, torch.Tensor]:
        """Return ``(inputs, targets)`` of the samples at ``indices``, in that order.

        ``inputs`` is a tensor or a tuple, list or dict of tensors, each of shape ``(b, ...)``;
        ``targets`` is a tensor of shape ``(b, ...)``.

        Raises:
            ArgumentError: ``indices`` is empty, not one-dimensional, not of integers, or
                out of range (negative indices are).
        """

    def span(self, first: int, last: int) -> tuple[Any, torch.Tensor]:
        """Return ``(inputs, targets)`` of the samples from ``first`` up to before ``last``.

        Like `batch`, except that the tensors may be views, not to be written into.
        """
        return self.batch(np.arange(first, last))

    @abstractmethod
    def subset(self, indices: np.ndarray) -> "Samples":
        """Return new samples made of those at ``indices``, in that order.

        Raises:
            ArgumentError: as for `batch`.
        """

    @property
    @abstractmethod
    def labels(self) -> np.ndarray | None:
        """Class labels of all samples, int64, shape ``(n,)``; None where there are none.

        There are none unless the targets are integers and one-dimensional. The array is the
        caller's own.
        """

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of the samples in the data that they were taken from, shape ``(n,)``.

        By these errors name them; 0, 1, 2 … unless a subclass knows better.
        """
        return np.arange(len(self))


class TensorSamples(Samples):
    """Samples held in tensors whose first dimension counts the samples.

    ``inputs`` is a tensor or array, or a tuple, list or dict of them, nested at will;
    ``targets`` is a tensor or array. One-dimensional integer targets become int64; nothing
    else is converted. Memory is shared with what is given where that is possible, and never
    written to.

    Raises:
        ArgumentError: something is neither tensor nor array, is sparse or on the device ``meta``,
            has no dimension, has no samples, or has another number of samples than the rest.

    >>> samples = TensorSamples(np.zeros((4, 2), np.float32), np.array([0, 1, 2, 1]))
    >>> inputs, targets = samples.batch(np.array([3, 0]))
    >>> inputs.shape, targets
    (torch.Size([2, 2]), tensor([1, 0]))
    """

    def __init__(self, inputs: Any, targets: Any, *, name: str = "") -> None:
        # `name` goes in front of "inputs" and "targets" in errors, as in "validation inputs".
        self._inputs = map_leaves(_as_tensor, inputs, f"{name} inputs".strip())
        self._targets = _with_int64_labels(_as_tensor(targets, f"{name} targets".strip()))
        _check_lengths(self._inputs, self._targets, name)
        self._numbers = np.arange(len(self._targets))

    @property
    def inputs(self) -> Any:
        """All inputs, in the containers they were given in; tensors of shape ``(n, ...)``."""
        return self._inputs

    @property
    def targets(self) -> torch.Tensor:
        """All targets, shape ``(n, ...)``."""
        return self._targets

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, indices: np.ndarray) -> tuple[Any, torch.Tensor]:
        rows = torch.tensor(check_indices("indices", indices, len(self)))
        inputs = map_leaves(lambda leaf, _: _take(leaf, rows), self._inputs, "inputs")
        return inputs, _take(self._targets, rows)

    def span(self, first: int, last: int) -> tuple[Any, torch.Tensor]:
        check_indices("indices", np.arange(first, last), len(self))
        return map_leaves(lambda leaf, _: leaf[first:last], self._inputs, "inputs"), self._targets[
            first:last
        ]

    def subset(self, indices: np.ndarray) -> "TensorSamples":
        part = TensorSamples(*self.batch(indices))
        part._numbers = self._numbers[indices]
        return part

    @property
    def numbers(self) -> np.ndarray:
        return self._numbers.copy()

    @property
    def labels(self) -> np.ndarray | None:
        if not _are_labels(self._targets):
            return None
        return self._targets.cpu().numpy().copy()


class DatasetSamples(Samples):
    """Samples read from a map-style dataset of ``(input, target)`` pairs, one item at a time.

    Batches are put together by `torch.utils.data.default_collate`, except that tuples stay
    tuples. No DataLoader is involved: its iterators draw from torch's global generator even
    without shuffling. A dataset that augments at random draws from that generator itself, and
    then its batches depend on more than their indices.

    Raises:
        ArgumentError: not a map-style dataset with a length, empty, or its items are no
            pairs that can be collated.
    """

    def __init__(self, dataset: Dataset, *, name: str = "dataset") -> None:
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise argument_error(name, "a map-style dataset with a length", type(dataset))
        try:
            n_samples = len(dataset)
        except Exception as error:  # whatever a user's class raises
            raise argument_error(name, "a dataset with a length", named(error)) from error
        if n_samples < 1:
            raise ArgumentError(f"{name}: expected at least one sample, got an empty dataset")
        self._dataset = dataset
        self._name = name
        self._numbers = np.arange(n_samples)
        self._labels: np.ndarray | None = None
        self._has_labels = _are_labels(self._collate([0])[1])

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: np.ndarray) -> tuple[Any, torch.Tensor]:
        return self._collate(check_indices("indices", indices, len(self)).tolist())

    def subset(self, indices: np.ndarray) -> "DatasetSamples":
        chosen = check_indices("indices", indices, len(self))
        part = DatasetSamples(Subset(self._dataset, chosen.tolist()), name=self._name)
        part._numbers = self._numbers[chosen]
        if self._labels is not None:
            part._labels = self._labels[chosen]
        return part

    @property
    def labels(self) -> np.ndarray | None:
        """As for `Samples`; the first use reads the whole dataset, the later ones do not.

        Raises:
            DataError: a target that is no class label as the first one is, by its index.
        """
        if not self._has_labels:
            return None
        if self._labels is None:
            # One by one: only the targets are kept, never a batch of inputs.
            self._labels = np.array([self._label(i) for i in range(len(self))], dtype=np.int64)
        return self._labels.copy()

    @property
    def numbers(self) -> np.ndarray:
        return self._numbers.copy()

    @property
    def known_labels(self) -> np.ndarray | None:
        """The labels, if they have been read; None else."""
        return None if self._labels is None else self._labels.copy()

    def _label(self, index: int) -> int:
        target = self._item(index)[1]
        try:
            return int(np.int64(operator.index(target)))
        except (TypeError, ValueError, OverflowError):
            text = argument_error(
                f"{self._name}[{index}]", "a class label, as the first target is one", target
            )
            raise DataError(str(text)) from None

    def _item(self, index: int) -> tuple[Any, Any]:
        try:
            item = self._dataset[index]
        except Exception as error:  # whatever a user's class raises
            raise DataError(f"{self._name}[{index}]: cannot be read ({named(error)})") from error
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise argument_error(self._name, "items that are (input, target) pairs", type(item))
        return item[0], item[1]

    def _collate(self, indices: list[int]) -> tuple[Any, torch.Tensor]:
        items = [self._item(index) for index in indices]
        wanted = "inputs and targets of tensors, arrays or numbers, which default_collate batches"
        try:
            inputs = default_collate([item[0] for item in items])
            targets = default_collate([item[1] for item in items])
        except (TypeError, RuntimeError, ValueError) as error:  # samples of different shapes
            got = one_line(error)
            raise ArgumentError(f"{self._name}: expected {wanted}, got: {got}") from error
        inputs = restore_containers(items[0][0], inputs)
        for _, leaf in [*leaves(inputs, "inputs"), ("targets", targets)]:
            if not isinstance(leaf, torch.Tensor):
                raise argument_error(self._name, wanted, type(leaf))
            check_dense(self._name, leaf)
        return inputs, _with_int64_labels(targets)


def as_samples(data: Any, *, name: str = "data") -> Samples:
    """Return ``data`` as `Samples`.

    ``data`` is `Samples` already (and returned as it is), a tuple ``(inputs, targets)`` for
    `TensorSamples`, or a map-style dataset for `DatasetSamples`; a plain `TensorDataset` of
    two tensors becomes `TensorSamples`, which is faster and gives the same batches.

    Raises:
        ArgumentError: anything else, or what the classes refuse; the message starts with
            ``name``.
    """
    if isinstance(data, Samples):
        return data
    # A subclass of TensorDataset may do more than look up its tensors.
    if type(data) is TensorDataset and len(data.tensors) == 2:
        return TensorSamples(*data.tensors, name=name)
    if isinstance(data, Dataset):
        return DatasetSamples(data, name=name)
    expected = "Samples, a tuple (inputs, targets) of tensors or arrays, or a map-style Dataset"
    if isinstance(data, tuple):
        if len(data) == 2 and isinstance(data[1], (torch.Tensor, np.ndarray)):
            return TensorSamples(*data, name=name)
        held = ", ".join(type(part).__name__ for part in data)
        raise ArgumentError(f"{name}: expected {expected}, got a tuple of ({held})")
    hint = "give its dataset, loader.dataset" if isinstance(data, DataLoader) else ""
    raise argument_error(name, expected, type(data), hint=hint)


def fingerprint(samples: Samples) -> str:
    """Return the SHA-256 of everything in ``samples``, as 64 hexadecimal digits.

    It covers values, shapes, types and order of inputs and targets. Equal content gives an
    equal fingerprint, from whichever kind of samples it is read.
    """
    digest = hashlib.sha256()
    for start in range(0, len(samples), _READ_BATCH):
        inputs, targets = samples.batch(np.arange(start, min(start + _READ_BATCH, len(samples))))
        for path, leaf in [*leaves(inputs, "inputs"), ("targets", targets)]:
            array = leaf.detach().cpu().contiguous()
            digest.update(f"{path} {array.dtype} {tuple(array.shape)}\n".encode())
            # Bytes rather than numbers: NumPy has no bfloat16.
            digest.update(array.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _as_tensor(leaf: Any, path: str) -> torch.Tensor:
    if isinstance(leaf, np.ndarray):
        try:
            # torch warns of read-only memory and refuses negative strides; both are copied.
            tensor = torch.from_numpy(np.require(leaf, requirements=["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"{path}: expected an array of numbers, got {leaf.dtype} ({error})"
            ) from error
    elif isinstance(leaf, torch.Tensor):
        tensor = check_dense(path, leaf.detach())
    else:
        raise argument_error(path, "a tensor or a NumPy array", type(leaf))
    if leaf.ndim == 0:
        raise ArgumentError(f"{path}: expected samples along the first dimension, got a scalar")
    return tensor


def _check_lengths(inputs: Any, targets: torch.Tensor, name: str) -> None:
    inputs_name, targets_name = f"{name} inputs".strip(), f"{name} targets".strip()
    first_path = ""
    for path, leaf in leaves(inputs, inputs_name):
        first_path = first_path or path
        if len(leaf) == 0:
            raise ArgumentError(f"{path}: expected at least one sample, got none")
        if len(leaf) != len(targets):
            raise argument_error(
                path, f"{len(targets)} samples, as many as {targets_name}", len(leaf)
            )
    if not first_path:
        raise argument_error(inputs_name, "at least one tensor or NumPy array", inputs)


def _take(tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return tensor.index_select(0, rows.to(tensor.device))


def _are_labels(targets: torch.Tensor) -> bool:
    return targets.ndim == 1 and not (
        targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool
    )


def _with_int64_labels(targets: torch.Tensor) -> torch.Tensor:
    return targets.to(torch.int64) if _are_labels(targets) else targets
