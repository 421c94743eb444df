"""The command ``ecomp-deap``: options in; run directories, tables or exported children out.

Only the standard library is imported until the work starts, so that help and errors come at once.
"""

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any

from ecomp_deap.callbacks import Callback
from ecomp_deap.cli.parser import FORMATS, POSITIONALS, make_parser
from ecomp_deap.errors import ArgumentError, DataError, EcompError, argument_error
from ecomp_deap.interrupts import Interrupts
from ecomp_deap.progress import progress_on, show
from ecomp_deap.runs.config import RunConfig, load_toml
from ecomp_deap.runs.kinds import Choice, Code, Integer, Location, Names
from ecomp_deap.runs.options import OPTIONS, Option, unknown_name_error
from ecomp_deap.runs.schema import config_schema

__all__ = ["main", "parse"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit code.

    0: done; 2: refused or failed, with one line on stderr; 130 or 143: interrupted by Ctrl-C or
    SIGTERM; 141: whoever read the output has gone. Help and the version leave by `SystemExit`, as
    argparse has it.
    """
    written = io.StringIO()
    try:
        try:
            with redirect_stdout(written):  # argparse says nothing where it cannot write
                words, rest = _read(argv)
        except SystemExit:
            if code := _print(written.getvalue()):
                return code
            raise
        return _print(_COMMANDS[words["command"]](words, rest))
    except EcompError as error:
        return _complain(f"error: {error}", 2)
    except KeyboardInterrupt as error:
        return _complain("interrupted", getattr(error, "exit_code", 130))
    finally:
        show("", sys.stderr)  # what progress has left in it


def _print(text: str) -> int:
    """Print what a command answers, and return the exit code."""
    error = show(text, sys.stdout)
    if error is None:
        return 0
    if isinstance(error, BrokenPipeError):
        return 141  # as a shell has it for programs that end by SIGPIPE
    return _complain(f"error: the output cannot be written ({error.strerror})", 2)


def _complain(text: str, code: int) -> int:
    """Say on stderr why the command ends, and return its exit code."""
    show(f"ecomp-deap: {text}\n", sys.stderr)
    return code


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Return the configuration that a command line of ``run``, and the file it names, ask for.

    Raises:
        ArgumentError: the command line or an option in the file is wrong.
        DataError: the file cannot be read, or is no TOML.

    >>> parse(["run", "3", "first", "--preset", "report", "--loss-weights", "1,0,1"]).loss_weights
    (1.0, 0.0, 1.0)
    """
    words, rest = _read(argv)
    if words["command"] != "run":
        raise argument_error("COMMAND", "'run'", words["command"])
    return _config(words, rest)


def _read(argv: Sequence[str] | None) -> tuple[dict[str, Any], list[str]]:
    """Return the words that options and positionals got, and those that nothing took."""
    arguments, rest = make_parser().parse_known_args(argv)
    # The word in --option=-- is an empty list for argparse, up to Python 3.12.
    words = {name: "--" if word == [] else word for name, word in vars(arguments).items()}
    return words, rest


def _config(words: dict[str, Any], rest: list[str]) -> RunConfig:
    for name in POSITIONALS:  # argparse looks no further than the first option for them
        if words[name] is None and rest and not rest[0].startswith("-"):
            words[name] = rest.pop(0)
    flags = ["--config", *(option.flag for option in OPTIONS.values())]
    _refuse(rest, flags, "N_RUNS and NAME")
    given = {
        name: _value(option, words[name])
        for name, option in OPTIONS.items()
        if words[name] is not None
    }
    layers = [given]
    if words["config"] is not None:
        layers = [load_toml(Location().parse("--config", words["config"])), given]
    for name in POSITIONALS:
        if not any(name in layer for layer in layers):
            raise ArgumentError(f"{name.upper()} is missing: ecomp-deap run N_RUNS NAME [options]")
    return RunConfig.from_layers(*layers)


def _run(words: dict[str, Any], rest: list[str]) -> str:
    config = _config(words, rest)

    from ecomp_deap.search.run import run_many

    return _report(partial(run_many, config), quiet=config.quiet)


def _resume(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, ["--quiet"], "RUN")
    run = Location().parse("RUN", words["run"])

    from ecomp_deap.search.run import resume_run

    return _report(lambda **options: [resume_run(run, **options)], quiet=words["quiet"])


def _schema(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, [], "no argument")
    return f"{json.dumps(config_schema(), indent=1)}\n"


def _report(search: Callable[..., Iterable[Any]], *, quiet: bool) -> str:
    """Search, show how far it is, and return a table of each run."""
    from ecomp_deap.report import plot_run, run_table
    from ecomp_deap.search.run import to_go_on

    progress = Callback() if quiet else progress_on(sys.stderr)
    finished = []
    try:
        with Interrupts(progress.on_message) as interrupts:
            for result in search(callback=progress, interrupts=interrupts):
                try:
                    plot_run(result.directory.path)
                except DataError:
                    progress.on_message(to_go_on(result.directory.path))
                    raise
                finished.append(f"{run_table(result.directory.path)}\n")
    finally:
        progress.close()
    return "" if quiet else "".join(finished)


def _inspect(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, ["--example", "--factory"], "PARENT")
    path = None if words["parent"] is None else Location().parse("PARENT", words["parent"])
    shape = None if words["example"] is None else _shape(words["example"])
    code = None if words["factory"] is None else Code().parse("--factory", words["factory"])
    if path is None and code is None:
        raise ArgumentError("PARENT is missing, and there is no --factory that would make one")

    from ecomp_deap.network import inspect
    from ecomp_deap.search.code import network_from_code
    from ecomp_deap.search.parent import given_example, given_parent

    parent: Any = None if code is None else network_from_code(code)
    example = None
    if path is not None:
        parent, example = given_parent(path, parent), given_example(path)
    return f"{inspect(parent, example if shape is None else _zeros(parent, shape))}\n"


def _export(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, ["--child", "--format", "--out", "--factory"], "RUN")
    run = Location().parse("RUN", words["run"])
    out = None if words["out"] is None else Location().parse("--out", words["out"])
    format, name = words["format"], "--format"
    if format is None:
        format, name = "" if out is None else out.suffix.removeprefix("."), "--out: the ending"
        if not format:
            missing = "--format is missing, and there is no --out whose name would tell it"
            raise ArgumentError(missing)
    Choice(FORMATS).check(name, format)
    code = None if words["factory"] is None else Code().parse("--factory", words["factory"])

    from ecomp_deap.search.code import network_from_code
    from ecomp_deap.search.exporting import export_from_run

    factory = None if code is None else network_from_code(code)
    child, written = export_from_run(run, words["child"], format=format, out=out, factory=factory)
    text = f"{written.path}: child {child} of {run}\nchecked: {written.checked}\n"
    if written.only_samples is not None:
        text += f"takes batches of {written.only_samples} samples alone\n"
    return text


def _baselines(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, ["--methods", "--limits", "--children", "--max-epochs", "--factory"], "RUN")
    run = Location().parse("RUN", words["run"])
    names = None if words["methods"] is None else Names().parse("--methods", words["methods"])
    limits = None
    if words["limits"] is not None:
        parts = Names().parse("--limits", words["limits"])
        limits = [Integer(1).parse("--limits", part) for part in parts]
    counts = {
        name: Integer(minimum).parse(f"--{name.replace('_', '-')}", words[name])
        for name, minimum in (("children", 1), ("max_epochs", 0))
        if words[name] is not None
    }
    code = None if words["factory"] is None else Code().parse("--factory", words["factory"])

    from ecomp_deap.report import plot_baselines
    from ecomp_deap.search.baseline_run import baselines_of_run
    from ecomp_deap.search.code import network_from_code

    factory = None if code is None else network_from_code(code)
    progress = Callback() if words["quiet"] else progress_on(sys.stderr)
    try:
        text = baselines_of_run(
            run, names=names, limits=limits, factory=factory, callback=progress, **counts
        )
    finally:
        progress.close()
    plot_baselines(run)
    return "" if words["quiet"] else text


def _page(words: Mapping[str, Any], rest: Sequence[str]) -> str:
    _refuse(rest, ["--out", "--figures"], "folders of runs")
    runs = [Location().parse("RUN", word) for word in words["runs"]]
    out, figures = (
        None if words[name] is None else Location().parse(f"--{name}", words[name])
        for name in ("out", "figures")
    )

    from ecomp_deap.report import write_figures, write_report

    text = f"{write_report(runs, out=out)}\n"
    if figures is not None:
        text += "".join(f"{path}\n" for path in write_figures(runs, figures))
    return text


_COMMANDS: dict[str, Callable[[dict[str, Any], list[str]], str]] = {
    "run": _run,
    "resume": _resume,
    "schema": _schema,
    "inspect": _inspect,
    "export": _export,
    "baselines": _baselines,
    "report": _page,
}


def _shape(word: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in word.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argument_error("--example", "integers of at least 1, such as 1,28,28", word)
    return shape


def _zeros(parent: Any, shape: tuple[int, ...]) -> Any:
    """Return a batch of one sample of zeros, in the parent's dtype; None if it holds nothing."""
    parameter = next(parent.parameters(), None)
    try:
        return None if parameter is None else parameter.new_zeros((1, *shape))
    except (RuntimeError, TypeError) as error:  # more than memory or an integer of torch holds
        # The first line alone, as what follows is where in torch it came from.
        raise ArgumentError(f"--example: {str(error).partition(chr(10))[0]}") from error


def _value(option: Option, word: str | bool) -> Any:
    if isinstance(word, bool):
        return word
    name = option.name.upper() if option.name in POSITIONALS else option.flag
    return option.kind.parse(name, word)


def _refuse(words: Sequence[str], flags: Iterable[str], positionals: str) -> None:
    """Raise for words that nothing took, if there are any."""
    for word in words:
        if word.startswith("-"):
            raise unknown_name_error("unknown option", word.partition("=")[0], flags)
    if words:
        raise ArgumentError(f"expected no more than {positionals}, got also {' '.join(words)!r}")
