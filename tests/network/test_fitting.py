"""Several networks trained for whole epochs learn what each learns by itself."""

import copy
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.data import TensorSamples
from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure, fit, fit_children, fitting
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, random_masks, state_of
from tests.network.dense_stacks import double_behind_norms, fill
from tests.network.recipes import OPTIONS, recipe_of, teacher_for

N = 47


def dense_parent(*, norm=False, dropout=0.0):
    layers = [nn.Linear(6, 20), nn.ReLU(), nn.Dropout(dropout), nn.Linear(20, 9), nn.Tanh()]
    if norm:
        layers.insert(1, nn.BatchNorm1d(20))
    network = nn.Sequential(*layers, nn.Linear(9, 3)).eval()
    fill(network, 4)
    return double_behind_norms(network)


def children_of(network, n, *, prune_inputs=False):
    structure = find_structure(network, prune_inputs=prune_inputs)
    genomes = (MaskGenome(random_masks(structure.widths, seed)) for seed in range(n))
    return [compile_child(network, structure, genome) for genome in genomes]


def samples(n=N, shape=(6,), dtype=torch.float32):
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(n, *shape, generator=generator).to(dtype)
    return TensorSamples(inputs, torch.randint(3, (n,), generator=generator))


def run(function, children, **options):
    defaults = {
        "epochs": 2,
        "loss_fn": nn.functional.cross_entropy,
        "forward": default_forward,
        "seed": 5,
        "recipe": Recipe(learning_rate=0.01, batch_size=10),
    }
    networks = children if isinstance(children, list) else [children]
    given = options.pop("samples", None)
    if given is None:
        parameters = (p for network in networks for p in network.parameters())
        given = samples(dtype=next((p.dtype for p in parameters), torch.float32))
    function(children, given, **{**defaults, **options})


def together_and_apart(children, **options):
    """Return how far what children learn together is from what each learns by itself."""
    together, apart = copy.deepcopy(children), copy.deepcopy(children)
    run(fit_children, together, **options)
    rates = options.pop("learning_rates", None)
    recipe = options.pop("recipe", Recipe(learning_rate=0.01, batch_size=10))
    for i, child in enumerate(apart):
        own = recipe if rates is None else replace(recipe, learning_rate=rates[i])
        run(fit, child, recipe=own, **options)
    for child, before in zip(together, children, strict=True):
        assert not equal_states(state_of(child), state_of(before))
        assert not any(module.training for module in child.modules())
    return max(
        float((a - b).abs().max())
        for one, other in zip(together, apart, strict=True)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.fixture
def fitted(monkeypatch):
    """Children that went through `fit`, one after the other."""
    seen = []

    def counted(child, *args, **options):
        seen.append(child)
        fit(child, *args, **options)

    monkeypatch.setattr(fitting, "fit", counted)
    return seen


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("prune_inputs", [False, True])
def test_stacks_learn_together_what_they_learn_alone(norm, prune_inputs, fitted):
    children = children_of(dense_parent(norm=norm), 12, prune_inputs=prune_inputs)
    assert together_and_apart(children) <= 1e-5
    assert fitted == []


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_followed(name, norm, fitted):
    parent = dense_parent(norm=norm)
    recipe, teacher = recipe_of(name, batch_size=12), teacher_for(parent, "1", "4")
    children = children_of(parent, 2)
    assert together_and_apart(children, recipe=recipe, teacher=teacher) <= 1e-5
    assert fitted == []


def test_children_have_rates_of_their_own():
    children = children_of(dense_parent(), 3)
    rates = [0.01, 0.001, 0.03]
    assert together_and_apart(children, learning_rates=rates) <= 1e-5
    with pytest.raises(ArgumentError, match="learning_rates: expected 3 rates, got 2"):
        run(fit_children, children, learning_rates=rates[:2])


def test_threads_change_nothing():
    children = children_of(dense_parent(), 23)
    one, two = copy.deepcopy(children), copy.deepcopy(children)
    run(fit_children, one)
    run(fit_children, two, threads=2)
    for a, b in zip(one, two, strict=True):
        assert equal_states(state_of(a), state_of(b))


def test_a_loss_of_ones_own_is_called_in_one_thread():
    names = set()

    def loss_fn(outputs, targets):
        names.add(threading.current_thread().name)
        return nn.functional.cross_entropy(outputs, targets)

    run(fit_children, children_of(dense_parent(), 23), threads=2, loss_fn=loss_fn)
    assert names == {threading.current_thread().name}


def own_forward(module, inputs):
    return module(inputs)


def test_what_is_no_dense_stack_goes_one_after_the_other(fitted):
    convolution = nn.Sequential(nn.Conv1d(6, 4, 1), nn.Flatten(), nn.Linear(4, 3))
    drops = dense_parent(dropout=0.5)
    hooked = dense_parent()
    hooked.register_forward_hook(lambda module, inputs, output: None)
    of_sequences = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    for child, options in (
        (drops, {}),
        (hooked, {}),
        (dense_parent(), {"forward": own_forward}),
        (convolution, {"samples": samples(shape=(6, 1))}),
        (
            of_sequences,
            {
                "samples": samples(shape=(2, 6)),
                "loss_fn": lambda outputs, targets: outputs.square().mean(),
            },
        ),
    ):
        assert together_and_apart([child], **options) == 0.0
    assert len(fitted) == 5


def test_children_of_several_architectures_train_at_once(fitted):
    other = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, 3))
    slope = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.1), nn.Linear(5, 3))
    frozen = copy.deepcopy(other)
    frozen[0].weight.requires_grad_(False)
    drops = dense_parent(dropout=0.5)
    children = [*children_of(dense_parent(), 2), other, slope, frozen, drops]
    assert together_and_apart(children) <= 1e-5
    assert len(fitted) == 1


