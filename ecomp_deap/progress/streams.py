"""Streams that may take nothing any more."""

import os
import re
import shutil
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["Lossy", "printable", "show", "width_of"]

# What steers a terminal, or turns the direction of what follows; line ends and tabs aside.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Lossy:
    """A stream that drops what cannot be written.

    Args:
        stream: None takes nothing; Python has it where the process was started with a closed one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> None:
        """Write a text, if that is possible."""
        with suppress(OSError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream, if that is possible."""
        with suppress(OSError):
            if self._stream is not None:
                self._stream.flush()


def printable(text: str) -> str:
    """Return a text without what would steer a terminal, as names in files from outside may hold.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    return _STEERING.sub(lambda match: ascii(match[0])[1:-1], text)


def width_of(stream: TextIO | None) -> int | None:
    """Return how many columns a terminal has; None of what is none, or has no size.

    The environment variable ``COLUMNS`` goes before, as in `shutil.get_terminal_size`.
    """
    if stream is None or not stream.isatty():
        return None
    try:
        columns = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except OSError:
            columns = shutil.get_terminal_size().columns
    return columns if columns > 0 else None


def show(text: str, stream: TextIO | None) -> OSError | None:
    """Write a text and flush the stream; return what kept it from that, if anything did.

    After that the stream takes everything and keeps nothing, as Python flushes it once more when
    the process ends, and would complain.

    Args:
        text: What steers a terminal is escaped, and letters that the stream's encoding has not.
        stream: As for `Lossy`.
    """
    if stream is None:
        return None
    text = printable(text)
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # one that is no file of the system's
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return error
    return None
