"""The words that the command ``ecomp-deap`` takes, and its help."""

import argparse
from typing import Any, NoReturn

from ecomp_deap._version import __version__
from ecomp_deap.errors import ArgumentError
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.kinds import Code, Flag
from ecomp_deap.runs.options import OPTIONS, Option

__all__ = ["FORMATS", "POSITIONALS", "make_parser"]

POSITIONALS = ("n_runs", "name")
FORMATS = ("safetensors", "pt2", "onnx")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, whose errors are `ArgumentError`."""
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
    _add_report(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, so that all of them look alike."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message} (try {self.prog} --help)")


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
        metavar="{" + ",".join(FORMATS) + "}",
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


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="write a page that shows what a run found, or several",
        usage="ecomp-deap report RUN... [options]",
        description="Write one HTML file that shows the front of a finished run, each of its "
        "children, and how the search went; or what several runs found, with the spread between "
        "them. It needs no network, and no file beside it. This takes pip install "
        "'ecomp-deap[report]'.",
        allow_abbrev=False,
    )
    report.add_argument(
        "runs", nargs="+", metavar="RUN", help="the folders that finished runs left behind"
    )
    report.add_argument(
        "--out", metavar="FILE", help="where to (default: report.html in the first RUN)"
    )
    report.add_argument(
        "--figures",
        metavar="FOLDER",
        help="also write each figure as PNG and SVG, for papers, into this folder (default: none)",
    )


def _add(group: Any, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.name in POSITIONALS:  # optional to argparse, as a file may hold them
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
