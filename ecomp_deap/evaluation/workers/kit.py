"""Kits: what a worker needs for every child of a search, packed once, with arrays it can map.

A kit is the evaluator without validation and test data. Tensors and arrays are put behind the
pickle as they are, so that workers on the same machine map one file and share its pages, instead
of holding a copy each.
"""

import io
import mmap
import pickle
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from ecomp_deap.data import Samples
from ecomp_deap.task import Task

__all__ = ["Kit", "pack_kit", "unpack_kit"]

# Vector instructions like their data aligned so, and so does a map of a file.
_ALIGNMENT = 64
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Kit:
    """A packed evaluator.

    Attributes:
        key: Tells it from others, also from another of the same search.
        content: What `unpack_kit` takes.
    """

    key: str
    content: bytes


@dataclass(frozen=True)
class _SearchData:
    """What takes the place of `Splits` in a worker."""

    search: Samples


class _Pickler(cloudpickle.Pickler):
    """Pickles functions and classes of a user's script by value, and tensors as arrays."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Task):
            state = {name: value for name, value in vars(obj).items() if name not in _LEFT_OUT}
            return _task, ({**state, "splits": _SearchData(obj.splits.search)},)
        if type(obj) is torch.Tensor and _is_plain(obj):
            return torch.from_numpy, (obj.numpy(),)
        return super().reducer_override(obj)


_LEFT_OUT = ("data", "validation", "test", "splits")


def _task(state: dict[str, Any]) -> Task:
    task: Task = object.__new__(Task)
    vars(task).update(state, data=None, validation=None, test=None)
    return task


def _is_plain(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is an array, and not a view of a larger one."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and tensor.dtype is not torch.bfloat16
        and not tensor.dtype.is_complex
        and tensor.is_contiguous()
        and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    )


def pack_kit(evaluator: Any) -> Kit:
    """Return the kit of an evaluator, as it is now.

    Raises:
        Exception: Whatever objects of a user's raise that cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(evaluator)
    body = stream.getvalue()
    parts: list[Any] = [body, *(buffer.raw() for buffer in buffers)]
    lengths = b"".join(_LENGTH.pack(len(part)) for part in parts)
    content = io.BytesIO()
    content.write(_LENGTH.pack(len(parts)) + lengths)
    for part in parts:
        content.write(bytes(-content.tell() % _ALIGNMENT))
        content.write(part)
    return Kit(secrets.token_hex(8), content.getvalue())


def unpack_kit(source: bytes | str) -> Any:
    """Return the evaluator of a kit.

    Args:
        source: The content of a `Kit`, or the path of a file with it, which is mapped and may be
            removed.
    """
    content = source if isinstance(source, bytes) else _mapped(Path(source))
    view = memoryview(content)
    (n_parts,) = _LENGTH.unpack_from(view)
    place = _LENGTH.size
    lengths = [_LENGTH.unpack_from(view, place + i * _LENGTH.size)[0] for i in range(n_parts)]
    place += n_parts * _LENGTH.size
    parts = []
    for length in lengths:
        place += -place % _ALIGNMENT
        parts.append(view[place : place + length])
        place += length
    # Writable, as torch takes no other arrays without a warning; pages are copied when written to.
    arrays = (
        parts[1:] if isinstance(content, mmap.mmap) else [bytearray(part) for part in parts[1:]]
    )
    return pickle.loads(parts[0], buffers=arrays)


def _mapped(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
