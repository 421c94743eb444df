"""`locked`: one process at a time in a folder; `hold`: one at a time with a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecomp_deap.errors import DataError
from ecomp_deap.files import check_place, naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold", "locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for oneself; the system lets go of it when the process ends, however it does.

    Raises:
        DataError: Another process holds it, with its number; the folder does not let us write; or
            something else than a plain file is in the place of the lock.
    """
    path = folder / "lock"
    check_place(path)
    with naming(path):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o644)
    try:
        with naming(path):
            _hold_folder(descriptor, folder)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def hold(descriptor: int, path: Path) -> None:
    """Hold an open file for oneself, until it is closed.

    Args:
        descriptor: Of the file.
        path: What it is called in the error.

    Raises:
        DataError: Another process holds it, or this one by another descriptor.
        OSError: The system does not say.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"{path}: is in use by another search") from error


def _hold_folder(descriptor: int, folder: Path) -> None:
    try:
        hold(descriptor, folder)
    except DataError as error:
        holder = os.read(descriptor, 100).decode(errors="replace").strip()
        raise DataError(
            f"{folder}: is in use by process {holder or 'unknown'}, which searches in it"
        ) from error
