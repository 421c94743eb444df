"""Children trained together learn what each learns as a module."""

import copy
from dataclasses import replace
from inspect import signature

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure, stack_training, train
from ecomp_deap.network.lessons import Lesson
from ecomp_deap.network.stack import DenseStack
from ecomp_deap.network.stack_training import StackTrainer, train_stacks
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, random_masks
from tests.network.dense_stacks import (
    batch_for,
    dense_stacks,
    double_behind_norms,
    fill,
    tensors_of,
)
from tests.network.recipes import OPTIONS, lessons_for, recipe_of, teacher_for

CROSS_ENTROPY = nn.functional.cross_entropy
RECIPE = Recipe(learning_rate=0.01)


def squared_sum(outputs, targets):
    """A loss of a user's own, which changes what it is given."""
    outputs -= 0.1
    return outputs.square().sum(dim=1).mul(targets + 1).mean()


def lessons_of(batches):
    return [Lesson(inputs, targets) for inputs, targets in batches]


def take_steps(module, batches, *, recipe, loss_fn):
    take_lessons(module, lessons_of(batches), recipe=recipe, loss_fn=loss_fn)


def take_lessons(module, lessons, *, recipe, loss_fn):
    train(
        module,
        lessons,
        recipe=recipe,
        n_steps=len(lessons),
        loss_fn=loss_fn,
        forward=default_forward,
        seed=0,
    )


def trained_both_ways(network, n, *, loss_fn=CROSS_ENTROPY, learning_rate=0.01, sizes=(12, 7)):
    batches = [batch_for(network, n=sizes[i == n - 1], seed=i) for i in range(n)]
    tensors = tensors_of(network)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    data = [inputs.clone() for inputs, _ in batches]
    recipe = Recipe(learning_rate=learning_rate)
    (found,) = train_stacks(
        DenseStack(network, ()), lessons_of(batches), [tensors], recipe=recipe, loss_fn=loss_fn
    )
    assert equal_states(tensors, before)
    assert all(torch.equal(a, b) for a, (b, _) in zip(data, batches, strict=True))
    child = copy.deepcopy(network)
    take_steps(child, batches, recipe=recipe, loss_fn=loss_fn)
    return found, tensors_of(child)


def tolerance_for(network):
    if next(network.parameters()).dtype == torch.float32:
        return 1e-6
    # Batch norms divide by what may be small: up to a hundredth of a step.
    norms = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    return 1e-4 if norms else 1e-14


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@given(
    network=dense_stacks(hidden=(0, 5), training=True),
    n=st.integers(1, 10),
    loss_fn=st.sampled_from([CROSS_ENTROPY, squared_sum]),
)
def test_training_gives_what_the_modules_learn_up_to_rounding(network, n, loss_fn):
    found, expected = trained_both_ways(network, n, loss_fn=loss_fn)
    assert largest_difference(found, tensors_of(network)) > 1e-3
    tolerance = tolerance_for(network)
    assert largest_difference(found, expected) <= tolerance


@given(network=dense_stacks(hidden=(1, 3), training=True), data=st.data())
def test_frozen_parameters_stay_and_the_others_learn(network, data):
    names = [name for name, _ in network.named_parameters()]
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    found, expected = trained_both_ways(network, 3)
    tolerance = tolerance_for(network)
    assert largest_difference(found, expected) <= tolerance
    before = tensors_of(network)
    for name in names:
        assert torch.equal(found[name], before[name]) or name not in frozen


WITHOUT_BIAS = pytest.param(
    {"bias": False},
    marks=pytest.mark.skipif(
        "bias" not in signature(nn.BatchNorm1d).parameters, reason="torch 2.7 has no such norm"
    ),
)


