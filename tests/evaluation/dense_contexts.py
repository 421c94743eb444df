"""Contexts and genomes of dense parents, for which the batched engine is compared with the loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import reject

from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator, evaluate_block
from ecomp_deap.evaluation.batched import evaluate_batched
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network import compile_child
from ecomp_deap.task import Task
from tests.architectures import random_masks
from tests.network.dense_stacks import batch_for

N = 24


def context_for(network, **options):
    """What the children of a generation share, on random data."""
    task = Task(network, batch_for(network, n=80), **{"batch_size": N, **options})
    try:
        evaluator = Evaluator(task)
        context = evaluator.context(1)
    except ArgumentError as error:
        if "dead layer" not in str(error):
            raise
        reject()
    assert evaluator.engine == "batched"
    return context


def masks_for(context, n=5, seed=0):
    return [MaskGenome(random_masks(context.structure.widths, seed + i)) for i in range(n)]


def learnt_for(context, n=3, seed=0):
    """Masks with weights of their own."""
    rng = np.random.default_rng(seed)
    genomes = []
    for genome in masks_for(context, n, seed):
        arrays = context.structure.slice(context.arrays, genome.kept)
        changed = {name: noisy(rng, array) for name, array in arrays.items()}
        genomes.append(MaskGenome(genome.masks, changed))
    return genomes


def noisy(rng, array):
    return (array * rng.uniform(0.7, 1.3, array.shape)).astype(array.dtype)


def weights_for(context, n=5, seed=0, *, widest=14):
    """Weights of any widths, also wider ones than the parent's."""
    rng = np.random.default_rng(seed)
    names = [name.removesuffix(".weight") for name in context.arrays if name.endswith("weight")]
    first, last = (context.arrays[f"{names[i]}.weight"] for i in (0, -1))
    genomes = []
    for _ in range(n):
        widths = [first.shape[1], *rng.integers(2, widest + 1, len(names) - 1), len(last)]
        layers = {}
        for name, rows, columns in zip(names, widths[1:], widths[:-1], strict=True):
            weight = (rng.normal(size=(rows, columns)) / np.sqrt(columns)).astype(first.dtype)
            biased = f"{name}.bias" in context.arrays
            layers[name] = (weight, rng.normal(size=rows).astype(first.dtype) if biased else None)
        genomes.append(WeightGenome(layers))
    return genomes


def measure(context, genomes, engine=evaluate_batched):
    return [o.measurement for o in engine(context, genomes, range(len(genomes)))]


def assert_as_in_the_loop(context, genomes, *, rel=1e-5):
    """Check that both engines find the same, and return what they find."""
    batched = evaluate_batched(context, genomes, range(len(genomes)))
    loop = evaluate_block(context, genomes, range(len(genomes)))
    for genome, a, b in zip(genomes, batched, loop, strict=True):
        found, expected = a.measurement, b.measurement
        assert found.similarity_loss == pytest.approx(expected.similarity_loss, rel=rel, abs=1e-9)
        if found.metric_name == "accuracy":
            hits = np.abs(found.metric - expected.metric) * len(context.targets)
            assert hits <= near_ties(context, genome) + 1e-9
        else:
            assert found.metric == pytest.approx(expected.metric, rel=rel)
        figures = {"similarity_loss": 0.0, "metric": 0.0}
        assert replace(found, **figures) == replace(expected, **figures)
        assert_equal_arrays(a.arrays, b.arrays)
    return [outcome.measurement for outcome in batched]


def near_ties(context, genome):
    """The number of samples whose two largest logits hardly differ; none for trained children."""
    if context.training:
        return 0
    child = compile_child(context.parent, context.structure, genome)
    with torch.no_grad():
        largest = child(context.inputs).topk(2, dim=1).values
    gaps = largest[:, 0] - largest[:, 1]
    return int((gaps <= 1e-5 * largest.abs().amax(dim=1)).sum())


def assert_equal_arrays(found, expected):
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
