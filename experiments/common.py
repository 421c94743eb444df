"""What the experiments share: settings that must not be mixed, jobs, a parent, tables."""

import csv
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ecomp_deap import Splits, export, load_fashion_mnist, train_parent
from ecomp_deap.files import write_atomically

Row = dict[str, Any]


@functools.cache
def data(data_dir: Path | None) -> Splits:
    return load_fashion_mnist(data_dir)


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to mix runs of different settings in one folder; make it if need be."""
    out.mkdir(parents=True, exist_ok=True)
    given = {name: None if value is None else str(value) for name, value in settings.items()}
    path = out / "settings.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in given if given[name] != known.get(name))
        if changed:
            raise SystemExit(
                f"{out} holds runs with other settings ({', '.join(changed)}): choose another --out"
            )
    write_atomically(path, json.dumps(given, indent=2) + "\n")


def parent_file(out: Path, given: Path | None, data_dir: Path | None) -> Path:
    """Return the file of the given parent, or of one that is trained once and kept in ``out``."""
    path = given or out / "parent.safetensors"
    if not path.exists() and given is None:
        export(train_parent(data(data_dir)), path)
    return path


def run_all(run_one: Callable[[Any], str], jobs: Sequence[Any], n_processes: int) -> None:
    """Do all jobs, so many at the same time, and tell of each on stderr by the text it returns."""
    if n_processes == 1:
        _tell(map(run_one, jobs), len(jobs))
        return
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        _tell(pool.map(run_one, jobs), len(jobs))


def _tell(labels: Any, n_jobs: int) -> None:
    for done, label in enumerate(labels, start=1):
        print(f"{done}/{n_jobs}: {label}", file=sys.stderr, flush=True)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
