"""`CostModel`: what children cost, from their widths alone."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.genomes import Axis, MaskGenome, MixedAxis, Structure
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.cost import REST, mac_count, param_count, products, size_bytes

__all__ = ["CostModel", "Costs", "half_widths", "leading_units"]

# Widths whose children were counted and are remembered.
_MOST_REMEMBERED = 4096
# Of an entry of `InputLinear.input_indices`.
_INDEX_BYTES = 8
# Parameters, multiply-accumulate operations for a batch, bytes.
Totals = tuple[int, int | Fraction, int]


@dataclass(frozen=True)
class Costs:
    """What a network takes.

    Attributes:
        param_count: Number of parameters.
        mac_count: Multiply-accumulate operations for one sample.
        size_bytes: Bytes of the parameters and buffers in its state dict.
    """

    param_count: int
    mac_count: int
    size_bytes: int


def half_widths(structure: Structure) -> tuple[int, ...]:
    """Return the widths of a child of about half of the units, as far as they can go."""
    return tuple(group.nearest(group.n_units / 2) for group in structure.groups)


def leading_units(structure: Structure, widths: Sequence[int]) -> MaskGenome:
    """Return the genome of a child of given widths, whichever units it keeps: the first ones."""
    return MaskGenome(
        [np.arange(n) < width for n, width in zip(structure.widths, widths, strict=True)]
    )


class CostModel:
    """Knows the costs of every child of a parent; picklable.

    A tensor's size is the product of its axes' sizes, and a product with a weight takes as many
    operations as the weight has entries, times the positions at which it is applied. What reads
    no weight, as attention's products of activations, is taken to be the same for all children,
    or else to grow in proportion to each group's width. Whether that holds is found out on
    children of half the widths; where it does not, children are compiled and counted, those of
    the same widths once.

    Args:
        parent: The parent, in eval mode; it is not changed.
        structure: Its groups.
        example: A batch of ``n_samples`` samples; a sample or two are enough. Without it, each
            entry of a weight is taken to be read once, as in a dense stack, and nothing is run.
        n_samples: Size of the batch.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.
        arrays: The parent's arrays by name, if they are at hand.

    Attributes:
        is_exact: Whether costs follow from the widths, so that no child is compiled.
    """

    def __init__(
        self,
        parent: nn.Module,
        structure: Structure,
        example: Any = None,
        *,
        n_samples: int = 1,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._structure, self._n_samples = structure, n_samples
        tensors = _tensors(parent, structure)
        self._counting: _Counting | None = None
        self.is_exact = True
        if example is None:
            macs = Counter({n: t.numel() for n, t in tensors.items() if t.ndim >= 2})
            self._formula = _Formula(parent, structure, tensors, macs)
            return
        macs = products(parent, example, tensors, forward=forward)
        self._formula = _Formula(parent, structure, tensors, macs)
        self._counting = _Counting(parent, structure, example, forward, arrays)
        self.is_exact = self._agrees() or self._agrees_in_proportion()
        if self.is_exact:
            self._counting = None

    def __call__(self, widths: Sequence[int]) -> Costs:
        """Return the costs of a child.

        Args:
            widths: Its units in each group.
        """
        if self._counting is None:
            return self.formula(widths)
        return self._costs(self._counting.totals(tuple(widths)))

    def formula(self, widths: Sequence[int]) -> Costs:
        """Return what the costs would be by the formula, of widths that no child has as well."""
        return self._costs(self._formula.totals(widths))

    @property
    def smallest(self) -> tuple[int, ...]:
        """The widths of the smallest child: every group at its minimum."""
        return tuple(group.allowed[0] for group in self._structure.groups)

    def _costs(self, totals: Totals) -> Costs:
        params, macs, n_bytes = totals
        return Costs(params, int(macs // self._n_samples), n_bytes)

    def _agrees(self) -> bool:
        several = (half_widths(self._structure), self.smallest)
        return all(self._formula.totals(w) == self._counted(w) for w in several)

    def _agrees_in_proportion(self) -> bool:
        """Find what each unit adds to the products of activations, and whether that is all."""
        whole = self._structure.widths
        for index, group in enumerate(self._structure.groups):
            removed = group.n_units - group.nearest(group.n_units / 2)
            if removed:
                less = tuple(n - removed * (i == index) for i, n in enumerate(whole))
                missing = self._formula.totals(less)[1] - self._counted(less)[1]
                self._formula.add_share(index, group.n_units, Fraction(missing, removed))
        return self._agrees()

    def _counted(self, widths: tuple[int, ...]) -> Totals:
        assert self._counting is not None
        return self._counting.totals(widths)


class _Formula:
    """Sums of products of sizes of axes: exact, and known in microseconds."""

    def __init__(
        self,
        parent: nn.Module,
        structure: Structure,
        tensors: Mapping[str, torch.Tensor],
        macs: Mapping[str, int],
    ) -> None:
        self._axes: list[Axis | MixedAxis] = []
        # Parameters, operations and bytes for each product of sizes, by the places of its axes.
        self._terms: dict[tuple[int, ...], tuple[int, int | Fraction, int]] = {}
        stored = {id(value): value for value in parent.state_dict(keep_vars=True).values()}
        for name, tensor in tensors.items():
            is_stored = stored.pop(id(tensor), None) is not None
            axes = [axis for axis in structure.tensors.get(name, ()) if axis is not None]
            self._add(
                axes,
                math.prod(axis.size(structure.widths) for axis in axes),
                tensor.numel() if isinstance(tensor, nn.Parameter) else 0,
                macs.get(name, 0),
                tensor.nbytes if is_stored else 0,
            )
        others = [value for value in stored.values() if isinstance(value, torch.Tensor)]
        self._add([], 1, 0, macs.get(REST, 0), sum(tensor.nbytes for tensor in others))
        for axis in _input_axes(structure):
            # Such a child lists the features that it reads.
            size = axis.size(structure.widths)
            self._add([axis], size, 0, 0, _INDEX_BYTES * size)

    def totals(self, widths: Sequence[int]) -> Totals:
        """Return a child's parameters, operations for the batch, and bytes."""
        sizes = [axis.size(widths) for axis in self._axes]
        params: int = 0
        macs: int | Fraction = 0
        n_bytes: int = 0
        for places, (of_params, of_macs, of_bytes) in self._terms.items():
            size = 1
            for place in places:
                size *= sizes[place]
            params += size * of_params
            macs += size * of_macs
            n_bytes += size * of_bytes
        return params, macs, n_bytes

    def add_share(self, group: int, n_units: int, share: Fraction) -> None:
        """Let each of a group's units take a share of the operations that are there already."""
        self._add([Axis(group)], n_units, 0, n_units * share, 0)
        self._add([], 1, 0, -n_units * share, 0)

    def _add(
        self,
        axes: Sequence[Axis | MixedAxis],
        size: int,
        params: int,
        macs: int | Fraction,
        n_bytes: int,
    ) -> None:
        """Add what the parent has, where the product of the axes' sizes is ``size``."""
        for axis in axes:
            if axis not in self._axes:
                self._axes.append(axis)
        places = tuple(sorted(self._axes.index(axis) for axis in axes))
        before = self._terms.get(places, (0, 0, 0))
        operations = Fraction(macs, size) + before[1]
        self._terms[places] = (
            before[0] + params // size,
            operations.numerator if operations.denominator == 1 else operations,
            before[2] + n_bytes // size,
        )


