"""Training of children: the batched engine against the loop, by gradient steps.

100 masks of an initial population are trained for some steps each and measured, for the original's
parent and for a small network, in one thread and in two (of torch's in the loop). Writes into
OUT: ``results.csv``, ``table.md`` and ``training.png``; fails if what the children learnt, or
their measurements, differ by more than the tolerance.

    python experiments/benchmarks/training.py --parent parent.safetensors
"""

import os

# Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import torch
from _bench import Row, Timing, compare, fastest, parser, plot_lines, write_results
from _original import TRAINED, Agreement, agreement, check_agreement, worst
from _tasks import add_inputs, load_inputs

from ecomp_deap import Recipe, Task, make_toolbox
from ecomp_deap.evaluation import Evaluator, Outcome
from ecomp_deap.network import make_parent

ALTERNATIVES = {
    "batched, 1 thread": ("batched", 1),
    "batched, 2 threads": ("batched", 2),
    "loop, 1 thread": ("loop", 1),
    "loop, 2 threads": ("loop", 2),
}
EXPECTED = "loop, 1 thread"
STEPS = (1, 2, 5, 10)
RECIPE = Recipe(learning_rate=1e-3)
# One after the other in every turn, as a search has them: a core that was idle wakes up slowly.
GENERATIONS = 3
# Of the largest difference of a trained number: a hundredth of a step.
TOLERANCE = 0.01 * RECIPE.learning_rate


class Apart(NamedTuple):
    """How far what was learnt and measured is apart from the loop in one thread.

    Attributes:
        batched: Largest difference of a number that the batched engine trained.
        loop: The same of the loop in two threads, whose products are rounded in other ways.
        measurements: Those of the batched engine.
    """

    batched: float
    loop: float
    measurements: Agreement


def main() -> None:
    arguments = parser(__doc__, "training")
    add_inputs(arguments)
    options = arguments.parse_args()
    steps, n, repeats = ((1, 2), 4, 3) if options.quick else (STEPS, 100, 7)
    batch_size = 40 if options.quick else 100

    rows: list[Row] = []
    table: list[Row] = []
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for network, inputs in {"original": load_inputs(options), "small": _small_inputs()}.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for k in steps:
            given = {"batch_size": batch_size, "train_steps": k, "training": RECIPE}
            timings, apart = measure(*inputs, given, n, repeats)
            sizes = _sizes(inputs[0])
            setting = {"network": sizes, "children": n, "steps": k}
            differences = {
                "largest_difference_trained": apart.batched,
                "largest_difference_trained_loop_2_threads": apart.loop,
                "largest_difference_samples": apart.measurements.samples,
                "largest_relative_difference_loss": apart.measurements.relative,
            }
            loop = fastest(timings, "loop")
            rows += [timing.row(loop, **setting, **differences) for timing in timings]
            table.append({**setting, **_cells(timings, apart)})
            for timing in timings:
                lines.setdefault(timing.name, []).append((k, timing.median))
        panels[f"{network}, {sizes}"] = lines
    title = f"Training and measuring {n} children in {GENERATIONS} generations"
    notes = (
        f"Median [min, max] of {GENERATIONS} generations with Adam's steps on batches of "
        f"{batch_size}; ratios are medians over rounds in which the alternatives take turns, of "
        "each engine at its better number of threads. The last columns hold the largest "
        "differences from the loop in one thread: of a number that the batched engine trained "
        f"(tolerance {TOLERANCE:g}, a hundredth of a step); of one that the loop itself trained in "
        "two torch threads (Adam divides gradients by their size, so where one is next to "
        "nothing, its rounding becomes a step); and of the batched engine's measurements (losses "
        "to 1e-5 of themselves, accuracies to one sample)."
    )
    print(write_results(options.out, title, rows, table, notes))
    plot_lines(panels, options.out / "training.png", title=title, xlabel="Gradient steps")


def measure(
    parent: torch.nn.Module, data: Any, given: dict[str, Any], n: int, repeats: int
) -> tuple[list[Timing], Apart]:
    """Return the timings, once what was learnt and measured is known to agree.

    Args:
        parent: The network.
        data: What a `Task` takes.
        given: More of what it takes.
        n: Children.
        repeats: Rounds.
    """
    task = Task(parent, data, **given)
    genomes = [individual.plain() for individual in make_toolbox(task).population(n=n)]
    seeds = list(range(n))
    # Here the children keep what they learn, which takes another copy.
    keeping = Task(parent, data, **given, inherit=True)
    found = {
        name: Evaluator(keeping, engine=engine, threads=threads).measure(genomes, 0, seeds)
        for name, (engine, threads) in ALTERNATIVES.items()
    }
    expected = found.pop(EXPECTED)
    differences = {name: _largest_difference(o, expected) for name, o in found.items()}
    batched = [name for name in found if name.startswith("batched")]
    apart = Apart(
        max(differences[name] for name in batched),
        differences["loop, 2 threads"],
        worst([_agreement(found[name], expected, task.batch_size) for name in batched]),
    )
    if not apart.batched <= TOLERANCE:
        raise SystemExit(f"trained numbers differ by {apart.batched:.2g}, more than {TOLERANCE:g}")
    check_agreement("measurements of trained children", apart.measurements)

    def evaluation(engine: str, threads: int) -> Callable[[], object]:
        evaluator, generations = Evaluator(task, engine=engine, threads=threads), count(1)
        return lambda: [
            evaluator.measure(genomes, next(generations), seeds) for _ in range(GENERATIONS)
        ]

    timed = {name: evaluation(*how) for name, how in ALTERNATIVES.items()}
    return compare(timed, repeats=repeats, limit_s=60.0), apart


def _largest_difference(outcomes: Sequence[Outcome], expected: Sequence[Outcome]) -> float:
    differences = []
    for found, wanted in zip(outcomes, expected, strict=True):
        assert found.arrays is not None
        assert wanted.arrays is not None
        differences += [abs(found.arrays[n] - wanted.arrays[n]).max() for n in wanted.arrays]
    return float(max(differences))


def _agreement(
    outcomes: Sequence[Outcome], expected: Sequence[Outcome], n_samples: int
) -> Agreement:
    measurements = [[o.measurement for o in measured] for measured in (outcomes, expected)]
    return agreement(*measurements, n_samples, absolute=TRAINED)


def _small_inputs() -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Return an untrained network 20-32-32-3 and data of three overlapping clouds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1200) % 3
    centres = torch.randn(3, 20, generator=generator)
    inputs = centres[labels] + torch.randn(1200, 20, generator=generator)
    return make_parent((32, 32), n_inputs=20, n_outputs=3), (inputs, labels)


def _sizes(network: torch.nn.Module) -> str:
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return "-".join(map(str, (layers[0].in_features, *(m.out_features for m in layers))))


def _cells(timings: list[Timing], apart: Apart) -> Row:
    loop = fastest(timings, "loop")
    return {
        **{timing.name: timing for timing in timings},
        "loop ÷ batched": loop.ratio_to(fastest(timings, "batched")),
        "trained numbers differ by": f"{apart.batched:.1g}",
        "the loop's own in 2 threads by": f"{apart.loop:.1g}",
        "measurements": apart.measurements,
    }


if __name__ == "__main__":
    main()
