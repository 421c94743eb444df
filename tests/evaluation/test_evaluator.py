import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset

from ecomp_deap.data import Splits, TensorSamples
from ecomp_deap.errors import ArgumentError
from ecomp_deap.evaluation import Evaluator, evaluate_block
from ecomp_deap.genomes import MaskGenome, WeightGenome
from ecomp_deap.network import Probe, make_parent
from ecomp_deap.recipe import Recipe
from ecomp_deap.task import Metric, Task, default_forward
from tests.architectures import equal_states, state_of
from tests.network.networks import Auxiliary, Experts


def genomes_for(structure, n=7, seed=0):
    rng = np.random.default_rng(seed)
    return [
        MaskGenome(
            [rng.permutation(units) < rng.integers(2, units + 1) for units in structure.widths]
        )
        for _ in range(n)
    ]


def measure(evaluator, genomes, generation=1, **options):
    seeds = list(range(len(genomes)))
    return [o.measurement for o in evaluator.measure(genomes, generation, seeds, **options)]


@pytest.mark.parametrize("train_steps", [0, 2])
def test_blocks_do_not_change_what_is_found(tiny_task, train_steps):
    task = tiny_task(train_steps=train_steps)
    genomes = genomes_for(Evaluator(task).structure)
    whole = measure(Evaluator(task, block_size=50), genomes)
    assert len({found["accuracy"] for found in whole}) > 1
    for block_size in (1, 3):
        blocks = measure(Evaluator(task, block_size=block_size), genomes)
        assert [list(found.values()) for found in blocks] == [
            pytest.approx(list(found.values()), rel=1e-6)
            for found in whole  # single precision
        ]


def test_a_map_gets_whole_blocks_in_order(tiny_task):
    evaluator = Evaluator(tiny_task(), block_size=3)
    genomes = genomes_for(evaluator.structure)
    sizes = []

    def backwards(function, blocks):
        blocks = list(blocks)
        sizes.extend(len(genomes) for genomes, _ in blocks)
        done = {i: function(block) for i, block in reversed([*enumerate(blocks)])}
        return [done[i] for i in range(len(blocks))]

    assert measure(evaluator, genomes, map_function=backwards) == measure(evaluator, genomes)
    assert sizes == [3, 3, 1]


def test_measuring_changes_neither_genomes_nor_parent(tiny_task):
    task = tiny_task(train_steps=3, training=Recipe(learning_rate=0.1), inherit=True)
    evaluator = Evaluator(task)
    genomes = genomes_for(evaluator.structure)
    before, keys = state_of(task.parent), [genome.key() for genome in genomes]
    measure(evaluator, genomes)
    for genome in genomes:
        genome._key = None
    assert [genome.key() for genome in genomes] == keys
    assert equal_states(state_of(task.parent), before)


def test_measuring_again_gives_the_same(tiny_task):
    task = tiny_task(train_steps=2)
    genomes = genomes_for(Evaluator(task).structure)
    evaluator = Evaluator(task, seed=3)
    first = measure(evaluator, genomes, 4)
    measure(evaluator, genomes, 5)
    assert measure(evaluator, genomes, 4) == first
    assert measure(Evaluator(task, seed=3), genomes, 4) == first
    assert measure(Evaluator(task, seed=4), genomes, 4) != first


def test_seeds_decide_what_dropout_does(tiny_splits):
    parent = nn.Sequential(nn.Linear(12, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))
    evaluator = Evaluator(Task(parent, tiny_splits, train_steps=3, batch_size=30))
    genome = MaskGenome([np.arange(16) < 9])
    a, b, c = (o.measurement for o in evaluator.measure([genome] * 3, 0, [1, 1, 2]))
    assert a == b
    assert a["similarity_loss"] != c["similarity_loss"]


class Indexed(Dataset):
    """Samples whose first input is their own index."""

    def __init__(self, n=80):
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(n, 12, generator=generator)
        self.inputs[:, 0] = torch.arange(n)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], index % 3


def indices(batch):
    return set(batch[:, 0].int().tolist())


