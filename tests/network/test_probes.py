import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError, EvaluationError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import (
    Probe,
    compile_child,
    default_probe_layers,
    embed,
    find_probe_layers,
    find_structure,
    make_parent,
)
from ecomp_deap.task import default_forward
from ecomp_deap.toolbox import make_toolbox
from tests.architectures import CONVOLUTIONAL, build, inputs_for, random_masks
from tests.network.layouts import (
    AmongSamples,
    ChannelsLast,
    Padded,
    Series,
    TokensFirst,
    Turned,
    Volumes,
    build_layout,
    samples_for,
)
from tests.network.networks import NETWORKS, TEXTS, build_network, images, tokens


def probes_of(network, inputs, names=None, *, forward=default_forward, **options):
    """Find probe layers on three samples, the first of the inputs."""
    structure = find_structure(network, inputs, forward=forward, **options)
    return find_probe_layers(
        network, names, structure=structure, two=inputs[:2], three=inputs[:3], forward=forward
    )


def names_of(probes):
    return tuple(probe.name for probe in probes)


@pytest.mark.parametrize(
    ("name", "probes"),
    [
        ("one hidden layer", ("1",)),
        ("activations", ("1", "3", "5")),
        ("batch norm", ("3", "7")),  # the dropout behind "3" does nothing when measured
        ("batch norm without affine", ("3", "6")),
        ("nested", ("body.1.1.0", "2")),
        ("one convolution", ("2",)),  # the pooled map, and no Flatten
        ("pooled", ("2", "5")),
        ("visual", ("features.2", "features.5", "head.2")),
        ("norm behind flatten", ("2", "8")),  # behind the Flatten columns are no units
        ("convolutions alone", ("3", "6")),
        ("double convolution", ("1", "2", "5")),
    ],
)
def test_those_of_a_stack_are_the_activations_that_the_next_layer_reads(name, probes):
    network = build(name)
    assert default_probe_layers(network) == probes
    found = probes_of(network, inputs_for(network))
    assert found == tuple(Probe(name, 0, 1) for name in probes)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_those_of_a_stack_have_a_column_for_each_unit(name):
    network = build(name)
    probes = probes_of(network, inputs_for(network))
    _, found = embed(network, inputs_for(network), probes, forward=default_forward)
    widths = [embedding.shape for embedding in found.values()]
    assert widths == [(9, n) for n in find_structure(network).widths]


def test_those_of_the_originals_parent():
    assert default_probe_layers(make_parent()) == ("layer_1_act", "layer_2_act")


def test_linear_layers_in_a_row_are_their_own_probes():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    assert default_probe_layers(network) == ("0", "2")


def test_chosen_probes_are_kept_in_order():
    network = build("nested")
    found = probes_of(network, inputs_for(network), ["middle", "body.0"])
    assert names_of(found) == ("middle", "body.0")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer_7_act"], r"probe_layers: expected names among \['layer_1_linear'.*'layer_7_act'"),
        (["layer_1_act", "layer_1_act"], "probe_layers: expected no name twice"),
        ([""], "probe_layers: expected names among"),
    ],
)
def test_wrong_names_are_refused(names, message):
    with pytest.raises(ArgumentError, match=message):
        probes_of(make_parent(), torch.zeros(3, 784), names)


@pytest.mark.parametrize("name", [*NETWORKS, *TEXTS])
def test_those_of_any_network_are_few_and_have_a_row_for_each_sample(name):
    network = build_network(name)
    inputs = (tokens if name in TEXTS else images)(5)
    found = probes_of(network, inputs)
    assert 1 <= len(found) <= 4
    _, embeddings = embed(network, inputs, found, forward=default_forward)
    assert [len(embedding) for embedding in embeddings.values()] == [5] * len(found)


# By layer: where its samples and units are.
LAYOUTS = {
    Series: {"act": (0, 1), "last_act": (0, 1)},
    Volumes: {"first": (0, 1), "second": (0, 1)},
    TokensFirst: {
        "encoder.layers.0.self_attn": (1, 2),
        "encoder.layers.0.linear1": (1, 2),
        "encoder.layers.1.self_attn": (1, 2),
        "encoder.layers.1.linear1": (1, 2),
    },
    ChannelsLast: {"act": (0, 3), "last_act": (0, 3)},
    Turned: {"act": (0, 3), "last_act": (0, 1)},
}


