"""Protections that raise nothing, each with what it is replaced by and the tests that show it."""

from _removal import Change

CHANGES: list[tuple[Change, set[str]]] = []