@pytest.mark.parametrize("evaluation", ["fresh", "fixed"])
@pytest.mark.parametrize("balanced", [False, True])
def test_training_and_scoring_share_no_sample(tiny_parent, evaluation, balanced):
    task = Task(
        tiny_parent,
        Indexed(),
        train_steps=6,
        batch_size=30,
        evaluation=evaluation,
        balanced=balanced,
    )
    evaluator = Evaluator(task)
    for generation in range(4):
        context = evaluator.context(generation)
        scoring = indices(context.inputs)
        assert len(context.training) == 6
        assert len(scoring) == 30
        for lesson in context.training:
            assert len(lesson.inputs) == 30
            assert not indices(lesson.inputs) & scoring
            assert not indices(lesson.inputs) & indices_of_validation(task)


def indices_of_validation(task):
    inputs, _ = task.splits.validation.batch(np.arange(len(task.splits.validation)))
    return indices(inputs)


def test_fresh_batches_differ_and_fixed_ones_do_not(tiny_parent):
    batches = {}
    for evaluation in ("fresh", "fixed"):
        task = Task(tiny_parent, Indexed(), batch_size=20, evaluation=evaluation, train_steps=1)
        evaluator = Evaluator(task, seed=1)
        contexts = [evaluator.context(generation) for generation in range(3)]
        batches[evaluation] = [frozenset(indices(context.inputs)) for context in contexts]
        assert len({frozenset(indices(c.training[0].inputs)) for c in contexts}) == 3
        ids = [evaluator.batch_id(generation) for generation in range(3)]
        assert ids == ([0, 1, 2] if evaluation == "fresh" else [0, 0, 0])
    assert len(set(batches["fresh"])) == 3
    assert len(set(batches["fixed"])) == 1


def test_balanced_batches_hold_as_many_of_each_class(tiny_task):
    for evaluation in ("fresh", "fixed"):
        evaluator = Evaluator(tiny_task(balanced=True, evaluation=evaluation))
        for generation in range(3):
            targets = evaluator.context(generation).targets
            assert targets.bincount().tolist() == [10, 10, 10]


def test_an_epoch_scores_on_every_sample_once(tiny_task):
    evaluator = Evaluator(tiny_task())
    assert evaluator.batches_per_epoch == 10
    seen = torch.cat([evaluator.context(generation).inputs for generation in range(1, 11)])
    everything, _ = evaluator.task.splits.search.batch(np.arange(300))
    assert sorted(seen.sum(1).tolist()) == pytest.approx(sorted(everything.sum(1).tolist()))


def as_tuple(inputs):
    return (inputs,)


def as_dict(inputs):
    return {"input": inputs}


def cut(inputs):
    return {"left": inputs[:, :5], "right": (inputs[:, 5:],)}


def join(module, inputs):
    return module(torch.cat([inputs["left"], *inputs["right"]], dim=1))


class Pairs(Dataset):
    def __init__(self, samples, change):
        self.samples, self.change = samples, change

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        inputs, targets = self.samples.batch(np.array([index]))
        changed = self.change(inputs)
        return torch.utils._pytree.tree_map(lambda leaf: leaf[0], changed), int(targets[0])


@pytest.mark.parametrize("as_dataset", [False, True])
@pytest.mark.parametrize(
    ("change", "forward"),
    [(lambda x: x, None), (as_tuple, None), (as_dict, None), (cut, join)],
)
def test_kinds_of_inputs_give_equal_results(tiny_splits, tiny_parent, change, forward, as_dataset):
    options = {"batch_size": 30, "train_steps": 2}
    plain = Evaluator(Task(tiny_parent, tiny_splits, **options), engine="loop")
    genomes = genomes_for(plain.structure, 3)
    expected = measure(plain, genomes)

    def convert(samples):
        if as_dataset:
            return Pairs(samples, change)
        inputs, targets = samples.batch(np.arange(len(samples)))
        return change(inputs), targets

    task = Task(
        tiny_parent,
        convert(tiny_splits.search),
        validation=convert(tiny_splits.validation),
        forward=forward,
        **options,
    )
    evaluator = Evaluator(task)
    assert measure(evaluator, genomes) == expected
    scores = [
        e.scorer(e.task.splits.validation).score(e.compile(genomes[0]), genomes[0].widths)
        for e in (plain, evaluator)
    ]
    assert scores[0] == scores[1]


def mean_squared_error(outputs, targets):
    return float(nn.functional.mse_loss(outputs[:, 0], targets))