@pytest.mark.parametrize("make", LAYOUTS)
def test_samples_and_units_are_found_where_they_are(make):
    network = build_layout(make)
    found = probes_of(network, samples_for(network, 3))
    assert {p.name: (p.sample_dim, p.unit_dim) for p in found} == LAYOUTS[make]


@pytest.mark.parametrize("make", LAYOUTS)
def test_an_embedding_has_a_row_for_each_sample_and_a_column_for_each_unit_of_a_child(make):
    network = build_layout(make)
    inputs = samples_for(network, 6)
    structure = find_structure(network, inputs[:2])
    probes = probes_of(network, inputs)
    masks = random_masks(structure.widths, 3)
    child = compile_child(network, structure, MaskGenome(masks))
    _, found = embed(child, inputs, probes, forward=default_forward)
    layer_of = {"act": "first", "last_act": "second"}
    own = {g.name: int(m.sum()) for g, m in zip(structure.groups, masks, strict=True)}
    for name, embedding in found.items():
        # What attention puts out has all its units, of whichever heads.
        width = 8 if name.endswith("self_attn") else own[layer_of.get(name, name)]
        assert embedding.shape == (6, width)


@pytest.mark.parametrize("n_tokens", [2, 3])
def test_as_many_tokens_as_samples_are_no_samples(n_tokens):
    network = build_layout(lambda: TokensFirst(n_tokens))
    found = probes_of(network, samples_for(network, 3))
    assert {(probe.sample_dim, probe.unit_dim) for probe in found} == {(1, 2)}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@torch.no_grad()  # without gradients, encoders leave padding out
def test_sequences_of_a_padded_encoder_have_a_row_for_each_sample():
    network = build_layout(Padded)
    inputs = 1 + tokens(6) % 19
    inputs[::2, 4:] = 0
    probes = probes_of(network, inputs, ["encoder.layers.0.linear1"])
    assert probes == (Probe("encoder.layers.0.linear1", 0, 2),)
    _, found = embed(network, inputs, probes, forward=default_forward)
    layer = network.encoder.layers[0]
    hidden = layer.norm1(
        network.tokens(inputs)
        + layer.self_attn(*[network.tokens(inputs)] * 3, key_padding_mask=inputs == 0)[0]
    )
    wanted = layer.linear1(hidden).masked_fill((inputs == 0)[..., None], 0).mean(dim=1)
    torch.testing.assert_close(found[probes[0].name], wanted)


class Stays(nn.Module):
    """Layers of which one alone can lose units, the last but one."""

    def __init__(self, *body, mean=2):
        super().__init__()
        self.body, self.mean = nn.Sequential(*body), mean
        self.hidden, self.last = nn.LazyLinear(6), nn.Linear(6, 5)

    def forward(self, x):
        return self.last(self.hidden(self.body(x).mean(dim=self.mean)).relu())


@pytest.mark.parametrize(
    ("body", "shape", "mean", "unit_dim"),
    [
        ((nn.Conv1d(4, 4, 1), nn.ReLU()), (4, 4), 2, 1),
        ((nn.Conv1d(4, 4, 1), nn.MaxPool1d(2), nn.ReLU()), (4, 4), 2, 1),
        ((nn.BatchNorm1d(4), nn.ReLU()), (4, 4), 2, 1),
        ((nn.GroupNorm(2, 4), nn.ReLU()), (4, 4), 2, 1),
        ((nn.Linear(4, 4), nn.ReLU()), (4, 4), 1, 2),
        ((nn.Linear(4, 4), nn.LayerNorm(4)), (4, 4), 1, 2),
        ((nn.Linear(4, 4), nn.ReLU()), (4, 4, 4), (1, 2), 3),
        ((nn.Conv2d(4, 4, 1), nn.ReLU()), (4, 4, 4), (2, 3), 1),
        ((nn.ReLU(),), (4, 4, 4), (2, 3), 1),
        ((nn.ReLU(),), (4, 4), 1, 2),
        # In the same shape, and told by what was there last.
        ((nn.Conv1d(4, 4, 1), nn.Linear(4, 4), nn.ReLU()), (4, 4), 1, 2),
    ],
)
def test_units_that_all_stay_are_where_the_layers_before_put_them(body, shape, mean, unit_dim):
    torch.manual_seed(0)
    network = Stays(*body, mean=mean).eval()
    inputs = torch.randn(3, *shape)
    network(inputs)
    name = f"body.{len(body) - 1}"
    (probe,) = probes_of(network, inputs, [name], protect=["body"])
    assert probe == Probe(name, 0, unit_dim)


