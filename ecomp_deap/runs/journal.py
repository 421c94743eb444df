"""`Journal`: what each generation's evaluations gave, a line each, so that they can be replayed.

A line is JSON behind a SHA-256 of it and of the line before, so that a line that is changed,
missing or out of place is noticed. The last line may be cut off, where a crash came in between; it
is dropped.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecomp_deap.errors import DataError
from ecomp_deap.files import check_place, naming, sync_folder
from ecomp_deap.runs import store
from ecomp_deap.runs.lock import hold
from ecomp_deap.runs.shapes import is_count
from ecomp_deap.runs.store import FORMAT_VERSION, NewerFormatError, seal, unseal

__all__ = ["Journal"]

_FORMAT = "ecomp_deap.journal"
_HEADER = {"format": _FORMAT, "format_version": FORMAT_VERSION}
# A line of ten thousand children has some megabytes.
_LINE_BYTES = 2**28


class Journal:
    """A file of lines that are only ever added to, by one journal at a time.

    Args:
        path: The file; made if it is not there. What is behind the first bad line is cut off.

    Attributes:
        lines: Those that were there.
        dropped: What was wrong with the first bad line and where, None if all were good.

    Raises:
        DataError: It cannot be read or written, is in use, is no journal, or is of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.dropped: str | None = None
        self._link = ""
        self._file = -1
        check_place(path)
        try:
            with naming(path):
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
                self._file = os.open(path, flags, 0o644)
                hold(self._file, path)
                length = self._parse()
                if length < os.fstat(self._file).st_size:
                    os.ftruncate(self._file, length)
                os.lseek(self._file, length, os.SEEK_SET)
                if not length:
                    self._append(_HEADER)
                    sync_folder(path.parent)
        except DataError:
            self.close()
            raise

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, and wait until the disk has it.

        Raises:
            DataError: The disk is full or does not let us write; the lines before are as they were.
        """
        with naming(self.path):
            self._append(line)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: Mapping[str, Any]) -> None:
        content = seal({"after": self._link, **line})
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        store.passing("write a line")
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
            store.passing("sync a line")
            os.fsync(self._file)
            # What was removed, or replaced, still takes lines, which no one would find.
            if not os.path.samestat(os.fstat(self._file), os.stat(self.path)):
                raise FileNotFoundError(errno.ENOENT, "it was replaced")
        except OSError:
            # Half a line would be behind the next one's start.
            os.ftruncate(self._file, end)
            os.lseek(self._file, end, os.SEEK_SET)
            raise
        self._link = content[:64].decode()

    def _parse(self) -> int:
        """Take in the good lines at the start, and return how many bytes they have."""
        start, number = 0, 0
        with open(self._file, "rb", closefd=False) as file:
            # A line at a time, so that a huge file of none takes little memory.
            while content := file.readline(_LINE_BYTES):
                number += 1
                try:
                    line = unseal(content)
                    if line.pop("after") != self._link:
                        raise ValueError("it does not follow the line before")
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    if number == 1 and not _begins_as_ours(content):
                        raise DataError(f"{self.path}: expected a journal, but {error}") from error
                    self.dropped = (
                        f"{self.path}: line {number} and what follows is dropped: {error}"
                    )
                    break
                if number == 1:
                    self._check_header(line)
                else:
                    self.lines.append(line)
                self._link = content[:64].decode()
                start += len(content)
        return start

    def _check_header(self, line: Mapping[str, Any]) -> None:
        if line.get("format") != _FORMAT:
            raise DataError(f"{self.path}: expected a journal, but it is {line.get('format')!r}")
        version = line.get("format_version")
        if not isinstance(version, int) or not is_count(version):
            raise DataError(f"{self.path}: expected a journal, but its format is none")
        if version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{self.path}: has format {version}, newer than format "
                f"{FORMAT_VERSION} of this version"
            )


def _begins_as_ours(content: bytes) -> bool:
    """Return whether this may be all that a crash has left of a journal's first line."""
    return any(
        seal({"after": "", **_HEADER, "format_version": version}).startswith(content)
        for version in range(1, FORMAT_VERSION + 1)
    )
