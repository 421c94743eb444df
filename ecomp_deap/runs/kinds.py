"""Kinds: what the value of an option must be, and how to read one from a shell word.

The same kind checks a value from Python, TOML, JSON and the command line, so that all of them
take and refuse the same.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from ecomp_deap.errors import argument_error
from ecomp_deap.finite import finite
from ecomp_deap.recipe import LOSSES, LossWeights

__all__ = [
    "Address",
    "Choice",
    "Code",
    "Flag",
    "FolderName",
    "Integer",
    "Integers",
    "Kind",
    "Location",
    "Losses",
    "Names",
    "Number",
    "Uri",
    "Weights",
]


class Kind:
    """The values an option takes; subclasses say which, and refuse all others."""

    metavar = "VALUE"

    @property
    def expected(self) -> str:
        """What a value must be, to follow the word "expected" in an error."""
        raise NotImplementedError

    @property
    def schema(self) -> dict[str, Any]:
        """The values as JSON Schema has them."""
        raise NotImplementedError

    def accept(self, value: Any) -> Any:
        """Return ``value`` in its final type; raise `ValueError` where it is not of this kind."""
        raise NotImplementedError

    def from_text(self, text: str) -> Any:
        """Read a value from a shell word; a `ValueError` leaves the word itself to be refused."""
        return text

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` in its final type.

        Raises:
            ArgumentError: it is not of this kind; the message calls the option ``name``.

        >>> Integer(minimum=4).check("population", 3)
        Traceback (most recent call last):
        ecomp_deap.errors.ArgumentError: population: expected an integer of at least 4, got 3
        """
        try:
            return self.accept(value)
        except ValueError:
            raise argument_error(name, self.expected, value) from None

    def parse(self, name: str, text: str) -> Any:
        """Return the value that a shell word stands for; errors as in `check`.

        >>> Weights().parse("--loss-weights", "1,2,0.5")
        (1.0, 2.0, 0.5)
        """
        try:
            value = self.from_text(text)
        except ValueError:
            value = text
        return self.check(name, value)


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number from ``minimum`` to ``maximum``, both included; a bool is none."""

    minimum: int
    maximum: int | None = None
    metavar = "N"

    @property
    def expected(self) -> str:
        if self.maximum is None:
            return f"an integer of at least {self.minimum}"
        return f"an integer from {self.minimum} to {self.maximum}"

    @property
    def schema(self) -> dict[str, Any]:
        highest = {} if self.maximum is None else {"maximum": self.maximum}
        return {"type": "integer", "minimum": self.minimum, **highest}

    def accept(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError
        number = int(value)
        if number < self.minimum or (self.maximum is not None and number > self.maximum):
            raise ValueError
        return number

    def from_text(self, text: str) -> int:
        return int(text)


@dataclass(frozen=True)
class Integers(Kind):
    """Distinct whole numbers of at least ``minimum``, one or more."""

    minimum: int
    metavar = "N,N,..."

    @property
    def expected(self) -> str:
        return f"a list of distinct integers of at least {self.minimum}"

    @property
    def schema(self) -> dict[str, Any]:
        numbers = {"type": "integer", "minimum": self.minimum}
        return {"type": "array", "items": numbers, "minItems": 1, "uniqueItems": True}

    def accept(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)):
            raise ValueError
        numbers = tuple(map(Integer(self.minimum).accept, value))
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError
        return numbers

    def from_text(self, text: str) -> list[int]:
        return [int(number) for number in text.split(",")]


@dataclass(frozen=True)
class Number(Kind):
    """A finite number greater than ``above``, or from ``minimum`` to ``maximum``."""

    above: float = -math.inf
    minimum: float = -math.inf
    maximum: float = math.inf
    metavar = "X"

    @property
    def expected(self) -> str:
        if self.above > -math.inf:
            most = f" and at most {self.maximum:g}" if self.maximum < math.inf else ""
            return f"a finite number greater than {self.above:g}{most}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    @property
    def schema(self) -> dict[str, Any]:
        bounds = {
            "exclusiveMinimum": self.above,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        return {"type": "number", **{k: v for k, v in bounds.items() if math.isfinite(v)}}

    def accept(self, value: Any) -> float:
        number = finite(value)
        if number <= self.above or not self.minimum <= number <= self.maximum:
            raise ValueError
        return number

    def from_text(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few names."""

    names: tuple[str, ...]

    @property
    def metavar(self) -> str:  # type: ignore[override]
        return "{" + ",".join(self.names) + "}"

    @property
    def expected(self) -> str:
        if len(self.names) == 1:
            return repr(self.names[0])
        return f"one of {', '.join(map(repr, self.names))}"

    @property
    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.names)}

    def accept(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value


class Flag(Kind):
    """True or false, and nothing that merely counts as either."""

    expected = "true or false"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def accept(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclass(frozen=True)
class Names(Kind):
    """Distinct names, at least ``minimum`` of them, out of ``choices`` if there are any."""

    minimum: int = 1
    choices: tuple[str, ...] = ()
    metavar = "A,B,..."

    @property
    def expected(self) -> str:
        of = f" out of {', '.join(self.choices)}" if self.choices else ""
        if not self.minimum:
            return f"a list of distinct names{of}, or an empty one"
        return f"a list of at least {self.minimum} distinct name{'s' * (self.minimum > 1)}{of}"

    @property
    def schema(self) -> dict[str, Any]:
        names: dict[str, Any] = {"type": "string", "minLength": 1}
        if self.choices:
            names = {"enum": list(self.choices)}
        return {"type": "array", "items": names, "minItems": self.minimum, "uniqueItems": True}

    def accept(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise ValueError
        if not all(isinstance(name, str) and name for name in value):
            raise ValueError
        if len(value) < self.minimum or len(set(value)) < len(value):
            raise ValueError
        if self.choices and not set(value) <= set(self.choices):
            raise ValueError
        return tuple(value)

    def from_text(self, text: str) -> list[str]:
        return [name.strip() for name in text.split(",")] if text or self.minimum else []


class Weights(Kind):
    """The weights of accuracy, similarity loss and compression in a weighted sum."""

    metavar = "A,S,C"
    expected = (
        "three finite numbers of at least 0, not all 0 (accuracy, similarity loss, compression)"
    )

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "array",
            "items": {"type": "number", "minimum": 0},
            "minItems": 3,
            "maxItems": 3,
            "contains": {"exclusiveMinimum": 0},
        }

    def accept(self, value: Any) -> tuple[float, float, float]:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise ValueError
        accuracy, similarity, compression = map(finite, value)
        weights = (accuracy, similarity, compression)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError
        return weights

    def from_text(self, text: str) -> list[float]:
        return [float(number) for number in text.split(",")]


class Losses(Kind):
    """Weights of losses by name, not all 0."""

    metavar = "NAME=W,..."

    @property
    def expected(self) -> str:
        return f"weights of at least 0, not all 0, by names out of {', '.join(LOSSES)}"

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"enum": list(LOSSES)},
            "additionalProperties": {"type": "number", "minimum": 0},
            "not": {"additionalProperties": {"maximum": 0}},
        }

    def accept(self, value: Any) -> LossWeights:
        if not isinstance(value, Mapping):
            raise ValueError
        return LossWeights({name: finite(weight) for name, weight in value.items()})

    def from_text(self, text: str) -> dict[str, float]:
        pairs = [pair.split("=") for pair in text.split(",")]
        if len({name.strip() for name, *_ in pairs}) < len(pairs):
            raise ValueError
        return {name.strip(): float(weight) for name, weight in pairs}


