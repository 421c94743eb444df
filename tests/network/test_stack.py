"""A stack computed without modules is what the modules compute."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import Probe, compile_child, embed, find_structure
from ecomp_deap.network.groups import ELEMENTWISE
from ecomp_deap.network.stack import DenseStack, borrow
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, random_masks, state_of
from tests.network.dense_stacks import (
    batch_for,
    can_be_in_place,
    dense_stacks,
    fill,
    probes_of,
    tensors_of,
)


def assert_walks_as_embedded(network, stack, tensors, inputs):
    with torch.no_grad():
        walk = stack.walk(tensors, inputs)
        probes = [Probe(name) for name in stack.probe_layers]
        outputs, found = embed(network, inputs.clone(), probes, forward=default_forward)
    assert torch.equal(walk.outputs, outputs)
    assert walk.embeddings.keys() == found.keys()
    for name, embedding in found.items():
        assert torch.equal(walk.embeddings[name], embedding), name


@given(network=dense_stacks(hidden=(0, 5)), seed=st.integers(0, 10**6))
def test_outputs_and_all_embeddings_are_those_of_the_modules(network, seed):
    probes = probes_of(network)
    assert DenseStack.supports(network, probes)
    inputs, _ = batch_for(network, seed=seed)
    before, state = inputs.clone(), state_of(network)
    assert_walks_as_embedded(network, DenseStack(network, probes), tensors_of(network), inputs)
    assert torch.equal(inputs, before)
    assert equal_states(state_of(network), state)


@given(network=dense_stacks(), seed=st.integers(0, 10**6))
def test_a_child_is_its_tensors_in_the_parents_stack(network, seed):
    structure = find_structure(network)
    child = compile_child(network, structure, MaskGenome(random_masks(structure.widths, seed)))
    stack = DenseStack(network, probes_of(network))
    inputs, _ = batch_for(network, seed=seed)
    assert_walks_as_embedded(child, stack, tensors_of(child), inputs)


@given(network=dense_stacks(hidden=(0, 5)))
def test_segments_one_after_the_other_make_the_whole(network):
    stack = DenseStack(network, probes_of(network))
    assert len(stack.segments) == sum(isinstance(m, nn.Linear) for m in network.modules())
    names = [name for segment in stack.tensor_names for name in segment]
    assert names == list(network.state_dict())
    inputs, _ = batch_for(network)
    whole = stack.walk(tensors_of(network), inputs)
    x, found = inputs, {}
    for i in range(len(stack.segments)):
        part = stack.walk(tensors_of(network), x, i)
        x = part.outputs
        assert not found.keys() & part.embeddings.keys()
        found.update(part.embeddings)
    assert torch.equal(x, whole.outputs)
    assert found.keys() == whole.embeddings.keys()
    assert all(torch.equal(found[name], whole.embeddings[name]) for name in found)


IN_PLACE = [kind for kind in ELEMENTWISE if can_be_in_place(kind)]


@pytest.mark.parametrize("between", [None, nn.Identity, nn.Dropout])
@pytest.mark.parametrize("kind", IN_PLACE)
def test_what_works_in_place_overwrites_no_probe(kind, between):
    layers = [nn.Linear(6, 5), between() if between else nn.Tanh(), kind(inplace=True)]
    network = nn.Sequential(*layers, nn.Linear(5, 3)).eval()
    fill(network, 1)
    stack = DenseStack(network, ("0", "1", "2"))
    assert_walks_as_embedded(network, stack, tensors_of(network), batch_for(network)[0])


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.arange(12.0).reshape(3, 4)[:, ::2].T],
)
def test_borrowed_memory_is_the_arrays_own(array):
    array.flags.writeable = False
    tensor = borrow(array)
    assert tensor.data_ptr() == array.__array_interface__["data"][0]
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert not array.flags.writeable


def test_borrowed_memory_lives_as_long_as_the_tensor():
    tensor = borrow(np.full(1000, 7.0))
    for _ in range(10):
        np.zeros(1000)  # takes what is free
    assert tensor.eq(7.0).all()


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU()),
        nn.Sequential(nn.Dropout(0.1), nn.Linear(5, 3)),
    ).eval()


def replaced(index, module):
    network = plain()
    network[index] = module.eval()
    return network


def with_own_forward():
    network = plain()
    network[3].forward = lambda x: x.relu() * 2
    return network


class Louder(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Backwards(nn.Sequential):
    def forward(self, x):
        return super().forward(-x)


def hooked(register):
    network = plain()
    getattr(network[3], register)(lambda *_: None)
    return network


OTHERS = {
    "hook": lambda: hooked("register_forward_hook"),
    "pre-hook": lambda: hooked("register_forward_pre_hook"),
    "backward hook": lambda: hooked("register_full_backward_hook"),
    "backward pre-hook": lambda: hooked("register_full_backward_pre_hook"),
    "parametrisation": lambda: replaced(1, parametrizations.weight_norm(nn.Linear(6, 5))),
    "subclass": lambda: replaced(1, Louder(6, 5)),
    "forward of the stack's own": lambda: Backwards(*plain()).eval(),
    "forward of a container's own": lambda: nn.Sequential(Backwards(*plain())).eval(),
    "forward of a module's own": with_own_forward,
    "no statistics": lambda: replaced(2, nn.BatchNorm1d(5, track_running_stats=False)),
    "cumulative statistics": lambda: replaced(2, nn.BatchNorm1d(5, momentum=None)),
    "other module": lambda: replaced(3, nn.Softmax(dim=1)),
    "convolution": lambda: replaced(0, nn.Conv2d(1, 1, 1)),
    "in place in front": lambda: replaced(0, nn.LeakyReLU(inplace=True)),
    "no stack": lambda: nn.Linear(6, 3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_plain_stack_is_not_supported(name):
    assert DenseStack.supports(plain(), ("1", "4.1"))
    assert not DenseStack.supports(OTHERS[name](), ())


@pytest.mark.parametrize("probe", ["4", "0", "nowhere", ""])
def test_probes_are_stages_that_make_units(probe):
    assert not DenseStack.supports(plain(), ("1", probe))


def test_only_dropout_that_drops_draws():
    assert DenseStack(plain(), ()).draws
    assert not DenseStack(replaced(4, nn.Sequential(nn.Dropout(0.0), nn.Linear(5, 3))), ()).draws
