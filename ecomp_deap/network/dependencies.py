"""Groups of any network: Torch-Pruning's dependency graph, proven by running the children.

The graph says which entries of which tensors go together. It is asked once, about the parent, and
never trusted: every group is cut out of a child whose outputs must be those of the parent with
the removed units read as 0, and what fails that stays whole, with its reason. Where no graph can
be built, the sequential stacks inside the network are searched. Attention heads, which a graph of
layers does not show, are found by themselves.

Source of the graph: Fang et al. (2023), "DepGraph: Towards Any Structural Pruning".
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ecomp_deap.copying import copy_network, tensors_in
from ecomp_deap.errors import ArgumentError, argument_error, named
from ecomp_deap.genomes import Structure
from ecomp_deap.network.attention import head_candidates, make_plain
from ecomp_deap.network.candidates import FLOATS, Candidate, structure_of
from ecomp_deap.network.failures import failure, other_type
from ecomp_deap.network.groups import NETWORK, OUTPUTS, nothing_to_prune, stack_structure
from ecomp_deap.network.proof import lively_twin, proven_candidates
from ecomp_deap.network.running import Forward, run
from ecomp_deap.task import default_forward

__all__ = ["traced_structure"]

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_MAKERS = (nn.Linear, _ConvNd, *_EMBEDDINGS)
_NORMS_ACROSS = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)


def traced_structure(
    parent: nn.Module,
    example: Any,
    *,
    forward: Forward | None = None,
) -> Structure:
    """Return the groups of a network of any form.

    Args:
        parent: The network, in eval mode; it is not changed.
        example: A batch. A sample or two are enough, but where a network sends samples different
            ways, take some for each.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.

    Returns:
        The groups. All together have been removed in part from a child whose outputs were the
        masked parent's.

    Raises:
        ArgumentError: An example that the parent does not take; nothing to prune, with every
            layer's reason; outputs without floating-point numbers, by which nothing can be proven.
    """
    names = dict(parent.named_modules())
    if example is None:
        raise argument_error("example", "a batch, as the parent is no sequential stack", None)
    forward = default_forward if forward is None else forward
    _check_runs(parent, example, forward)
    parent = _with_steady_tables(parent)
    left_alone: dict[str, str] = {}
    candidates = list(_candidates(parent, example, forward, left_alone))
    ready = _joined(candidates, parent)
    for candidate in ready:
        if candidate.problem is None and not candidate.is_read:
            candidate.problem = OUTPUTS
        elif candidate.problem is None and candidate.n_units < 2:
            candidate.problem = "it has one unit"
    for candidate in ready:
        if candidate.problem is not None:
            left_alone.update(dict.fromkeys(candidate.makers, candidate.problem))
    sound = [candidate for candidate in ready if candidate.problem is None]
    order = {name: i for i, name in enumerate(names)}
    sound.sort(key=lambda candidate: order[candidate.name])
    lively = lively_twin(parent, example, forward)
    proven = proven_candidates(lively, sound, example, forward, left_alone)
    proven.sort(key=lambda candidate: order[candidate.name])
    cut = {name for candidate in proven for name in candidate.makers}
    for name, module in names.items():
        if isinstance(module, _MAKERS) and name not in cut:
            left_alone.setdefault(name, "nothing says what reads its units")
    if not proven:
        raise nothing_to_prune(left_alone)
    return structure_of(parent, proven, left_alone)


def _check_runs(parent: nn.Module, example: Any, forward: Forward) -> None:
    """Check that a parent takes an example."""
    try:
        with torch.no_grad():
            run(copy_network(parent), example, forward)
    except Exception as error:  # whatever the network's own code raises
        why = failure(error)
        why = other_type(parent, example, forward) or why
        raise ArgumentError(
            f"example: expected a batch that the parent takes, but {why}"
        ) from error


def _with_steady_tables(parent: nn.Module) -> nn.Module:
    """Return the parent, or a copy with tables of its own if a forward pass scales their rows."""
    tables = (m for m in parent.modules() if isinstance(m, _EMBEDDINGS) and m.max_norm is not None)
    weights = (m._parameters["weight"] for m in tables if "weight" in m._parameters)
    scaled = {id(w): nn.Parameter(w.detach().clone()) for w in weights if w is not None}
    if not scaled:
        return parent
    shared = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    return copy_network(parent, {**shared, **scaled})


# Finding candidates


def _candidates(
    parent: nn.Module, example: Any, forward: Forward, left_alone: dict[str, str]
) -> Iterator[Candidate]:
    yield from head_candidates(parent, left_alone)
    try:
        yield from _graph_candidates(parent, example, forward, left_alone)
    except Exception as error:  # whatever a tracer meets in a network it does not know
        left_alone[NETWORK] = f"no dependency graph ({named(error)})"
        yield from _stack_candidates(parent)


def _graph_candidates(
    parent: nn.Module, example: Any, forward: Forward, left_alone: dict[str, str]
) -> list[Candidate]:
    # Of a copy in the same memory, as the graph's hooks and gradients do not concern the parent.
    memo = {id(p): nn.Parameter(p.detach(), requires_grad=True) for p in parent.parameters()}
    network = copy_network(parent, memo).eval()
    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            make_plain(module)
    names = {module: name for name, module in network.named_modules()}
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        import torch_pruning

        # What follows is a graph whose paths multiply until no memory is left.
        warnings.filterwarnings("error", message="Maximum recursive depth reached")
        # It knows embeddings, but not that bags of them are some.
        pruner = torch_pruning.function.EmbeddingPruner()
        bags = {type(m): pruner for m in network.modules() if isinstance(m, nn.EmbeddingBag)}
        graph = torch_pruning.DependencyGraph().build_dependency(
            network,
            example_inputs=example,
            forward_fn=lambda module, x: _traceable(run(module, x, forward)),
            customized_pruners=bags,
            verbose=False,
        )
        return list(_groups(graph, names, left_alone))


def _traceable(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors of outputs that a tracer can start from."""
    return [tensor for tensor in tensors_in(outputs) if tensor.grad_fn is not None]