class _Counting:
    """Counts children that it compiles, and remembers those of the latest widths; picklable."""

    def __init__(
        self,
        parent: nn.Module,
        structure: Structure,
        example: Any,
        forward: Callable[[nn.Module, Any], Any] | None,
        arrays: Mapping[str, np.ndarray] | None,
    ) -> None:
        self._parent, self._structure, self._arrays = parent, structure, arrays
        self._example, self._forward = example, forward
        self._found: dict[tuple[int, ...], Totals] = {}
        self._lock = threading.Lock()

    def totals(self, widths: tuple[int, ...]) -> Totals:
        """Return a child's parameters, operations for the batch, and bytes."""
        with self._lock:
            if widths not in self._found:
                if len(self._found) == _MOST_REMEMBERED:
                    del self._found[next(iter(self._found))]
                self._found[widths] = self._count(widths)
            return self._found[widths]

    def _count(self, widths: tuple[int, ...]) -> Totals:
        genome = leading_units(self._structure, widths)
        child = compile_child(self._parent, self._structure, genome, arrays=self._arrays)
        macs = mac_count(child, self._example, n_samples=1, forward=self._forward)
        return param_count(child), macs, size_bytes(child)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _tensors(parent: nn.Module, structure: Structure) -> dict[str, torch.Tensor]:
    """Return the parent's parameters and the structure's buffers, tied ones once."""
    named = {
        **dict(parent.named_parameters(remove_duplicate=False)),
        **dict(parent.named_buffers(remove_duplicate=False)),
    }
    unique = {id(named[name]): name for name in structure.tensors}
    for name, parameter in parent.named_parameters():
        unique.setdefault(id(parameter), name)
    return {name: named[name] for name in unique.values()}


def _input_axes(structure: Structure) -> Iterator[Axis | MixedAxis]:
    """Yield the axis of each weight that reads a group of input features."""
    for tensor in structure.tensors:
        axis = structure.read_along(tensor)
        if axis is not None and any(structure.groups[group].is_input for group in axis.groups):
            yield axis
