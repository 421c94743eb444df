"""Forward hooks that are gone when the work is done, whatever happens."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["watching"]


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
