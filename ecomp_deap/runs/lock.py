"""`locked`: one process at a time in a folder; `hold`: one at a time with a file."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ecomp_deap.errors import DataError
from ecomp_deap.files import check_place, naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold", "is_locked", "locked"]

# Whoever asks whether a folder is held has its lock for a moment.
_TRIES, _PAUSE_S = 5, 0.02


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


def is_locked(folder: Path) -> bool:
    """Return whether a process holds a folder, as far as the system tells; nothing is written."""
    if fcntl is None:
        return False
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(folder / "lock", flags)
    except OSError:  # none, or none of ours
        return False
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _hold_folder(descriptor: int, folder: Path) -> None:
    for _ in range(_TRIES - 1):
        with suppress(DataError):
            return hold(descriptor, folder)
        time.sleep(_PAUSE_S)
    try:
        hold(descriptor, folder)
    except DataError as error:
        holder = os.read(descriptor, 100).decode(errors="replace").strip()
        of = f"process {holder}" if holder else "another process"
        raise DataError(f"{folder}: is in use by {of}") from error
