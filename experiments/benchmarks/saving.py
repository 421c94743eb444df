"""Saving: a search with saves against the same without, and what one line and one save take.

Two searches of a 784-256-256-10 parent: by masks, whose saves are small and whose generations are
fast, and by weights, where a save has those of all individuals. Each is run with saves and without
in turns, from the same seed. Writes into OUT: ``results.csv`` and ``table.md``.

    OMP_NUM_THREADS=1 python experiments/benchmarks/saving.py
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from _bench import Row, Timing, parser, take_turns, write_results
from _tasks import add_inputs, load_inputs
from torch import nn

from ecomp_deap import Splits, Task, compress
from ecomp_deap.runs.checkpoints import Checkpoints
from ecomp_deap.runs.journal import Journal

WITHOUT, WITH = "without saves", "with saves"
SEARCHES: dict[str, dict[str, Any]] = {
    "masks": {"genome": "mask", "objectives": ("accuracy", "similarity_loss", "param_count")},
    "weights": {"genome": "weights", "loss_weights": (1, 2, 1)},
}


class Meter:
    """Notes what saves and lines of journals take, and how large they are."""

    def __init__(self) -> None:
        self.saves: list[float] = []
        self.lines: list[float] = []
        self.bytes = 0

    def watch(self) -> None:
        """Time every save and line from now on (changes the classes)."""
        save, append = Checkpoints._save, Journal.append

        def timed_save(checkpoints: Checkpoints, *args: Any) -> None:
            started = time.perf_counter()
            save(checkpoints, *args)
            self.saves.append(time.perf_counter() - started)
            newest = max(path for path in checkpoints.folder.iterdir() if path.name.isdecimal())
            self.bytes = sum(path.stat().st_size for path in newest.iterdir())

        def timed_line(journal: Journal, *args: Any) -> None:
            started = time.perf_counter()
            append(journal, *args)
            self.lines.append(time.perf_counter() - started)

        Checkpoints._save, Journal.append = timed_save, timed_line  # type: ignore[method-assign]


def main() -> None:
    command = parser(__doc__, "saving")
    add_inputs(command)
    options = command.parse_args()
    parent, data = load_inputs(options)
    rows: list[Row] = []
    table: list[Row] = []
    meter = Meter()
    meter.watch()
    population, generations = (8, 4) if options.quick else (100, 60)
    for name, kind in SEARCHES.items():
        search = partial(_seconds, parent, data, kind, population, generations)
        turns = {WITHOUT: partial(search, saved=False), WITH: partial(search, saved=True)}
        meter.saves.clear()
        meter.lines.clear()
        without, with_saves = take_turns(turns, repeats=3 if options.quick else 5)
        setting = {"search": name, "individuals": population, "generations": generations}
        rows += [timing.row(without, **setting) for timing in (without, with_saves)]
        table.append(
            {
                **setting,
                WITHOUT: without,
                WITH: with_saves,
                "ratio": with_saves.ratio_to(without),
                "a generation": without.median / (generations + 1),
                "a save": Timing("save", tuple(meter.saves)),
                "MB of a save": meter.bytes / 1e6,
                "saves in a search": len(meter.saves) / len(with_saves.seconds),
                "a line": Timing("line", tuple(meter.lines)),
            }
        )
    notes = (
        "Median [min, max]; the ratio is the median over rounds in which both take turns. A search "
        "is saved after its first and its last generation in any case, and in between as often as "
        "a twentieth of its time allows: two saves are most of what a short search pays. A "
        "generation in seconds."
    )
    print(write_results(options.out, "What saving a search takes", rows, table, notes))


def _seconds(
    parent: nn.Module,
    data: Splits,
    kind: dict[str, Any],
    population: int,
    generations: int,
    *,
    saved: bool,
) -> float:
    """Return the seconds of one search."""
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            Task(parent, data),
            **kind,
            population=population,
            generations=generations,
            finalise_count=0,
            threads=1,
            checkpoint=Path(folder, "saves") if saved else None,
        )
    return result.seconds["search"]


if __name__ == "__main__":
    main()
