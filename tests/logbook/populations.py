"""Small populations with a fitness and measurements, without any network."""

import random

from deap import algorithms, base, tools

from ecomp_deap.logbook import statistics
from ecomp_deap.measurement import Measurement


class WeightedFitness(base.Fitness):
    weights = (1.0,)


class ParetoFitness(base.Fitness):
    weights = (1.0, -1.0)


class Genome(list):
    """Bits whose share of ones is the accuracy; a genome of zeros fails."""

    fitness_type: type[base.Fitness] = WeightedFitness

    def __init__(self, bits):
        super().__init__(bits)
        self.fitness = self.fitness_type()
        self.measurement = None


class ParetoGenome(Genome):
    fitness_type = ParetoFitness


def measure(genome, metric="accuracy"):
    share = sum(genome) / len(genome)
    genome.measurement = Measurement(
        metric=share,
        similarity_loss=1 - share,
        relative_width=share,
        param_count=10 * sum(genome),
        mac_count=20 * sum(genome),
        size_bytes=40 * sum(genome),
        failed=not any(genome),
        metric_name=metric,
    )
    return (share, 1 - share)[: len(genome.fitness.weights)]


def scored(*genomes, kind=Genome, metric="accuracy"):
    population = [kind(bits) for bits in genomes]
    for genome in population:
        genome.fitness.values = measure(genome, metric)
    return population


def make_toolbox(kind):
    toolbox = base.Toolbox()
    toolbox.register("bits", lambda: [random.randint(0, 1) for _ in range(6)])
    toolbox.register("individual", lambda: kind(toolbox.bits()))
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("evaluate", measure)
    toolbox.register("mate", tools.cxTwoPoint)
    toolbox.register("mutate", tools.mutFlipBit, indpb=0.2)
    toolbox.register("select", tools.selNSGA2 if kind is ParetoGenome else tools.selBest)
    return toolbox


def run_ea_simple(*, verbose=False, generations=4):
    random.seed(5)
    toolbox = make_toolbox(Genome)
    population = toolbox.population(n=8)
    # One failed child, so that the flag is seen in the first generation.
    population[0][:] = [0] * 6
    return algorithms.eaSimple(
        population, toolbox, 0.5, 0.2, generations, stats=statistics(), verbose=verbose
    )[1]
