"""The benchmarks as the tests run them."""

import importlib
import sys

import pytest

from tests.experiments.scripts import FOLDER, read_table

BENCHMARKS = FOLDER / "benchmarks"
PNG = b"\x89PNG"


def load(name):
    """Return a benchmark, or what they share, as a module; nothing runs yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module(name)


def run_benchmark(name, *arguments):
    """Run a benchmark's ``main`` in this process, with these arguments."""
    module = load(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()


def rows_of(out):
    assert (out / "table.md").stat().st_size > 0
    return read_table(out / "results.csv")


def pictures(out):
    found = sorted(path.name for path in out.glob("*.png"))
    assert all((out / name).read_bytes().startswith(PNG) for name in found)
    return found
