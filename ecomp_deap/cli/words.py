"""Words of a command line: what the parser made of them, and what became of the rest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ecomp_deap.errors import ArgumentError
from ecomp_deap.runs.kinds import Code, Location
from ecomp_deap.runs.options import unknown_name_error

__all__ = ["Words", "has_flag", "without_flag"]

# What every command takes, and no error has to name where it is spelt right.
_COMMON = ("--debug", "--help")


class Words:
    """The words of a command, by name.

    Args:
        given: Of the parser.
        rest: What nothing took, as argparse looks no further than the first option for positionals.
    """

    def __init__(self, given: dict[str, Any], rest: list[str]) -> None:
        self._given, self.rest = given, rest

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def take(self, name: str) -> None:
        """Give a positional that has no word the first of the rest, unless that is an option."""
        if self._given[name] is None and self._next_is_word():
            self._given[name] = self.rest.pop(0)

    def path(self, name: str, label: str) -> Path | None:
        """Return a word as a path, None where there is none.

        Raises:
            ArgumentError: It is empty.
        """
        word = self._given[name]
        return None if word is None else Location().parse(label, word)

    def needed_path(self, name: str, label: str) -> Path:
        """Return a word as a path, likewise."""
        return Location().parse(label, self._given[name])

    def paths(self, name: str, label: str) -> list[Path]:
        """Return words as paths, those behind an option too."""
        found = list(self._given[name])
        while self._next_is_word():
            found.append(self.rest.pop(0))
        return [Location().parse(label, word) for word in found]

    def factory(self) -> str | None:
        """Return what ``--factory`` names.

        Raises:
            ArgumentError: It is no name of something in code.
        """
        word = self._given["factory"]
        return None if word is None else Code().parse("--factory", word)

    def refuse_rest(self, flags: Iterable[str], positionals: str) -> None:
        """Raise for words that nothing took, if there are any.

        Args:
            flags: What could have been meant.
            positionals: What is taken beside them.

        Raises:
            ArgumentError: With what could have been meant.
        """
        for word in self.rest:
            if word.startswith("-"):
                flag = word.partition("=")[0]
                raise unknown_name_error("unknown option", flag, [*flags, *_COMMON])
        if self.rest:
            got = " ".join(self.rest)
            raise ArgumentError(f"expected no more than {positionals}, got also {got!r}")

    def _next_is_word(self) -> bool:
        return bool(self.rest) and not self.rest[0].startswith("-")


def has_flag(argv: Sequence[str], flag: str) -> bool:
    """Return whether a flag stands among words, before a ``--``, which ends all options."""
    return flag in _options(argv)


def without_flag(argv: Sequence[str], flag: str) -> list[str]:
    """Return words without a flag.

    >>> without_flag(["show", "--debug", "a", "--", "--debug"], "--debug")
    ['show', 'a', '--', '--debug']
    """
    options = _options(argv)
    return [word for word in options if word != flag] + list(argv[len(options) :])


def _options(argv: Sequence[str]) -> Sequence[str]:
    return argv[: argv.index("--")] if "--" in argv else argv
