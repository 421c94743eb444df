"""The similarity loss: `TSNELoss` against scikit-learn's route, as the original EComp took it.

Both score the same children: activations of a random ReLU layer for images of Fashion-MNIST,
where each child has lost half of the units and its weights are off by up to half. scikit-learn's
route goes child by child; `TSNELoss` takes all at once, with one torch thread and with two. Writes
into OUT: ``results.csv``, ``table.md`` and ``similarity_loss.png``; fails if the values differ.

    python experiments/benchmarks/similarity_loss.py
"""

import os

# scikit-learn's route is fastest with one thread. Before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _bench import Row, Timing, compare, parser, plot_lines, write_results
from _original import divergence, probabilities

from ecomp_deap import TSNELoss, load_fashion_mnist
from ecomp_deap.threads import torch_threads

ONE, TWO, THEIRS = "TSNELoss, 1 thread", "TSNELoss, 2 threads", "scikit-learn, per child"
# Of the largest relative difference between the losses.
TOLERANCE = 1e-5


class Setting(NamedTuple):
    children: int = 100
    samples: int = 100
    units: int = 128


# One of the three is varied at a time.
VARIED = {"children": (1, 10, 100, 1_000), "samples": (100, 200, 500), "units": (32, 128, 512)}
QUICK = {"children": (1, 3), "samples": (40, 60), "units": (16, 24)}


def main() -> None:
    arguments = parser(__doc__, "similarity_loss")
    arguments.add_argument("--data-dir", type=Path, help="folder with the full Fashion-MNIST")
    options = arguments.parse_args()
    varied, base = (QUICK, Setting(3, 40, 16)) if options.quick else (VARIED, Setting())
    repeats = 3 if options.quick else 9
    images = load_fashion_mnist(options.data_dir).search

    settings = [base._replace(**{name: n}) for name, counts in varied.items() for n in counts]
    found = {s: measure(s, _inputs(images, s.samples), repeats) for s in dict.fromkeys(settings)}
    rows: list[Row] = []
    for setting, (timings, difference) in found.items():
        given = {**setting._asdict(), "largest_relative_difference": difference}
        rows += [timing.row(timings[ONE], **given) for timing in timings.values()]
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        name.capitalize(): {
            line: [(n, found[base._replace(**{name: n})][0][line].median) for n in counts]
            for line in (ONE, TWO, THEIRS)
        }
        for name, counts in varied.items()
    }
    title = "Similarity loss of a population"
    notes = (
        "Median [min, max]; ratios are medians over rounds in which the alternatives take turns. "
        "The difference is the largest one between the losses of a child, relative to the loss."
    )
    table = [_cells(setting, *found[setting]) for setting in found]
    print(write_results(options.out, title, rows, table, notes))
    plot_lines(panels, options.out / "similarity_loss.png", title=title)
    worst = max(difference for _, difference in found.values())
    if not worst <= TOLERANCE:
        raise SystemExit(f"losses differ by {worst:.2g} of themselves, more than {TOLERANCE}")


def measure(
    setting: Setting, inputs: torch.Tensor, repeats: int
) -> tuple[dict[str, Timing], float]:
    """Return the timings by name, and the largest relative difference between the losses."""
    origin, children = make_embeddings(inputs, setting.children, setting.units)
    perplexity = min(30.0, (setting.samples - 1) / 3)
    loss = TSNELoss(origin, perplexity=perplexity)
    theirs = scikit_learn_route(origin.numpy(), children.numpy(), perplexity)

    def ours(threads: int) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with torch_threads(threads):
                return loss(children)

        return run

    expected = theirs()
    # Their doubles, not rounded to the embeddings' own precision.
    values = loss.of_children(list(children)).numpy()
    difference = float((np.abs(values - expected) / expected).max())
    alternatives = {ONE: ours(1), TWO: ours(2), THEIRS: theirs}
    timings = compare(alternatives, repeats=repeats, limit_s=60.0)
    return {timing.name: timing for timing in timings}, difference


def scikit_learn_route(
    origin: np.ndarray, children: np.ndarray, perplexity: float
) -> Callable[[], np.ndarray]:
    """Return a function that gives the losses of all children, one after the other."""
    p = probabilities(origin, perplexity)
    return lambda: np.array([divergence(p, probabilities(c, perplexity)) for c in children])


def make_embeddings(
    inputs: torch.Tensor, n_children: int, n_units: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ReLU activations of a parent's layer and of its children.

    Their shapes are ``(n_samples, n_units)`` and ``(n_children, n_samples, n_units)``.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.empty(inputs.shape[1], n_units)
    torch.nn.init.kaiming_uniform_(weight.T, generator=generator)
    children = torch.empty(n_children, len(inputs), n_units)
    for child in children:
        noise = torch.rand(weight.shape, generator=generator) - 0.5
        kept = torch.rand(n_units, generator=generator) < 0.5
        child.copy_(torch.relu(inputs @ (weight * (1 + noise) * kept)))
    return torch.relu(inputs @ weight), children


def _inputs(images: Any, n: int) -> torch.Tensor:
    inputs: torch.Tensor = images.batch(np.arange(n))[0]
    return inputs


def _cells(setting: Setting, timings: dict[str, Timing], difference: float) -> Row:
    return {
        **setting._asdict(),
        **timings,
        "scikit-learn ÷ 1 thread": timings[THEIRS].ratio_to(timings[ONE]),
        "scikit-learn ÷ 2 threads": timings[THEIRS].ratio_to(timings[TWO]),
        "relative difference": f"{difference:.1g}",
    }


if __name__ == "__main__":
    main()