@pytest.mark.parametrize(("shape", "unit_dim"), [((7, 3, 4), 2), ((7, 3, 4, 2, 2), 2), ((4, 3), 0)])
def test_units_that_all_stay_are_behind_samples_that_are_not_first(shape, unit_dim):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.turned = nn.Identity()
            self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, 5)

        def forward(self, x):
            maps = torch.zeros(*[len(x) if n == 3 else n for n in shape])
            return self.last(self.hidden(x).relu()) + self.turned(maps).mean()

    torch.manual_seed(0)
    assert probes_of(Fixed().eval(), torch.randn(3, 4), ["turned"]) == (
        Probe("turned", 1, unit_dim),
    )


def test_layers_with_several_outputs_are_known_by_the_first():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.gru, self.last = nn.Linear(6, 8), nn.GRU(8, 4), nn.Linear(4, 5)
            self.first_again = nn.Linear(6, 7)
            self.last_again = nn.Linear(7, 5)

        def forward(self, x):
            beside = self.last_again(self.first_again(x).relu()).mean(dim=1)
            return self.last(self.gru(self.first(x).transpose(0, 1))[1][0]) + beside

    torch.manual_seed(0)
    found = probes_of(Recurrent().eval(), torch.randn(3, 7, 6), ["gru", "first_again"])
    assert found == (Probe("gru", 1, 2), Probe("first_again", 0, 2))


def test_positions_are_no_probe_as_they_are_of_no_sample():
    network = build_network("Positions")
    structure = find_structure(network, tokens())
    assert [group.name for group in structure.groups] == ["positions"]
    probes = probes_of(network, tokens())
    assert probes == (Probe("tokens", 0, 2),)
    _, found = embed(network, tokens(), probes, forward=default_forward)
    torch.testing.assert_close(found["tokens"], network.tokens(tokens()).mean(dim=1))
    with pytest.raises(ArgumentError, match=r"got \"'positions', .* shape \(7, 8\) for three"):
        probes_of(network, tokens(), ["positions"])


def test_layers_without_a_row_for_each_sample_are_not_taken():
    network = build_layout(AmongSamples)
    inputs = samples_for(network, 3)
    assert probes_of(network, inputs) == ()
    with pytest.raises(ArgumentError, match=r"got \"'act', which puts out shape \(21, 10\) for"):
        probes_of(network, inputs, ["act"])


@pytest.mark.parametrize("output", [{"a": torch.zeros(3, 4)}, torch.zeros(3, 4).long()])
def test_what_is_no_tensor_of_numbers_is_no_probe(output):
    class Odd(nn.Module):
        def forward(self, x):
            return output

    network = make_network_with(Odd())
    with pytest.raises(ArgumentError, match="got \"'odd', which puts out no tensor\""):
        probes_of(network, torch.randn(3, 4), ["odd"])


def test_a_layer_that_is_not_used_is_no_probe():
    network = make_network_with(nn.ReLU())
    network.unused = nn.ReLU()
    assert names_of(probes_of(network, torch.randn(3, 4))) == ("odd",)
    with pytest.raises(ArgumentError, match="got \"'unused', which puts out no tensor\""):
        probes_of(network, torch.randn(3, 4), ["unused"])


def make_network_with(odd):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd = odd
            self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, 5)

        def forward(self, x):
            self.odd(x)
            return self.last(self.hidden(x).relu())

    torch.manual_seed(0)
    return Beside().eval()


def test_nothing_of_the_parent_or_the_inputs_is_changed():
    class Overwriting(Series):
        def forward(self, x):
            return super().forward(x.mul_(2))

    network = build_layout(Overwriting)
    inputs = samples_for(network, 3)
    before, state = inputs.clone(), torch.get_rng_state()
    structure = find_structure(network, inputs.clone())
    find_probe_layers(
        network, None, structure=structure, two=inputs[:2], three=inputs, forward=default_forward
    )
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_forward_that_takes_no_smaller_child_is_named(tiny_task):
    def whole(module, inputs):
        if module[0].out_features < 16:
            raise RuntimeError("too small for me")
        return module(inputs)

    with pytest.raises(EvaluationError, match=r"forward: expected .*half.*too small for me"):
        make_toolbox(tiny_task(forward=whole))
