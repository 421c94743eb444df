"""Checks of what operators are given: a few comparisons, as operators are called very often."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ecomp_deap.checks import check_number, check_sequence, check_type
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import MaskGenome, Structure, WeightGenome, WidthGenome

__all__ = [
    "check_arrays",
    "check_importance",
    "check_layers",
    "check_masked",
    "check_probability",
    "check_weighted",
    "check_widths",
    "wvalues_of",
]


def check_masked(name: str, individual: Any, structure: Any) -> None:
    """Check that an individual is a `MaskGenome` of the structure's groups."""
    _check_genome(name, individual, MaskGenome, structure)
    sizes = tuple(map(len, individual.masks))
    if sizes != structure.widths:
        raise argument_error(name, f"masks of {structure.widths} units", sizes)


def check_widths(name: str, individual: Any, structure: Any) -> None:
    """Check that an individual is a `WidthGenome` of the structure's groups."""
    _check_genome(name, individual, WidthGenome, structure)
    if len(individual.widths) != len(structure.groups):
        expected = f"a number of units for each of {len(structure.groups)} groups"
        raise argument_error(name, expected, individual.widths)


def _check_genome(name: str, individual: Any, kind: type[Any], structure: Any) -> None:
    check_type("structure", structure, Structure)
    check_type(name, individual, kind)


def check_weighted(name: str, individual: Any) -> None:
    """Check that an individual is a `WeightGenome`."""
    check_type(name, individual, WeightGenome)


def check_arrays(name: str, arrays: Any) -> None:
    """Check that arrays come by name."""
    if not isinstance(arrays, Mapping):
        raise argument_error(name, "a mapping from names to arrays", arrays)


def check_layers(layers: Any, known: Collection[str]) -> None:
    """Check that layers are None, or names of those that are known."""
    if layers is None:
        return
    if isinstance(layers, (str, bytes)) or not isinstance(layers, Collection):
        raise argument_error("layers", "a collection of names", layers)
    for name in layers:
        if not isinstance(name, str) or name not in known:
            raise argument_error("layers", f"names among {list(known)}", name)


def check_importance(importance: Any, structure: Any) -> None:
    """Check that there is an array of numbers for each group, of a number for each unit."""
    groups = check_type("structure", structure, Structure).groups
    if isinstance(importance, (str, bytes)) or not isinstance(importance, (Sequence, np.ndarray)):
        raise argument_error("importance", "one array per group", importance)
    if len(importance) != len(groups):
        raise argument_error("importance", f"{len(groups)} arrays, one per group", len(importance))
    for i, (group, values) in enumerate(zip(groups, importance, strict=True)):
        if (
            not isinstance(values, np.ndarray)
            or values.shape != (group.n_units,)
            or values.dtype.kind not in "biuf"
        ):
            expected = f"an array of numbers, shape ({group.n_units},)"
            raise argument_error(f"importance[{i}]", expected, values)


def check_probability(name: str, value: Any) -> float:
    """Return ``value`` as a float.

    Raises:
        ArgumentError: It is no number from 0 to 1.
    """
    return check_number(name, value, minimum=0.0, maximum=1.0, expected="a number in [0, 1]")


def wvalues_of(individuals: Any) -> list[tuple[float, ...]]:
    """Return the weighted fitness values of each individual.

    Raises:
        ArgumentError: No sequence of individuals with a fitness.
    """
    check_sequence("individuals", individuals, "individuals")
    try:
        return [individual.fitness.wvalues for individual in individuals]
    except AttributeError:
        fitnesses = [getattr(individual, "fitness", None) for individual in individuals]
        wrong = [hasattr(fitness, "wvalues") for fitness in fitnesses].index(False)
        raise argument_error(
            f"individuals[{wrong}]", "an individual with a fitness", individuals[wrong]
        ) from None
