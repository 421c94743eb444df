"""Defaults that the API and the command share, in one place and free of heavy imports."""

from typing import Any

from ecomp_deap.errors import argument_error
from ecomp_deap.finite import finite

__all__ = [
    "BLOCK_SIZE",
    "ENGINES",
    "FINALISE_COUNT",
    "FINALISE_EPOCHS",
    "GENERATIONS",
    "GENOMES",
    "HIGHEST_RATE",
    "IMPORTANCES",
    "LEARNT",
    "LOSS_WEIGHTS",
    "MEMORY",
    "MUTATIONS",
    "PARETO_SELECTIONS",
    "POPULATION",
    "SIMILARITIES",
    "WEIGHTED_SELECTIONS",
    "variation_rates",
]

#: Selections for a fitness of several objectives; the first is the default.
PARETO_SELECTIONS = ("nsga2", "nsga3", "spea2")
#: Selections for a weighted fitness; the first is the default.
WEIGHTED_SELECTIONS = ("roulette", "tournament")
#: Weights of accuracy, similarity and size.
LOSS_WEIGHTS = (1.0, 2.0, 1.0)

#: What evolves; the first is the default.
GENOMES = ("mask", "width", "weights")
#: What ranks units; the first is the default.
IMPORTANCES = ("l1", "l2", "variance", "taylor", "similarity", "reconstruction", "random")
#: Where crossover takes weights from that both mates have learnt; the first is the default.
LEARNT = ("either", "mean", "aligned")
#: Mutations of each genome; the first is the default.
MUTATIONS = {
    "mask": ("resize", "flips", "biased", "mixed"),
    "width": ("steps", "mixed"),
    "weights": ("scale",),
}

#: Measures of similarity; the first is the default.
SIMILARITIES = (
    *("tsne", "cka", "distance_correlation", "procrustes"),
    *("knn_jaccard", "pkt", "distance_mse"),
)

#: What may measure children; the first chooses among the others.
ENGINES = ("auto", "batched", "loop", "masked")
#: Children measured together: few enough to spread over cores, and to stay near a core's cache.
BLOCK_SIZE = 25
#: Bytes that engines may hold of several children: 2 GiB.
MEMORY = 2**31

#: The highest pruning rate of the first population.
HIGHEST_RATE = 0.8

POPULATION = 100
GENERATIONS = 60
#: Members of the front that get the final training, and its epochs.
FINALISE_COUNT = 20
FINALISE_EPOCHS = 3

# Every child is varied by one of the two.
_RATES = (0.7, 0.3)
# The original's: every child is crossed over, and one in a hundred is mutated too.
_ORIGINAL_RATES = (1.0, 0.01)


def variation_rates(
    crossover_rate: float | None, mutation_rate: float | None, *, genome: str, pareto: bool
) -> tuple[float, float]:
    """Return the rates of crossover and mutation, with what is None filled in.

    With a Pareto fitness, where mu + lambda does one or the other to a child, one given rate makes
    the other its complement, as mu + lambda would fill up with mere copies.

    Raises:
        ArgumentError: A rate that is given is no number in [0, 1].

    >>> variation_rates(None, 0.25, genome="mask", pareto=True)
    (0.75, 0.25)
    >>> variation_rates(None, None, genome="weights", pareto=False)
    (1.0, 0.01)
    """
    crossover_rate = _check_rate("crossover_rate", crossover_rate)
    mutation_rate = _check_rate("mutation_rate", mutation_rate)
    if pareto and crossover_rate is None and mutation_rate is not None:
        crossover_rate = 1 - mutation_rate
    elif pareto and mutation_rate is None and crossover_rate is not None:
        mutation_rate = 1 - crossover_rate
    rates = _ORIGINAL_RATES if genome == "weights" and not pareto else _RATES
    return (
        rates[0] if crossover_rate is None else crossover_rate,
        rates[1] if mutation_rate is None else mutation_rate,
    )


def _check_rate(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        rate = finite(value)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise argument_error(name, "a number in [0, 1]", value)
    return rate
