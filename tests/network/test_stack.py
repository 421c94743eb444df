"""A stack computed without modules is what the modules compute."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import compile_child, embed, find_structure, train
from ecomp_deap.network.groups import ELEMENTWISE
from ecomp_deap.network.stack import DenseStack, borrow
from ecomp_deap.task import default_forward
from tests.architectures import equal_states, random_masks, state_of
from tests.network.dense_stacks import batch_for, can_be_in_place, dense_stacks, fill, probes_of

CROSS_ENTROPY = nn.functional.cross_entropy


def tensors_of(network):
    """A network's own tensors, as genomes hold them."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def assert_walks_as_embedded(network, stack, tensors, inputs):
    with torch.no_grad():
        walk = stack.walk(tensors, inputs)
        outputs, found = embed(network, inputs.clone(), stack.probe_layers, forward=default_forward)
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


def squared_sum(outputs, targets):
    """A loss of a user's own, which changes what it is given."""
    outputs -= 0.1
    return outputs.square().sum(dim=1).mul(targets + 1).mean()


def trained_both_ways(network, n, *, loss_fn=CROSS_ENTROPY, learning_rate=0.01, sizes=(12, 7)):
    batches = [batch_for(network, n=sizes[i == n - 1], seed=i) for i in range(n)]
    tensors = tensors_of(network)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    data = [inputs.clone() for inputs, _ in batches]
    found = DenseStack(network, ()).train(
        tensors, batches, loss_fn=loss_fn, learning_rate=learning_rate
    )
    assert equal_states(tensors, before)
    assert all(torch.equal(a, b) for a, (b, _) in zip(data, batches, strict=True))
    child = copy.deepcopy(network)
    options = {"loss_fn": loss_fn, "forward": default_forward, "learning_rate": learning_rate}
    train(child, batches, **options, seed=0)
    return found, tensors_of(child)


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
    tolerance = 1e-6 if next(network.parameters()).dtype == torch.float32 else 1e-14
    assert largest_difference(found, expected) <= tolerance


@given(network=dense_stacks(hidden=(1, 3), training=True), data=st.data())
def test_frozen_parameters_stay_and_the_others_learn(network, data):
    names = [name for name, _ in network.named_parameters()]
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    found, expected = trained_both_ways(network, 3)
    tolerance = 1e-6 if next(network.parameters()).dtype == torch.float32 else 1e-14
    assert largest_difference(found, expected) <= tolerance
    before = tensors_of(network)
    for name in names:
        assert torch.equal(found[name], before[name]) or name not in frozen


@pytest.mark.parametrize("norm", [{}, {"affine": False}, {"bias": False}])
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
    found = DenseStack(network, ()).train(tensors, [], loss_fn=CROSS_ENTROPY, learning_rate=0.1)
    assert equal_states(found, tensors)
    for name, tensor in found.items():
        assert tensor.data_ptr() != tensors[name].data_ptr()


def test_training_works_where_gradients_are_switched_off():
    network = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        found, expected = trained_both_ways(network, 2)
    assert largest_difference(found, expected) <= 1e-6


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
