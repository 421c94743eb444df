"""What all genomes have in common: immutable shared arrays, copying and equality."""

import copy
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from ecomp_deap.errors import argument_error

__all__ = ["Genome", "check_groups", "freeze", "frozen_array"]


AnyGenome = TypeVar("AnyGenome", bound="Genome")


def freeze(array: Any) -> np.ndarray:
    """Return ``array`` read-only; an array that can be written elsewhere is copied first."""
    result = np.asarray(array)
    if not _is_frozen(result):
        if result is array or result.base is not None:
            result = result.copy()
        result.flags.writeable = False
    return result


def check_groups(name: str, value: Any, expected: str) -> None:
    """Check that an argument has something for each of one group or more, as ``expected`` says."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        raise argument_error(name, f"a sequence of {expected}", value)
    if getattr(value, "shape", None) == () or len(value) == 0:
        raise argument_error(name, expected, value)


def frozen_array(name: str, value: Any) -> np.ndarray:
    """Return an argument as a read-only array, see `freeze`.

    Raises:
        ArgumentError: It is no array of numbers or booleans.
    """
    try:
        array = freeze(value)
    except Exception:  # whatever an object's own conversion raises
        raise argument_error(name, "an array of numbers", value) from None
    if array.dtype.kind not in "biufc":
        raise argument_error(name, "an array of numbers", value)
    return array


def _is_frozen(array: Any) -> bool:
    """Whether nobody can write into the array, through what it is a view of either."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    # Memory of another kind, such as a tensor's, has rules of its own.
    return array is None


class Genome:
    """Base class of all genomes.

    Abstract, but no `abc.ABC`: DEAP's creator makes classes with a metaclass of its own.

    Copies share arrays: operators rebind a genome to new arrays and never write into old ones.
    Two genomes are equal when their `key()` is.
    """

    # Attributes that are immutable and therefore shared by copies.
    _shared = frozenset({"_key", "measurement"})

    _key: bytes | None

    @property
    def widths(self) -> tuple[int, ...]:
        """Units kept in each group."""
        raise NotImplementedError

    def plain(self) -> "Genome":
        """Return the genome without whatever DEAP or a user attached to it."""
        raise NotImplementedError

    def _content(self) -> Iterable[bytes | memoryview]:
        """Yield everything that the child depends on."""
        raise NotImplementedError

    def key(self) -> bytes:
        """Return a digest of everything the child depends on; computed once, when first asked."""
        if self._key is None:
            digest = hashlib.blake2b(type(self.plain()).__name__.encode(), digest_size=16)
            for part in self._content():
                digest.update(part)
            self._key = digest.digest()
        return self._key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Genome):
            return NotImplemented
        return self is other or (self.widths == other.widths and self.key() == other.key())

    # Genomes are rebound in place by operators, so they must not be hashed; `key()` can be.
    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self: AnyGenome, memo: dict[int, Any]) -> AnyGenome:
        clone = type(self).__new__(type(self))
        memo[id(self)] = clone
        for name, value in self.__dict__.items():
            shared = name in self._shared
            clone.__dict__[name] = value if shared else copy.deepcopy(value, memo)
        return clone


def describe(name: str, array: np.ndarray) -> bytes:
    """Return name, type and shape of an array as bytes, so that equal bytes mean equal arrays."""
    return f"{name}:{array.dtype.str}:{array.shape};".encode()
