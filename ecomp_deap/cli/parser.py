"""The words that the command ``ecomp-deap`` takes, and its help."""

import argparse
from typing import Any, NoReturn

from ecomp_deap._version import __version__
from ecomp_deap.errors import ArgumentError
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.kinds import Code, Flag
from ecomp_deap.runs.options import OPTIONS, Option

__all__ = ["FORMATS", "POSITIONALS", "SHELLS", "make_parser"]

POSITIONALS = ("n_runs", "name")
FORMATS = ("safetensors", "pt2", "onnx")
SHELLS = ("bash", "zsh", "fish")
_FACTORY = (
    "class or function that makes a network like the parent, such as my_models.py:LeNet5; its code "
    "is run (default: none)"
)

_CHILD = "ID|best|knee|within:X|under:N"
_WHICH_CHILD = (
    "an id of front.csv; best: the one that the run recommends; knee: the one farthest below the "
    "line between the front's ends in validation error and log10 of the parameters; within:0.01: "
    "the smallest one whose validation accuracy is at most 0.01 below the parent's; under:27000: "
    "the most accurate one on validation data with at most 27,000 parameters"
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, whose errors are `ArgumentError`."""
    parser = _Parser(
        prog="ecomp-deap",
        usage="ecomp-deap COMMAND [options]",
        description="Evolve smaller versions of a trained network.",
        epilog="ecomp-deap COMMAND --help tells more of each. To begin with: ecomp-deap run 1 "
        "first, then ecomp-deap show results/first_1.",
        formatter_class=_Commands,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ecomp-deap {__version__}")
    _add_debug(parser)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, prog=parser.prog
    )
    for add in (
        *(_add_run, _add_resume, _add_list, _add_show, _add_compare, _add_report),
        *(_add_export, _add_to_optuna, _add_baselines, _add_inspect, _add_schema),
        *(_add_version, _add_completion),
    ):
        add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, so that all of them look alike."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message} (try {self.prog} --help)")


class _Paragraphs(argparse.HelpFormatter):
    """Help in which empty lines of a description stay."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.split("\n\n")
        return "\n\n".join(super(_Paragraphs, self)._fill_text(p, width, indent) for p in parts)


class _Commands(argparse.HelpFormatter):
    """Help with a line for each command; argparse measures their names without the indentation."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 14


def _add_command(
    commands: Any,
    name: str,
    *,
    help: str,
    usage: str,
    description: str,
    json: str = "",
    **more: Any,
) -> Any:
    """Add a command; ``json`` says what it prints as JSON, if it can."""
    command = commands.add_parser(
        name,
        help=help,
        usage=f"ecomp-deap {name} {usage}".rstrip(),
        description=description,
        allow_abbrev=False,
        **more,
    )
    if json:
        command.add_argument("--json", action="store_true", help=f"print {json} as JSON")
    _add_debug(command)
    return command


def _add_debug(parser: Any) -> None:
    # Taken out of the words before argparse sees them.
    parser.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="also print the traceback of an error",
    )


def _add_run(commands: Any) -> None:
    run = _add_command(
        commands,
        "run",
        help="compress a network, once or several times",
        usage="N_RUNS NAME [options]",
        description="Compress a network trained on FashionMNIST N_RUNS times. Each run leaves a "
        "directory with its front, logbook, plots and children.\n\nMost used: --population, "
        "--generations, --objectives, --parent, --factory, --workers. docs/options.md has all as "
        "tables.",
        formatter_class=_Paragraphs,
        epilog="Options may also stand in a file, N_RUNS and NAME as n_runs and name; the command "
        "line goes before the file, the file before the preset.",
        json="the runs' folders and summaries",
    )
    groups: dict[str, Any] = {}
    for option in OPTIONS.values():
        if option.group not in groups:
            groups[option.group] = run.add_argument_group(option.group)
        _add(groups[option.group], option)
    run.add_argument("--config", metavar="FILE.toml", help="a file of these options")


def _add_resume(commands: Any) -> None:
    resume = _add_command(
        commands,
        "resume",
        help="go on with a run that was interrupted",
        usage="RUN [options]",
        description="Go on with a run that was interrupted, killed or stopped by an error, to the "
        "same result as if it had not been. Everything it was asked is in its folder; code and "
        "data of your own must be where they were. A finished run is left as it is.",
        json="the run's folder and summary",
    )
    resume.add_argument("run", metavar="RUN", help="the folder of the run")
    _add_quiet(resume)


def _add_list(commands: Any) -> None:
    listed = _add_command(
        commands,
        "list",
        help="list the runs in a folder",
        usage="[OUT] [options]",
        description="List the runs in a folder: whether each is finished or running, the accuracy "
        "(or other metric) of its best child, the child's share of the parent's parameters, "
        "generations, seconds and date.",
        json="the list",
    )
    listed.add_argument(
        "out", nargs="?", metavar="OUT", help=f"the folder (default: {RunConfig.out})"
    )


def _add_show(commands: Any) -> None:
    show = _add_command(
        commands,
        "show",
        help="show what a run found",
        usage="RUN [options]",
        description="Show what a finished run found: its best child, what else is worth a look, "
        "and the front; or one child's figures and layers beside the parent's.",
        json="all that is known of it",
    )
    show.add_argument("run", metavar="RUN", help="the folder that a run left behind")
    show.add_argument(
        "--child",
        metavar=_CHILD,
        help=f"{_WHICH_CHILD} (default: none)",
    )


def _add_compare(commands: Any) -> None:
    compare = _add_command(
        commands,
        "compare",
        help="compare what runs found",
        usage="RUN RUN... [options]",
        description="Show runs beside each other, with their differences from the first one; mean "
        "and standard deviation of runs of one name; and the options in which they differ.",
        json="all of it",
    )
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="the folders that finished runs left behind"
    )


def _add_version(commands: Any) -> None:
    version = _add_command(
        commands,
        "version",
        help="print the version, and what else an issue needs",
        usage="[options]",
        description="Print the version of ecomp-deap.",
        json="it",
    )
    version.add_argument(
        "--verbose",
        action="store_true",
        help="also those of Python, torch and other packages, the system, processors, GPUs and "
        "threads; an issue should have it",
    )


def _add_completion(commands: Any) -> None:
    completion = _add_command(
        commands,
        "completion",
        help="print a script that lets a shell complete commands and options",
        usage="{" + ",".join(SHELLS) + "}",
        description="Print a script that lets a shell complete commands, options, names and paths. "
        'bash: eval "$(ecomp-deap completion bash)" in ~/.bashrc. zsh: the same with zsh in '
        "~/.zshrc, behind compinit. fish: ecomp-deap completion fish > "
        "~/.config/fish/completions/ecomp-deap.fish.",
    )
    completion.add_argument(
        "shell", nargs="?", metavar="{" + ",".join(SHELLS) + "}", help="the shell"
    )


def _add_schema(commands: Any) -> None:
    _add_command(
        commands,
        "schema",
        help="print the JSON schema of a run's options",
        usage="",
        description="Print the JSON schema of the options of a run, as they stand in a file for "
        "--config and in a run's config.json.",
    )


def _add_quiet(parser: Any) -> None:
    parser.add_argument(
        "--quiet",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="print nothing but errors (default: no)",
    )


def _add_inspect(commands: Any) -> None:
    inspect = _add_command(
        commands,
        "inspect",
        help="show what could be pruned from a network",
        usage="PARENT [options]",
        description="Print the groups of units that a search could prune from a network, with the "
        "parameters and multiply-accumulate operations (MACs) that each takes, and the layers that "
        "are left alone. A weight between two groups counts for both.",
        json="the groups",
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
        help=_FACTORY,
    )
    inspect.add_argument(
        "--example",
        metavar="N,N,...",
        help="shape of one sample, such as 1,28,28, which all but sequential stacks need, and the "
        "MACs of convolutions depend on (default: what the manifest tells)",
    )


def _add_export(commands: Any) -> None:
    export = _add_command(
        commands,
        "export",
        help="write a child of a run to a file that others can load",
        usage="RUN --format FORMAT [options]",
        description="Write a child of a finished run to a file, and check that what is read back "
        "gives the child's outputs. A .pt2 file is a graph for torch.export.load, a .onnx file one "
        "for ONNX Runtime and others (needs pip install 'ecomp-deap[onnx]'); both run without "
        "the network's code and take any number of samples where the network allows it.",
        json="what was written",
    )
    export.add_argument("run", metavar="RUN", help="the folder that a run left behind")
    export.add_argument(
        "--child",
        metavar=_CHILD,
        default="best",
        help=f"{_WHICH_CHILD} (default: best)",
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
        help=f"for a class of your own: {_FACTORY}",
    )


def _add_baselines(commands: Any) -> None:
    baselines = _add_command(
        commands,
        "baselines",
        help="give simpler methods what a run took, and compare",
        usage="RUN [options]",
        description="Give each of several simpler methods as many training samples and evaluations "
        "as a finished run took, the same data and the same final training with a learning rate "
        "tuned for it. Writes baselines.csv, baselines.md and plots/baselines.png into RUN. It "
        "takes about as long as the run, for each method.",
        json="the children of all methods",
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
        help=f"for a class of your own: {_FACTORY}",
    )
    _add_quiet(baselines)


def _add_report(commands: Any) -> None:
    report = _add_command(
        commands,
        "report",
        help="write a page that shows what a run found, or several",
        usage="RUN... [options]",
        description="Write one HTML file that shows the front of a finished run, each of its "
        "children, and how the search went; or what several runs found, with the spread between "
        "them. It needs no network, and no file beside it. Needs pip install "
        "'ecomp-deap[report]'.",
        json="the paths",
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


def _add_to_optuna(commands: Any) -> None:
    to_optuna = _add_command(
        commands,
        "to-optuna",
        help="write the children of runs into a storage of Optuna",
        usage="RUN... --storage URL [options]",
        description="Write the children of finished runs as trials into a new study of Optuna, "
        "whose plots and dashboard then show them: values are the run's objectives, parameters the "
        "units that a child keeps in each group. Needs pip install 'ecomp-deap[optuna]'.",
        json="the studies, and how many trials each has",
    )
    to_optuna.add_argument(
        "runs", nargs="+", metavar="RUN", help="the folders that finished runs left behind"
    )
    to_optuna.add_argument(
        "--storage", metavar="URL", required=True, help="where to, such as sqlite:///study.db"
    )
    to_optuna.add_argument(
        "--study",
        metavar="NAME",
        help="one study for all of them (default: one for each, called as its folder)",
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