def _groups(
    graph: Any, names: Mapping[nn.Module, str], left_alone: dict[str, str]
) -> Iterator[Candidate]:
    """Yield the groups of a graph; a layer that it cannot follow costs no other its own."""
    makes = graph.is_out_channel_pruning_fn
    made: set[nn.Module] = set()
    for root in [module for module in graph.module2node if isinstance(module, _MAKERS)]:
        if root in made:
            continue
        pruner = graph.get_pruner_of_module(root)
        units = list(range(pruner.get_out_channels(root)))
        try:
            group = graph.get_pruning_group(root, pruner.prune_out_channels, units)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = named(error)
            left_alone[names[root]] = f"the dependency graph does not follow its units ({what})"
            continue
        made |= {item.dep.target.module for item in group if makes(item.dep.handler)}
        yield _candidate(group, names, makes)


def _candidate(
    group: Any, names: Mapping[nn.Module, str], makes: Callable[[Any], bool]
) -> Candidate:
    root = group[0]
    found = Candidate(names[root.dep.target.module], len(root.idxs))
    if not root.idxs:
        found.problem = "it has no units"
        return found
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            found.problem = "a parameter that belongs to no layer has its size"
        elif module in names:
            _collect(found, names[module], module, item, makes(item.dep.handler))
    return found


def _collect(found: Candidate, name: str, module: nn.Module, item: Any, makes: bool) -> None:
    """Note the entries of one layer."""
    prefix = f"{name}." if name else ""  # a network may be a layer itself
    pairs = list(zip(item.idxs, item.root_idxs, strict=True))
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    tensors = [key for key in own if own[key].ndim]
    if isinstance(module, _NORMS_ACROSS):
        found.problem = f"{type(module).__name__} {name!r} mixes its units"
    elif isinstance(module, _BatchNorm):
        for key in tensors:
            found.entries.setdefault((f"{prefix}{key}", 0), []).extend(pairs)
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            found.entries.setdefault((f"{prefix}weight", 0), []).extend(pairs)
    elif isinstance(module, _MAKERS) and "weight" not in own:
        found.problem = f"the weight of {name!r} is computed from others"
    elif isinstance(module, _EMBEDDINGS):
        if module.max_norm is not None:
            found.problem = f"{type(module).__name__} {name!r} limits the norm over its units"
        found.tables.add(f"{prefix}weight")
        found.entries.setdefault((f"{prefix}weight", 1), []).extend(pairs)
    elif isinstance(module, _ConvTransposeNd) or not isinstance(module, (nn.Linear, _ConvNd)):
        if own:
            found.problem = f"{type(module).__name__} {name!r} is not cut"
    elif makes:
        for key in tensors:
            found.entries.setdefault((f"{prefix}{key}", 0), []).extend(pairs)
    else:
        # A grouped convolution numbers the inputs of each of its groups from 0.
        n_inputs = module.weight.shape[1]
        inside = [(entry % n_inputs, unit) for entry, unit in pairs]
        found.entries.setdefault((f"{prefix}weight", 1), []).extend(inside)


def _stack_candidates(parent: nn.Module) -> Iterator[Candidate]:
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
            found = Candidate(f"{name}.{group.name}", group.n_units)
            for tensor, axes in structure.tensors.items():
                for dim, axis in enumerate(axes):
                    if axis is not None and index in axis.groups:
                        units = axis.units(index, structure.shapes[tensor][dim])
                        pairs = list(enumerate(units.tolist()))
                        found.entries[f"{name}.{tensor}", dim] = pairs
            yield found


# Joining what must go together


def _joined(candidates: Sequence[Candidate], parent: nn.Module) -> list[Candidate]:
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
    candidates: Sequence[Candidate], offsets: Sequence[int], units: "_Partition"
) -> Candidate:
    number: dict[int, int] = {}
    merged = Candidate(candidates[0].name, 0)
    sets: dict[tuple[str, int], dict[int, int]] = {}
    for candidate, offset in zip(candidates, offsets, strict=True):
        merged.problem = merged.problem or candidate.problem
        merged.tables |= candidate.tables
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


def _judge(candidates: Sequence[Candidate], parent: nn.Module) -> None:
    """Name candidates by their first layers, and note what keeps them from being cut."""
    modules = dict(parent.named_modules())
    order = {name: i for i, name in enumerate(modules)}
    state = parent.state_dict(keep_vars=True)
    same: dict[int, list[str]] = {}
    for name, value in state.items():
        same.setdefault(id(value), []).append(name)
    for candidate in candidates:
        layers = [n for n in candidate.makers if isinstance(modules[n], _MAKERS)]
        candidate.name = min(layers, key=order.__getitem__, default=candidate.name)
        for (tensor, dim), pairs in candidate.entries.items():
            counts = np.bincount([unit for _, unit in pairs], minlength=candidate.n_units)
            twins = same[id(state[tensor])]
            if candidate.problem is not None:
                break
            if pairs[-1][0] >= state[tensor].shape[dim]:
                candidate.problem = f"its units would own entries that {tensor!r} does not have"
            elif counts.min() != counts.max():
                candidate.problem = f"its units own different numbers of entries of {tensor!r}"
            elif len(twins) > 1:
                candidate.problem = f"{' and '.join(twins)} are one tensor"
            elif state[tensor].dtype not in FLOATS:
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
