"""Terminals for tests: a stream that says it is one, and a pseudo-terminal with a screen."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pyte


class Terminal(io.StringIO):
    def isatty(self):
        return True


def text_of(screen):
    """What a screen shows, line by line."""
    return [line.rstrip() for line in screen.display]


def screen_of(output, *, columns=80, lines=24):
    """Return the screen after an output, as a terminal would show it."""
    screen = pyte.Screen(columns, lines)
    screen.set_mode(pyte.modes.LNM)
    pyte.Stream(screen).feed(output)
    return screen


def on_terminal(words, *, columns=80, lines=24, stdout_is_file=False, on_frame=None, **environment):
    """Run Python with these words on a pseudo-terminal.

    Returns its exit code, its screen at the end, what it wrote there, and its output where that is
    a file. ``on_frame`` is given the process and the screen's lines after each piece of output.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=theirs,
        stdout=subprocess.PIPE if stdout_is_file else theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment},
    )
    os.close(theirs)
    screen, written = pyte.Screen(columns, lines), b""
    stream = pyte.ByteStream(screen)
    while True:
        try:
            piece = os.read(ours, 2**16)
        except OSError:  # Linux: nobody has the other end open
            break
        if not piece:
            break
        written += piece
        stream.feed(piece)
        if on_frame is not None:
            on_frame(process, text_of(screen))
    os.close(ours)
    output, _ = process.communicate()
    return process.returncode, screen, written.decode(), (output or b"").decode()
