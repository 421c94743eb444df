"""Genomes of any width for the operators' tests, whose every number tells where it comes from."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from ecomp_deap.genomes import Axis, Group, MaskGenome, Structure, WeightGenome, WidthGenome

seeds = st.integers(0, 2**32 - 1)
#: The k-th mate's numbers are the parent's plus k times this.
STEP = 10_000.0


@dataclass(frozen=True)
class Stack:
    """A dense stack: its structure, and the parent's arrays, in which no number occurs twice."""

    structure: Structure
    arrays: dict[str, np.ndarray]

    def shared(self) -> dict:
        return {"structure": self.structure, "parent_arrays": self.arrays}


def make_stack(n_in, widths, n_out, minima, biases, round_to=1):
    """Return a `Stack` of layers 0 … n, the last one without a group."""
    groups = tuple(
        Group(f"layer_{i}", width, least, round_to)
        for i, (width, least) in enumerate(zip(widths, minima, strict=True))
    )
    tensors, shapes = {}, {}
    sizes = [n_in, *widths, n_out]
    for i in range(len(sizes) - 1):
        rows = Axis(i) if i < len(groups) else None
        columns = Axis(i - 1) if i > 0 else None
        tensors[f"layer_{i}.weight"] = (rows, columns)
        shapes[f"layer_{i}.weight"] = (sizes[i + 1], sizes[i])
        if biases[i]:
            tensors[f"layer_{i}.bias"] = (rows,)
            shapes[f"layer_{i}.bias"] = (sizes[i + 1],)
    arrays, start = {}, 1.0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = (start + np.arange(size, dtype=np.float64)).reshape(shape)
        start += size
    return Stack(Structure(groups, tensors, shapes), arrays)


@st.composite
def stacks(draw):
    widths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    return make_stack(
        n_in=draw(st.integers(1, 4)),
        widths=widths,
        n_out=draw(st.integers(1, 4)),
        minima=[draw(st.integers(1, width)) for width in widths],
        biases=draw(st.lists(st.booleans(), min_size=len(widths) + 1, max_size=len(widths) + 1)),
        round_to=draw(st.sampled_from([1, 1, 2, 3])),
    )


@st.composite
def masks_for(draw, structure):
    masks = []
    for group in structure.groups:
        size = draw(st.sampled_from(group.allowed))
        units = st.sets(st.integers(0, group.n_units - 1), min_size=size, max_size=size)
        mask = np.zeros(group.n_units, dtype=bool)
        mask[sorted(draw(units))] = True
        masks.append(mask)
    return masks


@st.composite
def width_mates(draw):
    """Draw a stack and two mates of integers."""
    stack = draw(stacks())
    widths = st.tuples(*(st.sampled_from(group.allowed) for group in stack.structure.groups))
    return stack, *(WidthGenome(draw(widths)) for _ in range(2))


def learnt_genome(stack, masks, k):
    """Return a genome that has learnt: the parent's numbers plus k steps."""
    kept = [np.flatnonzero(mask) for mask in masks]
    cut = stack.structure.slice(stack.arrays, kept)
    return MaskGenome(masks, {name: array + k * STEP for name, array in cut.items()})


@st.composite
def mask_mates(draw):
    """Draw a stack and two mates that have learnt nothing."""
    stack = draw(stacks())
    mates = [MaskGenome(draw(masks_for(stack.structure))) for _ in range(2)]
    return stack, *mates


@st.composite
def learnt_mates(draw):
    """Draw a stack and two mates with arrays of their own."""
    stack = draw(stacks())
    mates = [learnt_genome(stack, draw(masks_for(stack.structure)), k) for k in (1, 2)]
    return stack, *mates


