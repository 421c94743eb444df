"""Runs that are stopped or killed, and gone on with by ``ecomp-deap resume``."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ecomp_deap.cli import main

N_GENERATIONS = 60


@pytest.fixture(scope="session")
def command(small_fashion, small_parent_file):
    """Return the words of a run of the small images that leaves its folder in ``out``."""

    def words(out):
        given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", out]
        size = ["--population", 8, "--generations", N_GENERATIONS, "--finalise-count", 1]
        fixed = ["--finalise-epochs", 1, "--threads", 1]
        return [str(word) for word in ("run", 1, "first", *given, *size, *fixed)]

    return words


@pytest.fixture(scope="session")
def untouched(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("untouched")
    assert main([*command(out), "--quiet"]) == 0
    return out / "first_1"


def contents(run):
    """What a run leaves behind that does not depend on time."""
    summary = json.loads((run / "summary.json").read_text())
    paths = [p for p in run.rglob("*") if p.is_file() and p.suffix in (".csv", ".safetensors")]
    files = {p.relative_to(run): p.read_bytes() for p in paths if p.name != "timings.csv"}
    return files, {name: summary[name] for name in summary if name not in ("seconds",)}


def interrupted(words, folder, *signals):
    """Start the command, send it signals once a generation is saved; return code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ecomp_deap", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/0*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    for number in signals:
        process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors.decode()


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGKILL], -signal.SIGKILL),
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_files(
    command, untouched, tmp_path, signals, code
):
    run = tmp_path / "first_1"
    found, errors = interrupted(command(tmp_path), run, *signals)
    assert found == code, errors
    assert "Traceback" not in errors
    if code > 0:
        assert f"to go on: ecomp-deap resume {run}" in errors
        assert errors.endswith("ecomp-deap: interrupted\n")
    assert not (run / "summary.json").exists()
    assert main(["resume", str(run), "--quiet"]) == 0
    assert contents(run) == contents(untouched)
    assert not (run / "checkpoints").exists()
    assert (run / "plots" / "front.png").exists()


def test_a_finished_run_is_left_as_it_is(untouched, capsys):
    before = {path: path.stat().st_mtime_ns for path in untouched.glob("*.*")}
    assert main(["resume", str(untouched)]) == 0
    assert {path: path.stat().st_mtime_ns for path in untouched.glob("*.*")} == before
    assert f"{untouched} is finished" in capsys.readouterr().err


def test_no_run_is_an_error(tmp_path, capsys):
    assert main(["resume", str(tmp_path)]) == 2
    assert "config.json: cannot be read" in capsys.readouterr().err


def test_a_run_begins_anew_where_nothing_was_saved_yet(untouched, command, tmp_path):
    for name in ("config.json", "parent.json", "parent.safetensors"):
        (tmp_path / name).write_bytes((untouched / name).read_bytes())
    assert main(["resume", str(tmp_path), "--quiet"]) == 0
    assert contents(tmp_path) == contents(untouched)