def test_batches_are_drawn_once_for_all_stacks():
    class Counted(TensorSamples):
        drawn = 0

        def batch(self, indices):
            self.drawn += 1
            return super().batch(indices)

    whole = samples()
    counts = []
    for n in (1, 25):
        counted = Counted(whole.inputs, whole.targets)
        run(fit_children, children_of(dense_parent(), n), samples=counted)
        counts.append(counted.drawn)
    assert counts[0] == counts[1]


def test_callbacks_hear_of_each_child_and_no_epochs_change_nothing():
    told = []
    children = children_of(dense_parent(), 3)
    before = [state_of(child) for child in children]
    run(fit_children, children, epochs=0, on_each=lambda: told.append(1))
    assert len(told) == 3
    assert all(map(equal_states, map(state_of, children), before))
    run(fit_children, [])


def test_averaged_weights_get_statistics_of_their_own():
    children = children_of(dense_parent(norm=True), 2)
    recipe = Recipe(learning_rate=0.05, batch_size=10, averaging=0.5)
    data = samples(dtype=torch.float64)
    run(fit_children, children, recipe=recipe, samples=data)
    for child in children:
        with torch.no_grad():
            units = child[0](data.inputs)
        torch.testing.assert_close(child[1].running_mean, units.mean(dim=0))
        assert np.isfinite(units.numpy()).all()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_layers_behind_the_last_comparison_do_not_decay(optimizer):
    parent = dense_parent()
    recipe = Recipe(loss={"similarity": 1}, weight_decay=0.5, optimizer=optimizer, batch_size=20)
    teacher = teacher_for(parent, "1")
    children = children_of(parent, 3)
    assert together_and_apart(children, recipe=recipe, teacher=teacher) < 1e-5


def test_comparisons_inside_a_nested_stack_are_followed(fitted):
    flat = dense_parent()
    parent = nn.Sequential(flat[:2], flat[2:]).eval()
    children = [copy.deepcopy(parent)]
    recipe = Recipe(loss={"similarity": 1, "task": 1}, batch_size=20)
    teacher = teacher_for(parent, "0")
    assert together_and_apart(children, recipe=recipe, teacher=teacher) == 0
