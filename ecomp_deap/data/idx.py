"""IDX: the file format of MNIST and Fashion-MNIST.

Two zero bytes, a type byte (0x08: uint8), the number of dimensions, each dimension as a
big-endian 32-bit number, then the values (http://yann.lecun.com/exdb/mnist/, "FILE FORMATS").
"""

import gzip
import lzma
import math
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ecomp_deap.checks import check_path
from ecomp_deap.errors import DataError

__all__ = ["read_idx"]

_UINT8 = 0x08
# Colour images have as many; all that is known of this format have fewer.
_MOST_DIMENSIONS = 4
_CHUNK_BYTES = 2**20
# What the strongest setting of xz takes, four times over; a file may ask for more than there is.
_XZ_MEMORY_BYTES = 2**28


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in the IDX file ``path``: uint8, of the shape the file states.

    The suffix says how it is packed: ``.gz``, ``.xz``, or anything else for not at all. No more is
    unpacked than the shape asks for.

    Raises:
        ArgumentError: ``path`` is none.
        DataError: the file cannot be read or unpacked, is no IDX file of uint8, has more than 4
            dimensions, or is longer or shorter than it states.
    """
    path = check_path("path", path)
    with _unpacked(path) as stream:
        shape = _read_shape(path, stream)
        n_expected = math.prod(shape)
        # One more than there should be tells whether others follow.
        values = _read(stream, n_expected + 1)
    if len(values) != n_expected:
        short = len(values) < n_expected
        what = "truncated" if short else "followed by other bytes"
        n_values = len(values) if short else "more"
        raise DataError(
            f"{path}: {what}: shape {shape} needs {n_expected} values, the file holds {n_values}"
        )
    try:
        return np.frombuffer(values, np.uint8).reshape(shape)
    except ValueError as error:  # a dimension of 0 and others beyond what numpy takes
        raise DataError(f"{path}: shape {shape} is too large ({error})") from error


def _read_shape(path: Path, stream: _Stream) -> tuple[int, ...]:
    start = bytes(_read(stream, 4))
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file (it starts with {start!r})")
    value_type, n_dimensions = start[2], start[3]
    if value_type != _UINT8:
        raise DataError(
            f"{path}: IDX values of type 0x{value_type:02x}, only 0x08 (uint8) is supported"
        )
    if n_dimensions == 0:
        raise DataError(f"{path}: IDX file without dimensions")
    if n_dimensions > _MOST_DIMENSIONS:
        expected = f"expected {_MOST_DIMENSIONS} dimensions at most"
        raise DataError(f"{path}: {expected}, but it has {n_dimensions}")
    sizes = _read(stream, 4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        got, needed = 4 + len(sizes), 4 + 4 * n_dimensions
        raise DataError(f"{path}: truncated within the header, at {got} of {needed} bytes")
    return struct.unpack(f">{n_dimensions}I", sizes)


def _read(stream: _Stream, size: int) -> bytearray:
    """Return up to ``size`` bytes; memory is taken for those that are there, not for ``size``."""
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(size - len(content), _CHUNK_BYTES))
        if not chunk:
            break
        content += chunk
    return content


@contextmanager
def _unpacked(path: Path) -> Iterator[_Stream]:
    """Yield what reads a file's content; errors while it does are those of the file."""
    try:
        # Opening a pipe would wait for somebody to write, and a device may never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: cannot be read (expected a file, but it is none)")
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    with file:
        try:
            yield _stream(path, file)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            what = f"truncated or corrupt {path.suffix} file" if path.suffix else "cannot be read"
            raise DataError(f"{path}: {what} ({error})") from error
        except MemoryError as error:
            raise DataError(f"{path}: it has more values than memory can hold") from error


def _stream(path: Path, file: BinaryIO) -> _Stream:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    return _XzStream(file) if path.suffix == ".xz" else file


class _XzStream:
    """What unpacks an ``.xz`` file of one stream; `lzma.open` overlooks what follows it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)

    def read(self, size: int, /) -> bytes:
        """Return some bytes, ``size`` at most; none at the end."""
        while not self._decompressor.eof:
            packed = b""
            if self._decompressor.needs_input:
                packed = self._file.read(2**16)
                if not packed:
                    raise EOFError("the stream has no end")
            unpacked = self._decompressor.decompress(packed, size)
            if unpacked:
                return unpacked
        if self._decompressor.unused_data or self._file.read(1):
            raise lzma.LZMAError("other bytes follow the stream")
        return b""
