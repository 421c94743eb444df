"""Files: written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["staged", "sync_folder", "write_atomically", "write_synced"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the file at ``path`` in one step: readers see the old content or the new.

    Text is written as UTF-8 with its line ends as they are.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can tell (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a path of the same name elsewhere, from where files are moved to ``path`` at the end.

    All files that lie beside it then are moved to the folder of ``path``, in place of what was
    there. After an error none is, and nothing is left behind.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield folder / path.name
        for file in sorted(folder.iterdir()):
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(folder)
