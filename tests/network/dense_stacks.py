"""Random stacks of dense layers, of every kind that is computed without modules."""

import inspect

import torch
from hypothesis import strategies as st
from torch import nn

from ecomp_deap.network.groups import ELEMENTWISE, stages

N_INPUTS, N_OUTPUTS = 6, 3


def can_be_in_place(kind):
    return "inplace" in inspect.signature(kind).parameters


@st.composite
def dense_stacks(draw, *, hidden=(1, 5), training=False, norm=True, dtypes=None):
    """A stack in eval mode with weights and statistics of its own.

    For training there is no dropout, and nothing in place that torch could not go back through.
    """
    kinds = [kind for kind in ELEMENTWISE if not (training and kind is nn.Dropout)]
    options = [{}, {"affine": False}, {"eps": 0.01, "momentum": 0.3}] if norm else []
    norms = st.sampled_from([None, None, *options])
    layers = []
    if draw(st.booleans()):
        layers.append(nn.Flatten())
    options = draw(norms)
    if options is not None:
        layers.append(nn.BatchNorm1d(N_INPUTS, **options))
    n_in = N_INPUTS
    for n_out in [*draw(st.lists(st.integers(2, 9), min_size=hidden[0], max_size=hidden[1])), 0]:
        layers.append(nn.Linear(n_in, n_out or N_OUTPUTS, bias=draw(st.booleans())))
        n_in = n_out or N_OUTPUTS
        options = draw(norms)
        if options is not None:
            layers.append(nn.BatchNorm1d(n_in, **options))
        if n_out:
            for i, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=3))):
                in_place = can_be_in_place(kind) and draw(st.booleans()) and not (training and i)
                layers.append(kind(inplace=True) if in_place else kind())
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(layers) - 1))
        layers = [*layers[:cut], nn.Sequential(*layers[cut:])]
    stack = nn.Sequential(*layers).eval()
    fill(stack, draw(st.integers(0, 10**6)))
    stack = stack.to(draw(st.sampled_from(dtypes or [torch.float32, torch.float64])))
    return double_behind_norms(stack) if training else stack


def double_behind_norms(stack):
    """Return a stack in double precision if it has batch norms (in place).

    They divide by what may be small, and leave nothing of some gradients but rounding, which Adam
    makes whole steps of: in single precision what is learnt depends on the processor.
    """
    norms = any(isinstance(module, nn.BatchNorm1d) for module in stack.modules())
    return stack.double() if norms else stack


def fill(stack, seed):
    """Give a stack weights of everyday size (in place)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in stack.state_dict().items():
            if tensor.ndim == 2:
                tensor.normal_(0.0, tensor.shape[1] ** -0.5, generator=generator)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0.3, 0.5, generator=generator)


def batch_for(stack, n=12, seed=0):
    """Return random inputs and labels; a stack with a Flatten in front takes small images."""
    generator = torch.Generator().manual_seed(seed)
    flattens = any(isinstance(module, nn.Flatten) for module in stack.modules())
    inputs = torch.randn((n, 2, 3) if flattens else (n, N_INPUTS), generator=generator)
    labels = torch.randint(N_OUTPUTS, (n,), generator=generator)
    return inputs.to(next(stack.parameters()).dtype), labels


def probes_of(network):
    """All stages whose outputs are units."""
    names = [name for name, _ in stages(network)]
    first = next(i for i, (_, m) in enumerate(stages(network)) if isinstance(m, nn.Linear))
    return tuple(names[first:])


def tensors_of(network):
    """A network's own tensors, as genomes hold them."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
