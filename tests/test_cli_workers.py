"""Runs whose children are measured by workers leave the same files."""

import json
from functools import partial

import pytest

from ecomp_deap import DaskWorkers
from ecomp_deap.cli import main
from ecomp_deap.runs.directory import read_front


@pytest.fixture
def words(small_fashion, small_parent_file, tmp_path):
    """Return the words of a small run called by a name."""

    def of(name, *more):
        given = ["--data-dir", small_fashion, "--parent", small_parent_file, "--out", tmp_path]
        size = ["--population", 8, "--generations", 3, "--finalise-count", 0, "--quiet"]
        training = ["--train-steps", 1, "--inherit", "--engine", "loop", "--threads", 1]
        return [str(word) for word in ("run", 1, name, *given, *size, *training, *more)]

    return of


def figures(run):
    return [(run / name).read_bytes() for name in ("logbook.csv", "front.csv")]


def test_a_run_with_workers_is_the_same_and_says_what_happened_to_them(words, tmp_path):
    assert main(words("alone")) == 0
    assert main(words("spread", "--workers", 2, "--block-timeout", 300)) == 0
    alone, spread = tmp_path / "alone_1", tmp_path / "spread_1"
    assert figures(spread) == figures(alone)
    digests = [json.loads((run / "summary.json").read_text()) for run in (alone, spread)]
    assert digests[0]["digest"] == digests[1]["digest"]
    assert "workers" not in digests[0]
    counted = ("lost", "hung", "resubmitted", "dropped", "blamed")
    timings = [read_front(run / "timings.csv") for run in (alone, spread)]
    assert not any(name.startswith("workers") for name in timings[0][0])
    assert [[row[f"workers_{name}"] for name in counted] for row in timings[1]] == 4 * [5 * [0]]
    assert digests[1]["workers"]["blamed"] == 0
    assert json.loads((spread / "config.json").read_text())["workers"] == 2


def test_a_cluster_that_is_not_there_is_one_line(words, monkeypatch, capsys):
    impatient = partial(DaskWorkers, patience_s=0.2)
    monkeypatch.setattr("ecomp_deap.search.run_workers.DaskWorkers", impatient)
    assert main(words("nowhere", "--dask", "tcp://127.0.0.1:1")) == 2
    error = capsys.readouterr().err
    assert "workers: no Dask cluster with workers at tcp://127.0.0.1:1" in error
    assert error.count("\n") == 1