def squared_loss(outputs, targets):
    return nn.functional.mse_loss(outputs[:, 0], targets)


def regression_task(**options):
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(200, 12, generator=generator)
    parent = make_parent((10,), n_inputs=12, n_outputs=1, seed=3)
    with torch.no_grad():
        targets = parent(inputs)[:, 0].clone()
    metric = Metric(mean_squared_error, "mse", maximise=False, worst=1e6)
    options = {"batch_size": 40, "loss_fn": squared_loss, "metric": metric, **options}
    return Task(parent, (inputs, targets), **options)


def test_another_metric_goes_by_its_own_name():
    evaluator = Evaluator(regression_task())
    everyone, half = MaskGenome([np.ones(10, bool)]), MaskGenome([np.arange(10) < 5])
    exact, worse = measure(evaluator, [everyone, half])
    assert exact["mse"] == pytest.approx(0, abs=1e-10)
    context = evaluator.context(1)
    with torch.no_grad():
        expected = mean_squared_error(evaluator.compile(half)(context.inputs), context.targets)
    assert worse["mse"] == pytest.approx(expected, rel=1e-6)
    assert "accuracy" not in worse


def test_training_minimises_the_tasks_own_loss():
    half = MaskGenome([np.arange(10) < 5])
    before, after = (
        measure(
            Evaluator(regression_task(train_steps=n, training=Recipe(learning_rate=0.02))), [half]
        )[0]["mse"]
        for n in (0, 20)
    )
    assert after < before


def test_training_is_left_out_on_request(tiny_task):
    genomes = genomes_for(Evaluator(tiny_task()).structure)
    trained = Evaluator(tiny_task(train_steps=3, training=Recipe(learning_rate=0.05), inherit=True))
    untrained = measure(Evaluator(tiny_task()), genomes)
    assert measure(trained, genomes) != untrained
    assert measure(trained, genomes, train=False) == untrained
    outcomes = trained.measure(genomes, 1, [0] * len(genomes), train=False)
    assert all(outcome.arrays is None for outcome in outcomes)


def test_what_children_learnt_comes_back(tiny_task):
    evaluator = Evaluator(
        tiny_task(train_steps=2, training=Recipe(learning_rate=0.05), inherit=True)
    )
    (genome,) = genomes_for(evaluator.structure, 1)
    (outcome,) = evaluator.measure([genome], 1, [0])
    learnt = MaskGenome(genome.masks, outcome.arrays)
    again = measure(evaluator, [learnt], train=False)
    assert again == [outcome.measurement]
    assert Evaluator(tiny_task(train_steps=2)).measure([genome], 1, [0])[0].arrays is None


def test_widths_parameters_and_macs_are_those_of_the_child(tiny_task):
    evaluator = Evaluator(tiny_task())
    (found,) = measure(evaluator, [MaskGenome([np.arange(16) < 4, np.arange(12) < 3])])
    assert found["relative_width"] == 7 / 28
    assert found["mac_count"] == 12 * 4 + 4 * 3 + 3 * 3
    assert found["param_count"] == found["mac_count"] + 4 + 3 + 3
    assert not found.failed


