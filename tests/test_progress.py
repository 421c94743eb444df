import errno
import io
import sys
from pathlib import Path

import pytest

from ecomp_deap.progress import ProgressBar, show


class Terminal(io.StringIO):
    def isatty(self):
        return True


def record(generation):
    return {
        "accuracy_max": 0.5 + generation / 1000,
        "similarity_loss_min": 0.25,
        "relative_width_min": 0.125,
    }


def watch(stream, n_generations=60):
    progress = ProgressBar(stream)
    progress.on_run_start(2, 3, Path("out/first_2"), n_generations)
    progress.on_phase("training the parent", 2)
    progress.on_phase_step()
    progress.on_message("the slice is used")
    progress.on_phase_step()
    for generation in range(n_generations + 1):
        progress.on_generation(generation, n_generations, record(generation))
    progress.on_phase("finalising", 1)
    progress.on_phase_step()
    progress.on_run_end({})
    progress.close()
    return stream.getvalue()


def test_terminal_gets_bars_with_the_generations_figures():
    text = watch(Terminal())
    assert "first_2 (2 of 3): 100%" in text
    assert "61/61" in text
    assert "accuracy 0.560, similarity loss 0.250, width 0.12" in text
    assert text.index("training the parent") < text.index("first_2") < text.index("finalising")
    assert "the slice is used\n" in text


def test_log_gets_few_plain_lines():
    lines = watch(io.StringIO()).splitlines()
    assert "\r" not in "".join(lines)
    assert lines[:2] == ["training the parent", "the slice is used"]
    assert (
        "first_2 (2 of 3): generation 60 of 60: accuracy 0.560, similarity loss 0.250, width 0.12"
        in lines
    )
    assert 10 <= len(lines) <= 16


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_search_without_generations_is_shown_too(stream):
    assert "accuracy 0.500" in watch(stream(), n_generations=0)


def test_generation_whose_children_all_failed_has_no_figures():
    stream = io.StringIO()
    progress = ProgressBar(stream)
    progress.on_run_start(1, 1, Path("first_1"), 1)
    progress.on_generation(0, 1, {"accuracy_max": None})
    assert stream.getvalue() == "first_1: generation 0 of 1: \n"


def test_close_ends_an_unfinished_bar_and_may_come_twice():
    stream = Terminal()
    progress = ProgressBar(stream)
    progress.on_run_start(1, 1, Path("first_1"), 9)
    progress.on_generation(0, 9, record(0))
    progress.close()
    progress.close()
    assert stream.getvalue().endswith("\n")


def breaking(kind, code):
    """Return a stream of this kind that takes nothing, as on a full disk."""

    class Breaking(kind):
        def write(self, *_):
            raise OSError(code, "no")

        flush = write

    return Breaking()


# Each was an error that ended the search.
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE, errno.EIO])
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_what_cannot_be_written_is_dropped(kind, code):
    assert watch(breaking(kind, code)) == ""


def test_without_a_stream_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as in a process that was started with a closed one
    progress = ProgressBar()
    progress.on_run_start(1, 1, Path("first_1"), 1)
    progress.on_generation(0, 1, record(0))
    progress.on_message("text")
    progress.close()
    assert show("text", None) is None


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
