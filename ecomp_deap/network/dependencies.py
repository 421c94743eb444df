"""Groups of any network: Torch-Pruning's dependency graph, proven by running the children.

The graph says which entries of which tensors go together. It is asked once, about the parent, and
never trusted: every group is cut out of a child whose outputs must be those of the parent with
the removed units read as 0, and what fails that stays whole, with its reason. Where no graph can
be built, the sequential stacks inside the network are searched.

Source of the graph: Fang et al. (2023), "DepGraph: Towards Any Structural Pruning".
"""

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ecomp_deap.errors import ArgumentError, argument_error, one_line
from ecomp_deap.genomes import Axis, Group, MaskGenome, MixedAxis, Structure
from ecomp_deap.network.compile import compile_child
from ecomp_deap.network.groups import OUTPUTS, stack_structure
from ecomp_deap.task import default_forward

__all__ = ["traced_structure"]

_FLOATS = (torch.float32, torch.float64)
_NORMS_ACROSS = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
# What a reason that is no single layer's stands under.
_NETWORK = "(the network)"
# Outputs may differ by rounding, relative to the largest.
_TOLERANCE = 1e-4

# The largest entry of a parameter that an initialisation has as good as switched off.
_NEXT_TO_NOTHING = 1e-5

Forward = Callable[[nn.Module, Any], Any]


@dataclass
class _Candidate:
    """Units that might be a group.

    Attributes:
        name: The layer that makes them.
        n_units: How many there are.
        entries: For each tensor and dimension, which entry belongs to which unit.
        problem: Why they must stay, if that is known.
    """

    name: str
    n_units: int
    entries: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)
    problem: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether some layer takes the units as its inputs."""
        return any(dim > 0 for _, dim in self.entries)


def traced_structure(
    parent: nn.Module,
    example: Any,
    *,
    forward: Forward | None = None,
    protect: Collection[str] = (),
) -> Structure:
    """Return the groups of a network of any form.

    Args:
        parent: The network, in eval mode; it is not changed.
        example: A batch; a sample or two are enough.
        forward: ``(module, inputs) -> outputs``, by default ``module(inputs)``.
        protect: Names of layers whose outputs stay whole.

    Returns:
        The groups. All together have been removed by half from a child whose outputs were the
        masked parent's.

    Raises:
        ArgumentError: Nothing to prune, with every layer's reason; or an unknown name.
    """
    names = dict(parent.named_modules())
    for name in protect:
        if name not in names:
            raise argument_error("protect", "names of the parent's modules", name)
    if example is None:
        raise argument_error("example", "a batch, as the parent is no sequential stack", None)
    forward = default_forward if forward is None else forward
    left_alone: dict[str, str] = {}
    candidates = list(_candidates(parent, example, forward, left_alone))
    ready = _joined(candidates, parent)
    for candidate in ready:
        if any(layer in protect for layer in _makers(candidate)):
            candidate.problem = "protected"
        elif candidate.problem is None and not candidate.is_read:
            candidate.problem = OUTPUTS
        elif candidate.problem is None and candidate.n_units < 2:
            candidate.problem = "it has one unit"
    for candidate in ready:
        if candidate.problem is not None:
            left_alone.update(dict.fromkeys(_makers(candidate), candidate.problem))
    sound = [candidate for candidate in ready if candidate.problem is None]
    proven = _proven(_lively(parent, example, forward), sound, example, forward, left_alone)
    order = {name: i for i, name in enumerate(names)}
    proven.sort(key=lambda candidate: order[candidate.name])
    cut = {name for candidate in proven for name in _makers(candidate)}
    for name, module in names.items():
        if isinstance(module, (nn.Linear, _ConvNd)) and name not in cut:
            left_alone.setdefault(name, "nothing says what reads its units")
    if not proven:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_alone.items())
        raise argument_error("parent", "at least one layer to prune", f"none ({reasons})")
    return _structure(parent, proven, left_alone)


def _makers(candidate: _Candidate) -> list[str]:
    """Return the layers that put out a candidate's units."""
    layers = [t.rpartition(".")[0] for t, dim in candidate.entries if dim == 0]
    return list(dict.fromkeys([candidate.name, *layers]))


# Finding candidates


def _candidates(
    parent: nn.Module, example: Any, forward: Forward, left_alone: dict[str, str]
) -> Iterator[_Candidate]:
    if not any(isinstance(module, nn.MultiheadAttention) for module in parent.modules()):
        try:
            yield from _graph_candidates(parent, example, forward)
            return
        except Exception as error:  # whatever a tracer meets in a network it does not know
            left_alone[_NETWORK] = (
                f"no dependency graph ({type(error).__name__}: {one_line(error)})"
            )
    else:
        left_alone[_NETWORK] = "no dependency graph, as attention fixes the size of what it reads"
    yield from _stack_candidates(parent)


