"""The commands: each takes its words and returns what is printed on stdout."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ecomp_deap.callbacks import Callback, as_callback
from ecomp_deap.cli.looking import (
    compare,
    completion,
    json_text,
    list_runs,
    page,
    show_run,
    version,
)
from ecomp_deap.cli.parser import FORMATS, POSITIONALS
from ecomp_deap.cli.words import Words
from ecomp_deap.errors import ArgumentError, DataError, argument_error
from ecomp_deap.interrupts import Interrupts
from ecomp_deap.progress import progress_on, width_of
from ecomp_deap.runs.config import RunConfig, load_toml
from ecomp_deap.runs.kinds import Choice, Integer, Location, Names
from ecomp_deap.runs.options import OPTIONS, Option
from ecomp_deap.runs.schema import config_schema

__all__ = ["COMMANDS", "config_from"]


def config_from(words: Words) -> RunConfig:
    """Return the configuration that the words of ``run``, and the file they name, ask for."""
    for name in POSITIONALS:
        words.take(name)
    flags = ["--config", "--json", *(option.flag for option in OPTIONS.values())]
    words.refuse_rest(flags, "N_RUNS and NAME")
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


def _run(words: Words) -> str:
    config = config_from(words)

    from ecomp_deap.search.run import run_many

    search, loggers = partial(run_many, config), _loggers(config)
    return _report(search, loggers, quiet=config.quiet, as_json=words["json"])


def _resume(words: Words) -> str:
    words.refuse_rest(["--quiet", "--json"], "RUN")
    run = words.needed_path("run", "RUN")

    from ecomp_deap.runs.directory import RunDirectory
    from ecomp_deap.search.run import resume_run

    directory = RunDirectory(run)
    return _report(
        lambda **options: [resume_run(run, **options)],
        [] if directory.is_finished else _loggers(directory.config()),
        quiet=words["quiet"],
        as_json=words["json"],
    )


def _loggers(config: RunConfig) -> list[Callback]:
    """Return the loggers that a run asks for, before it takes hours that none would log."""
    if config.tensorboard is None and config.mlflow is None:
        return []

    from ecomp_deap.loggers import MLflowLogger, TensorBoardLogger

    loggers: list[Callback] = []
    if config.tensorboard is not None:
        loggers.append(TensorBoardLogger(config.tensorboard))
    if config.mlflow is not None:
        loggers.append(MLflowLogger(config.mlflow, config.name))
    return loggers


def _report(
    search: Callable[..., Iterable[Any]],
    loggers: Sequence[Callback],
    *,
    quiet: bool,
    as_json: bool,
) -> str:
    """Search, show how far it is, and return a table of each run, or all that was found."""
    from ecomp_deap.report import plot_run, run_table
    from ecomp_deap.search.run import to_go_on

    progress = Callback() if quiet else progress_on(sys.stderr)
    # A logger that fails is to be heard of in any case.
    callback = as_callback([*([] if quiet and loggers else [progress]), *loggers])
    finished = []
    try:
        with Interrupts(progress.on_message) as interrupts:
            for result in search(callback=callback, interrupts=interrupts):
                path = result.directory.path
                try:
                    plot_run(path)
                except DataError:
                    progress.on_message(to_go_on(path))
                    raise
                finished.append((result, f"{run_table(path, width=width_of(sys.stdout))}\n"))
    finally:
        callback.close()
    if as_json:
        runs = [{"run": str(r.directory.path), "summary": r.summary} for r, _ in finished]
        return json_text({"runs": runs})
    if quiet:
        return ""
    paths = [str(result.directory.path) for result, _ in finished]
    return "".join([*(table for _, table in finished), _next(paths)])


def _next(runs: Sequence[str]) -> str:
    """Return a line that says by which commands to look at runs."""
    if not runs:
        return ""
    several = " ".join(runs)
    look = f"show {several}" if len(runs) == 1 else f"compare {several}"
    return f"more: ecomp-deap {look}; as a page: ecomp-deap report {several}\n"


def _schema(words: Words) -> str:
    words.refuse_rest([], "no argument")
    return f"{json.dumps(config_schema(), indent=1)}\n"


def _inspect(words: Words) -> str:
    words.refuse_rest(["--example", "--factory", "--json"], "PARENT")
    path = words.path("parent", "PARENT")
    shape = None if words["example"] is None else _shape(words["example"])
    code = words.factory()
    if path is None and code is None:
        raise ArgumentError("PARENT is missing, and so is a --factory")

    from ecomp_deap.network import inspect
    from ecomp_deap.search.code import network_from_code
    from ecomp_deap.search.parent import given_example, given_parent

    parent: Any = None if code is None else network_from_code(code)
    example = None
    if path is not None:
        parent, example = given_parent(path, parent), given_example(path)
    found = inspect(parent, example if shape is None else _zeros(parent, shape))
    if not words["json"]:
        return f"{found}\n"
    return json_text(
        {
            "groups": [vars(row) for row in found.rows],
            "left_alone": dict(found.left_alone),
            "param_count": found.param_count,
            "mac_count": found.mac_count,
        }
    )


def _export(words: Words) -> str:
    words.refuse_rest(["--child", "--format", "--out", "--factory", "--json"], "RUN")
    run = words.needed_path("run", "RUN")
    out = words.path("out", "--out")
    format, name = words["format"], "--format"
    if format is None:
        format, name = "" if out is None else out.suffix.removeprefix("."), "--out: the ending"
        if not format:
            missing = "--format is missing, and no --out tells it"
            raise ArgumentError(missing)
    Choice(FORMATS).check(name, format)
    code = words.factory()

    from ecomp_deap.search.code import network_from_code
    from ecomp_deap.search.exporting import export_from_run

    factory = None if code is None else network_from_code(code)
    child, written = export_from_run(run, words["child"], format=format, out=out, factory=factory)
    if words["json"]:
        told = {"path": str(written.path), "child": child, "run": str(run)}
        checked = {"checked": written.checked, "only_samples": written.only_samples}
        return json_text({**told, **checked})
    text = f"{written.path}: child {child} of {run}\nchecked: {written.checked}\n"
    if written.only_samples is not None:
        text += f"takes batches of {written.only_samples} samples alone\n"
    return text


def _baselines(words: Words) -> str:
    flags = ("--methods", "--limits", "--children", "--max-epochs", "--factory", "--json")
    words.refuse_rest([*flags, "--quiet"], "RUN")
    run = words.needed_path("run", "RUN")
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
    code = words.factory()

    from ecomp_deap.report import plot_baselines
    from ecomp_deap.runs.directory import read_front
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
    if words["json"]:
        return json_text({"run": str(run), "children": read_front(run / "baselines.csv")})
    return "" if words["quiet"] else text


def _to_optuna(words: Words) -> str:
    runs = words.paths("runs", "RUN")
    words.refuse_rest(["--storage", "--study", "--json"], "folders of runs")
    study, storage = words["study"], words["storage"]
    if not storage:
        raise argument_error("--storage", "a URL such as sqlite:///study.db", storage)

    from ecomp_deap.loggers import export_optuna

    several = [[run] for run in runs] if study is None else [runs]
    made = [export_optuna(own, storage, study=study) for own in several]
    if words["json"]:
        studies = [{"study": one.study_name, "trials": len(one.trials)} for one in made]
        return json_text({"storage": storage, "studies": studies})
    return "".join(
        f"{storage}: study {one.study_name!r} has {len(one.trials)} trials\n" for one in made
    )


COMMANDS: dict[str, Callable[[Words], str]] = {
    "run": _run,
    "resume": _resume,
    "list": list_runs,
    "show": show_run,
    "compare": compare,
    "report": page,
    "export": _export,
    "to-optuna": _to_optuna,
    "baselines": _baselines,
    "inspect": _inspect,
    "schema": _schema,
    "version": version,
    "completion": completion,
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
    try:
        return option.kind.parse(name, word)
    except ArgumentError as error:
        if option.name != "n_runs":
            raise
        meant = word if word.isidentifier() else "first"
        raise ArgumentError(f"{error}; such as: ecomp-deap run 1 {meant}") from error
