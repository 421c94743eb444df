"""Compile: from a genome to a standalone child, as DEAP's GP compiles a tree to a function."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ecomp_deap.copying import copy_network
from ecomp_deap.errors import argument_error
from ecomp_deap.genomes import Genome, MaskGenome, Structure, WeightGenome
from ecomp_deap.genomes.base import freeze
from ecomp_deap.network.layers import HeadAttention, InputLinear

__all__ = ["check_masks", "compile_child", "fit_to_tensors", "learnt_arrays", "parent_arrays"]


def parent_arrays(parent: nn.Module, structure: Structure) -> Mapping[str, np.ndarray]:
    """Return read-only copies of the parent's tensors that belong to the structure, by name."""
    state = parent.state_dict()
    return {name: freeze(state[name].detach().cpu().numpy().copy()) for name in structure.tensors}


def genome_arrays(
    genome: Genome, structure: Structure, arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Return the arrays of the child that ``genome`` describes, by ``state_dict`` name.

    Where input features can be removed, the places of those that are read are among them.

    Raises:
        ArgumentError: A genome that does not fit the structure.
    """
    if isinstance(genome, WeightGenome):
        child: dict[str, np.ndarray] = {}
        for name, (weight, bias) in genome.layers.items():
            child[f"{name}.weight"] = weight
            if bias is not None:
                child[f"{name}.bias"] = bias
        if child.keys() != structure.tensors.keys():
            raise argument_error(
                "genome", f"the tensors {sorted(structure.tensors)}", sorted(child)
            )
        return child
    if isinstance(genome, MaskGenome):
        check_masks(genome, structure)
        own = structure.slice(arrays, genome.kept) if genome.arrays is None else genome.arrays
        return {**own, **structure.input_indices(genome.kept)} if structure.prunes_inputs else own
    raise argument_error("genome", "a MaskGenome or WeightGenome", type(genome).__name__)


def check_masks(genome: MaskGenome, structure: Structure) -> None:
    """Check that a genome has one mask per group, of the group's size.

    Raises:
        ArgumentError: It has others.
    """
    sizes = tuple(mask.size for mask in genome.masks)
    if sizes != structure.widths:
        raise argument_error("genome", f"masks of sizes {structure.widths}", sizes)


def compile_child(
    parent: nn.Module,
    structure: Structure,
    genome: Genome,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> nn.Module:
    """Return the child that ``genome`` describes: a smaller module with tensors of its own.

    Args:
        parent: The network to copy the layers from; it is not changed.
        structure: The parent's groups.
        genome: What the child keeps.
        arrays: The parent's arrays by name, if they are at hand.

    Returns:
        A module of the parent's class, on the parent's device, in the parent's mode.
    """
    arrays = parent_arrays(parent, structure) if arrays is None else arrays
    own = genome_arrays(genome, structure, arrays)
    # The memo keeps `copy_network` from copying the parent's tensors, which are replaced at once.
    memo = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    child = copy_network(parent, memo)
    # By the parent's tensor, so that what was tied stays so.
    made: dict[int, torch.Tensor] = {}
    for name, module in child.named_modules():
        for kind in (module._parameters, module._buffers):
            for key, old in kind.items():
                if old is None:
                    continue
                array = own.get(f"{name}.{key}" if name else key)
                tensor = (
                    old.detach().clone()
                    if array is None
                    else torch.tensor(array, device=old.device, dtype=old.dtype)
                )
                if isinstance(old, nn.Parameter):
                    tensor = nn.Parameter(tensor, old.requires_grad)
                kind[key] = made.setdefault(id(old), tensor)
        read = own.get(f"{name}.input_indices")
        if read is not None:
            InputLinear.adopt(module, read)
        fit_to_tensors(module)
    return child


def learnt_arrays(child: nn.Module, structure: Structure) -> dict[str, np.ndarray]:
    """Return copies of a child's tensors by name, as a genome keeps them."""
    state = child.state_dict()
    return {name: state[name].detach().cpu().numpy().copy() for name in structure.tensors}


def fit_to_tensors(module: nn.Module) -> None:
    """Make a module's own idea of its size agree with its tensors (in place).

    Its submodules are left alone. A grouped convolution is known by the sizes it had before.
    """
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvTransposeNd):
        pass  # never cut
    elif isinstance(module, _ConvNd):
        n_outputs, n_inputs = module.weight.shape[:2]
        if module.groups == module.in_channels > 1:
            # A depthwise one loses groups, any other one units of every group.
            module.groups = n_outputs * module.groups // module.out_channels
        module.out_channels, module.in_channels = n_outputs, n_inputs * module.groups
    elif isinstance(module, nn.MultiheadAttention):
        weight = module.in_proj_weight
        if weight is not None and len(weight) != 3 * module.num_heads * module.head_dim:
            HeadAttention.adopt(module)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        module.embedding_dim = module.weight.shape[1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif isinstance(module, _BatchNorm):
        for tensor in (module.weight, module.running_mean):
            if tensor is not None:
                module.num_features = tensor.shape[0]
