"""Hooks that are gone when the work is done, whatever happens."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["intercepting", "watching"]


@contextmanager
def watching(
    modules: Iterable[tuple[str, nn.Module]], record: Callable[[str, nn.Module, Any], None]
) -> Iterator[None]:
    """Call ``record(name, module, output)`` after every forward pass of named modules.

    Args:
        modules: ``(name, module)`` of each.
        record: What to call; what it returns is of no account.
    """

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, _inputs, output: record(name, module, output)

    handles = []
    try:
        for name, module in modules:
            handles.append(module.register_forward_hook(hook_for(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def intercepting(
    modules: Iterable[tuple[str, nn.Module]],
    replace: Callable[[str, torch.Tensor], torch.Tensor],
) -> Iterator[None]:
    """Give named modules ``replace(name, input)`` in place of their input, at every forward pass.

    Args:
        modules: ``(name, module)`` of each; linear or convolutional layers, which read one tensor.
        replace: What to call.
    """

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            (read,) = [*args, *kwargs.values()]
            return (replace(name, read),), {}

        return hook

    handles = []
    try:
        for name, module in modules:
            handles.append(module.register_forward_pre_hook(hook_for(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
