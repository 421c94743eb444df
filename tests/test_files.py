import threading

import pytest

from ecomp_deap.files import staged, write_atomically


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
    with pytest.raises(OSError, match="folder"):
        write_atomically(folder, "content")

    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write_atomically(tmp_path / "missing" / "file.txt", "content")


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