def broken_weights(value):
    return WeightGenome(
        {
            "layer_1_linear": (np.full((2, 12), value, np.float32), np.zeros(2, np.float32)),
            "layer_2_linear": (np.ones((2, 2), np.float32), np.zeros(2, np.float32)),
            "output": (np.ones((3, 2), np.float32), np.zeros(3, np.float32)),
        }
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_child_without_finite_outputs_has_failed_with_finite_numbers(tiny_task, value):
    evaluator = Evaluator(tiny_task())
    sound = genomes_for(evaluator.structure, 1)[0]
    failed, found = measure(evaluator, [broken_weights(value), sound])
    assert failed.failed
    assert failed.reason == "outputs are not finite"
    assert failed["accuracy"] == 0
    assert failed["relative_width"] == 1
    assert failed["similarity_loss"] == pytest.approx(2 * np.log(0.5 / np.finfo(float).eps))
    assert (found,) == tuple(measure(evaluator, [sound]))


def test_a_child_with_a_dead_layer_is_as_dissimilar_as_can_be(tiny_task):
    evaluator = Evaluator(tiny_task())
    (found,) = measure(evaluator, [broken_weights(0.0)])
    assert found["similarity_loss"] == pytest.approx(2 * np.log(0.5 / np.finfo(float).eps))


def test_a_metric_that_is_not_finite_is_a_failure():
    def careful(outputs, targets):
        return float("nan") if outputs.abs().max() < 1e-6 else 1.0

    task = regression_task(metric=Metric(careful, "care", worst=-5.0), validation=None)
    evaluator = Evaluator(task)
    silent = WeightGenome(
        {
            "layer_1_linear": (np.ones((3, 12), np.float32), np.zeros(3, np.float32)),
            "output": (np.zeros((1, 3), np.float32), np.zeros(1, np.float32)),
        }
    )
    (found,) = measure(evaluator, [silent])
    assert found.failed
    assert found["care"] == -5.0
    assert found.reason == "care is not finite"
    scored = evaluator.scorer(task.splits.validation).score(evaluator.compile(silent), (3,))
    assert scored == found


def test_a_dead_probe_layer_of_the_parent_is_named_before_any_search(tiny_splits, tiny_parent):
    with torch.no_grad():
        tiny_parent.layer_2_linear.weight.fill_(0)
        tiny_parent.layer_2_linear.bias.fill_(-1)
    task = Task(tiny_parent, tiny_splits)
    with pytest.raises(ArgumentError, match=r"probe layer 'layer_2_act' of the parent.*dead layer"):
        Evaluator(task)
    Evaluator(replace_probes(task, ("layer_1_act",)))


def test_a_probe_layer_that_sees_some_samples_alone_is_refused(tiny_splits):
    class Some(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = nn.Linear(12, 8), nn.Linear(8, 3)
            self.some = nn.Identity()

        def forward(self, x):
            hidden = self.hidden(x).relu()
            self.some(hidden[:3])
            return self.last(hidden)

    Evaluator(Task(Some(), tiny_splits, batch_size=30))
    expected = r"probe layer 'some' of the parent: expected a row of units for each of 30.*got 3"
    with pytest.raises(ArgumentError, match=expected):
        Evaluator(Task(Some(), tiny_splits, batch_size=30, probe_layers=["some"]))


def test_a_parent_without_anything_to_compare_is_refused_where_similarity_matters(tiny_splits):
    parent = nn.Sequential(nn.Linear(12, 3))
    task = Task(parent, tiny_splits, batch_size=30, prune_inputs=True)
    with pytest.raises(ArgumentError, match=r"probe_layers: expected names of layers where .*None"):
        Evaluator(task)
    evaluator = Evaluator(task, similarity=False)
    assert evaluator.probe_layers == ()
    genomes = genomes_for(evaluator.structure)
    assert {found["similarity_loss"] for found in measure(evaluator, genomes)} == {0.0}
    assert evaluator.worst.similarity_loss == 0
    named = Task(parent, tiny_splits, batch_size=30, prune_inputs=True, probe_layers=["0"])
    assert Evaluator(named).probes == (Probe("0", 0, 1),)


def replace_probes(task, names):
    return Task(task.parent, task.splits, probe_layers=names)


def test_a_parent_with_broken_weights_is_refused(tiny_splits, tiny_parent):
    with torch.no_grad():
        tiny_parent.output.weight[0, 0] = torch.nan
    with pytest.raises(ArgumentError, match="parent"):
        Evaluator(Task(tiny_parent, tiny_splits, metric=Metric(_mean, "mean")))


def _mean(outputs, targets):
    return float(outputs.mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": 10.0}, r"perplexity: expected greater than 1 and at most .* 9.667 for 30"),
        ({"perplexity": 1.0}, "perplexity: expected greater than 1"),
        ({"batch_size": 301}, "batch_size"),
        ({"batch_size": 31, "balanced": True}, "batch_size: expected a multiple of the"),
        ({"probe_layers": ("nowhere",)}, "probe_layers: expected names among"),
    ],
)
def test_what_the_data_do_not_allow_is_refused(tiny_task, options, message):
    task = tiny_task(**options)
    with pytest.raises(ArgumentError, match=message):
        Evaluator(task)


def test_no_samples_are_left_to_train_on(tiny_task):
    with pytest.raises(ArgumentError, match="left to train on"):
        Evaluator(tiny_task(batch_size=300, train_steps=1))


def test_blocks_hold_someone(tiny_task):
    match = "block_size: expected a whole number of at least 1, got 0"
    with pytest.raises(ArgumentError, match=match):
        Evaluator(tiny_task(), block_size=0)


def test_a_context_travels_without_the_data(tiny_parent, tiny_splits):
    search = TensorSamples(torch.randn(20_000, 12), torch.arange(20_000) % 3)
    splits = Splits(search, tiny_splits.validation, None)
    task = Task(tiny_parent, splits, batch_size=30, train_steps=2)
    evaluator = Evaluator(task)
    genomes = genomes_for(evaluator.structure, 3)
    context = evaluator.context(2)
    sent = pickle.dumps(context)
    assert len(sent) < 100_000 < search.inputs.numel() * 4
    there = evaluate_block(pickle.loads(sent), pickle.loads(pickle.dumps(genomes)), [0, 1, 2])
    here = evaluate_block(context, genomes, [0, 1, 2])
    assert [o.measurement for o in there] == [o.measurement for o in here]


def test_threads_are_put_back(tiny_task):
    torch.set_num_threads(2)
    evaluator = Evaluator(tiny_task(), threads=1)
    measure(evaluator, genomes_for(evaluator.structure, 1))
    assert torch.get_num_threads() == 2
    assert evaluator.context(0).threads == 1


@given(generation=st.integers(0, 10**6), seed=st.integers(0, 2**32 - 1))
def test_batches_depend_on_seed_and_generation_alone(tiny_splits, generation, seed):
    parent = make_parent((4,), n_inputs=12, n_outputs=3)
    task = Task(parent, tiny_splits, batch_size=30, train_steps=1, probe_layers=["layer_1_linear"])
    first, second = Evaluator(task, seed=seed), Evaluator(task, seed=seed)
    second.context(generation + 1)
    a, b = first.context(generation), second.context(generation)
    assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(a.training[0].inputs, b.training[0].inputs)


def test_no_genomes_no_outcomes(tiny_task):
    assert Evaluator(tiny_task()).measure([], 0, []) == []


def test_a_fixed_context_is_the_same_object_until_the_generation_changes(tiny_task):
    evaluator = Evaluator(tiny_task())
    assert evaluator.context(3) is evaluator.context(3)
    assert replace(evaluator.context(3), training=[]).forward is default_forward


def test_a_parent_that_is_all_frozen_cannot_train(tiny_task):
    task = tiny_task(train_steps=2)
    task.parent.requires_grad_(False)
    with pytest.raises(ArgumentError, match="train_steps: expected 0 for a parent whose param"):
        Evaluator(task)


def labelled(n=200):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 10, generator=generator), torch.arange(n) % 3


