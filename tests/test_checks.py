from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from ecomp_deap.checks import check_count, check_fraction, check_indices, check_path
from ecomp_deap.errors import ArgumentError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind_are_counts(value):
    count = check_count("n", value, minimum=3, maximum=3)
    assert count == 3
    assert type(count) is int


@pytest.mark.parametrize("value", [2, 6, 3.0, "3", True, None])
def test_other_values_are_no_counts(value):
    with pytest.raises(ArgumentError, match="n: expected a whole number of at least 3 and at most"):
        check_count("n", value, minimum=3, maximum=5)


@pytest.mark.parametrize("value", [0, 1, -0.5, float("nan"), "x", None])
def test_fractions_lie_between(value):
    assert check_fraction("share", 0.25) == 0.25
    with pytest.raises(ArgumentError, match="share: expected a number between 0 and 1"):
        check_fraction("share", value)


@pytest.mark.parametrize("value", [[[0]], [-1], [5], [0.5], [True], []])
def test_indices_are_whole_and_in_range(value):
    assert check_indices("rows", [0, 4], 5).dtype == np.int64
    assert check_indices("rows", [], 5, empty=True).size == 0
    with pytest.raises(ArgumentError, match="rows: expected"):
        check_indices("rows", value, 5)


class BytesPath:
    def __fspath__(self):
        return b"a"


@pytest.mark.parametrize("value", ["", "a\0b", "half a letter: \ud800", b"a", 3, None, BytesPath()])
def test_other_values_are_no_paths(value):
    assert check_path("path", PurePosixPath("a/b")) == check_path("path", "a/b") == Path("a/b")
    with pytest.raises(ArgumentError, match="path: expected a path, got"):
        check_path("path", value)
