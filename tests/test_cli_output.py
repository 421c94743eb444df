"""What becomes of the command where its output, or its errors, cannot be written."""

import os
import subprocess
import sys

import pytest

from ecomp_deap.network import make_parent

FULL = "/dev/full"
NO_SPACE = "ecomp-deap: error: the output cannot be written (No space left on device)\n"


def started(words, **streams):
    """Run the command with these streams; return its exit code, output and errors, as far as kept.

    A stream may be ``"nobody"``: a pipe whose other end is closed.
    """
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    reader, writer = os.pipe()
    os.close(reader)
    given = {name: writer if stream == "nobody" else stream for name, stream in given.items()}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ecomp_deap", *map(str, words)], text=True, check=False, **given
        )
    finally:
        os.close(writer)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def parent(tmp_path):
    from safetensors.torch import save_file

    save_file(make_parent((8, 5), n_inputs=12).state_dict(), tmp_path / "parent.safetensors")
    return tmp_path / "parent.safetensors"


@pytest.mark.parametrize("words", [["schema"], ["--help"], ["run", "--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error(words):
    assert started(words, stdout="nobody") == (141, None, "")


def test_a_reader_of_a_table_that_has_gone_is_no_error(parent):
    assert started(["inspect", parent], stdout="nobody") == (141, None, "")


@pytest.mark.skipif(not os.path.exists(FULL), reason="the system has no disk that is always full")
@pytest.mark.parametrize("words", [["schema"], ["--help"], ["--version"]])
def test_output_that_cannot_be_written_is_an_error(words):
    with open(FULL, "w") as full:
        assert started(words, stdout=full) == (2, None, NO_SPACE)
        assert started(words, stdout=full, stderr=full) == (2, None, None)


@pytest.mark.parametrize("stream", ["nobody", FULL])
def test_errors_that_nobody_reads_leave_the_exit_code(stream):
    if stream == "nobody":
        assert started(["run"], stderr="nobody") == (2, "", None)
    elif os.path.exists(FULL):
        with open(FULL, "w") as full:
            assert started(["run"], stderr=full) == (2, "", None)


def test_streams_that_are_closed_are_no_error():
    for closed, code in ((">&-", 0), (">&- 2>&-", 0), ("2>&-", 0)):
        command = f'"{sys.executable}" -m ecomp_deap schema {closed}'
        assert subprocess.run(["sh", "-c", command], capture_output=True).returncode == code


@pytest.mark.parametrize("stream", ["nobody", FULL, "closed"])
def test_a_search_outlives_the_log_of_its_progress(
    stream, small_fashion, small_parent_file, tmp_path
):
    if stream == FULL and not os.path.exists(FULL):
        pytest.skip("the system has no disk that is always full")
    given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", tmp_path]
    size = ["--population", 4, "--generations", 2, "--finalise-count", 0, "--threads", 1]
    words = ["run", 1, "first", *given, *size]
    if stream == "closed":
        command = " ".join(f'"{word}"' for word in (sys.executable, "-m", "ecomp_deap", *words))
        done = subprocess.run(["sh", "-c", f"{command} 2>&-"], capture_output=True, text=True)
        code, output = done.returncode, done.stdout
    elif stream == "nobody":
        code, output, _ = started(words, stderr="nobody")
    else:
        with open(FULL, "w") as full:
            code, output, _ = started(words, stderr=full)
    assert code == 0
    assert output.startswith(f"{tmp_path / 'first_1'}: ")
    assert (tmp_path / "first_1" / "summary.json").exists()
