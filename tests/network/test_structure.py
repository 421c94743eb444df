import numpy as np
import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, find_structure, inspect
from tests.architectures import build, inputs_for
from tests.network.networks import build_network, images, tokens


def free(structure):
    return [group.name for group in structure.groups if not group.is_fixed]


def stack():
    return nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3)
    )


def test_protected_layers_stay_whole():
    network = build_network("Residual")
    structure = find_structure(network, images(), protect=["inner"])
    assert free(structure) == ["stem.0"]
    assert structure.left_alone["inner"] == "protected"
    # A group goes with any of its layers.
    assert free(find_structure(network, images(), protect=["outer"])) == ["inner"]


def test_an_embedding_is_one_of_its_groups_layers():
    network = build_network("Positions")
    with pytest.raises(ArgumentError, match=r"none \(.*tokens: protected"):
        find_structure(network, tokens(), protect=["tokens"])
    structure = find_structure(network, tokens(), min_units={"tokens": 5})
    assert [(group.name, group.min_units) for group in structure.groups] == [("positions", 5)]


def test_protected_layers_of_a_stack_stay_whole():
    structure = find_structure(stack(), protect=["0"])
    assert free(structure) == ["2"]
    assert structure.is_stack
    assert structure.left_alone["0"] == "protected"
    assert structure.groups[0].allowed == (20,)


def test_a_protected_module_protects_the_layers_in_it():
    network = nn.Sequential(stack(), nn.ReLU(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    assert free(find_structure(network, protect=["0"])) == ["2"]


def test_units_that_are_fixed_do_not_count_as_width():
    structure = find_structure(stack(), protect=["0"])
    assert structure.relative_width((20, 6)) == 0.5


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"round_to": 8}, [(8, 16, 20), (8, 12)]),
        ({"round_to": 8, "min_units": 9}, [(16, 20), (12,)]),
        ({"min_units": 19}, [(19, 20), (12,)]),
        ({"min_units": {"2": 11}}, [tuple(range(1, 21)), (11, 12)]),
    ],
)
def test_widths_can_be_rounded_and_have_a_minimum(options, allowed):
    structure = find_structure(stack(), **options)
    assert [group.allowed for group in structure.groups] == allowed
    for group in structure.groups:
        assert ("none can go with" in structure.left_alone.get(group.name, "")) == group.is_fixed


def test_a_minimum_is_found_by_any_layer_of_its_group():
    structure = find_structure(build_network("Residual"), images(), min_units={"outer": 5})
    assert {group.name: group.min_units for group in structure.groups} == {"stem.0": 5, "inner": 1}


def test_heads_are_not_rounded():
    network = build_network("Encoder")
    structure = find_structure(network, images(), round_to=8)
    heads = [g for g in structure.groups if g.name.endswith("self_attn")]
    assert heads
    for group in structure.groups:
        assert group.round_to == (1 if group in heads else 8)


def test_inputs_can_be_a_group():
    structure = find_structure(stack(), prune_inputs=True)
    assert [(g.name, g.n_units, g.is_input) for g in structure.groups] == [
        ("inputs", 6, True),
        ("0", 20, False),
        ("2", 12, False),
    ]
    assert structure.relative_width((1, 20, 6)) == 26 / 32
    assert structure.child_shapes((4, 20, 12))["0.weight"] == (20, 4)


