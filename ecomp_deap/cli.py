"""The command ``ecomp-deap``: options in; run directories, tables or exported children out.

Only the standard library is imported until the work starts, so that help and errors come at once.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from ecomp_deap._version import __version__
from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import ArgumentError, EcompError, argument_error, one_line
from ecomp_deap.interrupts import Interrupts
from ecomp_deap.runs.config import RunConfig, load_toml
from ecomp_deap.runs.kinds import Choice, Code, Flag, Integer, Location, Names
from ecomp_deap.runs.options import OPTIONS, Option, unknown_name_error
from ecomp_deap.runs.schema import config_schema

__all__ = ["main", "parse"]

_POSITIONALS = ("n_runs", "name")
_FORMATS = ("safetensors", "pt2", "onnx")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's own) and return its exit code.

    0: done; 2: refused or failed, with one line on stderr; 130 or 143: interrupted by Ctrl-C or
    SIGTERM. Help and the version leave by `SystemExit`, as argparse has it.
    """
    try:
        words, rest = _read(argv)
        if words["command"] == "inspect":
            _inspect(words, rest)
        elif words["command"] == "export":
            _export(words, rest)
        elif words["command"] == "baselines":
            _baselines(words, rest)
        elif words["command"] == "resume":
            _resume(words, rest)
        elif words["command"] == "schema":
            _schema(rest)
        else:
            _run(_config(words, rest))
    except EcompError as error:
        print(f"ecomp-deap: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("ecomp-deap: interrupted", file=sys.stderr)
        return getattr(error, "exit_code", 130)
    return 0


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
    arguments, rest = _parser().parse_known_args(argv)
    return vars(arguments), rest


def _config(words: dict[str, Any], rest: list[str]) -> RunConfig:
    for name in _POSITIONALS:  # argparse looks no further than the first option for them
        if words[name] is None and rest and not rest[0].startswith("-"):
            words[name] = rest.pop(0)
    flags = ["--config", *(option.flag for option in OPTIONS.values())]
    _refuse(rest, flags, "N_RUNS and NAME")
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
    from ecomp_deap.search.run import run_many

    _report(partial(run_many, config), quiet=config.quiet)


def _resume(words: Mapping[str, Any], rest: Sequence[str]) -> None:
    _refuse(rest, ["--quiet"], "RUN")
    run = Location().parse("RUN", words["run"])

    from ecomp_deap.search.run import resume_run

    _report(lambda **options: [resume_run(run, **options)], quiet=words["quiet"])


def _schema(rest: Sequence[str]) -> None:
    _refuse(rest, [], "no argument")
    print(json.dumps(config_schema(), indent=1))


def _report(search: Callable[..., Iterable[Any]], *, quiet: bool) -> None:
    """Search, show how far it is, and print a table of each run."""
    from ecomp_deap.progress import ProgressBar
    from ecomp_deap.report import plot_run, run_table

    progress = Callback() if quiet else ProgressBar(sys.stderr)
    finished = []
    try:
        with Interrupts(progress.on_message) as interrupts:
            for result in search(callback=progress, interrupts=interrupts):
                plot_run(result.directory.path)
                finished.append(run_table(result.directory.path))
    finally:
        progress.close()
    if not quiet:
        print("\n".join(finished))


def _inspect(words: Mapping[str, Any], rest: Sequence[str]) -> None:
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
    print(inspect(parent, example if shape is None else _zeros(parent, shape)))


def _export(words: Mapping[str, Any], rest: Sequence[str]) -> None:
    _refuse(rest, ["--child", "--format", "--out", "--factory"], "RUN")
    run = Location().parse("RUN", words["run"])
    out = None if words["out"] is None else Location().parse("--out", words["out"])
    format = words["format"] or ("" if out is None else out.suffix.removeprefix("."))
    if not format:
        raise ArgumentError("--format is missing, and there is no --out whose name would tell it")
    Choice(_FORMATS).check("--format" if words["format"] else "--out: the ending", format)

    code = None if words["factory"] is None else Code().parse("--factory", words["factory"])

    from ecomp_deap.search.code import network_from_code
    from ecomp_deap.search.exporting import export_from_run

    factory = None if code is None else network_from_code(code)
    child, written = export_from_run(run, words["child"], format=format, out=out, factory=factory)
    print(f"{written.path}: child {child} of {run}")
    print(f"checked: {written.checked}")
    if written.only_samples is not None:
        print(f"takes batches of {written.only_samples} samples alone")


def _baselines(words: Mapping[str, Any], rest: Sequence[str]) -> None:
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

    from ecomp_deap.progress import ProgressBar
    from ecomp_deap.report import plot_baselines
    from ecomp_deap.search.baseline_run import baselines_of_run
    from ecomp_deap.search.code import network_from_code

    factory = None if code is None else network_from_code(code)
    progress = Callback() if words["quiet"] else ProgressBar(sys.stderr)
    try:
        text = baselines_of_run(
            run, names=names, limits=limits, factory=factory, callback=progress, **counts
        )
    finally:
        progress.close()
    plot_baselines(run)
    if not words["quiet"]:
        print(text, end="")


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
        raise ArgumentError(f"--example: {one_line(error)}") from error


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
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    _add_run(commands)
    _add_resume(commands)
    _add_schema(commands)
    _add_inspect(commands)
    _add_export(commands)
    _add_baselines(commands)
    return parser


def _add_run(commands: Any) -> None:
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


def _add_resume(commands: Any) -> None:
    resume = commands.add_parser(
        "resume",
        help="go on with a run that was interrupted",
        usage="ecomp-deap resume RUN [options]",
        description="Go on with a run that was interrupted, killed or stopped by an error, to the "
        "same result as if it had not been. Everything it was asked is in its folder; code and "
        "data of your own must be where they were. A finished run is left as it is.",
        allow_abbrev=False,
    )
    resume.add_argument("run", metavar="RUN", help="the folder of the run")
    _add_quiet(resume)


def _add_schema(commands: Any) -> None:
    commands.add_parser(
        "schema",
        help="print the JSON schema of a run's options",
        usage="ecomp-deap schema",
        description="Print the JSON schema of the options of a run, as they stand in a file for "
        "--config and in a run's config.json.",
        allow_abbrev=False,
    )


def _add_quiet(parser: Any) -> None:
    parser.add_argument(
        "--quiet",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="whether nothing is printed (default: no)",
    )


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="show what could be pruned from a network",
        usage="ecomp-deap inspect PARENT [options]",
        description="Print the groups of units that a search could prune from a network, with the "
        "parameters and multiply-accumulate operations (MACs) that each takes, and the layers that "
        "are left alone. A weight between two groups counts for both.",
        allow_abbrev=False,
    )
    inspect.add_argument(
        "parent",
        nargs="?",
        metavar="PARENT",
        help="a .safetensors file with its manifest beside it, as runs leave them; or a "
        ".safetensors, .pt or .pth file with the weights of a dense ReLU network, as run --parent "
        "takes it; with --factory, the weights of such a network",
    )
    inspect.add_argument(
        "--factory",
        metavar=Code.metavar,
        help="what makes a network like the parent, such as its class, in a module or a file, "
        "my_models.py:LeNet5; its code is run (default: none)",
    )
    inspect.add_argument(
        "--example",
        metavar="N,N,...",
        help="shape of one sample, such as 1,28,28, which all but sequential stacks need, and the "
        "MACs of convolutions depend on (default: what the manifest tells)",
    )


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a child of a run to a file that others can load",
        usage="ecomp-deap export RUN --format FORMAT [options]",
        description="Write a child of a finished run to a file, and check that what is read back "
        "gives the child's outputs. A .pt2 file is a graph for torch.export.load, a .onnx file one "
        "for ONNX Runtime and others (this takes pip install 'ecomp-deap[onnx]'); both run without "
        "the network's code and take any number of samples where the network allows it.",
        allow_abbrev=False,
    )
    export.add_argument("run", metavar="RUN", help="the folder that a run left behind")
    export.add_argument(
        "--child",
        metavar="ID|best|knee|within:X|under:N",
        default="best",
        help="an id of front.csv; best: the one that the run recommends; knee: the one farthest "
        "below the line between the front's ends in validation error and log10 of the parameters; "
        "within:0.01: the smallest one whose validation accuracy is at most 0.01 below the "
        "parent's; under:27000: the most accurate one on validation data with at most 27,000 "
        "parameters (default: best)",
    )
    export.add_argument(
        "--format",
        metavar="{" + ",".join(_FORMATS) + "}",
        help="what to write (default: what --out ends in)",
    )
    export.add_argument("--out", metavar="FILE", help="where to (default: RUN/exports/ID.FORMAT)")
    export.add_argument(
        "--factory",
        metavar=Code.metavar,
        help="for networks of a class of your own: what makes one like the parent, such as the "
        "class, in a module or a file, my_models.py:LeNet5; its code is run (default: none)",
    )


