"""Seen to fail without what protects: experiments/reliability/protections.py."""

import errno
import json
import os

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.runs import store
from ecomp_deap.runs.store import FORMAT_VERSION, Store, seal, unseal

FILES = {"state.json": b'{"generation":1}', "arrays.safetensors": bytes(range(40))}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "saves"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_save_comes_back(folder):
    for number in (0, 3, 12):
        Store(folder).save(number, {**FILES, "state.json": str(number).encode()})
    save, wrong = Store(folder).newest()
    assert (save.number, save.files["state.json"], wrong) == (12, b"12", [])
    assert save.files["arrays.safetensors"] == FILES["arrays.safetensors"]


def test_two_saves_are_kept_and_nothing_else(folder):
    for number in range(5):
        Store(folder).save(number, FILES)
    assert names(folder) == ["000003", "000004"]


def test_no_save_is_no_error(folder):
    assert Store(folder).newest() == (None, [])


def test_a_save_takes_the_place_of_one_of_its_number(folder):
    Store(folder).save(2, FILES)
    Store(folder).save(2, {"state.json": b"other"})
    save, _ = Store(folder).newest()
    assert save.files == {"state.json": b"other"}
    assert names(folder) == ["000002"]


def test_what_a_crash_left_is_cleared_away(folder):
    Store(folder).save(1, FILES)
    (folder / ".000002.tmp").mkdir()
    (folder / ".000002.tmp" / "state.json").write_bytes(b"half")
    Store(folder).save(2, FILES)
    assert names(folder) == ["000001", "000002"]


# Fails for every length where `_read_file` does not look at sizes and `unseal` not at sums.
@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_every_truncation_is_found_and_answered_with_the_save_before(folder, name):
    Store(folder).save(1, FILES)
    Store(folder).save(2, FILES)
    path = folder / "000002" / name
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        save, wrong = Store(folder).newest()
        assert save.number == 1
        assert len(wrong) == 1
        assert str(path) in wrong[0]
    path.write_bytes(content)
    assert Store(folder).newest()[0].number == 2


# Fails where `_read_file` or `unseal` does not compare sums (seen without either).
@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_every_flipped_bit_is_found(folder, name):
    Store(folder).save(1, FILES)
    path = folder / "000001" / name
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        save, wrong = Store(folder).newest()
        assert save is None, bit
        assert str(path) in wrong[0]


def test_all_damaged_files_of_a_save_are_named(folder):
    Store(folder).save(1, FILES)
    for name in FILES:
        (folder / "000001" / name).write_bytes(b"")
    _, (wrong,) = Store(folder).newest()
    for name in FILES:
        assert str(folder / "000001" / name) in wrong


def test_a_newer_format_is_refused_and_not_passed_over(folder):
    Store(folder).save(1, FILES)
    Store(folder).save(2, FILES)
    path = folder / "000002" / "manifest.json"
    manifest = unseal(path.read_bytes())
    path.write_bytes(seal({**manifest, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(DataError, match=f"has format {FORMAT_VERSION + 1} of ecomp_deap"):
        Store(folder).newest()


@pytest.mark.parametrize("name", ["../state.json", "/etc/passwd.json", "a/b.json", "x.pkl", ""])
def test_names_that_lead_elsewhere_are_refused(folder, name):
    with pytest.raises(ValueError, match="is no name of a saved file"):
        Store(folder).save(1, {name: b""})
    Store(folder).save(2, FILES)
    path = folder / "000002" / "manifest.json"
    manifest = unseal(path.read_bytes())
    path.write_bytes(seal({**manifest, "files": {name: {"bytes": 1, "sha256": "0"}}}))
    save, (wrong,) = Store(folder).newest()
    assert save is None
    assert "it names a file" in wrong


def test_links_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(FILES["state.json"])
    Store(folder).save(1, FILES)
    path = folder / "000001" / "state.json"
    path.unlink()
    path.symlink_to(secret)
    save, (wrong,) = Store(folder).newest()
    assert save is None
    assert "it is a link" in wrong


def test_a_file_of_another_size_is_not_read(folder, monkeypatch):
    Store(folder).save(1, FILES)
    path = folder / "000001" / "state.json"
    with open(path, "r+b") as file:
        file.truncate(2**40)  # a hole: it takes no space
    save, (wrong,) = Store(folder).newest()
    assert save is None
    assert f"has {2**40} bytes" in wrong


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1", b"null", b"{}", b"\xff"])
def test_what_is_no_manifest_is_refused(folder, content):
    Store(folder).save(1, FILES)
    line = store._sha256(content).encode() + b" " + content + b"\n"
    (folder / "000001" / "manifest.json").write_bytes(line)
    save, (wrong,) = Store(folder).newest()
    assert save is None
    assert "expected the manifest of a save" in wrong


def full_disk(step, number):
    """Return what takes the place of a function that writes, and fails as on a full disk."""

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "text"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_a_save_that_cannot_be_written_leaves_those_before(folder, monkeypatch, number, text):
    Store(folder).save(1, FILES)
    before = {p.name: p.read_bytes() for p in (folder / "000001").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_synced", full_disk("write", number))
        with pytest.raises(DataError, match=f"cannot be saved .{text}"):
            Store(folder).save(2, FILES)
    assert names(folder) == ["000001"]
    assert {p.name: p.read_bytes() for p in (folder / "000001").iterdir()} == before
    assert Store(folder).newest()[0].number == 1


# Fails where `save` does not read back.
def test_a_disk_that_loses_bytes_is_noticed(folder, monkeypatch):
    def lossy(path, content):
        path.write_bytes(content[:-1])

    monkeypatch.setattr(store, "write_synced", lossy)
    with pytest.raises(DataError, match="the disk gave back other bytes"):
        Store(folder).save(1, FILES)
    assert Store(folder).newest() == (None, [])


def test_seals_hold_any_json():
    content = {"a": [1, 2.5, None, "ü\n"], "b": {"c": True}}
    assert unseal(seal(content)) == json.loads(json.dumps(content))