def _graph_candidates(parent: nn.Module, example: Any, forward: Forward) -> list[_Candidate]:
    # Of a copy in the same memory, as the graph's hooks and gradients do not concern the parent.
    memo = {id(p): nn.Parameter(p.detach(), requires_grad=True) for p in parent.parameters()}
    network = copy.deepcopy(parent, memo).eval()
    names = {module: name for name, module in network.named_modules()}
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        import torch_pruning

        # What follows is a graph whose paths multiply until no memory is left.
        warnings.filterwarnings("error", message="Maximum recursive depth reached")
        graph = torch_pruning.DependencyGraph().build_dependency(
            network, example_inputs=example, forward_fn=forward, verbose=False
        )
        return [
            _candidate(group, names, graph.is_out_channel_pruning_fn)
            for group in graph.get_all_groups()
        ]


def _candidate(
    group: Any, names: Mapping[nn.Module, str], makes: Callable[[Any], bool]
) -> _Candidate:
    root = group[0]
    found = _Candidate(names[root.dep.target.module], len(root.idxs))
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            found.problem = "a parameter that belongs to no layer has its size"
        elif module in names:
            _collect(found, names[module], module, item, makes(item.dep.handler))
    return found


def _collect(found: _Candidate, name: str, module: nn.Module, item: Any, makes: bool) -> None:
    """Note the entries of one layer."""
    pairs = list(zip(item.idxs, item.root_idxs, strict=True))
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    tensors = [key for key in own if own[key].ndim]
    if isinstance(module, _NORMS_ACROSS):
        found.problem = f"{type(module).__name__} {name!r} mixes its units"
    elif isinstance(module, _BatchNorm):
        for key in tensors:
            found.entries.setdefault((f"{name}.{key}", 0), []).extend(pairs)
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            found.entries.setdefault((f"{name}.weight", 0), []).extend(pairs)
    elif isinstance(module, _ConvTransposeNd) or not isinstance(module, (nn.Linear, _ConvNd)):
        if own:
            found.problem = f"{type(module).__name__} {name!r} is not cut"
    elif makes:
        for key in tensors:
            found.entries.setdefault((f"{name}.{key}", 0), []).extend(pairs)
    else:
        # A grouped convolution numbers the inputs of each of its groups from 0.
        n_inputs = module.weight.shape[1]
        inside = [(entry % n_inputs, unit) for entry, unit in pairs]
        found.entries.setdefault((f"{name}.weight", 1), []).extend(inside)


def _stack_candidates(parent: nn.Module) -> Iterator[_Candidate]:
    """Yield the groups inside the sequential stacks that a network is made of."""
    done: list[str] = []
    for name, module in parent.named_modules():
        if not name or any(name.startswith(f"{other}.") for other in done):
            continue
        try:
            structure = stack_structure(module)
        except ArgumentError:
            continue
        done.append(name)
        for index, group in enumerate(structure.groups):
            found = _Candidate(f"{name}.{group.name}", group.n_units)
            for tensor, axes in structure.tensors.items():
                for dim, axis in enumerate(axes):
                    if axis is not None and index in axis.groups:
                        units = axis.units(index, structure.shapes[tensor][dim])
                        pairs = list(enumerate(units.tolist()))
                        found.entries[f"{name}.{tensor}", dim] = pairs
            yield found


# Joining what must go together


def _joined(candidates: Sequence[_Candidate], parent: nn.Module) -> list[_Candidate]:
    """Return candidates of which no two own the same entry, with units that go together joined."""
    offsets = np.cumsum([0, *(candidate.n_units for candidate in candidates)])
    units = _Partition(int(offsets[-1]))
    owner: dict[tuple[str, int, int], int] = {}
    modules = dict(parent.named_modules())
    for candidate, offset in zip(candidates, offsets, strict=False):
        for (tensor, dim), pairs in candidate.entries.items():
            for entry, unit in pairs:
                node = int(offset) + unit
                units.join(node, owner.setdefault((tensor, dim, entry), node))
            module = modules[tensor.rpartition(".")[0]]
            if dim == 0 and isinstance(module, _ConvNd) and module.groups > 1:
                # Every group of a convolution loses as many of its outputs.
                n_outputs = module.out_channels // module.groups
                depthwise = module.groups == module.in_channels
                first: dict[int, int] = {}
                for entry, unit in () if depthwise else pairs:
                    node = int(offset) + unit
                    units.join(node, first.setdefault(entry % n_outputs, node))
                if depthwise and n_outputs > 1:
                    candidate.problem = f"{tensor!r} makes several units of one"
    owners = np.searchsorted(offsets, np.arange(offsets[-1]), side="right") - 1
    groups = _Partition(len(candidates))
    for node in range(int(offsets[-1])):
        groups.join(int(owners[node]), int(owners[units.root(node)]))
    members: dict[int, list[int]] = {}
    for index in range(len(candidates)):
        members.setdefault(groups.root(index), []).append(index)
    joined = [
        _merge([candidates[i] for i in own], [int(offsets[i]) for i in own], units)
        for own in members.values()
    ]
    _judge(joined, parent)
    return joined