def expected_arrays(stack, masks, sources):
    """Return a child's learnt arrays entry by entry: the slow twin of `realign`.

    Each entry comes from the first source whose masks keep all its units, else from the parent.
    """
    found = {}
    for name, axes in stack.structure.tensors.items():
        groups = [None if axis is None else axis.group for axis in axes]
        parent = stack.arrays[name]
        units = [
            range(size) if group is None else np.flatnonzero(masks[group])
            for size, group in zip(parent.shape, groups, strict=True)
        ]
        child = np.empty([len(kept) for kept in units])
        for place in np.ndindex(*child.shape):
            where = tuple(int(kept[i]) for kept, i in zip(units, place, strict=True))
            child[place] = parent[where]
            for k, source in sources:
                has_all = all(
                    group is None or source[group][unit]
                    for group, unit in zip(groups, where, strict=True)
                )
                if has_all:
                    child[place] += k * STEP
                    break
        found[name] = child
    return found


def assert_arrays_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_valid(stack, genome):
    """Masks fit the structure and its allowed widths; learnt arrays have the child's shapes."""
    assert len(genome.masks) == len(stack.structure.groups)
    for group, mask in zip(stack.structure.groups, genome.masks, strict=True):
        assert mask.shape == (group.n_units,)
        assert mask.dtype == np.bool_
        assert mask.sum() in group.allowed
    if genome.arrays is not None:
        shapes = {name: array.shape for name, array in genome.arrays.items()}
        assert shapes == stack.structure.child_shapes(genome.widths)


def make_weights(sizes, biases, k, dtype=np.float64):
    """Return a `WeightGenome` whose numbers lie between k steps and (k + 1) steps."""
    layers, start = {}, k * STEP + 1.0
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        size = n_out * n_in
        weight = (start + np.arange(size)).reshape(n_out, n_in).astype(dtype)
        start += size
        bias = (start + np.arange(n_out)).astype(dtype) if biases[i] else None
        start += n_out
        layers[f"layer_{i}"] = (weight, bias)
    return WeightGenome(layers)


@st.composite
def weight_mates(draw):
    """Draw two mates of the same layers, inputs and outputs, and of any hidden widths."""
    n_layers = draw(st.integers(1, 4))
    n_in, n_out = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    biases = draw(st.lists(st.booleans(), min_size=n_layers, max_size=n_layers))
    hidden = st.lists(st.integers(1, 8), min_size=n_layers - 1, max_size=n_layers - 1)
    return tuple(make_weights([n_in, *draw(hidden), n_out], biases, k) for k in (1, 2))


def copied(genome):
    """Return a weight genome's layers as arrays that nobody else holds."""
    return {
        name: (weight.copy(), None if bias is None else bias.copy())
        for name, (weight, bias) in genome.layers.items()
    }


def assert_layers_equal(found, expected):
    assert list(found) == list(expected)
    for name, (weight, bias) in expected.items():
        np.testing.assert_array_equal(found[name][0], weight, err_msg=name)
        if bias is None:
            assert found[name][1] is None
        else:
            np.testing.assert_array_equal(found[name][1], bias, err_msg=name)


def random_learnt(stack, masks, seed):
    """Return a genome whose weights come from a normal distribution."""
    rng = np.random.default_rng(seed)
    shapes = stack.structure.child_shapes([int(np.count_nonzero(mask)) for mask in masks])
    return MaskGenome(masks, {name: rng.standard_normal(shape) for name, shape in shapes.items()})


class BatchOf:
    """A batch, and what the units of a stack's children do on it: leaky rectifiers."""

    def __init__(self, stack, leak=0.0):
        self.stack, self.leak = stack, leak
        n_in = stack.structure.shapes["layer_0.weight"][1]
        self.inputs = np.random.default_rng(0).standard_normal((40, n_in))

    def __call__(self, genome):
        return self.walk(genome)[:-1]

    def outputs(self, genome):
        return self.walk(genome)[-1]

    def walk(self, genome):
        x, found = self.inputs, []
        n_layers = len(self.stack.structure.groups) + 1
        for i in range(n_layers):
            x = x @ genome.arrays[f"layer_{i}.weight"].T
            x = x + genome.arrays.get(f"layer_{i}.bias", 0.0)
            if i < n_layers - 1:
                x = np.maximum(x, self.leak * x)
            found.append(x)
        return found
