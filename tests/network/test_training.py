import copy
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.data import TensorSamples
from ecomp_deap.network import Probe, fit, make_parent, predict, train
from ecomp_deap.network.lessons import Lesson, Teacher, distillation_loss
from ecomp_deap.recipe import Recipe
from ecomp_deap.similarity import TSNELoss
from ecomp_deap.task import accuracy, default_forward
from tests.architectures import build, equal_states, inputs_for, state_of

CROSS_ENTROPY = nn.functional.cross_entropy


def lessons_for(network, n=3):
    targets = torch.arange(9) % 3
    return [Lesson(inputs_for(network, seed=i), targets) for i in range(n)]


def take_steps(network, *, n=3, seed=0, learning_rate=0.01):
    train(
        network,
        lessons_for(network, n),
        recipe=Recipe(learning_rate=learning_rate),
        n_steps=n,
        loss_fn=CROSS_ENTROPY,
        forward=default_forward,
        seed=seed,
    )
    return network


def test_a_step_is_one_of_adam():
    network, twin = build("activations"), build("activations")
    take_steps(network, n=2)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    for lesson in lessons_for(twin, 2):
        optimizer.zero_grad()
        CROSS_ENTROPY(twin(lesson.inputs), lesson.targets).backward()
        optimizer.step()
    assert equal_states(state_of(network), state_of(twin))


def test_no_batches_no_change():
    network = build("batch norm")
    before = state_of(network)
    take_steps(network, n=0)
    assert equal_states(state_of(network), before)


def test_children_end_in_eval_mode_with_moved_statistics():
    network = build("batch norm")
    before = network[2].running_mean.clone()
    take_steps(network)
    assert not any(module.training for module in network.modules())
    assert not torch.equal(network[2].running_mean, before)


def test_the_seed_decides_what_dropout_drops():
    first, again, other = (build("batch norm") for _ in range(3))
    take_steps(first, seed=5)
    torch.rand(7)  # whatever happened before does not matter
    take_steps(again, seed=5)
    take_steps(other, seed=6)
    assert equal_states(state_of(first), state_of(again))
    assert not equal_states(state_of(first), state_of(other))


def run_fit(network, samples, **options):
    fit(network, samples, loss_fn=CROSS_ENTROPY, forward=default_forward, **options)


@pytest.mark.parametrize("how", ["train", "fit", "make_parent"])
def test_torchs_global_generator_is_left_alone(how, tiny_splits, tiny_parent):
    before = torch.get_rng_state()
    if how == "train":
        take_steps(build("batch norm"))
    elif how == "fit":
        run_fit(tiny_parent, tiny_splits.search, epochs=1, seed=3)
    else:
        make_parent((3,), seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_works_where_gradients_are_switched_off():
    network = build("activations")
    before = state_of(network)
    with torch.no_grad():
        take_steps(network)
    assert not equal_states(state_of(network), before)


def test_fit_learns(tiny_splits):
    network = make_parent((16,), n_inputs=12, n_outputs=3, seed=3)
    scores, recipe = [], Recipe(learning_rate=0.02, schedule="onecycle", batch_size=32)
    for _ in range(2):
        scores.append(predict(network, tiny_splits.test, metric=accuracy, forward=default_forward))
        run_fit(network, tiny_splits.search, epochs=15, seed=0, recipe=recipe)
    assert scores[0] < 0.6
    assert scores[1] > 0.8
    assert not network.training


def test_fit_depends_on_its_seed_alone(tiny_splits, tiny_parent):
    first, again, other = (copy.deepcopy(tiny_parent) for _ in range(3))
    run_fit(first, tiny_splits.search, epochs=2, seed=1)
    np.random.default_rng().random()
    torch.rand(3)
    run_fit(again, tiny_splits.search, epochs=2, seed=1)
    run_fit(other, tiny_splits.search, epochs=2, seed=2)
    assert equal_states(state_of(first), state_of(again))
    assert not equal_states(state_of(first), state_of(other))


def test_fit_sees_every_sample_once_an_epoch_and_tells_of_each():
    samples = TensorSamples(torch.arange(10.0)[:, None], torch.zeros(10, dtype=torch.long))
    seen, told = [], []

    def forward(module, inputs):
        seen.append(inputs[:, 0].tolist())
        return module(inputs)

    fit(
        nn.Sequential(nn.Linear(1, 2)),
        samples,
        epochs=2,
        loss_fn=CROSS_ENTROPY,
        forward=forward,
        seed=0,
        recipe=Recipe(batch_size=4),
        on_epoch=lambda: told.append(len(seen)),
    )
    assert told == [3, 6]
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    epochs = [[*chain(*seen[:3])], [*chain(*seen[3:])]]
    assert [sorted(epoch) for epoch in epochs] == [[*range(10)]] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("epochs", [0, 1])
def test_fit_of_few_steps(epochs, tiny_splits, tiny_parent):
    before = state_of(tiny_parent)
    samples = tiny_splits.search.subset(np.arange(20))
    run_fit(tiny_parent, samples, epochs=epochs, seed=0)
    assert equal_states(state_of(tiny_parent), before) == (epochs == 0)


@given(batch_size=st.integers(1, 100))
def test_batches_do_not_change_what_is_predicted(tiny_splits, batch_size):
    network = make_parent((5,), n_inputs=12, n_outputs=3)
    whole = tiny_splits.test
    with torch.no_grad():
        hits = (network(whole.inputs).argmax(1) == whole.targets).sum()
    found = predict(network, whole, metric=accuracy, forward=default_forward, batch_size=batch_size)
    assert found == pytest.approx(int(hits) / len(whole), abs=1e-12)


def test_a_mean_metric_is_weighted_by_the_size_of_its_batches():
    samples = TensorSamples(torch.tensor([[0.0], [1.0], [5.0]]), torch.zeros(3))
    found = predict(
        nn.Identity(),
        samples,
        metric=lambda outputs, _: float(outputs.mean()),
        forward=default_forward,
        batch_size=2,
    )
    assert found == 2.0


def test_a_lone_last_sample_does_not_stop_batch_norm():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    samples = TensorSamples(torch.randn(9, 2), torch.arange(9) % 2)
    before = state_of(network)
    fit(
        network,
        samples,
        epochs=1,
        loss_fn=CROSS_ENTROPY,
        forward=default_forward,
        seed=0,
        recipe=Recipe(batch_size=4),
    )
    assert not equal_states(state_of(network), before)


def take(network, lessons, recipe):
    options = {"loss_fn": CROSS_ENTROPY, "forward": default_forward, "seed": 0}
    train(network, lessons, recipe=recipe, n_steps=len(lessons), **options)
    return network


def by_hand(network, lessons, make, rates):
    """Return a network's state after each step of an optimiser of torch."""
    optimizer = make(network.parameters())
    states = []
    for lesson, learning_rate in zip(lessons, rates, strict=True):
        optimizer.param_groups[0]["lr"] = learning_rate
        optimizer.zero_grad()
        CROSS_ENTROPY(network(lesson.inputs), lesson.targets).backward()
        optimizer.step()
        states.append(state_of(network))
    return states


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("adam", lambda p: torch.optim.Adam(p, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.1)),
    ],
)
def test_steps_are_those_of_torchs_optimiser_at_the_rates_of_the_schedule(optimizer, make):
    network, twin = build("activations"), build("activations")
    lessons = lessons_for(network, 4)
    recipe = Recipe(learning_rate=0.02, optimizer=optimizer, weight_decay=0.1, schedule="linear")
    states = by_hand(twin, lessons, make, [0.02, 0.015, 0.01, 0.005])
    assert equal_states(state_of(take(network, lessons, recipe)), states[-1])