def _merge(
    candidates: Sequence[_Candidate], offsets: Sequence[int], units: "_Partition"
) -> _Candidate:
    number: dict[int, int] = {}
    merged = _Candidate(candidates[0].name, 0)
    sets: dict[tuple[str, int], dict[int, int]] = {}
    for candidate, offset in zip(candidates, offsets, strict=True):
        merged.problem = merged.problem or candidate.problem
        for unit in range(candidate.n_units):
            root = units.root(offset + unit)
            number.setdefault(root, len(number))
        for key, pairs in candidate.entries.items():
            own = sets.setdefault(key, {})
            for entry, unit in pairs:
                own[entry] = number[units.root(offset + unit)]
    merged.n_units = len(number)
    merged.entries = {key: sorted(own.items()) for key, own in sets.items()}
    return merged


def _judge(candidates: Sequence[_Candidate], parent: nn.Module) -> None:
    """Name candidates by their first layers, and note what keeps them from being cut."""
    modules = dict(parent.named_modules())
    order = {name: i for i, name in enumerate(modules)}
    state = parent.state_dict(keep_vars=True)
    same: dict[int, list[str]] = {}
    for name, value in state.items():
        same.setdefault(id(value), []).append(name)
    for candidate in candidates:
        layers = [n for n in _makers(candidate) if isinstance(modules[n], (nn.Linear, _ConvNd))]
        candidate.name = min(layers, key=order.__getitem__, default=candidate.name)
        for (tensor, _), pairs in candidate.entries.items():
            counts = np.bincount([unit for _, unit in pairs], minlength=candidate.n_units)
            twins = same[id(state[tensor])]
            if candidate.problem is not None:
                break
            if counts.min() != counts.max():
                candidate.problem = f"its units own different numbers of entries of {tensor!r}"
            elif len(twins) > 1:
                candidate.problem = f"{' and '.join(twins)} are one tensor"
            elif state[tensor].dtype not in _FLOATS:
                candidate.problem = f"{tensor!r} is {state[tensor].dtype}"


class _Partition:
    """Disjoint sets of numbers; the smallest stands for its set."""

    def __init__(self, n: int) -> None:
        self._above = list(range(n))

    def root(self, x: int) -> int:
        while self._above[x] != x:
            self._above[x] = self._above[self._above[x]]
            x = self._above[x]
        return x

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self._above[high] = low


# Proving them


