import dataclasses
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ecomp_deap
import ecomp_deap.network.inspection
from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import Structure
from ecomp_deap.network import (
    CostModel,
    GroupRow,
    Inspection,
    find_structure,
    inspect,
    mac_count,
    make_parent,
    param_count,
)
from ecomp_deap.network.groups import OUTPUTS
from tests.architectures import (
    ALL,
    ARCHITECTURES,
    CONVOLUTIONAL,
    MAP_SHAPE,
    build,
    equal_states,
    inputs_for,
    state_of,
)
from tests.network.dense_stacks import batch_for, dense_stacks
from tests.network.networks import build_network, tokens


def losses(model, widths):
    """Parameters and MACs that are lost with each group, from the costs of children: a slow twin.

    No child is without a group; its cost is found all the same, as costs are products of widths.
    """
    whole = model(widths)
    found = []
    for index in range(len(widths)):
        left = model.formula([0 if i == index else n for i, n in enumerate(widths)])
        found.append((whole.param_count - left.param_count, whole.mac_count - left.mac_count))
    return found


def test_an_embedding_holds_parameters_but_takes_no_operations():
    text = build_network("Bag")
    assert inspect(text, tokens()).rows == (
        GroupRow("bag", 8, 1, 20 * 8 + 8 * 6, 8 * 6),
        GroupRow("hidden", 6, 1, 8 * 6 + 6 + 6 * 5, 8 * 6 + 6 * 5),
    )


def test_the_originals_parent():
    first, second = 784 * 256, 256 * 256
    assert inspect(make_parent()) == Inspection(
        rows=(
            GroupRow("layer_1_linear", 256, 1, first + 256 + second, first + second),
            GroupRow("layer_2_linear", 256, 1, second + 256 + 2560, second + 2560),
        ),
        left_alone={"output": OUTPUTS},
        param_count=269_322,
        mac_count=first + second + 2560,
    )


@pytest.mark.parametrize("name", ALL)
def test_rows_are_what_is_lost_with_each_group(name):
    network = build(name)
    inputs = inputs_for(network)
    structure = find_structure(network)
    model = CostModel(network, structure, inputs, n_samples=len(inputs))
    found = inspect(network, inputs)
    assert [(row.param_count, row.mac_count) for row in found.rows] == losses(
        model, structure.widths
    )
    assert [(row.name, row.n_units, row.min_units) for row in found.rows] == [
        (group.name, group.n_units, group.min_units) for group in structure.groups
    ]
    assert found.left_alone == structure.left_alone
    assert found.param_count == param_count(network)
    assert found.mac_count == mac_count(network, inputs, n_samples=len(inputs))


@given(stack=dense_stacks(), n=st.integers(1, 4))
def test_dense_stacks_need_no_example(stack, n):
    found = inspect(stack)
    inputs, _ = batch_for(stack, n)
    assert found == inspect(stack, inputs)
    structure = find_structure(stack)
    assert [(r.param_count, r.mac_count) for r in found.rows] == losses(
        CostModel(stack, structure), structure.widths
    )
    assert found.mac_count == mac_count(stack, inputs, n_samples=n)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_macs_of_convolutions_need_an_example(name):
    network = build(name)
    found, full = inspect(network), inspect(network, inputs_for(network))
    assert found.mac_count is None
    assert {row.mac_count for row in found.rows} == {None}
    assert None not in {full.mac_count, *(row.mac_count for row in full.rows)}
    without = tuple(dataclasses.replace(row, mac_count=None) for row in full.rows)
    assert found == dataclasses.replace(full, rows=without, mac_count=None)


def test_macs_depend_on_the_size_of_the_maps_and_not_on_that_of_the_batch():
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )
    for side, n in ((5, 1), (5, 3), (8, 2)):
        found = inspect(network, torch.zeros(n, 1, side, side))
        assert found.rows[0].mac_count == 4 * 9 * (side - 2) ** 2 + 4 * 2


