"""Random groups and tensors, for the tests of `Structure` and `realign`."""

import numpy as np
from hypothesis import strategies as st

from ecomp_deap.genomes import Axis, Group, Structure


@st.composite
def structures(draw):
    """A structure of 1 to 3 groups; tensors of 1 to 3 dimensions, some with blocks."""
    groups = tuple(
        Group(f"group_{i}", draw(st.integers(1, 6))) for i in range(draw(st.integers(1, 3)))
    )
    axis = st.none() | st.builds(Axis, st.integers(0, len(groups) - 1), st.integers(1, 3))
    tensors, shapes = {}, {}
    for t in range(draw(st.integers(1, 3))):
        axes = tuple(draw(st.lists(axis, min_size=1, max_size=3)))
        tensors[f"tensor_{t}"] = axes
        shapes[f"tensor_{t}"] = tuple(
            draw(st.integers(1, 3)) if a is None else groups[a.group].n_units * a.block
            for a in axes
        )
    return Structure(groups, tensors, shapes)


@st.composite
def masks_for(draw, structure):
    """For each group a mask that keeps at least one unit."""
    masks = []
    for group in structure.groups:
        mask = np.array(
            draw(st.lists(st.booleans(), min_size=group.n_units, max_size=group.n_units))
        )
        mask[draw(st.integers(0, group.n_units - 1))] = True
        masks.append(mask)
    return masks


def numbered(structure, start):
    """Arrays in the parent's shapes in which no number comes twice."""
    arrays = {}
    for name, shape in structure.shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype=np.float64).reshape(shape)
        start += size
    return arrays


def units_of(structure, name, index, kept):
    """(group, unit of the parent, place in the unit's block) along each dimension of an entry."""
    place = []
    for axis, i in zip(structure.tensors[name], index, strict=True):
        if axis is None:
            place.append((None, i, 0))
        else:
            unit, offset = divmod(i, axis.block)
            place.append((axis.group, int(kept[axis.group][unit]), offset))
    return tuple(place)
