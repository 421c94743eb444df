"""One generation in phases: the share of each, and the floor that its operations and bytes set.

A generation of DEAP's `eaSimple` with 100 weight genomes, and with 100 masks, in one thread. Each
phase is timed by calling the program's own functions on a real generation's inputs; no profiler
slows what it looks at. A floor is the time that the machine needs for what a phase must do, at the
speeds that are measured here first. Writes into OUT: ``results.csv``, ``table.md`` and
``profile.png``.

    python experiments/benchmarks/profile_generation.py --parent parent.safetensors
"""

import os

# Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from _bars import plot_bars
from _bench import Row, Timing, parser, seconds_text, take_turns, write_results
from _floors import Machine, Work, measure_machine
from _phases import Phases
from _tasks import Search, add_inputs, load_inputs

from ecomp_deap import Task
from ecomp_deap.threads import torch_threads

WHOLE = "whole generation"


def main() -> None:
    arguments = parser(__doc__, "profile_generation")
    add_inputs(arguments)
    options = arguments.parse_args()
    parent, data = load_inputs(options)
    task = Task(parent, data, batch_size=40 if options.quick else 100)
    n, repeats = (6, 3) if options.quick else (100, 15)

    rows: list[Row] = []
    bars: dict[str, dict[str, float]] = {}
    floors: dict[str, dict[str, float]] = {}
    with torch_threads(1), torch.no_grad():
        small = {"size": 64, "copied": 2**20} if options.quick else {}
        machine = measure_machine(**small)
        for genome in ("weights", "mask"):
            phases = Phases(Search(genome), task, n)
            timings = measure(phases, repeats)
            found = _rows(genome, timings, phases.work, machine)
            rows += found
            panel = f"{genome}, {seconds_text(timings[WHOLE].median)}"
            bars[panel] = {r["phase"]: r["median_s"] for r in found if r["phase"] in phases.turns}
            floors[panel] = {r["phase"]: r["floor_s"] for r in found if r["floor_s"] is not None}
            floors[panel].pop("all phases")
    title = f"A generation of {n} children in one thread, by phase"
    notes = (
        "Median [min, max] over rounds in which the phases take turns; shares are of the whole "
        "generation, which is timed in the same rounds. A floor is the longer of two times: of "
        "the phase's operations at the speed of a large matrix product, with exponentials at their "
        "own; and of the bytes that it must move, at the speed of a large copy. Phases without one "
        "handle Python objects. Distances are a matrix product, whole although half of each table "
        "would do; calibration and divergence are the similarity loss but for its distances, and "
        "their floor is two Newton steps for every row. The machine, in one thread: "
        f"{machine}."
    )
    print(write_results(options.out, title, rows, [_cells(row) for row in rows], notes))
    plot_bars(
        bars,
        options.out / "profile.png",
        title=title,
        xlabel="Time",
        marks=floors,
        mark_label="floor",
    )


def measure(phases: Phases, repeats: int) -> dict[str, Timing]:
    """Return the timings of the phases and of the whole generation by name."""
    turns = {**phases.turns, WHOLE: phases.whole}
    for turn in turns.values():
        turn()
    return {timing.name: timing for timing in take_turns(turns, repeats=repeats)}


def _rows(
    genome: str, timings: dict[str, Timing], work: dict[str, Work], machine: Machine
) -> list[Row]:
    whole = timings[WHOLE]
    phases = [timing for name, timing in timings.items() if name != WHOLE]
    together = Timing("all phases", tuple(map(sum, zip(*(p.seconds for p in phases), strict=True))))
    floors = {name: machine.floor(found) for name, found in work.items()}
    rows = []
    for timing in (*phases, together, whole):
        done = sum(work.values(), Work()) if timing is together else work.get(timing.name)
        floor = sum(floors.values()) if timing is together else floors.get(timing.name)
        rows.append(
            {
                "genome": genome,
                "phase": timing.name,
                "median_s": timing.median,
                "min_s": min(timing.seconds),
                "max_s": max(timing.seconds),
                "rounds": len(timing.seconds),
                "share": timing.ratio_to(whole),
                "mflop_single": None if done is None else done.single / 1e6,
                "mflop_double": None if done is None else done.double / 1e6,
                "million_exponentials": None
                if done is None
                else (done.single_exps + done.double_exps) / 1e6,
                "megabytes": None if done is None else done.bytes / 1e6,
                "floor_s": floor,
                "time_to_floor": None if floor is None else timing.median / floor,
            }
        )
    return rows


def _cells(row: Row) -> Row:
    return {
        "genome": row["genome"],
        "phase": row["phase"],
        "time": str(Timing("", (row["min_s"], row["median_s"], row["max_s"]))),
        "share": f"{100 * row['share']:.1f} %",
        "MFLOP, single": row["mflop_single"] or None,
        "MFLOP, double": row["mflop_double"] or None,
        "million exponentials": row["million_exponentials"] or None,
        "MB": row["megabytes"] or None,
        "floor": None if row["floor_s"] is None else seconds_text(row["floor_s"]),
        "time ÷ floor": row["time_to_floor"],
    }


if __name__ == "__main__":
    main()
