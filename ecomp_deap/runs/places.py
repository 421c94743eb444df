"""Places: which folders are runs, and what to say of a path that is none."""

import os
from contextlib import suppress
from pathlib import Path

from ecomp_deap.runs.config import RunConfig

__all__ = ["hint", "is_run"]

# Files of which a run's folder has one at least.
_FILES = ("summary.json", "config.json", "front.csv")


def is_run(path: Path) -> bool:
    """Return whether a path is the folder of a run, finished or not."""
    return any(os.path.isfile(path / name) for name in _FILES)


def hint(path: Path) -> str:
    """Return where the run may be that is looked for at a path, as the end of an error.

    That is empty where no runs are near.
    """
    if is_run(path):
        begun = os.path.isfile(path / "config.json") and not os.path.isfile(path / "summary.json")
        return f"; to go on with it: ecomp-deap resume {path}" if begun else ""
    if os.path.lexists(path):
        around = next((folder for folder in path.parents if is_run(folder)), None)
        if around is not None:
            return f"; did you mean the run that it is in, {around}?"
        if _has_runs(path):
            return f"; for the runs in it: ecomp-deap list {path}"
    elif is_run(RunConfig.out / path):
        return f"; did you mean {RunConfig.out / path}?"
    elif _has_runs(path.parent):
        return f"; for those there are: ecomp-deap list {path.parent}"
    if _has_runs(RunConfig.out):
        return f"; for those there are: ecomp-deap list {RunConfig.out}"
    return ""


def _has_runs(folder: Path) -> bool:
    with suppress(OSError, ValueError):  # the latter of a name with a null
        return any(is_run(folder / name) for name in os.listdir(folder))
    return False