@pytest.mark.parametrize("norm", [{}, {"affine": False}, WITHOUT_BIAS])
def test_a_batch_norm_hides_no_difference_from_the_modules(norm):
    # The gradient of the bias in front of it is 0 but for rounding, which Adam makes a whole step.
    network = nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40, **norm), nn.ReLU())
    network.append(nn.Linear(40, 3)).eval()
    fill(network, 3)
    found, expected = trained_both_ways(network, 10)
    assert largest_difference(found, expected) <= 1e-6
    moved = (found["1.running_mean"] - network[1].running_mean).abs().min()
    assert moved > 1e-4


def test_wide_layers_learn_the_same_up_to_rounding():
    network = nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 70), nn.GELU())
    network.append(nn.Linear(70, 3)).eval()
    fill(network, 5)
    found, expected = trained_both_ways(network, 10, learning_rate=0.003)
    assert largest_difference(found, expected) <= 1e-6


def test_without_batches_nothing_is_learnt_and_nothing_shared():
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    tensors = tensors_of(network)
    (found,) = train_stacks(
        *(DenseStack(network, ()), [], [tensors]), recipe=Recipe(), loss_fn=CROSS_ENTROPY
    )
    assert equal_states(found, tensors)
    for name, tensor in found.items():
        assert tensor.data_ptr() != tensors[name].data_ptr()


def test_training_works_where_gradients_are_switched_off():
    network = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        found, expected = trained_both_ways(network, 2)
    assert largest_difference(found, expected) <= 1e-6


def children_of(network, n):
    """Compile children of random masks, of all widths."""
    structure = find_structure(network)
    return [
        compile_child(network, structure, MaskGenome(random_masks(structure.widths, seed)))
        for seed in range(n)
    ]


def together(network, children, batches, loss_fn=CROSS_ENTROPY):
    stack, tensors = DenseStack(network, ()), map(tensors_of, children)
    lessons = lessons_of(batches)
    return list(train_stacks(stack, lessons, tensors, recipe=RECIPE, loss_fn=loss_fn))


@given(
    network=dense_stacks(hidden=(1, 4), training=True),
    n_children=st.integers(1, 7),
    loss_fn=st.sampled_from([CROSS_ENTROPY, squared_sum]),
)
def test_each_of_several_learns_what_its_module_learns(network, n_children, loss_fn):
    children = children_of(network, n_children)
    batches = [batch_for(network, n=12, seed=i) for i in range(4)]
    found = together(network, children, batches, loss_fn)
    assert len(found) == n_children
    tolerance = tolerance_for(network)
    for child, learnt in zip(children, found, strict=True):
        take_steps(child, batches, recipe=RECIPE, loss_fn=loss_fn)
        assert largest_difference(learnt, tensors_of(child)) <= tolerance


def group_sizes(monkeypatch):
    """Return a list that takes in how many children each trainer gets."""
    sizes = []
    make = stack_training.StackTrainer

    def counted(stack, group, **options):
        sizes.append(len(group))
        return make(stack, group, **options)

    monkeypatch.setattr(stack_training, "StackTrainer", counted)
    return sizes


def wide_network():
    network = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    network.append(nn.Linear(32, 3)).eval()
    fill(network, 5)
    return network


def test_groups_keep_the_order_and_change_nothing_but_rounding(monkeypatch):
    network = wide_network()
    children = children_of(network, 9)
    batches = [batch_for(network, n=20, seed=i) for i in range(5)]
    sizes = group_sizes(monkeypatch)
    at_once = together(network, children, batches)
    assert sizes == [9]
    own = [sum(t.numel() for t in tensors_of(child).values()) for child in children]
    monkeypatch.setattr(stack_training, "_TOGETHER", max(own) + min(own))
    few = together(network, children, batches)
    assert sum(sizes) == 18
    assert 2 < len(sizes) < 10
    for a, b in zip(at_once, few, strict=True):
        assert largest_difference(a, b) <= 1e-6


def test_children_that_a_batch_norm_keeps_apart_train_one_by_one(monkeypatch):
    network = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)).eval()
    fill(network, 2)
    sizes = group_sizes(monkeypatch)
    together(network, children_of(network, 3), [batch_for(network)])
    assert sizes == [1, 1, 1]


