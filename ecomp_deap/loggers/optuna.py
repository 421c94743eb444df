"""`export_optuna`: what runs found as a study of Optuna, for its plots and its dashboard."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecomp_deap.checks import check_path, installed
from ecomp_deap.errors import ArgumentError, DataError, argument_error, named
from ecomp_deap.fitness import ParetoFitness, WeightedFitness
from ecomp_deap.measurement import Measurement
from ecomp_deap.runs.choosing import picked
from ecomp_deap.runs.directory import RunDirectory, metric_of
from ecomp_deap.search import Result
from ecomp_deap.search.run_files import picks_of
from ecomp_deap.task import ACCURACY

__all__ = ["export_optuna"]

Source = str | os.PathLike[str] | Result

_FIGURES = ("similarity_loss", "relative_width", "param_count", "mac_count", "size_bytes")
_WIDTH = re.compile(r"0*[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True)
class _Found:
    """What a run or a search found.

    Attributes:
        name: Of its folder.
        front: The rows of its children.
        parent: The parent's row.
        groups: Names of the groups of units.
        picks: Ids of children worth a look by their word, None where there is no such child.
        fitness: What it was selected by.
    """

    name: str
    front: Sequence[Mapping[str, Any]]
    parent: Mapping[str, Any]
    groups: Sequence[str]
    picks: Mapping[str, str | None]
    fitness: ParetoFitness | WeightedFitness

    @property
    def objectives(self) -> list[str]:
        """What the values of its trials are called."""
        if isinstance(self.fitness, ParetoFitness):
            return list(self.fitness.objectives)
        return [f"weighted sum {self.fitness.loss_weights}"]

    @property
    def directions(self) -> list[str]:
        """Where they should go."""
        return ["maximize" if sign > 0 else "minimize" for sign in self.fitness.signs]


def export_optuna(
    runs: Source | Sequence[Source], storage: Any = None, *, study: str | None = None
) -> Any:
    """Write the children that runs found into a new study of Optuna, and return the study.

    Each child of a front is a trial: its values are the run's objectives, the metric as it is on
    the validation data; its parameters the units that it keeps in each group, from 1 to as many as
    the parent has; and its user attributes all its figures, its id, the name of its run, and what
    picks it, ``best`` say, see `choose`. The study's attributes have the parents' figures. With a
    weighted fitness there is one objective, the weighted sum.

    Args:
        runs: The folder of a finished run, or what `compress` returned; or several that had the
            same objectives and groups.
        storage: Where to, as Optuna takes it: ``sqlite:///study.db`` say; None keeps the study in
            memory.
        study: Its name, by default that of the first run's folder.

    Raises:
        ArgumentError: An argument of another type, runs that do not go together, a storage that
            Optuna refuses, or Optuna is not installed (pip install 'ecomp-deap[optuna]').
        DataError: A run is not finished or damaged, or the storage has a study of that name.
    """
    several = [runs] if isinstance(runs, (str, os.PathLike, Result)) else runs
    if not isinstance(several, Sequence) or not several:
        raise argument_error("runs", "a folder or a Result, or several", runs)
    if study is not None and (not isinstance(study, str) or not study):
        raise argument_error("study", "a name", study)
    optuna = installed("optuna", extra="optuna", what="export_optuna")
    found = [_of_result(run) if isinstance(run, Result) else _of_folder(run) for run in several]
    first = found[0]
    for other in found[1:]:
        for what in ("objectives", "directions", "groups"):
            if getattr(other, what) != getattr(first, what):
                expected = f"the same {what} for all, as of {first.name}: {getattr(first, what)}"
                raise argument_error(f"runs: {other.name}", expected, getattr(other, what))
    whole = [_widths(run, run.parent) for run in found]
    distributions = {
        name: optuna.distributions.IntDistribution(1, max(widths))
        for name, *widths in zip(first.groups, *whole, strict=True)
    }
    trials = [
        optuna.trial.create_trial(
            values=_values(run, row),
            params=dict(zip(run.groups, _widths(run, row), strict=True)),
            distributions=distributions,
            user_attrs=_attributes(run, row),
        )
        for run in found
        for row in run.front
    ]
    name = study or first.name
    with _writing(optuna, storage, name):
        made = optuna.create_study(storage=storage, study_name=name, directions=first.directions)
        made.set_metric_names(first.objectives)
        for run in found:
            made.set_user_attr(f"parent of {run.name}", dict(run.parent))
        made.add_trials(trials)
    return made


def _of_folder(directory: str | os.PathLike[str]) -> _Found:
    path = check_path("runs", directory)
    run = RunDirectory.open(path)
    front, summary = run.front(), run.summary()
    if not front:
        raise DataError(f"{path}: expected children in front.csv, but it has none")
    name, groups = Path(os.path.abspath(path)).name, run.groups(front[0])
    fitness = _fitness(run, summary)
    return _Found(name, front, summary["parent"], groups, summary["picks"], fitness)


def _fitness(run: RunDirectory, summary: Mapping[str, Any]) -> ParetoFitness | WeightedFitness:
    """Return what a run was selected by.

    Raises:
        DataError: Its files do not tell.
    """
    asked = run.asked() or {}
    weights: Any
    if "fitness" in asked:  # of a search in Python
        fitness, costs = asked["fitness"], asked.get("task.costs")
        told = fitness if isinstance(fitness, dict) else {}
        objectives, weights = told.get("objectives"), told.get("loss_weights")
    else:
        config, costs = run.config().resolved(), None
        objectives, weights = config.objectives, config.loss_weights
    found = metric_of(summary)
    try:
        # Nothing is measured by it any more: its function does not count.
        metric = replace(ACCURACY, name=found["name"], maximise=found["maximise"])
        if objectives is None:
            return WeightedFitness(tuple(weights or ()), metric)
        return ParetoFitness(tuple(objectives), metric, own_costs=tuple(costs or ()))
    except (ArgumentError, TypeError) as error:
        expected = "expected what a search was selected by"
        raise DataError(f"{run.path}: {expected}, but {named(error)}") from error


def _of_result(result: Result) -> _Found:
    evaluator, fitness = result.toolbox.evaluator, result.toolbox.fitness
    assert isinstance(fitness, (ParetoFitness, WeightedFitness))  # all that there are
    return _Found(
        name="search",
        front=[child.as_row() for child in result.front],
        parent=result.parent.as_row(),
        groups=[group.name for group in evaluator.structure.groups],
        picks=picks_of(result),
        fitness=fitness,
    )


def _widths(run: _Found, row: Mapping[str, Any]) -> list[int]:
    """Return how many units of each group a row keeps."""
    parts = str(row.get("widths")).split("-")
    if len(parts) != len(run.groups) or not all(map(_WIDTH.fullmatch, parts)):
        expected = f"expected the widths of {len(run.groups)} groups"
        raise DataError(f"{run.name}: {expected}, but {row.get('id')!r} has {row.get('widths')!r}")
    return [int(part) for part in parts]


def _attributes(run: _Found, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a row beside its widths and objectives."""
    known = {name: value for name, value in row.items() if value is not None}
    words = picked(run.picks, [row["id"]]).get(row["id"])
    return {**known, "run": run.name, **({"picks": ", ".join(words)} if words else {})}


