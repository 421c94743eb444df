import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecomp_deap.errors import ArgumentError
from ecomp_deap.genomes import MaskGenome
from ecomp_deap.network import Probe, compile_child, default_probe_layers, embed, find_structure
from ecomp_deap.network.masking import MaskedStack, last_stages
from tests.architectures import ALL, build, inputs_for, masked_outputs, random_masks


def run(network, children, inputs, probes=()):
    stack = MaskedStack(network, find_structure(network), probes)
    with torch.no_grad():
        return stack, *stack.run(inputs, [np.stack(masks) for masks in zip(*children, strict=True)])


@given(name=st.sampled_from(sorted(ALL)), seed=st.integers(0, 10**6), n=st.integers(1, 4))
def test_outputs_are_those_of_the_slow_twin(name, seed, n):
    network = build(name)
    widths = find_structure(network).widths
    children = [random_masks(widths, seed + i) for i in range(n)]
    inputs = inputs_for(network, seed=seed)
    _, outputs, _ = run(network, children, inputs)
    assert len(outputs) == n
    for masks, found in zip(children, outputs, strict=True):
        torch.testing.assert_close(
            found, masked_outputs(network, masks, inputs), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", ALL)
def test_embeddings_have_the_parents_units_and_the_childs_values(name):
    network = build(name)
    structure = find_structure(network)
    probes = [Probe(name) for name in default_probe_layers(network)]
    masks = random_masks(structure.widths, 3)
    inputs = inputs_for(network)
    stack, _, found = run(network, [masks, masks], inputs, probes)
    child = compile_child(network, structure, MaskGenome(masks))
    with torch.no_grad():
        _, wanted = embed(child, inputs, probes, forward=lambda m, x: m(x))
    assert stack.groups == {probe.name: i for i, probe in enumerate(probes)}
    # The first group's units are as in the parent, for all children.
    assert [embedding.ndim for embedding in found.values()] == [2] + [3] * (len(probes) - 1)
    for mask, probe in zip(masks, probes, strict=True):
        own = found[probe.name][..., torch.from_numpy(mask)]
        own = own[1] if own.ndim == 3 else own
        torch.testing.assert_close(own, wanted[probe.name], rtol=1e-5, atol=1e-5)


def test_a_container_puts_out_what_its_last_stage_does():
    network = build("nested")
    assert last_stages(network, ("body", "body.1.1", "middle")) == {
        "body": "body.1.1.1",
        "body.1.1": "body.1.1.1",
        "middle": "middle",
    }


def test_a_probe_layer_without_a_stage_is_refused():
    with pytest.raises(ArgumentError, match=r"probe_layers: expected names of .*, got 'mid'"):
        last_stages(build("nested"), ("mid",))
