"""Attention heads as units: where they lie in the tensors of `torch.nn.MultiheadAttention`."""

from collections.abc import Iterator

from torch import nn

from ecomp_deap.copying import copy_network
from ecomp_deap.genomes import Structure
from ecomp_deap.network.candidates import Candidate
from ecomp_deap.network.layers import HeadAttention

__all__ = ["head_candidates", "make_plain", "with_open_heads"]


def head_candidates(parent: nn.Module, left_alone: dict[str, str]) -> Iterator[Candidate]:
    """Yield one candidate for each attention layer, a unit for each of its heads.

    A head owns its rows in each of the three blocks of the input projection, and its columns of
    the output projection, which reads a removed head as 0.

    Args:
        parent: The network.
        left_alone: Attention layers that stay whole, by name, and why; they are added.
    """
    for name, module in parent.named_modules():
        if not isinstance(module, nn.MultiheadAttention):
            continue
        reason = _why_whole(module)
        if reason is not None:
            left_alone[name] = reason
            continue
        heads = [h for h in range(module.num_heads) for _ in range(module.head_dim)]
        rows, columns = list(enumerate(heads * 3)), list(enumerate(heads))
        found = Candidate(name, module.num_heads)
        prefix = f"{name}." if name else ""
        found.entries[f"{prefix}in_proj_weight", 0] = rows
        if module.in_proj_bias is not None:
            found.entries[f"{prefix}in_proj_bias", 0] = rows
        found.entries[f"{prefix}out_proj.weight", 1] = columns
        yield found


def with_open_heads(parent: nn.Module, structure: Structure) -> nn.Module:
    """Return the parent, as a copy with the same tensors if heads are among its groups.

    In the copy, their attention layers call the layer that reads the heads. torch's own use its
    weight alone, which no hook sees.

    Args:
        parent: The network; it is not changed.
        structure: Its groups.
    """
    modules = dict(parent.named_modules())
    names = [group.name for group in structure.groups]
    layers = [name for name in names if isinstance(modules.get(name), nn.MultiheadAttention)]
    if not layers:
        return parent
    memo = {id(t): t for t in (*parent.parameters(), *parent.buffers())}
    opened = copy_network(parent, memo)
    for name, module in opened.named_modules():
        if name in layers and isinstance(module, nn.MultiheadAttention):
            HeadAttention.adopt(module)
    return opened


def make_plain(attention: nn.MultiheadAttention) -> None:
    """Make attention of another class torch's own, of the same sizes outside (in place).

    For tracers, which may search for ever where torch's layer seems to hold layers that run.
    """
    if type(attention) is nn.MultiheadAttention:
        return
    weight = attention.out_proj.weight
    plain = nn.MultiheadAttention(
        attention.embed_dim,
        attention.embed_dim // attention.head_dim,
        kdim=attention.kdim,
        vdim=attention.vdim,
        batch_first=attention.batch_first,
        device="meta",  # where nothing is drawn from a generator
        dtype=weight.dtype,
    )
    attention.__class__ = nn.MultiheadAttention
    attention.__dict__.update(plain.to_empty(device=weight.device).__dict__)


def _why_whole(attention: nn.MultiheadAttention) -> str | None:
    """Return why no head of an attention layer can go, if so."""
    if type(attention) not in (nn.MultiheadAttention, HeadAttention):
        return f"{type(attention).__name__} may compute attention in its own way"
    own = attention._parameters
    if not {"in_proj_weight", "in_proj_bias"} <= own.keys() or not _is_linear(attention.out_proj):
        return "its weights are computed from others"
    if attention.in_proj_weight is None:
        return "its keys or values have another size than its queries"
    if attention.bias_k is not None or attention.add_zero_attn:
        return "it attends to keys of its own"
    return None


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and "weight" in layer._parameters
