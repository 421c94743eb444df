import subprocess
import sys

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.runs.lock import locked

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
    with pytest.raises(DataError, match="cannot be written"), locked(tmp_path / "missing"):
        pass
