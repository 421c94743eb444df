"""Generation 0 against an independent computation in plain torch, NumPy and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold._t_sne import _joint_probabilities

import ecomp_deap
from ecomp_deap.data import load_fashion_mnist
from ecomp_deap.data.fashion_mnist import BUNDLED_FOLDER
from ecomp_deap.network import load_parent, make_parent
from ecomp_deap.task import Task
from ecomp_deap.toolbox import make_toolbox

ORIGINAL = Path(ecomp_deap.__file__).parents[2] / "shared" / "seed" / "base_weights.safetensors"
LAYERS = ("layer_1_linear", "layer_2_linear", "output")


def prune(weights, rate):
    """Remove int(rate × units) units with the smallest L1 norm from every hidden layer."""
    kept = []
    for name in LAYERS[:-1]:
        norms = np.abs(weights[f"{name}.weight"].astype(np.float64)).sum(axis=1)
        n_removed = int(rate * len(norms))
        removed = sorted(range(len(norms)), key=lambda i: (norms[i], i))[:n_removed]
        kept.append(np.array([i for i in range(len(norms)) if i not in set(removed)]))
    child, columns = {}, None
    for name, rows in zip(LAYERS, (*kept, None), strict=True):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if columns is not None:
            weight = weight[:, columns]
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
        child[name], columns = (weight, bias), rows
    return child


def forward(layers, inputs):
    x, hidden = inputs, []
    for name in LAYERS:
        weight, bias = (torch.from_numpy(array.copy()) for array in layers[name])
        x = x @ weight.T + bias
        if name != "output":
            x = torch.relu(x)
            hidden.append(x.double().numpy())
    return x, hidden


def kl(origin, compressed, perplexity):
    p, q = (
        _joint_probabilities(squareform(pdist(x, "sqeuclidean")), perplexity, verbose=0)
        for x in (origin, compressed)
    )
    eps = np.finfo(np.float64).eps
    return 2 * np.sum(p * np.log(np.maximum(p, eps) / np.maximum(q, eps)))


def expected(weights, rate, inputs, targets, perplexity):
    child = prune(weights, rate)
    outputs, hidden = forward(child, inputs)
    _, origin = forward(
        {name: (weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in LAYERS}, inputs
    )
    widths = [len(child[name][1]) for name in LAYERS[:-1]]
    units = sum(len(weights[f"{name}.bias"]) for name in LAYERS[:-1])
    return {
        "accuracy": float((outputs.argmax(1) == targets).double().mean()),
        "similarity_loss": sum(map(kl, origin, hidden, [perplexity] * 2)),
        "relative_width": sum(widths) / units,
        "param_count": sum(w.size + b.size for w, b in child.values()),
        "mac_count": sum(w.size for w, _ in child.values()),
        "size_bytes": sum(w.nbytes + b.nbytes for w, b in child.values()),
    }


def check(task, n, perplexity, genome):
    toolbox = make_toolbox(task, genome=genome, seed=11)
    population = toolbox.population(n=n)
    list(toolbox.map(toolbox.evaluate, population))
    context = toolbox.evaluator.context(0)
    weights = {name: tensor.numpy() for name, tensor in task.parent.state_dict().items()}
    found = []
    for i, individual in enumerate(population):
        wanted = expected(weights, 0.1 + i * 0.7 / n, context.inputs, context.targets, perplexity)
        found.append(wanted["accuracy"])
        for name, value in wanted.items():
            assert individual.measurement[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
    assert len(set(found)) > 1


@pytest.mark.parametrize("genome", ["mask", "weights"])
def test_tiny_parent(tiny_task, genome):
    check(tiny_task(), 30, 29 / 3, genome)


@pytest.fixture(scope="module")
def fashion():
    return load_fashion_mnist(BUNDLED_FOLDER)


def test_the_originals_shape_on_real_images(fashion):
    parent = make_parent(seed=5)
    optimizer = torch.optim.Adam(parent.parameters(), lr=2e-3)
    inputs, targets = fashion.search.batch(np.arange(2000))
    for start in range(0, 2000, 100):
        optimizer.zero_grad()
        rows = slice(start, start + 100)
        torch.nn.functional.cross_entropy(parent(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    check(Task(parent, fashion), 20, 30.0, "weights")


def test_the_originals_own_parent(fashion):
    if not ORIGINAL.is_file():
        pytest.skip(f"needs {ORIGINAL}")
    check(Task(load_parent(ORIGINAL), fashion), 100, 30.0, "weights")
