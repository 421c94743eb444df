"""What gradient steps are taken on: augmented, mixed and taught."""

import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.network import Probe, make_parent
from ecomp_deap.network.lessons import (
    Teacher,
    check_recipe,
    distillation_loss,
    draw_lessons,
    training_loss,
)
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import KNNJaccardLoss, TSNELoss
from ecomp_deap.task import default_forward

CROSS_ENTROPY = nn.functional.cross_entropy
PROBES = (Probe("layer_1_act"), Probe("layer_2_act"))


@pytest.fixture
def parent():
    return make_parent((8, 6), n_inputs=5, n_outputs=3, seed=1)


@pytest.fixture
def teacher(parent):
    def measure(name, embedding):
        return TSNELoss(embedding, perplexity=5.0)

    return Teacher(parent, default_forward, PROBES, measure)


def batches(n=2, size=20):
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, 5, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(n)
    ]


def lessons(recipe, *, teacher=None, seed=0, n=2):
    return list(draw_lessons(batches(n), recipe, teacher=teacher, rng=np.random.default_rng(seed)))


def test_a_plain_recipe_leaves_batches_as_they_are():
    for lesson, (inputs, targets) in zip(lessons(Recipe()), batches(), strict=True):
        assert torch.equal(lesson.inputs, inputs)
        assert torch.equal(lesson.targets, targets)
        assert (lesson.mixed_in, lesson.logits, lesson.measures) == (None, None, {})


def test_augmentation_draws_from_the_generator_it_is_given():
    def augment(inputs, rng):
        inputs += torch.from_numpy(rng.normal(size=inputs.shape)).float()
        return inputs

    recipe = Recipe(augment=augment)
    first, again, other = (lessons(recipe, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[1].inputs, again[1].inputs)
    assert not torch.equal(first[1].inputs, other[1].inputs)
    assert not torch.equal(first[0].inputs, batches()[0][0])


def test_mixup_mixes_inputs_and_names_both_targets():
    for lesson, (inputs, targets) in zip(lessons(Recipe(mixup=0.4)), batches(), strict=True):
        assert 0 < lesson.share < 1
        assert torch.equal(lesson.targets, targets)
        assert sorted(lesson.mixed_in.tolist()) == sorted(targets.tolist())
        # What was mixed in, row by row, is another sample with the target it is said to have.
        others = (lesson.inputs - lesson.share * inputs) / (1 - lesson.share)
        for other, target in zip(others, lesson.mixed_in, strict=True):
            nearest = (inputs - other).abs().sum(dim=1).argmin()
            assert (inputs[nearest] - other).abs().max() < 1e-4
            assert targets[nearest] == target


def test_mixup_weighs_the_losses_of_both_targets(parent):
    recipe = Recipe(mixup=1.0)
    (lesson,) = lessons(recipe, n=1)
    outputs = parent(lesson.inputs)
    found = training_loss(outputs, {}, lesson, recipe, loss_fn=CROSS_ENTROPY)
    both = [CROSS_ENTROPY(outputs, targets) for targets in (lesson.targets, lesson.mixed_in)]
    expected = lesson.share * both[0] + (1 - lesson.share) * both[1]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_parent_teaches_on_what_children_see(parent, teacher):
    recipe = Recipe(loss={"distillation": 1.0, "similarity": 1.0}, mixup=1.0)
    (lesson,) = lessons(recipe, teacher=teacher, n=1)
    with torch.no_grad():
        assert torch.equal(lesson.logits, parent(lesson.inputs))
    assert tuple(lesson.measures) == PROBES
    for i, measure in enumerate(lesson.measures.values(), start=1):
        with torch.no_grad():
            own = parent[: 2 * i](lesson.inputs)
        assert measure(own).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_is_the_divergence_of_softened_distributions(temperature):
    generator = torch.Generator().manual_seed(0)
    outputs, logits = (3 * torch.randn(7, 4, generator=generator).double() for _ in range(2))
    total = 0.0
    for own, wanted in zip(outputs / temperature, logits / temperature, strict=True):
        p, q = wanted.exp() / wanted.exp().sum(), own.exp() / own.exp().sum()
        total += float((p * (p / q).log()).sum())
    found = distillation_loss(outputs, logits, temperature).item()
    assert found == pytest.approx(temperature**2 * total / 7, rel=1e-12)
    assert distillation_loss(logits, logits, temperature).item() == pytest.approx(0, abs=1e-12)


def test_losses_are_weighted_and_summed(parent, teacher):
    weights = {"task": 0.5, "distillation": 2.0, "similarity": 3.0}
    (lesson,) = lessons(Recipe(loss=weights), teacher=teacher, n=1)
    child = make_parent((4, 3), n_inputs=5, n_outputs=3, seed=2)
    outputs = child(lesson.inputs)
    embeddings = {"layer_1_act": child[:2](lesson.inputs), "layer_2_act": child[:4](lesson.inputs)}

    def loss(**weights):
        recipe = Recipe(loss=weights)
        return training_loss(outputs, embeddings, lesson, recipe, loss_fn=CROSS_ENTROPY).item()

    # A recipe without the similarity loss sees no probe layer.
    task = CROSS_ENTROPY(outputs, lesson.targets).item()
    distillation = distillation_loss(outputs, lesson.logits, 2.0).item()
    similarity = sum(
        measure(embeddings[probe.name]).item() for probe, measure in lesson.measures.items()
    )
    expected = 0.5 * task + 2.0 * distillation + 3.0 * similarity
    assert loss(**weights) == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_changes_its_outputs_spoils_no_other(parent, teacher):
    def loss_fn(outputs, targets):
        outputs -= 1.0
        return CROSS_ENTROPY(outputs, targets)

    recipe = Recipe(loss={"task": 1.0, "distillation": 1.0}, mixup=1.0)
    (lesson,) = lessons(recipe, teacher=teacher, n=1)
    outputs = parent(lesson.inputs)
    found = training_loss(outputs, {}, lesson, recipe, loss_fn=loss_fn)
    found.backward()
    expected = training_loss(outputs, {}, lesson, recipe, loss_fn=CROSS_ENTROPY)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["distillation", "similarity"])
