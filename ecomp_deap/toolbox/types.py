"""The types that DEAP's creator makes for us: created once, never rebound."""

from collections.abc import Mapping, Sequence
from typing import Any

from deap import base, creator

from ecomp_deap.genomes import Genome, MaskGenome, WeightGenome, WidthGenome

__all__ = ["GENOMES", "individual_class"]

#: Genome classes by the names that `make_toolbox` knows.
GENOMES: dict[str, type[Genome]] = {
    "mask": MaskGenome,
    "width": WidthGenome,
    "weights": WeightGenome,
}


def individual_class(genome_class: type[Genome], signs: Sequence[float]) -> type[Any]:
    """Return the individual type for a genome and the signs of its fitness."""
    suffix = "".join("Max" if sign > 0 else "Min" for sign in signs)
    fitness = _create_once(f"EcompFitness{suffix}", base.Fitness, weights=tuple(signs))
    name = f"Ecomp{genome_class.__name__}{suffix}"
    return _create_once(name, genome_class, fitness=fitness, measurement=None, batch=None)


def _create_once(name: str, base_class: type, **attributes: Any) -> type[Any]:
    """Return DEAP's creator class ``name``, created if need be, never rebound.

    Raises:
        RuntimeError: The name is taken by something else.
    """
    existing = getattr(creator, name, None)
    if existing is None:
        creator.create(name, base_class, **attributes)
        return getattr(creator, name)
    if _recipe(existing) != (name, base_class, _recipes(attributes)):
        raise RuntimeError(f"deap.creator.{name} exists already and is something else")
    return existing


def _recipe(value: Any) -> Any:
    """Return what a creator class was made from; anything else stands for itself.

    Unpickling an individual rebinds creator's names to new classes of the same recipe.
    """
    made_from = getattr(value, "reduce_args", None)
    return value if made_from is None else (*made_from[:2], _recipes(made_from[2]))


def _recipes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _recipe(value) for name, value in attributes.items()}


# The usual types exist from import on, so that pickles of them can be read.
for _genome_class in GENOMES.values():
    for _signs in ((1.0,), (1.0, -1.0), (1.0, -1.0, -1.0)):
        individual_class(_genome_class, _signs)