class Location(Kind):
    """The path of a file or folder; relative ones start at the current directory."""

    metavar = "PATH"
    expected = "a path"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[^\x00]+$"}

    def accept(self, value: Any) -> Path:
        if not isinstance(value, (str, Path)) or value == "":
            raise ValueError
        if b"\0" in os.fsencode(value):  # a ValueError for what the system cannot encode
            raise ValueError
        return Path(value)


class Code(Kind):
    """What names something in a user's own code."""

    metavar = "MODULE:NAME"
    expected = "MODULE:NAME or FILE.py:NAME"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[\s\S]+:[^:]+$"}

    def accept(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        source, _, name = value.rpartition(":")
        if not (source and name):
            raise ValueError
        return value


class FolderName(Kind):
    """A name that is safe as the beginning of a folder's name on every system."""

    metavar = "NAME"
    expected = 'up to 200 letters, digits, "_", "-" or ".", not starting with "."'

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}$"}

    def accept(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[\w-][\w.-]{0,199}", value, re.ASCII):
            raise ValueError
        return value


class Address(Kind):
    """Where a cluster is.

    Args:
        example: Of an address.
    """

    metavar = "ADDRESS"

    def __init__(self, example: str) -> None:
        self._example = example

    @property
    def expected(self) -> str:
        return f"an address such as {self._example!r}, or 'local'"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[A-Za-z0-9._:/\[\]-]{1,200}$"}

    def accept(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[\w.:/\[\]-]{1,200}", value, re.ASCII):
            raise ValueError
        return value


class Uri(Kind):
    """Where a database, a server or a folder is; without a password, as it is written down."""

    metavar = "URI"
    expected = "a URI such as sqlite:///mlflow.db, without a password, which would be written down"
    _pattern = r"(?![^/]*//[^/@]*:[^/@]*@)[^\x00-\x20\x7f]{1,400}"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{self._pattern}$"}

    def accept(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(self._pattern, value):
            raise ValueError
        return value
