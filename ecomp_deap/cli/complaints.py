"""What the command says on stderr where it ends before its end, and with which exit code."""

import errno
import json
import os
import sys
import textwrap
import traceback

from ecomp_deap.errors import EcompError, named
from ecomp_deap.progress import show, width_of

__all__ = ["complain", "wants_traceback"]

_REFUSED, _INTERRUPTED = 2, 130
# "Internal software error", as sysexits.h has it.
_FAULT = 70
_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory")
# What is up to the system, wherever it happens.
_SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
)
# Of a tensor's worth of text, in a message that torch made.
_LONGEST = 600


def wants_traceback(given: bool) -> bool:
    """Return whether errors are shown with their traceback.

    Args:
        given: Whether ``--debug`` is; ``ECOMP_DEAP_DEBUG`` asks for it, too, unless it is 0.
    """
    return given or os.environ.get("ECOMP_DEAP_DEBUG", "") not in ("", "0")


def complain(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Say why the command ends, and return its exit code.

    Args:
        error: What ended it. One that nobody raised on purpose is a fault of ours, and is called
            so.
        as_json: Whether that is an object with ``error`` and ``kind``, in one line.
        debug: Whether the traceback is shown before it.
    """
    prefix, text, code = _told(error)
    if debug:
        show("".join(traceback.format_exception(error)), sys.stderr)
    if as_json:
        told = {"error": text, "kind": type(error).__name__}
        show(f"{json.dumps(told)}\n", sys.stderr)
    else:
        show(f"{_wrapped(f'ecomp-deap: {prefix}{text}')}\n", sys.stderr)
    return code


def _told(error: BaseException) -> tuple[str, str, int]:
    """Return how an error is announced, what is said of it, and the exit code."""
    if isinstance(error, EcompError):
        return "error: ", str(error), _REFUSED
    if isinstance(error, KeyboardInterrupt):
        return "", "interrupted", getattr(error, "exit_code", _INTERRUPTED)
    text = named(error)
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _NO_MEMORY):
        told = "not enough memory: try fewer --workers, a smaller --population or --batch-size"
        return "error: ", told, _REFUSED
    if isinstance(error, ImportError):
        told = f"a package is missing or broken ({text}): install ecomp-deap again"
        return "error: ", told, _REFUSED
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        of = "" if error.filename is None else f"{error.filename}: "
        return "error: ", f"{of}{error.strerror}; --debug shows where", _REFUSED
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return (
        "",
        f"a fault of ecomp-deap: {short} ({_place(error)}). Please report it, with what --debug "
        "adds and what ecomp-deap version --verbose prints",
        _FAULT,
    )


def _place(error: BaseException) -> str:
    """Return the file and line of an error, as far as that is known."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else "?"


def _wrapped(text: str) -> str:
    """Return a text in lines that fit the terminal, where stderr is one."""
    width = width_of(sys.stderr)
    if width is None:
        return text
    # Paths stay whole, so that they can be copied.
    options = {"break_long_words": False, "break_on_hyphens": False}
    lines = (textwrap.fill(line, max(width, 20), **options) for line in text.splitlines())  # type: ignore[arg-type]
    return "\n".join(lines)
