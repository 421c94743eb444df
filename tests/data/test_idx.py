"""Seen to fail without what protects: experiments/reliability/protections.py."""

import gzip
import lzma
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecomp_deap.data import read_idx
from ecomp_deap.errors import DataError
from tests.data.idx_files import PACK, idx_bytes

SUFFIXES = tuple(PACK)
ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4)), suffix=st.sampled_from(SUFFIXES))
def test_reads_back_what_was_written(tmp_path_factory, array, suffix):
    path = tmp_path_factory.getbasetemp() / f"round-trip{suffix}"
    path.write_bytes(PACK[suffix](idx_bytes(array)))

    read = read_idx(path)

    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)
    assert read.shape == array.shape


def test_the_array_can_be_written_to(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(idx_bytes(ARRAY))
    assert read_idx(str(path)).flags.writeable


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_an_error_that_names_the_file(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    whole = PACK[suffix](idx_bytes(ARRAY))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=re.escape(f"{path}: ")):
            read_idx(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("extra", [b"x", b"\1\2\3\4"])
def test_trailing_bytes_are_an_error(tmp_path, suffix, extra):
    path = tmp_path / f"long{suffix}"
    path.write_bytes(PACK[suffix](idx_bytes(ARRAY) + extra))
    with pytest.raises(DataError, match=r"followed by other bytes: shape \(2, 3, 4\) needs 24"):
        read_idx(path)
    path.write_bytes(PACK[suffix](idx_bytes(ARRAY)) + extra)
    with pytest.raises(DataError, match=r"followed by other bytes|corrupt"):
        read_idx(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_changed_byte_never_changes_the_array(tmp_path, suffix):
    path = tmp_path / f"flipped{suffix}"
    whole = PACK[suffix](idx_bytes(ARRAY))
    n_errors = 0
    for position in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            try:
                np.testing.assert_array_equal(read_idx(path), ARRAY)
            except DataError:
                n_errors += 1
    assert n_errors > len(whole)


@given(content=st.binary(max_size=60), suffix=st.sampled_from(SUFFIXES), packed=st.booleans())
def test_arbitrary_bytes_give_an_array_or_a_data_error(tmp_path_factory, content, suffix, packed):
    path = tmp_path_factory.getbasetemp() / f"noise{suffix}"
    path.write_bytes(PACK[suffix](content) if packed else content)
    try:
        read = read_idx(path)
    except DataError as error:
        message = str(error)
    else:
        assert read.dtype == np.uint8
        message = f"{path}: "
    assert message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "type 0x0d, only 0x08"),
        (b"\0\0\x08\0", "without dimensions"),
        (b"\0\0\x08\2\0\0\0\1", "truncated within the header, at 8 of 12 bytes"),
        (b"\0\0\x08\3" + b"\xff" * 12, "needs 79228162458924105385300197375 values"),
    ],
)
def test_the_reason_is_given(tmp_path, content, message):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_file_packed_otherwise_than_its_suffix_says_is_an_error(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(lzma.compress(idx_bytes(ARRAY)))
    with pytest.raises(DataError, match=r"truncated or corrupt \.gz file"):
        read_idx(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(DataError, match="absent: cannot be read"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_archives_of_several_parts_are_read_whole(tmp_path):
    content = idx_bytes(ARRAY)
    path = tmp_path / "parts.gz"
    path.write_bytes(gzip.compress(content[:10]) + gzip.compress(content[10:]))
    np.testing.assert_array_equal(read_idx(path), ARRAY)
