"""`MLflowLogger`: a search as a run of MLflow."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ecomp_deap._version import __version__
from ecomp_deap.checks import installed
from ecomp_deap.errors import DataError, argument_error, named
from ecomp_deap.loggers.found import found_table
from ecomp_deap.loggers.logger import Logger, is_number
from ecomp_deap.report import draw_all
from ecomp_deap.runs.directory import RunDirectory

__all__ = ["MLflowLogger"]

EXPERIMENT = "ecomp_deap"

# MLflow takes no more parameters at once, and these letters alone in names.
_MOST_PARAMS = 100
_NO_LETTER = re.compile(r"[^\w\-. /]")
_LONGEST_VALUE = 500
_FOLDER = "ecomp_deap.folder"
_DESCRIPTION = "mlflow.note.content"
_FILES = ("config.json", "summary.json", "front.csv", "logbook.csv", "timings.csv")


class MLflowLogger(Logger):
    """Write a search to MLflow: parameters, metrics of each generation, and what was found.

    Metrics have names such as ``accuracy/max`` and the generation as their step; the best child's
    figures are ``best/…``. The description tells which children are worth a look; artifacts are the
    tables, the plots, and the best child with its manifest. A run of the command that is resumed
    goes on with its run in MLflow. MLflow's own state in this process, such as a run that is
    active, is left alone.

    Args:
        tracking_uri: Where MLflow keeps runs, ``sqlite:///mlflow.db`` or a server's address say; by
            default what MLflow itself takes, such as ``MLFLOW_TRACKING_URI``.
        experiment: Name of the experiment, by default ``ecomp_deap``; it is made if it is not
            there.
        params: See `Logger`.

    Raises:
        ArgumentError: An argument of another type, or MLflow is not installed (pip install
            'ecomp-deap[mlflow]').
        DataError: MLflow cannot be reached there, or refuses the experiment.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(params=params)
        for name, value in (("tracking_uri", tracking_uri), ("experiment", experiment)):
            if value is not None and (not isinstance(value, str) or not value):
                raise argument_error(name, "a text", value)
        library = installed("mlflow", extra="mlflow", what="MLflowLogger")
        self._entities: Any = library.entities
        with _reaching(tracking_uri):
            self._client: Any = library.MlflowClient(tracking_uri=tracking_uri)
            self._experiment = self._experiment_named(experiment or EXPERIMENT)
        self._run_id = ""
        self._is_finished = False

    def open(self, directory: Path | None, params: Mapping[str, Any], step: int) -> None:
        self._is_finished = directory is None  # of such a one nobody knows how far it is
        folder = None if directory is None else os.path.abspath(directory)
        found = None if folder is None else self._unfinished(folder)
        if found is not None:
            self._run_id = found
            self._client.update_run(found, status="RUNNING")
            return
        tags = {"mlflow.source.name": "ecomp_deap", "ecomp_deap.version": __version__}
        if folder is not None:
            tags[_FOLDER] = folder
        name = "search" if directory is None else directory.name
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        self._run_id = run.info.run_id
        given = [
            self._entities.Param(_name(name), str(value)[:_LONGEST_VALUE])
            for name, value in params.items()
            if value is not None
        ]
        for start in range(0, len(given), _MOST_PARAMS):
            self._client.log_batch(self._run_id, params=given[start : start + _MOST_PARAMS])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(_name(k), v, now, step) for k, v in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, run: RunDirectory, summary: Mapping[str, Any]) -> None:
        best, parts = summary["best"], {f"seconds_{k}": v for k, v in summary["seconds"].items()}
        numbers = {k: v for k, v in {**summary, **parts}.items() if is_number(v)}
        self.scalars(
            {
                **{f"best/{k}": float(v) for k, v in best.items() if is_number(v)},
                **{f"summary/{k}": float(v) for k, v in numbers.items() if k != "seed"},
            },
            0,
        )
        texts = {k: v for k, v in summary.items() if isinstance(v, str)}
        for name, value in {**texts, "picks": json.dumps(summary["picks"])}.items():
            self._client.set_tag(self._run_id, f"ecomp_deap.{name}", value)
        self._client.set_tag(self._run_id, _DESCRIPTION, found_table(run, summary))
        tensors = run.child(best["id"])
        for name in _FILES:
            if (run.path / name).exists():
                self._client.log_artifact(self._run_id, str(run.path / name))
        for path in (tensors, tensors.with_suffix(".json")):
            self._client.log_artifact(self._run_id, str(path), "children")
        with TemporaryDirectory() as folder:
            for path in draw_all(run, summary, Path(folder)):
                self._client.log_artifact(self._run_id, str(path), "plots")
        self._is_finished = True

    def end(self) -> None:
        run_id, self._run_id = self._run_id, ""
        self._client.set_terminated(run_id, "FINISHED" if self._is_finished else "KILLED")

    def _experiment_named(self, name: str) -> str:
        """Return the id of an experiment, which is made if it is not there."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            made: str = self._client.create_experiment(name)
            return made
        if found.lifecycle_stage != "active":
            raise DataError(
                f"MLflow: the experiment {name!r} was deleted: restore it, or take another"
            )
        return str(found.experiment_id)

    def _unfinished(self, folder: str) -> str | None:
        """Return the id of the run that was begun for a folder and not finished, if any."""
        quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
        found = self._client.search_runs(
            [self._experiment], f"tags.`{_FOLDER}` = '{quoted}' and status != 'FINISHED'"
        )
        return found[0].info.run_id if found else None


@contextmanager
def _reaching(tracking_uri: str | None) -> Iterator[None]:
    """Give what MLflow raises where it cannot keep runs the name of the place."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of MLflow, a database or the network
        place = "its default place" if tracking_uri is None else repr(tracking_uri)
        raise DataError(f"MLflow cannot keep runs in {place}: {named(error)}") from error


def _name(text: str) -> str:
    """Return a name that MLflow takes."""
    return _NO_LETTER.sub("_", text)