def test_losses_from_the_parent_need_one(name):
    with pytest.raises(ArgumentError, match=f"teacher: expected a parent for .*{name}"):
        lessons(Recipe(loss={name: 1.0}))


class Twice(nn.Module):
    """Outputs that are no logits."""

    def forward(self, x):
        return x, x


def check(recipe, teacher, inputs):
    check_recipe(recipe, teacher, inputs, name="training")


@pytest.mark.parametrize("network", [Twice(), nn.Unflatten(1, (5, 1)), nn.Flatten(0)])
def test_distillation_from_anything_but_logits_is_refused(network):
    teacher = Teacher(network, default_forward)
    with pytest.raises(ArgumentError, match="distillation: expected a parent whose outputs are"):
        check(Recipe(loss={"distillation": 1.0}), teacher, batches()[0][0])
    check(Recipe(), teacher, batches()[0][0])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            (torch.zeros(6, 5),),
            r"training.mixup: expected 0 for inputs that are no tensor, got 'tu",
        ),
        (torch.zeros(6, 5).long(), "training.mixup: expected 0 for inputs that are no floating-po"),
    ],
)
def test_mixup_of_anything_but_floating_point_numbers_is_refused(inputs, message, teacher):
    with pytest.raises(ArgumentError, match=message):
        check(Recipe(mixup=0.2), teacher, inputs)


def test_a_similarity_loss_needs_probe_layers_a_gradient_and_enough_samples(parent, teacher):
    recipe, inputs = Recipe(loss={"similarity": 1.0}), batches()[0][0]
    check(recipe, teacher, inputs)
    with pytest.raises(ArgumentError, match=r"training.loss: .* no probe layer was found"):
        check(recipe, Teacher(parent, default_forward), inputs)
    rigid = Teacher(parent, default_forward, PROBES, lambda name, e: KNNJaccardLoss(e))
    with pytest.raises(ArgumentError, match=r"training.loss: .* gradient.* got 'KNNJaccardLoss'"):
        check(recipe, rigid, inputs)
    few = Recipe(loss={"similarity": 1.0}, batch_size=4)
    with pytest.raises(ArgumentError, match=r"training.batch_size: expected at least 5"):
        check(few, teacher, inputs)