@pytest.mark.parametrize("name", ["batch norm", "batch norm without affine", "nested", "no bias"])
def test_a_child_with_fewer_inputs_is_the_parent_that_reads_them_as_zero(name):
    network = build(name, seed=2).double()
    structure = find_structure(network, prune_inputs=True)
    rng = np.random.default_rng(0)
    masks = [rng.permutation(n) < max(1, n // 2) for n in structure.widths]
    whole = [masks[0], *(np.ones(n, dtype=bool) for n in structure.widths[1:])]
    inputs = inputs_for(network, n=9).double()
    front = nn.Identity()
    if isinstance(network[0], nn.BatchNorm1d):  # what is read is what the norm puts out
        front, network = network[0], network[1:]
        structure = find_structure(network, prune_inputs=True)
    absent = torch.from_numpy(~masks[0])
    read = front(inputs).flatten(1)
    child = compile_child(network, structure, MaskGenome(whole))
    torch.testing.assert_close(child(read), network(read.masked_fill(absent, 0)))
    smaller = compile_child(network, structure, MaskGenome(masks))
    # It does not look at the others.
    torch.testing.assert_close(smaller(read), smaller(read.masked_fill(absent, 7)), rtol=0, atol=0)


def test_inputs_alone_can_be_pruned():
    network = nn.Sequential(nn.Linear(6, 3))
    structure = find_structure(network, prune_inputs=True)
    child = compile_child(network, structure, MaskGenome([np.arange(6) >= 4]))
    assert child[0].weight.shape == (3, 2)
    assert structure.relative_width((2,)) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"protect": ["nowhere"]},
            r"protect: expected names of the parent's modules \['0', .* got 'nowhere'",
        ),
        ({"protect": ["0", "2"]}, r"at least one layer to prune, got .none \(4: .*; 0: protected"),
        ({"round_to": 0}, "round_to: expected a whole number of at least 1, got 0"),
        ({"min_units": 0}, "min_units: expected a whole number of at least 1, got 0"),
        ({"min_units": {"5": 2}}, r"min_units: expected names among \['0', '2'\], got '5'"),
        ({"min_units": {"2": 13}}, "at least 1 and at most 12, got 13"),
        ({"round_to": 32}, "at least one layer to prune, got .none"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        find_structure(stack(), **options)


def test_inputs_that_cannot_be_pruned_are_refused():
    maps = build("visual")
    with pytest.raises(ArgumentError, match="prune_inputs: expected a Linear as the first"):
        find_structure(maps, prune_inputs=True)
    with pytest.raises(ArgumentError, match="prune_inputs: expected a sequential stack"):
        find_structure(build_network("Residual"), images(), prune_inputs=True)


def test_a_parent_that_reads_some_inputs_keeps_them():
    network = stack()
    structure = find_structure(network, prune_inputs=True)
    masks = [np.arange(n) % 2 == 0 for n in structure.widths]
    child = compile_child(network, structure, MaskGenome(masks))
    with pytest.raises(ArgumentError, match=r"prune_inputs: .*one whose '0' reads some of them"):
        find_structure(child, prune_inputs=True)
    # Its units can go like any others.
    again = find_structure(child)
    grandchild = compile_child(child, again, MaskGenome([np.arange(n) > 0 for n in again.widths]))
    np.testing.assert_array_equal(grandchild[0].input_indices, child[0].input_indices)


def test_inputs_can_be_protected_by_name():
    structure = find_structure(stack(), prune_inputs=True, protect=["inputs"])
    assert free(structure) == ["0", "2"]
    with pytest.raises(ArgumentError, match="protect: expected names of the parent's modules"):
        find_structure(stack(), protect=["inputs"])


def empty_stack():
    with pytest.warns(UserWarning, match="zero-element"):
        return nn.Sequential(nn.Linear(12, 0), nn.ReLU(), nn.Linear(0, 3))


@pytest.mark.parametrize("find", [find_structure, inspect])
@pytest.mark.parametrize(
    ("make", "example"),
    [
        (lambda: nn.Linear(12, 3), torch.randn(4, 12)),
        (lambda: nn.Conv2d(2, 3, 3), torch.randn(4, 2, 5, 5)),
        (lambda: nn.Embedding(9, 3), torch.arange(4)),
        (empty_stack, torch.randn(4, 12)),
    ],
)
def test_a_parent_of_one_layer_or_no_units_has_nothing_to_prune(make, example, find):
    with pytest.raises(ArgumentError, match=r"^parent: expected at least one layer to prune, got "):
        find(make(), example)


@pytest.mark.parametrize("find", [find_structure, inspect])
def test_what_holds_no_numbers_or_does_not_run_is_named(find):
    parent, example = stack(), torch.randn(4, 6)
    with pytest.raises(ArgumentError, match=r"^parent: expected a network with weights, got "):
        find(stack().to("meta"), example)
    with pytest.raises(ArgumentError, match=r"^example: expected a tensor that holds numbers, got"):
        find(parent, example.to("meta"))
    with pytest.raises(ArgumentError, match=r"^example: expected a dense tensor, got .*sparse"):
        find(parent, example.to_sparse())
    with pytest.raises(ArgumentError, match=r"^example: expected a batch .*NotImplementedError"):
        find(nn.ModuleList([nn.Linear(2, 2)]), torch.randn(3, 2))


def test_a_network_that_is_no_stack_takes_an_example():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = stack()

        def forward(self, x):
            return self.stack(x)

    match = r"^example: expected a batch of inputs for a network that is no Sequential, got None; "
    with pytest.raises(ArgumentError, match=rf"{match}inspect\(network, inputs\[:2\]\), or --"):
        inspect(Net())
    assert inspect(Net(), torch.randn(2, 6)).rows
    odd = nn.Sequential(nn.Linear(6, 4), nn.PReLU(), nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match=r"PReLU.* \(or any network, with an example\)$"):
        inspect(odd)


def test_an_example_that_another_network_does_not_take_is_named():
    with pytest.raises(ArgumentError, match=r"^example: expected a batch that the parent takes, "):
        find_structure(build_network("Flattened"), torch.randn(3, 99))
