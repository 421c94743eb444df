"""Splits: search, validation and test samples, which share no sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecomp_deap.checks import check_fraction
from ecomp_deap.data import _streams
from ecomp_deap.data.samples import Samples, as_samples
from ecomp_deap.errors import ArgumentError

__all__ = ["Splits", "split"]


@dataclass(frozen=True)
class Splits:
    """Three parts of the data, and a line on where they come from.

    Attributes:
        search: what children are trained and scored on while the search runs.
        validation: what the front is scored on and children are chosen by.
        test: what is reported once, at the end; None where there is none.
        name: short name of the data.
        source: one line for people, such as the folder it was read from.
    """

    search: Samples
    validation: Samples
    test: Samples | None
    name: str = "data"
    source: str = ""


def split(
    data: Any,
    *,
    validation: Any = None,
    test: Any = None,
    validation_fraction: float = 1 / 6,
    seed: int = 0,
) -> Splits:
    """Return ``data`` as `Splits`; each part may be whatever `as_samples` takes.

    Without ``validation``, that fraction of ``data`` is drawn for it and the rest is searched
    on: at least one sample each, in the order of ``data``, stratified by label where there
    are labels. The draw depends on ``seed``, the fraction and the labels only. With
    ``validation``, all of ``data`` is searched on; ``validation_fraction`` and ``seed`` are
    not used.

    Raises:
        ArgumentError: a part is no samples, the fraction is not between 0 and 1, or there is
            only one sample to share out.
    """
    search = as_samples(data)
    test_samples = None if test is None else as_samples(test, name="test")
    if validation is not None:
        return Splits(search, as_samples(validation, name="validation"), test_samples)
    fraction = check_fraction("validation_fraction", validation_fraction)
    if len(search) < 2:
        raise ArgumentError("data: expected at least 2 samples to draw validation from, got 1")
    rng = _streams.generator(seed, _streams.VALIDATION_DRAW)
    drawn = _draw(search.labels, len(search), fraction, rng)
    return Splits(
        search=search.subset(np.flatnonzero(~drawn)),
        validation=search.subset(np.flatnonzero(drawn)),
        test=test_samples,
    )


def _draw(
    labels: np.ndarray | None, n_samples: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Return which samples are drawn: a boolean mask, shape ``(n,)``."""
    n_drawn = min(max(round(fraction * n_samples), 1), n_samples - 1)
    order = rng.permutation(n_samples)
    drawn = np.zeros(n_samples, dtype=bool)
    if labels is None:
        drawn[order[:n_drawn]] = True
        return drawn
    classes, counts = np.unique(labels, return_counts=True)
    for label, share in zip(classes, _shares(counts, n_drawn), strict=True):
        drawn[order[labels[order] == label][:share]] = True
    return drawn


def _shares(counts: np.ndarray, n_drawn: int) -> np.ndarray:
    """Share ``n_drawn`` out in proportion to ``counts``, by largest remainder.

    Classes that one more sample would use up come last, whatever their remainder.
    """
    shares, remainders = np.divmod(counts * n_drawn, counts.sum())
    empties = shares + 1 >= counts
    by_need = np.lexsort((-remainders, empties))
    shares[by_need[: n_drawn - shares.sum()]] += 1
    return shares
