import os
import threading

import pytest

from ecomp_deap.errors import DataError
from ecomp_deap.files import make_folder, staged, write_atomically


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("content", "stored"),
    [("", b""), ("a\nb\r\n", b"a\nb\r\n"), ("½ é\n", "½ é\n".encode()), (b"\x00\xff", b"\x00\xff")],
)
def test_content_is_stored_as_it_is(tmp_path, content, stored):
    path = tmp_path / "file.txt"
    path.write_text("something longer that was there before")
    write_atomically(path, content)

    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_made(tmp_path):
    write_atomically(tmp_path / "new.json", "{}")
    assert (tmp_path / "new.json").read_text() == "{}"


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        write_atomically(path, "\ud800")
    with pytest.raises(TypeError, match="bytes-like object is required"):
        write_atomically(path, 3)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_leaves_no_litter(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside").touch()
    with pytest.raises(DataError, match=r"folder: cannot be written \(Is a directory"):
        write_atomically(folder, "content")

    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/file.txt", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_reason(tmp_path, name, reason):
    with pytest.raises(DataError, match=rf": cannot be written \({reason}\)"):
        write_atomically(tmp_path / name, "content")
    assert [*tmp_path.iterdir()] == []


def test_every_name_that_a_system_takes_is_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, "content")
    assert path.read_text() == "content"


def test_a_full_disk_is_named_and_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")
    monkeypatch.setattr("ecomp_deap.files.os.replace", full)
    with pytest.raises(DataError, match=r"file\.txt: cannot be written \(No space left on device"):
        write_atomically(path, "new")
    with (
        pytest.raises(DataError, match=r"file\.txt: cannot be written \(No space left on device"),
        staged(path) as other,
    ):
        other.write_text("new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"file.txt": "old"}


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other, path = tmp_path / "other", tmp_path / "file.txt"
    other.write_text("mine")
    path.symlink_to(other)
    # As whoever guesses the name of the file that is renamed in the end may have left it.
    (tmp_path / f".{os.getpid()}.{threading.get_ident()}.tmp").symlink_to(other)
    write_atomically(path, "content")
    assert other.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "content"


def test_folders_are_made_with_those_above_them(tmp_path):
    path = tmp_path / "a" / "b"
    assert make_folder(path) == make_folder(path) == path
    assert path.is_dir()


@pytest.mark.parametrize(
    ("name", "reason"), [("file", "File exists"), ("file/b", "Not a dir"), ("x" * 300, "File name")]
)
def test_a_folder_that_cannot_be_made_is_named(tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"{name}: cannot be made \({reason}"):
        make_folder(tmp_path / name)


def test_a_link_in_the_place_of_a_folder_is_refused_where_it_is_asked_for(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert make_folder(tmp_path / "link") == tmp_path / "link"
    with pytest.raises(DataError, match=r"link: expected a folder, but it is a link"):
        make_folder(tmp_path / "link", links=False)


def test_readers_see_the_old_content_or_the_new(tmp_path):
    path = tmp_path / "file.txt"
    versions = {letter * 200_000 for letter in "ab"}
    path.write_text(min(versions))
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for version in sorted(versions):
            write_atomically(path, version)
    done.set()
    reader.join()

    assert seen <= versions


def test_staged_files_take_the_place_of_old_ones(tmp_path):
    (tmp_path / "a.bin").write_text("old")
    (tmp_path / "other").write_text("left alone")
    with staged(tmp_path / "a.bin") as path:
        assert path.name == "a.bin"
        path.write_text("new")
        path.with_suffix(".json").write_text("{}")
        assert (tmp_path / "a.bin").read_text() == "old"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        **{"a.bin": "new", "a.json": "{}", "other": "left alone"}
    }


def test_after_an_error_staged_files_are_gone(tmp_path):
    (tmp_path / "a.bin").write_text("old")
    with (
        pytest.raises(UnicodeEncodeError, match="surrogates not allowed"),
        staged(tmp_path / "a.bin") as path,
    ):
        path.write_text("\ud800")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def write_both(path):
    path.write_text("new")
    path.with_suffix(".json").write_text("{}")


@pytest.mark.parametrize("in_the_way", ["a.bin", "a.json"])
def test_what_cannot_be_put_in_place_leaves_all_that_was_there(tmp_path, in_the_way):
    (tmp_path / in_the_way).mkdir()
    other = tmp_path / ({"a.bin", "a.json"} - {in_the_way}).pop()
    other.write_text("old")
    with (
        pytest.raises(DataError, match=rf"{in_the_way}: cannot be written \(Is a directory"),
        staged(tmp_path / "a.bin") as path,
    ):
        write_both(path)
    assert other.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.json"]
