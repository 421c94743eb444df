"""The experiments as the tests run them: in this process, or in one of their own."""

import csv
import importlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def load(name: str) -> ModuleType:
    """Return a script of the folder as a module; nothing runs yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return importlib.import_module(name)


def run_main(name: str, *arguments: object) -> None:
    """Run a script's ``main`` in this process, with these arguments."""
    module = load(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script as users do, in a process of its own."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    path = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


def run_to_table(name: str, arguments: Iterable[object], out: Path) -> Path:
    """Run a script as users do, and return ``out``, whose ``table.md`` it has to print."""
    done = run_script(name, *arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (out / "table.md").read_text(encoding="utf-8").strip()
    return out


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
