"""IDX: the file format of MNIST and Fashion-MNIST.

Two zero bytes, a type byte (0x08: uint8), the number of dimensions, each dimension as a
big-endian 32-bit number, then the values (http://yann.lecun.com/exdb/mnist/, "FILE FORMATS").
"""

import gzip
import lzma
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ecomp_deap.errors import DataError

__all__ = ["read_idx"]

_UINT8 = 0x08


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in the IDX file ``path``: uint8, of the shape the file states.

    The suffix says how it is packed: ``.gz``, ``.xz``, or anything else for not at all.

    Raises:
        DataError: the file cannot be read or unpacked, is no IDX file of uint8, or is longer
            or shorter than it states.
    """
    path = Path(path)
    content = _unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file (it starts with {content[:4]!r})")
    value_type, n_dimensions = content[2], content[3]
    if value_type != _UINT8:
        raise DataError(
            f"{path}: IDX values of type 0x{value_type:02x}, only 0x08 (uint8) is supported"
        )
    if n_dimensions == 0:
        raise DataError(f"{path}: IDX file without dimensions")
    start = 4 + 4 * n_dimensions
    if len(content) < start:
        raise DataError(f"{path}: truncated within the header, at {len(content)} of {start} bytes")
    shape = struct.unpack(f">{n_dimensions}I", content[4:start])
    n_values, n_expected = len(content) - start, math.prod(shape)
    if n_values != n_expected:
        what = "truncated" if n_values < n_expected else "followed by other bytes"
        raise DataError(
            f"{path}: {what}: shape {shape} needs {n_expected} values, the file holds {n_values}"
        )
    # A copy, because an array on top of `bytes` is read-only.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        if path.suffix == ".gz":
            return gzip.decompress(content)
        if path.suffix == ".xz":
            return _unpacked_xz(content)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: truncated or corrupt {path.suffix} file ({error})") from error
    return content


def _unpacked_xz(content: bytes) -> bytes:
    # lzma.decompress would overlook whatever follows the stream.
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    unpacked = decompressor.decompress(content)
    if not decompressor.eof:
        raise EOFError("the stream has no end")
    if decompressor.unused_data:
        raise lzma.LZMAError("other bytes follow the stream")
    return unpacked
