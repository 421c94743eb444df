"""Small IDX files for the tests: made here, so that no test depends on a machine's data."""

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: np.ndarray) -> bytes:
    """Return a uint8 array in the IDX format, written from its description."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.tobytes()


def small_set(n_train: int = 40, n_test: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the four arrays by stem; labels go round the 10 classes."""
    rng = np.random.default_rng(seed)
    arrays = (
        rng.integers(0, 256, (n_train, 28, 28), dtype=np.uint8),
        (np.arange(n_train) % 10).astype(np.uint8),
        rng.integers(0, 256, (n_test, 28, 28), dtype=np.uint8),
        (np.arange(n_test) % 10).astype(np.uint8),
    )
    return dict(zip(STEMS, arrays, strict=True))


def write_set(folder: Path, arrays: dict[str, np.ndarray], suffix: str = "") -> Path:
    """Write the arrays below ``folder``, which is made; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        (folder / f"{stem}{suffix}").write_bytes(PACK[suffix](idx_bytes(array)))
    return folder
