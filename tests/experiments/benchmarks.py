"""The benchmarks as the tests run them."""

import importlib
import sys

import pytest

from tests.experiments.scripts import FOLDER

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
