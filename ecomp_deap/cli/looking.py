"""The commands that look at what there is: runs, the installation, and the command itself."""

import json
import sys
from typing import Any

from ecomp_deap._version import __version__
from ecomp_deap.cli.parser import SHELLS, make_parser
from ecomp_deap.cli.words import Words
from ecomp_deap.errors import ArgumentError, DataError
from ecomp_deap.progress import width_of
from ecomp_deap.runs.config import RunConfig
from ecomp_deap.runs.kinds import Choice

__all__ = ["compare", "completion", "json_text", "list_runs", "page", "show_run", "version"]

# What is completed by the names of folders, and of files.
_FOLDERS = ("RUN", "OUT", "FOLDER")
_FILES = ("FILE", "FILE.toml", "PARENT", "PATH", "MODULE:NAME")


def list_runs(words: Words) -> str:
    """List the runs in a folder."""
    words.take("out")
    words.refuse_rest(["--json"], "OUT")
    out = words.path("out", "OUT") or RunConfig.out

    from ecomp_deap.report import listing, listing_text

    found = listing(out)
    return (
        json_text({"runs": found})
        if words["json"]
        else f"{listing_text(found, out, width=_width())}\n"
    )


def show_run(words: Words) -> str:
    """Show what a run found, or one of its children."""
    words.refuse_rest(["--child", "--json"], "RUN")
    run = words.needed_path("run", "RUN")

    from ecomp_deap.report import child_details, child_text, run_details, run_text

    if words["child"] is not None:
        child = child_details(run, words["child"])
        return json_text(child) if words["json"] else f"{child_text(child)}\n"
    details = run_details(run)
    return json_text(details) if words["json"] else f"{run_text(details, width=_width())}\n"


def compare(words: Words) -> str:
    """Compare what several runs found."""
    runs = words.paths("runs", "RUN")
    words.refuse_rest(["--json"], "folders of runs")
    if len(runs) < 2:
        raise ArgumentError(f"RUN: expected at least two to compare, got {runs[0]} alone")

    from ecomp_deap.report import compared, compared_text

    found = compared(runs)
    return json_text(found) if words["json"] else f"{compared_text(found, width=_width())}\n"


def page(words: Words) -> str:
    """Write the page of a run, or of several."""
    runs = words.paths("runs", "RUN")
    words.refuse_rest(["--out", "--figures", "--json"], "folders of runs")
    out, figures = words.path("out", "--out"), words.path("figures", "--figures")

    from ecomp_deap.report import write_figures, write_report

    written = write_report(runs, out=out)
    drawn = [] if figures is None else write_figures(runs, figures)
    if words["json"]:
        return json_text({"page": str(written), "figures": [str(path) for path in drawn]})
    return "".join(f"{path}\n" for path in (written, *drawn))


def version(words: Words) -> str:
    """Print the version, and what else an issue needs."""
    words.refuse_rest(["--verbose", "--json"], "no argument")
    if not words["verbose"]:
        short = {"ecomp-deap": __version__}
        return json_text(short) if words["json"] else f"ecomp-deap {__version__}\n"

    from ecomp_deap.installation import installation, installation_text

    found = installation()
    return json_text(found) if words["json"] else f"{installation_text(found)}\n"


def completion(words: Words) -> str:
    """Print a script that completes the command's words in a shell."""
    words.take("shell")
    words.refuse_rest([], "SHELL")
    if words["shell"] is None:
        raise ArgumentError(f"SHELL is missing: one of {', '.join(SHELLS)}")
    shell = Choice(SHELLS).parse("SHELL", words["shell"])

    import shtab

    parser = make_parser()
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY
        elif isinstance(action.metavar, str) and action.metavar.startswith("{"):
            action.choices = action.metavar[1:-1].split(",")
        elif isinstance(action.choices, dict):  # lists of commands have a line for each
            for told in action._choices_actions:
                action.choices[told.dest].description = told.help
    return f"{shtab.complete(parser, shell=shell)}\n"


def _width() -> int | None:
    """Return what the terminal has room for; None where what is printed goes elsewhere."""
    return width_of(sys.stdout)


def _actions(parser: Any) -> list[Any]:
    """Return the actions of a parser and of its commands."""
    found = list(parser._actions)
    for action in parser._actions:
        for command in set(action.choices.values()) if isinstance(action.choices, dict) else ():
            found += command._actions
    return found


def json_text(content: Any) -> str:
    """Return what a command answers to ``--json``.

    Raises:
        DataError: A file has a number beyond a float's range, which JSON has not, or no end.
    """
    try:
        return f"{json.dumps(content, indent=2, allow_nan=False)}\n"
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"--json: what the files hold cannot be written as JSON ({error})"
        ) from error