def test_a_weight_between_groups_counts_for_both():
    found = inspect(build("activations"))
    assert sum(row.param_count for row in found.rows) == found.param_count + 5 * 8 + 8 * 4 - 3
    assert sum(row.mac_count for row in found.rows) == found.mac_count + 5 * 8 + 8 * 4


def test_parameters_outside_all_groups_are_the_parents_alone():
    network = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.Linear(5, 2))
    found = inspect(network)
    assert found.rows[0].param_count == 30 + 5 + 10
    assert found.param_count == 12 + 30 + 5 + 10 + 2


@pytest.mark.parametrize("name", ["batch norm", "visual"])
def test_the_parent_is_not_changed(name):
    network = build(name).train()
    before = state_of(network)
    inspect(network, inputs_for(network))
    assert equal_states(state_of(network), before)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_parent_in_training_mode_takes_a_batch_of_one():
    network = build("batch norm").train()
    assert inspect(network, inputs_for(network, 1)) == inspect(network)


def test_examples_may_be_keywords_or_positions():
    network = build("pooled")
    inputs = inputs_for(network, 3)
    assert inspect(network, {"input": inputs}) == inspect(network, inputs)
    assert inspect(network, (inputs,)) == inspect(network, [inputs]) == inspect(network, inputs)


def test_examples_may_be_nested():
    network = build("pooled")
    inputs = inputs_for(network, 3)
    example = {"pair": (torch.zeros(()), [inputs, "of images"])}
    found = inspect(network, example, forward=lambda module, x: module(x["pair"][1][0]))
    assert found == inspect(network, inputs)


def test_the_table_is_aligned():
    assert str(inspect(build("visual"), inputs_for(build("visual")))).splitlines() == [
        "group         units  parameters    share   MACs    share",
        "features.0        4         228   51.7 %  9,072   97.9 %",
        "features.3.0      6         324   73.5 %  5,220   56.3 %",
        "head.0            5         210   47.6 %    195    2.1 %",
        "parent           15         441  100.0 %  9,267  100.0 %",
        "a weight between two groups counts for both",
        f"left alone: output - {OUTPUTS}",
    ]


def test_the_table_shows_what_is_not_known():
    lines = str(inspect(build("one convolution"))).splitlines()
    assert [line.split()[-2:] for line in lines[1:3]] == [["-", "-"]] * 2
    assert len({len(line) for line in lines[:3]}) == 1


@given(
    rows=st.lists(
        st.builds(
            GroupRow,
            st.text("abc.0", min_size=1, max_size=30),
            st.integers(1, 10**6),
            st.just(1),
            st.integers(1, 10**9),
            st.none() | st.integers(0, 10**12),
        ),
        max_size=4,
    ),
    params=st.integers(0, 10**9),
    macs=st.none() | st.integers(0, 10**12),
)
def test_any_table_is_aligned_and_complete(rows, params, macs):
    inspection = Inspection(tuple(rows), {"a": "because", "b": "so"}, params, macs)
    *table, first, second = str(inspection).splitlines()
    too_many = macs is not None and sum(row.mac_count or 0 for row in rows) > macs
    if too_many or sum(row.param_count for row in rows) > params:
        assert table.pop() == "a weight between two groups counts for both"
    assert [first, second] == ["left alone: a - because", "left alone: b - so"]
    assert [line.split()[0] for line in table] == ["group", *(r.name for r in rows), "parent"]
    assert len({len(line) for line in table}) == 1
    for row, line in zip(rows, table[1:-1], strict=True):
        assert re.split(r"\s\s+", line)[1:3] == [f"{row.n_units:,d}", f"{row.param_count:,d}"]


