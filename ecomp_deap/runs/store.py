"""`Store`: saves that a crash at any moment leaves whole, and that notice any damage.

A save is a folder ``000012`` of files and a manifest with the SHA-256 of each. It is written under
another name, flushed to the disk, read back, and renamed when all of it is there. The last two
saves are kept.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecomp_deap._version import __version__
from ecomp_deap.errors import DataError
from ecomp_deap.files import parse_json, sync_folder, write_synced

__all__ = ["FORMAT_VERSION", "NewerFormatError", "Save", "Store", "passing", "seal", "unseal"]

#: Of saves and journals; newer ones are refused.
FORMAT_VERSION = 1

_FORMAT = "ecomp_deap.save"
_MANIFEST = "manifest.json"
_NAME = re.compile(r"[0-9]{6,}")
_FILE = re.compile(r"[a-z][a-z0-9_]*\.(json|safetensors)")
_KEPT = 2
# A manifest has some hundred bytes; what claims to be one and is huge is not read.
_MANIFEST_BYTES = 2**20


def passing(step: str) -> None:
    """Called before each step of a save and of a line of the journal; tests stop here."""


class NewerFormatError(DataError):
    """A save or a journal is of a newer version, in a format that this one does not know."""


@dataclass(frozen=True)
class Save:
    """What a store holds of one moment.

    Attributes:
        number: The one it was saved under.
        files: Content by name.
    """

    number: int
    files: Mapping[str, bytes]


class Store:
    """A folder of saves.

    Args:
        folder: Made with the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, number: int, files: Mapping[str, bytes]) -> None:
        """Save files under a number, in place of what was saved under it, and drop older saves.

        Args:
            number: Of at least 0.
            files: Content by name, ``.json`` or ``.safetensors``.

        Raises:
            DataError: The disk is full or does not let us write, or gives back something else than
                was written; earlier saves are as they were.
        """
        target = self._path(number)
        temporary = self.folder / f".{target.name}.tmp"
        try:
            passing("make the folder")
            self.folder.mkdir(parents=True, exist_ok=True)
            _remove(temporary)
            temporary.mkdir()
            sums = {}
            for name, content in files.items():
                if not _FILE.fullmatch(name):
                    raise ValueError(f"{name!r} is no name of a saved file")
                passing(f"write {name}")
                write_synced(temporary / name, content)
                sums[name] = {"sha256": _sha256(content), "bytes": len(content)}
            passing("read back")
            for name, entry in sums.items():
                if _sha256((temporary / name).read_bytes()) != entry["sha256"]:
                    raise DataError(f"{temporary / name}: the disk gave back other bytes")
            manifest = {
                "format": _FORMAT,
                "format_version": FORMAT_VERSION,
                "ecomp_deap_version": __version__,
                "number": number,
                "files": sums,
            }
            passing("write the manifest")
            write_synced(temporary / _MANIFEST, seal(manifest))
            sync_folder(temporary)
            passing("clear the way")
            _remove(target)
            passing("rename")
            temporary.rename(target)
            passing("sync the folder")
            sync_folder(self.folder)
            passing("drop old saves")
            self._drop_old(number)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise DataError(f"{target}: cannot be saved ({error.strerror})") from error

    def newest(self) -> tuple[Save | None, list[str]]:
        """Return the newest save that is whole, if any, and what is wrong with newer ones.

        Raises:
            DataError: One of a newer format than this version reads; or the folder cannot be read.
        """
        found: list[str] = []
        for number in sorted(self._numbers(), reverse=True):
            try:
                return self._read(number), found
            except NewerFormatError:
                raise
            except DataError as error:
                found.append(str(error))
        return None, found

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}"

    def _numbers(self) -> list[int]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be read ({error.strerror})") from error
        return [int(name) for name in names if _NAME.fullmatch(name)]

    def _read(self, number: int) -> Save:
        folder = self._path(number)
        if folder.is_symlink() or not folder.is_dir():
            raise DataError(f"{folder}: expected a folder, not a link or a file")
        manifest = _read_manifest(folder / _MANIFEST, number)
        files, damaged = {}, []
        for name, entry in manifest["files"].items():
            try:
                files[name] = _read_file(folder / name, entry)
            except DataError as error:
                damaged.append(str(error))
        if damaged:
            raise DataError("; ".join(damaged))
        return Save(number, files)

    def _drop_old(self, newest: int) -> None:
        """Remove all saves but the last ones, and what a crash left behind."""
        numbers = sorted(self._numbers(), reverse=True)
        # Those of higher numbers were damaged, or the run would have gone on from them.
        kept = [newest, *[n for n in numbers if n < newest]][:_KEPT]
        for number in numbers:
            if number not in kept:
                _remove(self._path(number))
        for path in self.folder.glob(".*.tmp"):
            _remove(path)


def seal(content: Mapping[str, Any]) -> bytes:
    """Return JSON in one line with the SHA-256 of its content in front, to be read by `unseal`."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"{_sha256(text.encode())} {text}\n".encode()


def unseal(line: bytes) -> Any:
    """Return the content of a line that `seal` wrote.

    Raises:
        ValueError: Any byte of it is another.
    """
    if len(line) < 66 or line[64:65] != b" " or line[-1:] != b"\n":
        raise ValueError("it is incomplete")
    text = line[65:-1]
    if _sha256(text).encode() != line[:64]:
        raise ValueError("its SHA-256 is another")
    return parse_json(text)


def _read_manifest(path: Path, number: int) -> dict[str, Any]:
    line = _read_bytes(path, at_most=_MANIFEST_BYTES)
    try:
        manifest = unseal(line)
        if manifest["format"] != _FORMAT:
            raise ValueError(f"it is {manifest['format']!r}")
        if manifest["format_version"] > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path}: has format {manifest['format_version']} of ecomp_deap "
                f"{manifest['ecomp_deap_version']}, this is {__version__} with format "
                f"{FORMAT_VERSION}"
            )
        if manifest["number"] != number:
            raise ValueError(f"it is that of save {manifest['number']}")
        for name, entry in manifest["files"].items():
            sound = isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str)
            if not _FILE.fullmatch(name) or not sound:
                raise ValueError(f"it names a file {name!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected the manifest of a save, but {error}") from error
    return dict(manifest)


def _read_file(path: Path, entry: Mapping[str, Any]) -> bytes:
    content = _read_bytes(path, at_most=entry["bytes"])
    if len(content) != entry["bytes"]:
        raise DataError(f"{path}: has {len(content)} of {entry['bytes']} bytes")
    if _sha256(content) != entry["sha256"]:
        raise DataError(f"{path}: damaged, its SHA-256 is not the one its manifest names")
    return content


def _read_bytes(path: Path, *, at_most: int) -> bytes:
    """Return a file's content, if it is a plain file of the size that is expected."""
    try:
        if path.is_symlink() or not path.is_file():
            state = "a link" if path.is_symlink() else "missing" if not path.exists() else "no file"
            raise DataError(f"{path}: expected a file, but it is {state}")
        size = path.stat().st_size
        if size > at_most:
            raise DataError(f"{path}: has {size} bytes, expected {at_most} at most")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _remove(path: Path) -> None:
    """Remove a folder, whatever it is, if it is there; its manifest first."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        # What is left of it after a crash must not look whole.
        (path / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
