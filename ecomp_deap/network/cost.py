"""Costs of a network: what it takes to store and to run."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ecomp_deap.network.running import run
from ecomp_deap.task import default_forward

__all__ = ["mac_count", "param_count", "products", "size_bytes"]

#: Whose products they are where that is no single one of the tensors asked for.
REST = ""


def param_count(module: nn.Module) -> int:
    """Return the number of parameters; a parameter used twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def size_bytes(module: nn.Module) -> int:
    """Return the bytes of the parameters and buffers in the state dict; a shared one counts once.

    Buffers that are not persistent are not in it.
    """
    # keep_vars gives the tensors themselves: without it, each name has an object of its own.
    values = module.state_dict(keep_vars=True).values()
    tensors = {id(value): value for value in values if isinstance(value, torch.Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def mac_count(
    module: nn.Module,
    inputs: Any,
    *,
    n_samples: int,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> int:
    """Return multiply-accumulate operations for one sample: half of torch's counted FLOPs.

    Matrix products and convolutions count, in layers, functions and attention.

    Args:
        module: The network.
        inputs: A batch of ``n_samples`` samples.
        n_samples: Size of the batch, which the count is divided by.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.
    """
    return products(module, inputs, {}, forward=forward)[REST] // n_samples


def products(
    module: nn.Module,
    inputs: Any,
    tensors: Mapping[str, torch.Tensor],
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> Counter[str]:
    """Return the multiply-accumulate operations of one pass, by the tensor that they read.

    Args:
        module: The network.
        inputs: A batch.
        tensors: Of the network, by name. What reads no weight among them, or two, counts as `REST`.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`.
    """
    # A view, such as a transposed weight, has its tensor's memory.
    names = {t.untyped_storage().data_ptr(): name for name, t in tensors.items() if t.ndim >= 2}
    found: Counter[str] = Counter()

    def noting(flops_of: Callable[..., int]) -> Callable[..., int]:
        def note(*args: Any, **kwargs: Any) -> int:
            flops = flops_of(*args, **kwargs)
            storages = [a.untyped_storage() for a in args if isinstance(a, torch.Tensor)]
            read = [names[s.data_ptr()] for s in storages if s.data_ptr() in names]
            found[read[0] if len(read) == 1 else REST] += flops // 2
            return flops

        note._get_raw = True  # type: ignore[attr-defined]  # the tensors, not their shapes
        return note

    mapping = {operation: noting(flops_of) for operation, flops_of in flop_registry.items()}
    with (
        _countable_attention(),
        FlopCounterMode(display=False, custom_mapping=mapping),
        torch.no_grad(),
    ):
        run(module, inputs, default_forward if forward is None else forward)
    return found


@contextmanager
def _countable_attention() -> Iterator[None]:
    """Let attention be computed by matrix products: torch counts no others on a processor."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
