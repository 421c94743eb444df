import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecomp_deap.network import mac_count, param_count, size_bytes
from tests.architectures import ALL, build, inputs_for


@pytest.mark.parametrize("name", sorted(ALL))
def test_macs_are_half_of_torchs_flops(name):
    network = build(name)
    inputs = inputs_for(network, n=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    assert mac_count(network, inputs, n_samples=4) == counter.get_total_flops() / 2 / 4 > 0


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_counts_however_torch_computes_it(grad, need_weights):
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    tokens = torch.randn(3, 5, 8)

    def forward(module, x):
        with torch.set_grad_enabled(grad):
            return module(x, x, x, need_weights=need_weights)

    # Projections to and from query, key and value, and their two products over 5 × 5 tokens.
    expected = 5 * 8 * (3 * 8) + 5 * 8 * 8 + 2 * 5 * 5 * 8
    assert mac_count(attention, tokens, n_samples=3, forward=forward) == expected


def test_inputs_are_not_changed_and_no_random_numbers_are_drawn():
    def forward(module, x):
        return module(x.add_(torch.rand(4)))

    network, inputs = nn.Linear(4, 2), torch.ones(3, 4)
    state = torch.get_rng_state()
    assert mac_count(network, inputs, n_samples=3, forward=forward) == 8
    assert torch.equal(inputs, torch.ones(3, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_attention_is_as_fast_as_before_afterwards():
    before = torch.backends.mha.get_fastpath_enabled()
    for enabled in (False, True):
        torch.backends.mha.set_fastpath_enabled(enabled)
        with pytest.raises(RuntimeError, match="shapes"):
            mac_count(nn.Linear(4, 2), torch.zeros(1, 3), n_samples=1)
        assert torch.backends.mha.get_fastpath_enabled() == enabled
    torch.backends.mha.set_fastpath_enabled(before)
    assert torch.backends.cuda.flash_sdp_enabled()


def test_functional_products_count():
    class Gram(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y @ y.T

    assert mac_count(Gram(4, 3), torch.zeros(5, 4), n_samples=1) == 5 * 4 * 3 + 5 * 5 * 3


def test_macs_are_counted_for_one_sample_whatever_the_batch():
    network = build("activations")
    for n in (1, 2, 17):
        assert mac_count(network, inputs_for(network, n), n_samples=n) == 30 + 40 + 32 + 12


def test_macs_are_counted_through_the_given_forward():
    network = build("one hidden layer")
    inputs = {"x": inputs_for(network, 2)}
    found = mac_count(network, inputs, n_samples=2, forward=lambda m, batch: m(batch["x"]))
    assert found == 6 * 5 + 5 * 2


def test_by_default_dicts_are_keywords_and_tuples_and_lists_are_positions():
    class Pair(nn.Linear):
        def forward(self, x, y):
            return super().forward(x + y)

    pair, x = Pair(4, 3), torch.zeros(5, 4)
    for inputs in ((x, x), [x, x], {"x": x, "y": x}):
        assert mac_count(pair, inputs, n_samples=5) == 4 * 3


def test_a_shared_parameter_counts_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert param_count(network) == 16 + 4 + 4


def test_bytes_are_those_of_parameters_and_buffers():
    batch_norm = nn.BatchNorm1d(5)  # two parameters, two statistics, and an int64 counter
    network = nn.Sequential(nn.Linear(3, 5), batch_norm)
    assert size_bytes(network) == 4 * (15 + 5 + 4 * 5) + 8
    assert size_bytes(network.double()) == 8 * (15 + 5 + 4 * 5) + 8
    assert size_bytes(nn.Linear(3, 5).half()) == 2 * 20
    assert size_bytes(nn.ReLU()) == 0


@given(name=st.sampled_from(sorted(ALL)))
def test_bytes_are_those_of_the_state_dict_where_nothing_is_shared(name):
    network = build(name)
    assert size_bytes(network) == sum(t.nbytes for t in network.state_dict().values())


def test_bytes_of_shared_tensors_count_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    scale = torch.ones(3)
    for layer in network:
        layer.register_buffer("scale", scale)
    assert size_bytes(network) == 4 * (16 + 4 + 4 + 3)


def test_buffers_that_are_not_saved_take_no_bytes():
    network = nn.Linear(4, 4)
    network.register_buffer("kept", torch.zeros(3))
    network.register_buffer("lost", torch.zeros(100), persistent=False)
    assert size_bytes(network) == 4 * (16 + 4 + 3)


def test_state_that_is_no_tensor_takes_no_bytes():
    class Noted(nn.Linear):
        def get_extra_state(self):
            return {"note": "made by hand"}

    assert size_bytes(Noted(2, 1)) == 4 * 3
