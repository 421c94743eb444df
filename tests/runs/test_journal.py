"""Seen to fail without what protects: experiments/reliability/protections.py."""

import errno
import os
import tracemalloc

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.runs import journal
from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.store import FORMAT_VERSION, seal

LINES = [{"generation": i, "found": [0.1 * i, None, "ü"]} for i in range(4)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.journal"


def write(path, lines=LINES):
    opened = Journal(path)
    for line in lines:
        opened.append(line)
    opened.close()
    return path.read_bytes()


def read(path):
    opened = Journal(path)
    opened.close()
    return opened.lines, opened.dropped


def test_lines_come_back_and_can_be_added_to(path):
    write(path, LINES[:2])
    assert read(path) == (LINES[:2], None)
    write(path, LINES[2:])
    assert read(path) == (LINES, None)


# Fails where `_parse` takes a line without its end, or `unseal` does not compare sums.
def test_at_every_length_whole_lines_are_left(path):
    content = write(path)
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = max(sum(end < length for end in ends) - 1, 0)
        lines, dropped = read(path)
        assert lines == LINES[:whole]
        assert (dropped is None) == (length == 0 or length - 1 in ends)
        # What is added then follows.
        write(path, LINES[whole:])
        assert read(path) == (LINES, None)


# Fails where `unseal` does not compare sums.
def test_every_flipped_bit_is_found(path):
    content = write(path)
    first = content.index(b"\n") + 1
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if bit // 8 < first:
            with pytest.raises(DataError, match="expected a journal"):
                read(path)
            continue
        lines, dropped = read(path)
        number = content[: bit // 8].count(b"\n") - 1
        assert lines == LINES[:number]
        assert f"line {number + 2}" in dropped


# Fails where lines do not name the one before.
@pytest.mark.parametrize("order", [(0, 2, 3), (0, 2, 1, 3), (0, 0, 1)])
def test_lines_that_are_missing_or_out_of_place_are_found(path, order):
    header, *lines = write(path).splitlines(keepends=True)
    path.write_bytes(header + b"".join(lines[i] for i in order))
    found, dropped = read(path)
    assert found == LINES[:1]
    assert "does not follow" in dropped


# Those without the end of a line were taken for journals cut off in their first one, and emptied.
@pytest.mark.parametrize(
    "text", ["my notes\nof today\n", '{"important": [1, 2, 3]}', "x", "\0" * 99]
)
def test_other_files_are_refused_and_left_alone(path, text):
    path.write_text(text)
    with pytest.raises(DataError, match="expected a journal"):
        Journal(path)
    assert path.read_text() == text


def test_a_huge_file_of_no_lines_is_refused_in_little_memory(path, monkeypatch):
    monkeypatch.setattr(journal, "_LINE_BYTES", 2**20)
    with open(path, "wb") as file:
        file.truncate(2**40)  # a hole: it takes no space
    tracemalloc.start()
    with pytest.raises(DataError, match="expected a journal"):
        Journal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**23


def test_newer_formats_are_refused(path):
    header = {"after": "", "format": "ecomp_deap.journal", "format_version": FORMAT_VERSION + 1}
    path.write_bytes(seal(header))
    with pytest.raises(DataError, match="newer than format"):
        Journal(path)


def test_links_and_folders_are_refused(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="expected a file, but it is a link"):
        Journal(path)
    with pytest.raises(DataError, match="expected a file, but it is none"):
        Journal(tmp_path)


# Two of them wrote over each other's lines.
def test_a_journal_is_added_to_by_one_at_a_time(path):
    opened = Journal(path)
    with pytest.raises(DataError, match="is in use by another search"):
        Journal(path)
    opened.append(LINES[0])
    opened.close()
    assert read(path) == (LINES[:1], None)


def test_a_full_disk_leaves_the_lines_before(path, monkeypatch):
    write(path, LINES[:2])
    opened = Journal(path)
    written = os.write

    def half(descriptor, content):
        if len(content) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, content[:15])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DataError, match="No space left"):
        opened.append(LINES[2])
    monkeypatch.undo()
    opened.append(LINES[2])
    opened.close()
    assert read(path) == (LINES[:3], None)
