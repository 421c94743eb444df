"""Progress shows how far runs are: a live view on a terminal, or few plain lines in a log.

Both are callbacks, which only watch. What cannot be written, as the disk of a log is full or the
terminal was closed, is dropped: a search does not end by that.
"""

import os
import sys
from typing import TextIO

from ecomp_deap.callbacks import Callback
from ecomp_deap.progress.lines import Lines
from ecomp_deap.progress.live import LiveView
from ecomp_deap.progress.streams import show, width_of

__all__ = ["Lines", "LiveView", "progress_on", "show", "width_of"]


def progress_on(stream: TextIO | None = None) -> Callback:
    """Return what shows progress on a stream, by default the process's errors.

    A terminal that cannot move its cursor (``TERM=dumb``) gets plain lines.
    """
    stream = sys.stderr if stream is None else stream
    moves = os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    if stream is not None and stream.isatty() and moves:
        return LiveView(stream)
    return Lines(stream)
