"""Layers that only children have: what torch's own layers cannot express."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ecomp_deap.errors import argument_error

__all__ = ["HeadAttention", "InputLinear"]


class InputLinear(nn.Linear):
    """A linear layer that reads some of its inputs, so that a child takes what its parent takes.

    Attributes:
        input_indices: Buffer of shape ``(in_features,)``: the places of the features that it
            reads along the last dimension of its input.

    Args:
        in_features: Number of features that are read.
        out_features: Number of units.
        bias: Whether units have a bias.
        kwargs: ``device`` and ``dtype``.
    """

    input_indices: torch.Tensor

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(in_features, out_features, bias, **kwargs)
        indices = torch.arange(in_features, device=kwargs.get("device"))
        self.register_buffer("input_indices", indices)

    @classmethod
    def adopt(cls, layer: nn.Linear, indices: np.ndarray) -> None:
        """Make a linear layer read ``indices`` alone (in place); its weight is as wide as these."""
        layer.__class__ = cls
        places = torch.from_numpy(indices).to(layer.weight.device, torch.int64)
        layer.register_buffer("input_indices", places)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the units of the features read, shape ``(..., out_features)``."""
        return super().forward(input.index_select(-1, self.input_indices))


class HeadAttention(nn.MultiheadAttention):
    """Attention with fewer heads, of the size that they had among more.

    It takes and returns what `torch.nn.MultiheadAttention` does. There, the heads share out
    ``embed_dim``; here, ``num_heads`` heads of ``head_dim`` lie between projections from and to
    ``embed_dim``. Weights that are returned and averaged are averaged over these heads.
    """

    @classmethod
    def adopt(cls, attention: nn.MultiheadAttention) -> None:
        """Make an attention layer whose projections have lost heads one of these (in place)."""
        attention.__class__ = cls
        attention.num_heads = attention.in_proj_weight.shape[0] // (3 * attention.head_dim)
        # What torch asks before it takes a short cut past this class, as encoder layers do.
        attention._qkv_same_embed_dim = False

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the outputs and the attention weights, as `torch.nn.MultiheadAttention` does.

        ``is_causal`` is a hint about ``attn_mask`` that is not needed.
        """
        if query.is_nested:
            return self._nested(query), None
        if is_causal and attn_mask is None:
            raise argument_error("attn_mask", "a mask to go with is_causal=True", None)
        is_batched = query.dim() == 3
        q, k, v = self._projected(query, key, value)
        if not is_batched:
            q, k, v = q[None], k[None], v[None]
        elif not self.batch_first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        # From here on (samples, heads, positions, entries).
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for x in (q, k, v))
        mask = self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights: torch.Tensor | None = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            scores = scores if mask is None else scores + mask
            weights = functional.dropout(scores.softmax(dim=-1), dropout)
            attended = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
            weights = weights if is_batched else weights[0]
        else:
            attended = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        outputs: torch.Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        if not is_batched:
            return outputs[0], weights
        return outputs if self.batch_first else outputs.transpose(0, 1), weights

    def _projected(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if query is key and key is value:
            return functional.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        read = (query, key, value)
        return tuple(map(functional.linear, read, weights, biases))

    def _mask(
        self,
        attn_mask: torch.Tensor | None,
        key_padding_mask: torch.Tensor | None,
        q: torch.Tensor,
    ) -> torch.Tensor | None:
        """Return what is added to the scores, of a shape that fits (samples, heads, ..., ...)."""
        mask = None
        if attn_mask is not None:
            mask = _added(attn_mask, q.dtype)
            if mask.dim() == 3:  # one for each head of each sample
                mask = mask.unflatten(0, (-1, self.num_heads))
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, q.dtype).view(q.shape[0], 1, 1, -1)
            mask = padding if mask is None else mask + padding
        return mask

    def _nested(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for sequences of different lengths, as encoders may make them."""
        lengths = torch.tensor([len(sequence) for sequence in x.unbind()], device=x.device)
        padded = x.to_padded_tensor(0.0)
        is_padding = torch.arange(padded.shape[1], device=x.device) >= lengths[:, None]
        outputs, _ = self(padded, padded, padded, is_padding, need_weights=False)
        return torch._nested_tensor_from_mask(outputs, ~is_padding, mask_check=False)


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what a mask adds to scores: −inf for True."""
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))
    return mask.to(dtype)