def _lively(parent: nn.Module, example: Any, forward: Forward) -> nn.Module:
    """Return the parent with outputs that depend on its units, as an untrained one's may not.

    Parameters that are all next to 0 become small random numbers, and batch norms normalise the
    example: behind a last layer of zeros, or activations that fade from layer to layer, every
    child's outputs would be the parent's. Other tensors are shared.
    """
    generator = torch.Generator().manual_seed(0)
    memo: dict[int, Any] = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    for module in parent.modules():
        if isinstance(module, _BatchNorm):
            memo |= {id(buffer): buffer.clone() for buffer in module.buffers()}
    for parameter in parent.parameters():
        if parameter.numel() and parameter.abs().max() <= _NEXT_TO_NOTHING:
            values = 0.02 * torch.randn(parameter.shape, generator=generator)
            memo[id(parameter)] = nn.Parameter(values.to(parameter))
    lively = copy.deepcopy(parent, memo)
    norms = [m for m in lively.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    try:
        with torch.no_grad():
            forward(lively, example)
    except ValueError:  # a norm that sees one value only has nothing to normalise
        for norm, (_, state) in zip(norms, before, strict=True):
            norm.load_state_dict(state)
    for norm, (momentum, _) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
        if norm.running_var is not None:
            norm.running_var.clamp_(min=1e-4)
    return lively


def _proven(
    parent: nn.Module,
    candidates: Sequence[_Candidate],
    example: Any,
    forward: Forward,
    left_alone: dict[str, str],
) -> list[_Candidate]:
    """Return the candidates that can be removed together; note why others cannot."""
    if not candidates or _failure(parent, candidates, example, forward) is None:
        return list(candidates)
    alone = []
    for candidate in candidates:
        reason = _failure(parent, [candidate], example, forward)
        if reason is None:
            alone.append(candidate)
        else:
            left_alone.update(dict.fromkeys(_makers(candidate), reason))
    if not alone or _failure(parent, alone, example, forward) is None:
        return alone
    together: list[_Candidate] = []
    for candidate in alone:
        reason = _failure(parent, [*together, candidate], example, forward)
        if reason is None:
            together.append(candidate)
        else:
            reason = f"together with other groups, {reason}"
            left_alone.update(dict.fromkeys(_makers(candidate), reason))
    return together


def _failure(
    parent: nn.Module, candidates: Sequence[_Candidate], example: Any, forward: Forward
) -> str | None:
    """Return why a child without half of the candidates' units is not the masked parent."""
    structure = _structure(parent, candidates, {})
    rng = np.random.default_rng(0)
    masks = [rng.permutation(group.n_units) >= group.n_units // 2 for group in structure.groups]
    state = parent.state_dict()
    arrays = {name: state[name].cpu().numpy() for name in structure.tensors}
    with torch.no_grad():
        expected = forward(masked_parent(parent, structure, masks), example)
        child = compile_child(parent, structure, MaskGenome(masks), arrays=arrays)
        try:
            found = forward(child, example)
        except Exception as error:  # whatever the network's own code raises
            return f"without its units the network does not run ({one_line(error)})"
    found_leaves, expected_leaves = _leaves(found), _leaves(expected)
    if [leaf.shape for leaf in found_leaves] != [leaf.shape for leaf in expected_leaves]:
        return OUTPUTS
    for a, b in zip(found_leaves, expected_leaves, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        if not float((a - b).abs().max()) <= _TOLERANCE * max(scale, 1e-30):
            return "removing a unit changes what others compute"
    return None


def _leaves(outputs: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def masked_parent(
    parent: nn.Module, structure: Structure, masks: Sequence[np.ndarray]
) -> nn.Module:
    """Return a copy of the parent whose layers read removed units as 0: a child's slow twin.

    Args:
        parent: The network.
        structure: Its groups.
        masks: For each group a boolean array of shape ``(n_units,)``, True where the unit stays.
    """
    kept = [np.flatnonzero(mask) for mask in masks]
    tensors = dict(parent.named_parameters())
    # The others are shared.
    memo: dict[int, Any] = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    for name, axes in structure.tensors.items():
        if len(axes) >= 2 and axes[1] is not None:
            removed = np.ones(structure.shapes[name][1], dtype=bool)
            removed[axes[1].entries(kept)] = False
            values = tensors[name].detach().clone()
            values[:, torch.from_numpy(removed)] = 0
            memo[id(tensors[name])] = nn.Parameter(values)
    return copy.deepcopy(parent, memo)


def _structure(
    parent: nn.Module, candidates: Sequence[_Candidate], left_alone: Mapping[str, str]
) -> Structure:
    """Return the structure of candidates, with every parameter of the parent in it."""
    owned: dict[tuple[str, int], list[tuple[int, list[tuple[int, int]]]]] = {}
    for index, candidate in enumerate(candidates):
        for key, pairs in candidate.entries.items():
            owned.setdefault(key, []).append((index, pairs))
    state = {
        name: value
        for name, value in (*parent.named_parameters(), *parent.named_buffers())
        if value.dtype in _FLOATS
        and (isinstance(value, nn.Parameter) or any((name, d) in owned for d in range(value.ndim)))
    }
    tensors = {
        name: tuple(_axis(owned.get((name, dim)), size) for dim, size in enumerate(value.shape))
        for name, value in state.items()
    }
    return Structure(
        tuple(Group(candidate.name, candidate.n_units) for candidate in candidates),
        tensors,
        {name: tuple(value.shape) for name, value in state.items()},
        left_alone=dict(left_alone),
        is_stack=False,
    )


def _axis(
    owned: Sequence[tuple[int, Sequence[tuple[int, int]]]] | None, size: int
) -> Axis | MixedAxis | None:
    if owned is None:
        return None
    owners, units = np.full(size, -1), np.full(size, -1)
    for index, pairs in owned:
        entries, own = np.array(pairs).T
        owners[entries], units[entries] = index, own
    first = int(owners[0])
    block = int(np.count_nonzero(units == units[0]))
    if (
        len(owned) == 1
        and first >= 0
        and (owners == first).all()
        and (np.array_equal(units, np.arange(size) // block))
    ):
        return Axis(first, block)
    return MixedAxis(tuple(owners.tolist()), tuple(units.tolist()))