def test_names_of_the_package():
    assert ecomp_deap.inspect is inspect
    assert ecomp_deap.Inspection is Inspection


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("parent", "parent: expected a torch.nn.Module, got 'str'"),
        (nn.Sequential, r"got the class Sequential: give Sequential\(\)"),
        (nn.Sequential(nn.Linear(3, 2)), "parent: expected at least one hidden Linear or Conv2d"),
        (nn.Sequential(nn.Linear(3, 2), nn.PReLU(), nn.Linear(2, 1)), "module '1'.*'PReLU'"),
    ],
)
def test_parents_without_a_structure_are_refused(parent, message):
    with pytest.raises(ArgumentError, match=message):
        inspect(parent)


def test_a_structure_without_groups_is_refused_with_the_reasons(monkeypatch):
    # No sequential stack has such a structure, so it is handed in.
    structure = Structure((), {}, {}, left_alone={"first": "it is odd", "last": OUTPUTS})
    monkeypatch.setattr(ecomp_deap.network.inspection, "find_structure", lambda *_, **__: structure)
    with pytest.raises(ArgumentError, match=r"at least one group .*, got none:") as caught:
        inspect(build("one hidden layer"))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[0] for line in lines[:2]] == ["group", "parent"]
    assert lines[2:] == ["left alone: first - it is odd", f"left alone: last - {OUTPUTS}"]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(0, 2, 8, 7), r"batch of at least one sample, got \(0, 2, 8, 7\)"),
        (torch.zeros(()), r"batch of at least one sample, got \(\)"),
        ((), "batch of at least one sample, got 'tuple'"),
        ({}, "batch of at least one sample, got 'dict'"),
        ("example", "batch of at least one sample, got 'str'"),
        (torch.zeros(1, 3, 8, 7), "a batch that the parent takes, but .*channels"),
        (torch.zeros(1, 2, 5, 5), "a batch that the parent takes, but .*shapes"),
        (
            torch.zeros(1, 2, 8, 7, dtype=torch.float64),
            r"a batch that the parent takes, but inputs are float64, .*: inputs.float\(\)$",
        ),
        ({"inputs": torch.zeros(1, 2, 8, 7)}, "a batch that the parent takes, but .*'inputs'"),
        (torch.zeros(3), "a batch that the parent takes, but "),
    ],
)
def test_examples_that_the_parent_does_not_take_are_refused(example, message):
    with pytest.raises(ArgumentError, match=f"^example: expected {message}|{message}") as caught:
        inspect(build("one convolution"), example)
    assert str(caught.value).startswith("example: ")
    assert "\n" not in str(caught.value)


def test_every_dense_architecture_has_a_table():
    for name in ARCHITECTURES:
        network = build(name)
        table, _, notes = str(inspect(network)).partition("\nparent ")
        assert table.count("\n") == len(find_structure(network).groups)
        assert notes.splitlines()[-1].startswith("left alone: ")


def test_shares_of_more_than_the_whole_are_explained():
    note = "a weight between two groups counts for both"
    assert note in str(inspect(build("visual"))).splitlines()
    assert note not in str(inspect(build("one hidden layer")))


def test_what_may_go_can_be_limited():
    parent = make_parent((20, 12), n_inputs=30, n_outputs=3)
    found = inspect(parent, protect=["layer_2_linear"], round_to=8, prune_inputs=True)
    assert [(row.name, row.n_units, row.min_units) for row in found.rows] == [
        ("inputs", 30, 1),
        ("layer_1_linear", 20, 1),
    ]
    assert found.rows[0].param_count == 30 * 20
    assert found.left_alone["layer_2_linear"] == "protected"
    # The table's last row is the whole parent.
    assert str(found).splitlines()[3].startswith("parent ")


def test_a_forward_of_ones_own_is_used():
    network = build("visual")
    flat = inputs_for(network, n=2).flatten(1)
    found = inspect(network, flat, forward=lambda module, x: module(x.unflatten(1, MAP_SHAPE)))
    assert found.rows == inspect(network, flat.unflatten(1, MAP_SHAPE)).rows
