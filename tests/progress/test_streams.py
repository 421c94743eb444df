import errno
import io
import sys

import pytest

from ecomp_deap.progress import Lines, LiveView, progress_on, show, width_of
from tests.progress.terminals import Terminal, on_terminal
from tests.progress.watched import watch


def breaking(kind, code):
    """Return a stream of this kind that takes nothing, as on a full disk."""

    class Breaking(kind):
        def write(self, *_):
            raise OSError(code, "no")

        flush = write

    return Breaking()


# Each was an error that ended the search.
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE, errno.EIO])
@pytest.mark.parametrize(("kind", "view"), [(Terminal, LiveView), (io.StringIO, Lines)])
def test_what_cannot_be_written_is_dropped(monkeypatch, kind, view, code):
    monkeypatch.setenv("TERM", "xterm")
    stream = breaking(kind, code)
    progress = progress_on(stream)
    assert type(progress) is view
    watch(progress)
    assert stream.getvalue() == ""


def test_without_a_stream_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as in a process that was started with a closed one
    watch(progress_on())
    assert show("text", None) is None


@pytest.mark.parametrize("term", ["dumb", "DUMB", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    watch(progress_on(stream))
    assert "\x1b" not in stream.getvalue()
    assert "generation 60 of 60: accuracy up to 0.560" in stream.getvalue()


def test_what_kept_a_text_from_being_shown_is_returned():
    stream = io.StringIO()
    assert show("text", stream) is None
    assert stream.getvalue() == "text"
    error = show("text", breaking(io.StringIO, errno.ENOSPC))
    assert error.errno == errno.ENOSPC


def test_letters_that_an_encoding_has_not_are_escaped():
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="ascii")
    assert show("ß and \udcff", stream) is None
    assert content.getvalue() == b"\\xdf and \\udcff"


def test_what_steers_a_terminal_is_escaped():
    stream = io.StringIO()
    show("one\n\ttwo \x1b]0;title\x07 \x9b2J \u2066x\r\n", stream)
    assert stream.getvalue() == "one\n\ttwo \\x1b]0;title\\x07 \\x9b2J \\u2066x\\r\n"


@pytest.mark.parametrize(
    ("given", "width"), [("44", 44), ("", 60), ("0", 60), ("-3", 60), ("wide", 60)]
)
def test_the_width_of_a_terminal_can_be_given(given, width):
    script = "import sys; from ecomp_deap.progress import width_of; print(width_of(sys.stdout))"
    _, _, written, _ = on_terminal(["-c", script], columns=60, COLUMNS=given)
    assert written == f"{width}\r\n"


def test_what_is_no_terminal_has_no_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    assert width_of(io.StringIO()) is None
    assert width_of(None) is None
    assert width_of(Terminal()) == 44
