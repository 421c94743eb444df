"""Trees: tuples, lists and dicts, nested at will, that hold the inputs of a batch."""

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["leaves", "map_leaves", "restore_containers"]


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield ``(path, leaf)`` for each leaf, in the order of the containers.

    >>> list(leaves({"image": 1, "mask": (2, 3)}, "inputs"))
    [("inputs['image']", 1), ("inputs['mask'][0]", 2), ("inputs['mask'][1]", 3)]
    """
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, (tuple, list)):
        for position, value in enumerate(tree):
            yield from leaves(value, f"{path}[{position}]")
    else:
        yield path, tree


def map_leaves(function: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    """Return a tree of the same containers with ``function(leaf, path)`` in place of each leaf."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, value, f"{path}[{key!r}]") for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _rebuild(
            tree,
            [map_leaves(function, value, f"{path}[{i}]") for i, value in enumerate(tree)],
        )
    return function(tree, path)


def restore_containers(template: Any, tree: Any) -> Any:
    """Return ``tree`` with the tuples of ``template``, where collating has made lists of them."""
    if isinstance(template, dict):
        return {key: restore_containers(template[key], value) for key, value in tree.items()}
    if isinstance(template, (tuple, list)):
        return _rebuild(
            template,
            [restore_containers(a, b) for a, b in zip(template, tree, strict=True)],
        )
    return tree


def _rebuild(template: tuple | list, items: list) -> Any:
    if hasattr(template, "_fields"):  # a named tuple takes its fields one by one
        return type(template)(*items)
    return tuple(items) if isinstance(template, tuple) else items
