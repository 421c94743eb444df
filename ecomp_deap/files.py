"""Files: written whole or not at all, and read only if they are files of a sane size.

What the system refuses is a `DataError` with the path and the reason.
"""

import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecomp_deap.errors import DataError

__all__ = [
    "check_place",
    "make_folder",
    "naming",
    "parse_json",
    "read_file",
    "read_json",
    "staged",
    "sync_folder",
    "write_atomically",
    "write_synced",
]


# Of text files, and of what JSON describes: reports of the longest runs have a hundredth of it.
_TEXT_BYTES = 2**28


def read_file(path: Path, *, at_most: int = _TEXT_BYTES) -> bytes:
    """Return a file's content.

    Raises:
        DataError: There is none, it is no plain file (but a folder, a pipe or a device, which
            may never end), it has more bytes than ``at_most``, or it cannot be read.
    """
    try:
        with naming(path, "read"), open(path, "rb", opener=_open_at_once) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise DataError(f"{path}: expected a file, but it is none")
            if state.st_size > at_most:
                expected = f"expected {at_most} bytes at most"
                raise DataError(f"{path}: {expected}, but it has {state.st_size}")
            return file.read(at_most + 1)[:at_most]
    except ValueError as error:  # a name with a NUL
        raise DataError(f"{path}: cannot be read ({error})") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as for a pipe that nobody writes into."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: Path, *, what: str = "JSON", at_most: int = _TEXT_BYTES) -> Any:
    """Return what a JSON file holds; ``what`` that is, is told where it is none.

    Raises:
        DataError: As `read_file`, or it is no JSON, see `parse_json`.
    """
    content = read_file(path, at_most=at_most)
    try:
        return parse_json(content)
    except ValueError as error:
        raise DataError(f"{path}: expected {what}, but {error}") from error


def parse_json(content: bytes | str) -> Any:
    """Return what JSON in UTF-8 holds.

    Raises:
        ValueError: It is none, or has NaN or Infinity, which are no JSON, or is nested too deeply.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the file at ``path`` in one step: readers see the old content or the new.

    Text is written as UTF-8 with its line ends as they are. A link is replaced, not followed.

    Raises:
        DataError: It cannot be written; what was there is as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    # Short, as the name itself may be as long as the system allows.
    temporary = path.parent / f".{os.getpid()}.{threading.get_ident()}.tmp"
    with naming(path):
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, tried: str = "written") -> Iterator[None]:
    """Give errors of the system the name of a path, and what was tried with it.

    Raises:
        DataError: In place of an `OSError`: the path cannot be written, or so.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be {tried} ({error.strerror or error})") from error


def check_place(path: Path, *, folder: bool = False) -> None:
    """Check that nothing is at a path but a plain file, or a folder; a link is neither.

    Raises:
        DataError: Something else is.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # nothing, or what cannot be: whoever opens it is told why
        return
    sound = stat.S_ISDIR if folder else stat.S_ISREG
    if not sound(mode):
        what = "a link" if stat.S_ISLNK(mode) else "none"
        raise DataError(f"{path}: expected a {'folder' if folder else 'file'}, but it is {what}")


def make_folder(path: Path, *, links: bool = True) -> Path:
    """Make a folder, and those above it, where they are not there; return it.

    Args:
        path: The folder.
        links: Whether it may be a link to one.

    Raises:
        DataError: It cannot be made, as something else may be there.
    """
    if not links:
        check_place(path, folder=True)
    with naming(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path


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

    Raises:
        DataError: They cannot be written, or a folder is in the place of one.
    """
    with naming(path):
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=path.parent))
        try:
            yield folder / path.name
            files = sorted(folder.iterdir())
            for file in files:  # before the first is moved
                if os.path.isdir(path.parent / file.name):
                    taken = path.parent / file.name
                    raise DataError(f"{taken}: cannot be written (Is a directory)")
            for file in files:
                os.replace(file, path.parent / file.name)
        finally:
            shutil.rmtree(folder)
