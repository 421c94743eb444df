"""Seen to fail without what protects: experiments/reliability/protections.py."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.runs.lock import is_locked, locked

HOLD = """
import sys
from pathlib import Path
from ecomp_deap.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_process_is_told_who_holds_a_folder_until_that_one_is_dead(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataError, match=f"in use by process {holder.pid}"), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() != f"{holder.pid}\n"


def test_a_folder_that_is_let_go_can_be_held_again(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with (
        pytest.raises(DataError, match=r"lock: cannot be written \(No such"),
        locked(tmp_path / "missing"),
    ):
        pass


def a_link(path):
    path.symlink_to(path.with_name("other"))


def a_link_to_a_device(path):
    path.symlink_to(os.devnull)


def a_link_to_nowhere(path):
    path.symlink_to(path.with_name("nowhere"))


# All but the first were errors of the system; the first emptied the file.
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        *((f, "it is a link") for f in (a_link, a_link_to_a_device, a_link_to_nowhere)),
        (os.mkfifo, "it is none"),
        (os.mkdir, "it is none"),
    ],
)
def test_what_is_no_plain_file_is_no_lock(tmp_path, prepare, reason):
    other = tmp_path / "other"
    other.write_text("mine")
    prepare(tmp_path / "lock")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=f"lock: expected a file, but {reason}"), locked(tmp_path):
        pass
    assert other.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("function", ["ftruncate", "pwrite"])
def test_a_full_disk_is_named(tmp_path, monkeypatch, function):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"ecomp_deap.runs.lock.os.{function}", full)
    with (
        pytest.raises(DataError, match=r"lock: cannot be written \(No space left on device"),
        locked(tmp_path),
    ):
        pass


def test_a_held_folder_is_told_from_one_that_is_not(tmp_path):
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("place", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("else")])
def test_what_is_no_lock_is_held_by_nobody(tmp_path, place):
    place(tmp_path / "lock")
    assert not is_locked(tmp_path)


def test_a_look_at_the_lock_does_not_refuse_who_comes(tmp_path):
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        with locked(tmp_path):
            pass
        end.join()
