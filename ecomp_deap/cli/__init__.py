"""The command ``ecomp-deap``: options in; run directories, tables or exported children out.

Only the standard library is imported until the work starts, so that help and errors come at once.
"""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from ecomp_deap.cli.commands import COMMANDS, config_from
from ecomp_deap.cli.complaints import complain, wants_traceback
from ecomp_deap.cli.parser import make_parser
from ecomp_deap.cli.words import Words, has_flag, without_flag
from ecomp_deap.errors import DataError, argument_error
from ecomp_deap.progress import show
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.options import unknown_name_error

__all__ = ["main", "parse"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit code.

    0: done; 2: refused or failed, with a paragraph on stderr; 70: a fault of ours; 130 or 143:
    interrupted by Ctrl-C or SIGTERM; 141: whoever read the output has gone. Help and the version
    leave by `SystemExit`, as argparse has it.
    """
    written = io.StringIO()
    as_json, debug = False, wants_traceback(False)
    try:
        given = list(sys.argv[1:] if argv is None else argv)
        as_json, debug = has_flag(given, "--json"), wants_traceback(has_flag(given, "--debug"))
        try:
            with redirect_stdout(written):  # argparse says nothing where it cannot write
                words = _read(given)
        except SystemExit:
            if code := _print(written.getvalue()):
                return code
            raise
        return _print(COMMANDS[words["command"]](words))
    except (Exception, KeyboardInterrupt) as error:
        return complain(error, as_json=as_json, debug=debug)
    finally:
        show("", sys.stderr)  # what progress has left in it


def _print(text: str) -> int:
    """Print what a command answers, and return the exit code.

    Raises:
        DataError: It cannot be written.
    """
    error = show(text, sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 141  # as a shell has it for programs that end by SIGPIPE
    if error is not None:
        raise DataError(f"the output cannot be written ({error.strerror})")
    return 0


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Return the configuration that a command line of ``run``, and the file it names, ask for.

    Raises:
        ArgumentError: the command line or an option in the file is wrong.
        DataError: the file cannot be read, or is no TOML.

    >>> parse(["run", "3", "first", "--preset", "report", "--loss-weights", "1,0,1"]).loss_weights
    (1.0, 0.0, 1.0)
    """
    words = _read(list(sys.argv[1:] if argv is None else argv))
    if words["command"] != "run":
        raise argument_error("COMMAND", "'run'", words["command"])
    return config_from(words)


def _read(argv: list[str]) -> Words:
    """Return the words that options and positionals got, and those that nothing took."""
    # It may stand anywhere, also where argparse would not have it.
    argv = without_flag(argv, "--debug")
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise unknown_name_error("unknown command", argv[0], COMMANDS)
    arguments, rest = make_parser().parse_known_args(argv)
    # The word in --option=-- is an empty list for argparse, up to Python 3.12.
    given = {name: "--" if word == [] else word for name, word in vars(arguments).items()}
    return Words(given, rest)