@pytest.mark.parametrize(("averaging", "n"), [(0.4, 2), (0.5, 3), (1.0, 5)])
def test_the_weights_of_the_last_steps_are_averaged(averaging, n):
    network, twin = build("activations"), build("activations")
    lessons = lessons_for(network, 5)
    states = by_hand(twin, lessons, torch.optim.Adam, [0.01] * 5)
    take(network, lessons, Recipe(learning_rate=0.01, averaging=averaging))
    for name, found in state_of(network).items():
        expected = torch.stack([state[name] for state in states[-n:]]).mean(dim=0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_children_come_nearer_to_their_parent_by_distillation_and_by_similarity(
    tiny_splits, tiny_parent
):
    def measure(name, embedding):
        return TSNELoss(embedding, perplexity=8.0)

    probes = (Probe("layer_1_act"),)
    teacher = Teacher(tiny_parent, default_forward, probes, measure)
    inputs = tiny_splits.test.inputs
    with torch.no_grad():
        logits = tiny_parent(inputs)
        loss = TSNELoss(tiny_parent[:2](inputs), perplexity=8.0)
    for name in ("distillation", "similarity"):
        child = make_parent((6, 5), n_inputs=12, n_outputs=3, seed=7)
        apart = []
        for _ in range(2):
            with torch.no_grad():
                far = loss(child[:2](inputs)).item()
                if name == "distillation":
                    far = distillation_loss(child(inputs), logits, 2.0).item()
            apart.append(far)
            recipe = Recipe(learning_rate=0.01, batch_size=30, loss={name: 1.0})
            run_fit(child, tiny_splits.search, epochs=8, seed=0, recipe=recipe, teacher=teacher)
        assert apart[1] < 0.7 * apart[0]


def test_what_depends_on_the_seed_repeats(tiny_splits, tiny_parent):
    def augment(inputs, rng):
        return inputs + float(rng.normal())

    recipe = Recipe(mixup=0.4, augment=augment, averaging=0.5, batch_size=50)
    first, again, other = (copy.deepcopy(tiny_parent) for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        run_fit(network, tiny_splits.search, epochs=1, seed=seed, recipe=recipe)
    assert equal_states(state_of(first), state_of(again))
    assert not equal_states(state_of(first), state_of(other))


@pytest.mark.parametrize(("loss", "n"), [({"task": 1.0}, 2), ({"task": 1.0, "similarity": 1.0}, 1)])
def test_a_last_batch_too_small_to_compare_is_left_out(loss, n, tiny_splits, tiny_parent):
    teacher = Teacher(
        *(tiny_parent, default_forward, (Probe("layer_1_act"),)),
        lambda name, embedding: TSNELoss(embedding, perplexity=(len(embedding) - 1) / 3),
    )
    seen = []

    def loss_fn(outputs, targets):
        seen.append(len(targets))
        return CROSS_ENTROPY(outputs, targets)

    fit(
        tiny_parent,
        tiny_splits.search.subset(np.arange(24)),
        epochs=1,
        loss_fn=loss_fn,
        forward=default_forward,
        seed=0,
        recipe=Recipe(loss=loss, batch_size=20),
        teacher=teacher,
    )
    assert seen == [20, 4][:n]