def test_one_group_leaves_nothing_behind_for_the_next():
    network = wide_network()
    children, batches = children_of(network, 4), [batch_for(network, n=20)]
    first = together(network, children, batches)
    kept = [{name: tensor.clone() for name, tensor in learnt.items()} for learnt in first]
    again = together(network, children, batches)
    for a, b, c in zip(first, kept, again, strict=True):
        assert equal_states(a, b)
        assert equal_states(a, c)


def random_parent(norm):
    layers = [nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 3)]
    if norm:
        layers.insert(1, nn.BatchNorm1d(20))
    network = nn.Sequential(*layers).eval()
    fill(network, 4)
    return double_behind_norms(network)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_followed_as_in_the_loop(name, norm):
    network = random_parent(norm)
    children, recipe = children_of(network, 3), recipe_of(name)
    teacher = teacher_for(network, "1", "3")
    batches = [batch_for(network, n=18, seed=i) for i in range(6)]
    lessons = lessons_for(recipe, teacher, batches)
    before = [(lesson.inputs.clone(), lesson.targets.clone()) for lesson in lessons]
    learnt = train_stacks(
        *(DenseStack(network, ()), lessons, map(tensors_of, children)),
        recipe=recipe,
        loss_fn=CROSS_ENTROPY,
    )
    for child, found in zip(children, learnt, strict=True):
        start = {key: tensor.clone() for key, tensor in tensors_of(child).items()}
        take_lessons(child, lessons, recipe=recipe, loss_fn=CROSS_ENTROPY)
        assert largest_difference(found, tensors_of(child)) <= 1e-5
        assert largest_difference(start, tensors_of(child)) > 1e-3
    for lesson, (inputs, targets) in zip(lessons, before, strict=True):
        assert torch.equal(lesson.inputs, inputs)
        assert torch.equal(lesson.targets, targets)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_children_may_have_rates_of_their_own(optimizer):
    network = wide_network()
    children, rates = children_of(network, 4), [0.01, 0.003, 0.01, 0.03]
    recipe = Recipe(optimizer=optimizer, schedule="onecycle")
    lessons = lessons_of([batch_for(network, n=20, seed=i) for i in range(5)])
    trainer = StackTrainer(
        *(DenseStack(network, ()), [*map(tensors_of, children)]),
        recipe=recipe,
        n_steps=5,
        loss_fn=CROSS_ENTROPY,
        learning_rates=rates,
    )
    for lesson in lessons:
        trainer.take(lesson)
    for child, rate, found in zip(children, rates, trainer.finish(), strict=True):
        own = replace(recipe, learning_rate=rate)
        take_lessons(child, lessons, recipe=own, loss_fn=CROSS_ENTROPY)
        assert largest_difference(found, tensors_of(child)) <= 1e-6


def test_trainers_that_take_turns_leave_each_other_alone():
    network = wide_network()
    tensors = [*map(tensors_of, children_of(network, 2))]
    lessons = lessons_of([batch_for(network, n=20, seed=i) for i in range(3)])

    def trainer(i):
        options = {"recipe": RECIPE, "n_steps": 3, "loss_fn": CROSS_ENTROPY}
        return StackTrainer(DenseStack(network, ()), [tensors[i]], **options)

    alone = []
    for i in range(2):
        own = trainer(i)
        for lesson in lessons:
            own.take(lesson)
        alone += own.finish()
    both = [trainer(0), trainer(1)]
    for lesson in lessons:
        for own in both:
            own.take(lesson)
    for own, expected in zip(both, alone, strict=True):
        assert equal_states(*own.finish(), expected)


def test_targets_to_be_ignored_are():
    network = wide_network()
    batches = [batch_for(network, n=20)]
    batches[0][1][::3] = -100
    found = together(network, children_of(network, 2), batches)
    for child, learnt in zip(children_of(network, 2), found, strict=True):
        take_steps(child, batches, recipe=RECIPE, loss_fn=CROSS_ENTROPY)
        assert largest_difference(learnt, tensors_of(child)) <= 1e-6
