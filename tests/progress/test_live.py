import os
import signal
import sys
from pathlib import Path

import pytest

from ecomp_deap.cli import main
from ecomp_deap.progress import LiveView
from tests.progress.terminals import Terminal, on_terminal, screen_of, text_of
from tests.progress.watched import begin, record, watch

SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture(autouse=True)
def size(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_what_stays_is_short():
    stream = Terminal()
    watch(LiveView(stream, clock=lambda: 0.0))
    lines = text_of(screen_of(stream.getvalue()))
    assert lines[0] == "the slice is used"
    assert lines[1].split() == ["first_2", "(2", "of", "3)", "generation", "60", "of", "60"]
    assert lines[2].endswith("100%")
    assert lines[3] == "0:00 passed"
    assert lines[4].startswith("hypervolume ▁")
    assert lines[4].endswith("█ 0.600")
    assert set(lines[5:]) == {""}
    assert stream.getvalue().count(SHOW_CURSOR) == stream.getvalue().count("\x1b[?25l") > 0


def test_time_left_follows_the_last_generations():
    now, stream = [0.0], Terminal()
    view = LiveView(stream, clock=lambda: now[0])
    view.on_run_start(1, 1, Path("first_1"), 100)
    for generation in range(41):
        now[0] += 10.0 if generation <= 20 else 0.5
        view.on_generation(generation, 100, record(generation))
    view.close()
    assert "3:40 passed, about 0:30 left, 80 evaluations/s" in stream.getvalue()


def test_a_search_in_python_is_timed_from_its_first_generation():
    now, stream = [1000.0], Terminal()
    view = LiveView(stream, clock=lambda: now[0])
    for generation in range(5):
        view.on_generation(generation, 8, record(generation))
        now[0] += 2.0
    view.close()
    lines = text_of(screen_of(stream.getvalue()))
    assert lines[0].startswith("search ")
    assert lines[0].endswith("generation 4 of 8")
    assert lines[2].startswith("0:10 passed, about 0:0")


def test_close_ends_an_unfinished_view_and_may_come_twice():
    stream = Terminal()
    view = LiveView(stream)
    begin(view, 9, until=4)
    view.close()
    view.close()
    lines = text_of(screen_of(stream.getvalue()))
    assert lines[0].endswith("generation 4 of 9")
    assert stream.getvalue().endswith(SHOW_CURSOR)


def test_a_second_run_begins_anew():
    stream = Terminal()
    view = LiveView(stream)
    watch(view)
    watch(view)
    lines = text_of(screen_of(stream.getvalue()))
    assert sum(line.endswith("generation 60 of 60") for line in lines) == 2


def test_no_color_leaves_no_colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = Terminal()
    watch(LiveView(coloured))
    assert "\x1b[36m" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    watch(LiveView(plain))
    assert "\x1b[36m" not in plain.getvalue()
    assert text_of(screen_of(plain.getvalue()))[1].endswith("generation 60 of 60")


def test_a_message_cannot_steer_the_terminal():
    stream = Terminal()
    view = LiveView(stream)
    view.on_message("a\x1b[2J [bold]b[/bold] :smile:")
    assert stream.getvalue() == "a\\x1b[2J [bold]b[/bold] :smile:\n"


def test_streams_that_are_no_terminal_are_left_alone():
    before = sys.stdout, sys.stderr
    view = LiveView(Terminal())
    begin(view, 3)
    assert (sys.stdout, sys.stderr) == before
    view.close()


@pytest.fixture(scope="session")
def words(small_fashion, small_parent_file):
    def made(out, *more):
        given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", out]
        size = ["--population", 8, "--finalise-epochs", 1, "--finalise-count", 2, "--threads", 1]
        return ["-m", "ecomp_deap", "run", 1, "first", *given, *size, *more]

    return made


@pytest.mark.parametrize("columns", [80, 40])
def test_a_run_on_a_terminal(words, tmp_path, columns):
    seen = []
    code, screen, written, _ = on_terminal(
        words(tmp_path, "--generations", 6),
        columns=columns,
        lines=40,
        on_frame=lambda _, lines: seen.append("\n".join(lines)),
    )
    assert code == 0
    shown = [line for line in text_of(screen) if line]
    first = next(i for i, line in enumerate(shown) if line.startswith("first_1 "))
    assert shown[first].endswith("generation 6 of 6")
    assert shown[first + 1].endswith("100%")
    assert " passed" in shown[first + 2] or "/s" in shown[first + 2]
    assert shown[first + 3].startswith("hypervolume ")
    # The table of the run, on stdout, comes below.
    assert "parent" in " ".join(shown[first + 4 :])
    assert not screen.cursor.hidden
    assert any("accuracy" in frame for frame in seen)
    assert all(phase in written for phase in ("scoring", "finalising", "testing", "writing"))
    assert "\x1b[36m" in written
    # It has only watched.
    assert main([*map(str, words(tmp_path, "--generations", 6)[2:]), "--quiet"]) == 0
    for name in ("logbook.csv", "front.csv"):
        found = [(tmp_path / run / name).read_bytes() for run in ("first_1", "first_2")]
        assert found[0] == found[1]


def test_output_in_a_file_stays_whole_beside_the_view(words, tmp_path):
    code, screen, _, output = on_terminal(words(tmp_path, "--generations", 3), stdout_is_file=True)
    assert code == 0
    assert output.startswith(f"{tmp_path / 'first_1'}: ")
    assert "best" in output
    assert any(line.endswith("generation 3 of 3") for line in text_of(screen))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_restored_after_a_signal(words, tmp_path, number):
    sent = []

    def stop(process, lines):
        if not sent and any("accuracy " in line for line in lines):
            sent.append(number)
            os.kill(process.pid, number)

    code, screen, written, _ = on_terminal(
        words(tmp_path, "--generations", 5000), on_frame=stop, lines=30
    )
    assert code == 128 + number
    assert not screen.cursor.hidden
    assert written.rstrip().endswith("ecomp-deap: interrupted")
    text = " ".join(" ".join(text_of(screen)).split())
    assert "stopping after this generation; again to stop at once" in text
    assert "to go on: ecomp-deap resume" in text
    assert "similarity loss" not in text  # the table is gone


def test_no_color_and_dumb_terminals(words, tmp_path):
    run = words(tmp_path, "--generations", 2)
    _, _, plain, _ = on_terminal(run, NO_COLOR="1")
    assert "\x1b[36m" not in plain
    assert SHOW_CURSOR in plain
    _, _, dumb, _ = on_terminal(run, TERM="dumb")
    assert "\x1b" not in dumb
    assert "first_2: generation 2 of 2: accuracy " in dumb