def _values(run: _Found, row: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the values of a row's objectives."""
    name, own_costs = run.fitness.metric.name, getattr(run.fitness, "own_costs", ())
    try:
        found = Measurement(
            metric=row[f"validation_{name}"],
            latency_ms=row.get("latency_ms"),
            costs=tuple((cost, row[cost]) for cost in own_costs),
            metric_name=name,
            **{figure: row[figure] for figure in _FIGURES},
        )
        return run.fitness.values(found)
    except (KeyError, TypeError, ArgumentError) as error:
        expected = f"expected figures of {row.get('id')!r} for {run.objectives}"
        raise DataError(f"{run.name}: {expected}, but {named(error)}") from error


@contextmanager
def _writing(optuna: Any, storage: Any, name: str) -> Iterator[None]:
    """Keep Optuna from telling what it does, and give its errors the storage's name."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            # The names of metrics may change; they are what its plots have along their axes.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except optuna.exceptions.DuplicatedStudyError as error:
        expected = "expected another name"
        raise DataError(f"storage: {storage} has a study {name!r} already, {expected}") from error
    except Exception as error:  # of Optuna, SQLAlchemy, a database's driver or the network
        raise DataError(f"storage: Optuna cannot use {storage!r}: {named(error)}") from error
    finally:
        optuna.logging.set_verbosity(level)
