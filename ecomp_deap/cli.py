"""The command ``ecomp-deap``: options in, run directories out.

Only the standard library is imported until a run starts, so that help and errors come at once.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ecomp_deap._version import __version__
from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError, EcompError
from ecomp_deap.runs.config import RunConfig, load_toml
from ecomp_deap.runs.kinds import Flag
from ecomp_deap.runs.options import OPTIONS, Option, unknown_name_error

__all__ = ["main", "parse"]

_COLUMNS = (  # heading, field of a row of the front, format
    ("child", "id", ""),
    ("validation", "validation_accuracy", ".4f"),
    ("test", "test_accuracy", ".4f"),
    ("width", "relative_width", ".3f"),
    ("parameters", "param_count", ",d"),
)
_POSITIONALS = ("n_runs", "name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit code.

    0: done; 2: refused or failed, with one line on stderr; 130: interrupted. Help and the
    version leave by `SystemExit`, as argparse has it.
    """
    try:
        _run(parse(argv))
    except EcompError as error:
        print(f"ecomp-deap: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ecomp-deap: interrupted", file=sys.stderr)
        return 130
    return 0


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Return the configuration that a command line, and the file it names, ask for.

    Raises:
        ArgumentError: the command line or an option in the file is wrong.
        DataError: the file cannot be read, or is no TOML.

    >>> parse(["run", "3", "first", "--preset", "report", "--loss-weights", "1,0,1"]).loss_weights
    (1.0, 0.0, 1.0)
    """
    arguments, rest = _parser().parse_known_args(argv)
    words = vars(arguments)
    for name in _POSITIONALS:  # argparse looks no further than the first option for them
        if words[name] is None and rest and not rest[0].startswith("-"):
            words[name] = rest.pop(0)
    if rest:
        _refuse(rest)
    given = {
        name: _value(option, words[name])
        for name, option in OPTIONS.items()
        if words[name] is not None
    }
    layers = [load_toml(words["config"]), given] if words["config"] else [given]
    for name in _POSITIONALS:
        if not any(name in layer for layer in layers):
            raise ArgumentError(f"{name.upper()} is missing: ecomp-deap run N_RUNS NAME [options]")
    return RunConfig.from_layers(*layers)


def _run(config: RunConfig) -> None:
    from ecomp_deap.progress import ProgressBar
    from ecomp_deap.report import plot_run
    from ecomp_deap.search.run import run_many

    progress = Callback() if config.quiet else ProgressBar(sys.stderr)
    finished = []
    try:
        for result in run_many(config, callback=progress):
            plot_run(result.directory.path)
            finished.append((str(result.directory.path), result.summary))
    finally:
        progress.close()
    if not config.quiet:
        print(_report(finished))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, so that all of them look alike."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message} (try {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ecomp-deap",
        description="Evolve smaller versions of a trained network.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ecomp-deap {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="compress a network, once or several times",
        usage="ecomp-deap run N_RUNS NAME [options]",
        description="Compress a network trained on FashionMNIST N_RUNS times. Each run leaves a "
        "directory with its front, logbook, plots and children.",
        epilog="Options may also stand in a file, N_RUNS and NAME as n_runs and name; the command "
        "line goes before the file, the file before the preset.",
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for option in OPTIONS.values():
        if option.group not in groups:
            groups[option.group] = run.add_argument_group(option.group)
        _add(groups[option.group], option)
    run.add_argument("--config", metavar="FILE.toml", help="a file of these options")
    return parser


def _add(group: Any, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.name in _POSITIONALS:  # optional to argparse, as a file may hold them
        group.add_argument(option.name, nargs="?", metavar=option.name.upper(), help=text)
        return
    text += f" (default: {_default(option)})".replace("%", "%%")
    if isinstance(option.kind, Flag):
        group.add_argument(option.flag, action=argparse.BooleanOptionalAction, help=text)
    else:
        group.add_argument(option.flag, metavar=option.kind.metavar, help=text)


def _default(option: Option) -> str:
    default = getattr(RunConfig, option.name)
    if isinstance(default, bool):
        return "yes" if default else "no"
    return option.unset or str(default)


def _value(option: Option, word: str | bool) -> Any:
    if isinstance(word, bool):
        return word
    name = option.name.upper() if option.name in _POSITIONALS else option.flag
    return option.kind.parse(name, word)


def _refuse(words: Iterable[str]) -> NoReturn:
    for word in words:
        if word.startswith("-"):
            flags = ["--config", *(option.flag for option in OPTIONS.values())]
            raise unknown_name_error("unknown option", word.partition("=")[0], flags)
    raise ArgumentError(f"expected no more than N_RUNS and NAME, got also {' '.join(words)!r}")


def _report(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Return a table of each run's parent and best child, and where and how fast it came about.

    >>> summary = {
    ...     "seconds": {"search": 61.04, "finalise": 8.5},
    ...     "evaluations": 6100,
    ...     "parent": {"test_accuracy": 0.8912, "relative_width": 1.0, "param_count": 269322},
    ...     "best": {"id": "7", "test_accuracy": 0.8805, "relative_width": 0.31},
    ... }
    >>> print(_report([("results/first_1", summary)]))
    results/first_1: 6,100 evaluations, 61.0 s of search, 8.5 s of finalising
       child  validation    test  width  parameters
      parent           -  0.8912  1.000     269,322
           7           -  0.8805  0.310           -
    """
    blocks = []
    for directory, summary in runs:
        seconds = summary["seconds"]
        rows = [[heading for heading, _, _ in _COLUMNS]]
        for row in ({**summary["parent"], "id": "parent"}, summary["best"]):
            rows.append([_cell(row, column, form) for _, column, form in _COLUMNS])
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = [
            f"{directory}: {summary['evaluations']:,d} evaluations, "
            f"{seconds['search']:.1f} s of search, {seconds['finalise']:.1f} s of finalising"
        ]
        for cells in rows:
            padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append("  " + "  ".join(padded))
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _cell(row: Mapping[str, Any] | None, column: str, form: str) -> str:
    value = (row or {}).get(column)
    return "-" if value is None else format(value, form)
