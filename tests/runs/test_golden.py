"""What earlier versions have saved is read by this one."""

import json

import pytest

from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.state import unpack
from ecomp_deap.runs.store import FORMAT_VERSION, Store
from ecomp_deap.toolbox import make_toolbox
from tests.runs import golden

FOLDERS = sorted(golden.FOLDER.glob("format_*"))


def test_every_format_has_a_golden_folder():
    expected = [f"format_{version}" for version in range(1, FORMAT_VERSION + 1)]
    assert [folder.name for folder in FOLDERS] == expected


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request, tmp_path):
    return golden.copied(request.param, tmp_path)


def test_a_golden_save_has_all_that_is_in_its_files(folder):
    save, damaged = Store(folder / "saves").newest()
    assert not damaged
    assert save.number == golden.LAST - 1
    toolbox = make_toolbox(golden.task_in(folder), seed=5, engine="batched", threads=1)
    state = unpack(save.files, toolbox)
    written = json.loads(save.files["state.json"])
    assert state.generation == golden.LAST - 1
    assert len(state.population) == len(state.first) == 6
    rows = [written["individuals"][i] for i in written["population"]]
    assert [list(i.fitness.values) for i in state.population] == [row["fitness"] for row in rows]
    for individual, row in zip(state.population, rows, strict=True):
        measured = written["measurements"][row["measurement"]]
        assert individual.measurement.param_count == measured["param_count"]
        assert individual.measurement.metric == measured["metric"]
        assert set(individual.arrays) == {
            f"{n}.{part}" for n in "024" for part in ("weight", "bias")
        }
    assert list(state.random[0][1]) == written["random"][1]


def test_a_golden_search_goes_on(folder, monkeypatch):
    # On this machine it may go on with other last bits, which the journal's replay would refuse.
    for journal in (folder / "saves").glob("*.journal"):
        journal.unlink()
    result = golden.search(folder, folder / "saves", resume=True)
    assert [record["gen"] for record in result.logbook] == list(range(5))
    written = json.loads(Store(folder / "saves").newest()[0].files["state.json"])
    assert [record["gen"] for record in written["records"]] == list(range(5))


def test_a_golden_journal_is_replayed(folder):
    path = folder / "search.journal"
    before = path.read_bytes()
    journal = Journal(path)
    journal.close()
    found = golden.record(folder, path)
    # Taken from the file, to the last bit, and nothing was measured or added.
    assert [measurement.metric for measurement in found] == [
        row["metric"] for row in journal.lines[1]["found"]
    ]
    assert path.read_bytes() == before


def test_a_golden_journal_after_a_save_is_read(folder):
    (path,) = (folder / "saves").glob("*.journal")
    journal = Journal(path)
    journal.close()
    assert journal.dropped is None
    assert [line["generation"] for line in journal.lines[1:]]
    assert {line["generation"] for line in journal.lines[1:]} == {golden.LAST}