def _add_baselines(commands: Any) -> None:
    baselines = commands.add_parser(
        "baselines",
        help="give simpler methods what a run took, and compare",
        usage="ecomp-deap baselines RUN [options]",
        description="Give each of several simpler methods as many training samples and evaluations "
        "as a finished run took, the same data and the same final training with a learning rate "
        "tuned for it. Writes baselines.csv, baselines.md and plots/baselines.png into RUN. It "
        "takes about as long as the run, for each method.",
        allow_abbrev=False,
    )
    baselines.add_argument("run", metavar="RUN", help="the folder that a run left behind")
    baselines.add_argument(
        "--methods",
        metavar="NAME,...",
        help="of uniform_l1, global_magnitude, random_masks, random_search, scratch; where input "
        "features are pruned, uniform_l1_inputs, random_masks_inputs, scratch_inputs; where units "
        "were not ranked by l1, uniform_as_search (default: all)",
    )
    baselines.add_argument(
        "--limits",
        metavar="N,...",
        help="numbers of parameters under which children are compared (default: 20, 10, 5 and 3 %% "
        "of the parent's)",
    )
    baselines.add_argument(
        "--children",
        metavar="N",
        help="children that each method trains; more if all would train for longer than the most "
        "epochs (default: 8)",
    )
    baselines.add_argument("--max-epochs", metavar="N", help="most epochs of a child (default: 60)")
    baselines.add_argument(
        "--factory",
        metavar=Code.metavar,
        help="for parents of a class of your own: what makes one like it, such as the class, in a "
        "module or a file, my_models.py:LeNet5; its code is run (default: none)",
    )
    _add_quiet(baselines)


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


def _refuse(words: Sequence[str], flags: Iterable[str], positionals: str) -> None:
    """Raise for words that nothing took, if there are any."""
    for word in words:
        if word.startswith("-"):
            raise unknown_name_error("unknown option", word.partition("=")[0], flags)
    if words:
        raise ArgumentError(f"expected no more than {positionals}, got also {' '.join(words)!r}")
