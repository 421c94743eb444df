"""Measures of one's own: what a class has to be, and that all of a search goes by it."""

import numpy as np
import pytest
import torch
from torch import nn

import ecomp_deap as ed
from ecomp_deap.similarity import losses_of_children, make_similarity, similarity_class
from tests import two_layers
from tests.similarity.references import relu_embedding

ORIGIN = relu_embedding(0, 30, 20)


class Distances(ed.TableLoss):
    """How far the mean of a child's distances is from the parent's, relatively; at most 1."""

    worst = 1.0

    def _tables(self, embeddings):
        tables = torch.stack([self._of(e.nan_to_num().double()) for e in embeddings])
        finite = torch.stack([e.isfinite().flatten(-2).all(dim=-1) for e in embeddings])
        return tables, ~finite | (tables.detach().amax(dim=(-2, -1)) <= 1e-12)

    def _of(self, x):
        return (x.unsqueeze(-2) - x.unsqueeze(-3)).square().sum(dim=-1)

    def _compare(self, tables):
        ours, theirs = (table.mean(dim=(-2, -1)) for table in (tables, self._origin))
        return 1 - torch.minimum(ours, theirs) / torch.maximum(ours, theirs).clamp_min(1e-300)


class OfOne(ed.SimilarityLoss):
    """A measure without tables that compares each child by itself."""

    worst = 5.0

    def __init__(self, origin_embeddings):
        self.n_samples = origin_embeddings.shape[-2]
        self._width = origin_embeddings.shape[-1]

    def __call__(self, compressed_embeddings):
        part = compressed_embeddings.shape[-1] / self._width
        return compressed_embeddings.new_full(compressed_embeddings.shape[:-2], 1 - part)

    def of_children(self, embeddings):
        return torch.stack([self(embedding).double() for embedding in embeddings])


@pytest.fixture(scope="module")
def data():
    return two_layers.samples()


@pytest.fixture(scope="module")
def parent():
    return two_layers.network()


def task_of(parent, data, similarity, **options):
    """A task whose batch is the whole of the search data, unless told otherwise."""
    options = {"batch_size": 200, **options}
    return ed.Task(parent, data, similarity=similarity, evaluation="fixed", **options)


def by_hand(task, module, loss):
    """The sum of the losses behind both ReLUs of a child, from its activations."""
    samples = task.splits.search.inputs
    assert len(samples) == task.batch_size
    with torch.no_grad():
        pairs = [(task.parent[:depth](samples), module[:depth](samples)) for depth in (2, 4)]
        return sum(float(loss(own)(child)) for own, child in pairs)


@pytest.mark.parametrize("engine", ["batched", "loop", "masked"])
@pytest.mark.parametrize("loss", [Distances, OfOne])
def test_children_are_measured_by_it(parent, data, engine, loss):
    task = task_of(parent, data, loss)
    toolbox = ed.make_toolbox(task, engine=engine, seed=1)
    population = toolbox.population(n=12)
    toolbox.map(toolbox.evaluate, population)
    for individual in population:
        expected = by_hand(task, toolbox.compile(individual), loss)
        assert individual.measurement.similarity_loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert len({individual.measurement.similarity_loss for individual in population}) > 2


def test_workers_measure_by_a_class_of_the_script(parent, data):
    task = task_of(parent, data, Distances)
    options = {"population": 8, "generations": 2, "finalise_count": 0, "seed": 1}
    alone = ed.compress(task, **options)
    with ed.ProcessWorkers(2) as workers:
        assert ed.compress(task, **options, workers=workers).digest() == alone.digest()


def test_children_train_by_it(parent, data):
    found = []
    for weights in ({"task": 1.0}, {"similarity": 1.0}):
        recipe = ed.Recipe(loss=weights, learning_rate=0.01)
        own = {"train_steps": 20, "training": recipe, "batch_size": 100}
        task = task_of(parent, data, Distances, **own)
        toolbox = ed.make_toolbox(task, seed=1)
        population = toolbox.population(n=8)
        toolbox.map(toolbox.evaluate, population)
        found.append(np.mean([one.measurement.similarity_loss for one in population]))
    assert found[1] < found[0]


def test_a_failed_child_has_its_worst(parent, data):
    toolbox = ed.make_toolbox(task_of(parent, data, OfOne), seed=1)
    assert toolbox.evaluator.worst.similarity_loss == 10.0


def test_a_search_is_resumed_by_the_same_measure_alone(parent, data, tmp_path):
    options = {"population": 8, "generations": 1, "finalise_count": 0, "seed": 1}
    ed.compress(task_of(parent, data, OfOne), checkpoint=tmp_path, **options)
    with pytest.raises(
        ed.DataError, match=r"task\.similarity: saved with '.*OfOne', given '.*Dist"
    ):
        ed.compress(task_of(parent, data, Distances), checkpoint=tmp_path, resume=True, **options)


def test_several_layers_are_compared_by_it_too():
    origins = [relu_embedding(seed, 30, 20) for seed in (0, 1)]
    losses = [make_similarity(Distances, torch.as_tensor(origin)) for origin in origins]
    children = [[torch.as_tensor(origin[:, :n]) for n in (5, 20)] for origin in origins]
    for found in losses_of_children(losses, children):
        assert found[0] > 0
        assert float(found[1]) == pytest.approx(0, abs=1e-12)


class WithoutWorst(Distances):
    worst = None


class Unfinished(ed.TableLoss):
    worst = 1.0

    def _tables(self, embeddings):
        return super()._tables(embeddings)


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (
            "cosine",
            r"similarity: expected one of .*, or a subclass of SimilarityLoss, got 'cosine'",
        ),
        (nn.Linear, r"or a subclass of SimilarityLoss, got <class 'torch\.nn"),
        (OfOne(torch.zeros(5, 2)), r"or a subclass of SimilarityLoss, got <tests"),
        (Unfinished, r"expected a class that has all methods, got 'Unfinished without _compare'"),
        (WithoutWorst, r"similarity: WithoutWorst\.worst: expected a number above 0, got None"),
    ],
)
def test_what_is_no_measure_is_refused(parent, data, similarity, message):
    with pytest.raises(ed.ArgumentError, match=message):
        ed.Task(parent, data, similarity=similarity)


def test_options_of_tsne_are_refused_with_it(parent, data):
    with pytest.raises(ed.ArgumentError, match=r"perplexity: expected nothing, as similarity"):
        ed.Task(parent, data, similarity=OfOne, perplexity=5.0)
    with pytest.raises(
        ed.ArgumentError, match=r"kernel: expected 'gaussian', .* as OfOne has none"
    ):
        make_similarity(OfOne, ORIGIN, kernel="student")
    assert similarity_class(OfOne) is OfOne


class Beyond(OfOne):
    def of_children(self, embeddings):
        return super().of_children(embeddings) + 6


class TooFew(OfOne):
    def of_children(self, embeddings):
        return super().of_children(embeddings)[:1]


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (Beyond, r"Beyond: expected losses of at most its worst, 5, got 6\."),
        (TooFew, r"TooFew\.of_children: expected a tensor of 2 losses, got \(1,\)"),
    ],
)
def test_a_measure_that_breaks_its_word_is_told(similarity, message):
    children = [torch.as_tensor(ORIGIN[:, :n]) for n in (5, 10)]
    with pytest.raises(ed.ArgumentError, match=message):
        losses_of_children([make_similarity(similarity, torch.as_tensor(ORIGIN))], [children])
