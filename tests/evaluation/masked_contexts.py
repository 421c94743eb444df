"""Contexts and genomes that the masked engine is compared with the loop on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecomp_deap.evaluation import Evaluator, evaluate_block
from ecomp_deap.evaluation.masked import evaluate_masked, supports_masked
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.task import Task
from tests.architectures import inputs_for, random_masks

N = 24


def context_for(network, *, dtype=torch.float64, **options):
    """What the children of a generation share, on random data."""
    network = network.to(dtype)
    data = (inputs_for(network, n=60, seed=5), torch.arange(60) % 2)
    # Children with statistics of their own are not the masked parent.
    options = {"recalibration_samples": 0, **options}
    return Evaluator(Task(network, data, batch_size=N, **options)).context(1)


class Checksum:
    """Stands for a similarity loss: says what embeddings are, however close their samples.

    Where a child of a random parent hardly tells samples apart, the last bits of its embedding
    decide its similarity loss, in any engine.
    """

    worst = 1e12

    def of_children(self, embeddings):
        return torch.stack([self._of(embedding.double()) for embedding in embeddings])

    def _of(self, embedding):
        rows, columns = (torch.arange(n, dtype=torch.float64) for n in embedding.shape)
        return torch.sin(rows + 1) @ embedding @ torch.cos(columns) + 100 * len(columns)


def genomes_for(context, n=7, seed=0):
    return [MaskGenome(random_masks(context.structure.widths, seed + i)) for i in range(n)]


def all_but_one(context):
    """Children that lack one unit each, and so tell samples apart."""
    everything = [np.ones(n, bool) for n in context.structure.widths]
    genomes = []
    for group, mask in enumerate(everything):
        for unit in range(len(mask)):
            masks = [mask.copy() for mask in everything]
            masks[group][unit] = False
            genomes.append(MaskGenome(masks))
    return genomes


def assert_as_in_the_loop(context, genomes, *, rel=1e-5):
    """Check that both engines find the same, and return what they find."""
    assert supports_masked(context, genomes)
    seeds = range(len(genomes))
    masked = [o.measurement for o in evaluate_masked(context, genomes, seeds)]
    loop = [o.measurement for o in evaluate_block(context, genomes, seeds)]
    for a, b in zip(masked, loop, strict=True):
        assert a.similarity_loss == pytest.approx(b.similarity_loss, rel=rel, abs=1e-8)
        assert replace(a, similarity_loss=0.0) == replace(b, similarity_loss=0.0)
    return masked