def test_networks_that_sort_samples_are_proven_on_some_of_each_kind():
    torch.manual_seed(0)
    parent, (inputs, targets) = Experts().eval(), labelled()
    task = Task(parent, (inputs, targets), batch_size=30, probe_layers=["last"])
    evaluator = Evaluator(task)
    names = {group.name for group in evaluator.structure.groups}
    assert {"first", *(f"experts.{i}.0" for i in range(4))} <= names
    for genome in genomes_for(evaluator.structure):
        with torch.no_grad():
            assert evaluator.compile(genome)(inputs).shape == (200, 3)


def test_children_of_a_parent_with_a_head_for_training_train():
    torch.manual_seed(0)
    task = Task(
        Auxiliary().eval(),
        labelled(),
        batch_size=30,
        train_steps=1,
        loss_fn=lambda outputs, targets: sum(o.square().mean() for o in outputs),
    )
    evaluator = Evaluator(task)
    assert not any(m.failed for m in measure(evaluator, genomes_for(evaluator.structure, 3)))


def test_networks_that_write_into_their_inputs_are_refused():
    parent = make_parent((8, 6), n_inputs=10, n_outputs=3)
    forward = {"forward": lambda module, x: module(x.sub_(1))}
    with pytest.raises(ArgumentError, match="parent: expected a network that leaves its inputs"):
        Evaluator(Task(parent, labelled(), batch_size=30, **forward))
