"""What a disk can do to a search: refused before its first generation, or named when it happens.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import os
import shutil

import pytest

from ecomp_deap import Callback, compress
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.runs import store
from ecomp_deap.runs.store import Store

OPTIONS = {"population": 6, "generations": 4, "finalise_count": 0, "seed": 2}


class Meddler(Callback):
    """Does something after a generation; notes the generations."""

    def __init__(self, generation=None, act=None):
        self.generation, self.act, self.seen = generation, act, []

    def on_generation(self, generation, n_generations, record):
        self.seen.append(generation)
        if generation == self.generation:
            self.act()


def search(tiny_task, folder, meddler, **options):
    return compress(tiny_task(), **OPTIONS, checkpoint=folder, callback=meddler, **options)


def a_file(folder):
    folder.write_text("mine")


def below_a_file(folder):
    folder.parent.mkdir()
    folder.parent.rmdir()
    folder.parent.write_text("mine")


def a_link_to_nowhere(folder):
    folder.symlink_to(folder.parent / "nowhere" / "at" / "all")


def a_journal_that_is_a_folder(folder):
    (folder / "start.journal").mkdir(parents=True)


@pytest.mark.parametrize(
    "prepare",
    [a_file, below_a_file, a_link_to_nowhere, a_journal_that_is_a_folder],
)
def test_what_is_no_folder_of_saves_is_refused_before_the_first_generation(
    prepare, tiny_task, tmp_path
):
    folder = tmp_path / "above" / "saves" if prepare is below_a_file else tmp_path / "saves"
    prepare(folder)
    meddler = Meddler()
    try:
        with pytest.raises(DataError, match="saves"):
            search(tiny_task, folder, meddler)
        assert meddler.seen == []
    finally:
        if folder.is_symlink():
            assert not folder.exists()


def test_a_journal_that_is_a_link_is_begun_anew_elsewhere(tiny_task, tmp_path):
    folder, other = tmp_path / "saves", tmp_path / "other"
    folder.mkdir()
    other.write_text("mine")
    (folder / "start.journal").symlink_to(other)
    search(tiny_task, folder, Meddler())
    assert other.read_text() == "mine"


@pytest.mark.parametrize("again", [False, True])
def test_journals_of_others_are_left_alone(tiny_task, tmp_path, again):
    folder = tmp_path / "saves"
    folder.mkdir()
    (folder / "mine.journal").write_text("mine")
    (folder / "foo.journal").mkdir()
    (folder / "after_000001.journal").symlink_to(folder / "mine.journal")
    (folder / "after_000002.journal").write_text("ours, of an earlier save")
    for _ in range(1 + again):
        search(tiny_task, folder, Meddler(), resume=again)
        again = True
    assert (folder / "mine.journal").read_text() == "mine"
    kept = sorted(path.name for path in folder.glob("*.journal"))
    assert kept == [
        *("after_000001.journal", "after_000004.journal", "foo.journal", "mine.journal")
    ]


def test_a_folder_that_is_given_may_be_a_link(tiny_task, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "saves").symlink_to(tmp_path / "elsewhere")
    search(tiny_task, tmp_path / "saves", Meddler())
    assert Store(tmp_path / "elsewhere").newest()[0].number == 4


def test_a_lock_that_is_a_link_is_refused(tiny_task, tmp_path):
    folder, other = tmp_path / "saves", tmp_path / "other"
    folder.mkdir()
    other.write_text("mine")
    (folder / "lock").symlink_to(other)
    with pytest.raises(DataError, match=r"saves/lock: expected a file, but it is a link"):
        search(tiny_task, folder, Meddler())
    assert other.read_text() == "mine"


def test_an_empty_path_is_no_folder(tiny_task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="checkpoint: expected a path, got ''"):
        search(tiny_task, "", Meddler())
    assert [*tmp_path.iterdir()] == []


# Without the checks both went on: lines went into a file that no name leads to any more.
@pytest.mark.parametrize("what", ["the folder", "the journal", "another in the journal's place"])
@pytest.mark.parametrize("share", [0.0, float("inf")])  # the first save alone, and every one
def test_what_is_removed_while_it_is_in_use_is_named(what, share, tiny_task, tmp_path, monkeypatch):
    if share and what != "the folder":
        pytest.skip("a save begins a journal of its own")
    monkeypatch.setattr("ecomp_deap.runs.checkpoints._SHARE", share)
    folder = tmp_path / "saves"

    def remove():
        if what == "the folder":
            shutil.rmtree(folder)
            return
        (journal,) = folder.glob("*.journal")
        content = journal.read_bytes()
        journal.unlink()
        if what != "the journal":
            journal.write_bytes(content)

    meddler = Meddler(2, remove)
    with pytest.raises(DataError, match=r"saves.*(cannot be written|was removed)"):
        search(tiny_task, folder, meddler)
    assert meddler.seen == [0, 1, 2]
    if what != "the folder":
        assert Store(folder).newest()[0].number == 0
        resumed = search(tiny_task, folder, Meddler(), resume=True)
        untouched = compress(tiny_task(), **OPTIONS)
        assert resumed.digest() == untouched.digest()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tiny_task, tmp_path):
    folder = tmp_path / "saves"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError, match="saves"):
        search(tiny_task, folder, Meddler())


def test_a_disk_that_is_full_ends_a_search_with_the_save_before_untouched(
    tiny_task, tmp_path, monkeypatch
):
    monkeypatch.setattr("ecomp_deap.runs.checkpoints._SHARE", float("inf"))
    folder = tmp_path / "saves"

    def full(path, content):
        raise OSError(28, "No space left on device")

    meddler = Meddler(2, lambda: monkeypatch.setattr(store, "write_synced", full))
    with pytest.raises(DataError, match=r"saves/000002: cannot be saved \(No space left"):
        search(tiny_task, folder, meddler)
    monkeypatch.undo()
    assert Store(folder).newest()[0].number == 1
    resumed = search(tiny_task, folder, Meddler(), resume=True)
    assert resumed.digest() == compress(tiny_task(), **OPTIONS).digest()
