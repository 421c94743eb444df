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
    assert capsys.readouterr().err == (
        f"ecomp-deap: error: {tmp_path}: expected the folder of a run, but it is none\n"
    )


@pytest.fixture
def begun(untouched, tmp_path):
    """A run of which nothing was saved yet."""
    for name in ("config.json", "parent.json", "parent.safetensors"):
        (tmp_path / name).write_bytes((untouched / name).read_bytes())
    return tmp_path


def a_folder(path):
    path.mkdir()


def a_file(path):
    path.write_text("mine")


def a_link(path):
    path.symlink_to(path.parent / "elsewhere")
    (path.parent / "elsewhere").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        *(("front.csv", a_folder), ("summary.json", a_folder), ("logbook.csv", a_link)),
        *(("timings.csv", a_link), ("children", a_file), ("children", a_link)),
        *(("checkpoints", a_link), ("plots", a_file), ("plots", a_link)),
    ],
)
def test_what_is_in_the_place_of_a_runs_files_is_named_at_once(begun, name, prepare, capsys):
    prepare(begun / name)
    assert main(["resume", str(begun)]) == 2
    errors = capsys.readouterr().err
    assert "generation 0" not in errors
    assert errors.splitlines()[-1].startswith(f"ecomp-deap: error: {begun / name}: expected a ")
    assert not list((begun / "elsewhere").glob("*"))


def full_for(monkeypatch, name):
    """Let the disk be full whenever a file of this name is to be put in its place."""
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("ecomp_deap.files.os.replace", full)


@pytest.mark.parametrize(
    "name",
    [
        *("logbook.csv", "logbook.json", "front.csv", "timings.csv", "001.safetensors"),
        *("summary.json", "front.png"),
    ],
)
def test_a_disk_that_is_full_at_the_end_of_a_search_loses_nothing(
    begun, untouched, name, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        full_for(patch, name)
        assert main(["resume", str(begun)]) == 2
    *_, before, last = capsys.readouterr().err.splitlines()
    assert before == f"to go on: ecomp-deap resume {begun}"
    assert last.startswith("ecomp-deap: error: ")
    assert last.endswith(f"{name}: cannot be written (No space left on device)")
    if name != "front.png":
        assert list((begun / "checkpoints").glob("0*"))
    assert main(["resume", str(begun), "--quiet"]) == 0
    assert contents(begun) == contents(untouched)


@pytest.mark.parametrize("name", ["config.json", "parent.safetensors"])
def test_a_disk_that_is_full_before_a_search_is_named(command, name, tmp_path, monkeypatch, capsys):
    full_for(monkeypatch, name)
    assert main(command(tmp_path)) == 2
    errors = capsys.readouterr().err
    assert errors.endswith(f"{name}: cannot be written (No space left on device)\n")
    assert "to go on" not in errors


@pytest.mark.parametrize("function", ["write", "pwrite"])  # of the journal, and of the lock
def test_a_disk_that_is_full_in_the_first_generation_says_how_to_go_on(
    command, untouched, function, tmp_path, monkeypatch, capsys
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{function}", full)
        assert main(command(tmp_path)) == 2
    *_, before, last = capsys.readouterr().err.splitlines()
    assert before == f"to go on: ecomp-deap resume {tmp_path / 'first_1'}"
    assert last.endswith("cannot be written (No space left on device)")
    assert main(["resume", str(tmp_path / "first_1"), "--quiet"]) == 0
    assert contents(tmp_path / "first_1") == contents(untouched)


def test_saves_that_are_of_no_use_are_nothing_to_go_on_from(begun, capsys):
    (begun / "checkpoints" / "000003").mkdir(parents=True)
    assert main(["resume", str(begun)]) == 2
    errors = capsys.readouterr().err
    assert "all saves are damaged" in errors
    assert "to go on: " not in errors


def test_names_that_are_too_long_are_refused_in_one_line(command, tmp_path, capsys):
    long = "x" * 5000
    for words in (
        ["resume", long],
        ["inspect", f"{long}.safetensors"],
        [*command(tmp_path), "--parent", f"{long}.safetensors"],
    ):
        assert main(words) == 2
        errors = capsys.readouterr().err
        assert errors.splitlines()[-1].startswith("ecomp-deap: error: ")
        assert "File name too long" in errors
    assert [*tmp_path.iterdir()] == []


def test_seeds_beyond_the_last_one_are_refused_before_the_first_run(command, tmp_path, capsys):
    words = [*command(tmp_path), "--seed", str(2**32 - 1)]
    words[1] = "2"
    assert main(words) == 2
    expected = (
        "seed: expected at most 4294967294 for 2 runs, each with the next one, got 4294967295"
    )
    assert expected in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_run_begins_anew_where_nothing_was_saved_yet(untouched, begun):
    assert main(["resume", str(begun), "--quiet"]) == 0
    assert contents(begun) == contents(untouched)
