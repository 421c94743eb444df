"""Baselines of finished runs: from a run directory to what simpler methods make of its budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecomp_deap.callbacks import Callback
from ecomp_deap.errors import DataError
from ecomp_deap.exports.child import Factory
from ecomp_deap.runs import RunConfig
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.search.baselines import CHILDREN, MAX_EPOCHS, baselines
from ecomp_deap.search.budget import Budget
from ecomp_deap.search.code import child_in
from ecomp_deap.search.comparing import SEARCH, chosen_rows, comparison, markdown, shares_of
from ecomp_deap.search.run import data_for, task_for

__all__ = ["N_CLASSES", "FinishedRun", "baselines_of_run"]

#: Of FashionMNIST, which runs search on.
N_CLASSES = 10
_TABLE, _TEXT, _PLOTS = "baselines.csv", "baselines.md", "plots"
_COLUMNS = (
    *("method", "id", "validation_accuracy", "test_accuracy"),
    *("param_count", "mac_count", "widths", "epochs", "samples", "evaluations"),
)


def baselines_of_run(
    run: Path,
    *,
    names: Sequence[str] | None = None,
    limits: Sequence[int] | None = None,
    children: int = CHILDREN,
    max_epochs: int = MAX_EPOCHS,
    factory: Factory | None = None,
    callback: Callback | None = None,
) -> str:
    """Give each baseline what a run took; write ``baselines.csv`` and ``baselines.md`` into it.

    Args:
        run: The run's folder.
        names: See `baselines`.
        limits: Parameters under which children are compared, by default 20, 10, 5 and 3 % of the
            parent's.
        children: See `baselines`.
        max_epochs: See there.
        factory: See `load_child`, for a parent of a class of one's own.
        callback: Told of every phase.

    Returns:
        The content of ``baselines.md``.

    Raises:
        DataError: No run, a damaged file, or one that cannot be written.
        ArgumentError: As `baselines`.
    """
    finished = FinishedRun.open(run)
    finished.directory.check_places((_TABLE, _TEXT), (_PLOTS,))
    if limits is None:
        limits = shares_of(finished.parent["param_count"])
    found = finished.baseline_rows(
        names=names,
        sizes=limits,
        children=children,
        max_epochs=max_epochs,
        factory=factory,
        callback=callback,
    )
    found = {SEARCH: finished.search_rows(), **found}
    rows = [row for own in found.values() for row in own]
    finished.directory.write_rows(_TABLE, _COLUMNS, rows)
    # Those without a child too, so that the table says so.
    fronts = {name: [own] for name, own in found.items()}
    lines = comparison(
        fronts,
        parent_param_count=finished.parent["param_count"],
        limits=limits,
        n_classes=N_CLASSES,
    )
    note = (
        f"One run. Each method had its {finished.budget.samples:,d} training samples and "
        f"{finished.budget.evaluations:,d} evaluations at most. Hypervolume of the children that "
        "validation chooses; under a limit on the parameters, test accuracy of the child that it "
        "picks. Bold: no other method's is higher. One run says little about small differences."
    )
    text = markdown(lines, note=note)
    finished.directory.write_text(_TEXT, text)
    return text


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run tells of itself.

    Attributes:
        directory: Its folder.
        config: What was asked of it.
        parent: The parent's row.
        front: The rows of its children.
        budget: What it took.
    """

    directory: RunDirectory
    config: RunConfig
    parent: dict[str, Any]
    front: list[dict[str, Any]]
    budget: Budget

    @classmethod
    def open(cls, run: Path) -> "FinishedRun":
        """Read a run's files.

        Raises:
            DataError: No run, or a damaged file.
        """
        directory = RunDirectory.open(run)
        front, summary = directory.front(), directory.summary()
        try:
            samples = summary["training_samples"]
            budget = Budget(samples["search"], samples["finalise"], summary["evaluations"])
            counts = [row["param_count"] for row in [*front, summary["parent"]]]
            if not front or not all(isinstance(count, int) for count in counts):
                raise ValueError("front.csv or the parent lacks param_count")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{run}: expected the files of a finished run, but {error!r}"
            ) from error
        return cls(directory, directory.config(), summary["parent"], front, budget)

    def search_rows(self) -> list[dict[str, Any]]:
        """Return the children that validation chooses, as rows of ``baselines.csv``."""
        took = self.budget.samples, self.budget.evaluations
        return [
            _row(row, SEARCH, self.config.finalise_epochs if _is_finalised(row) else 0, *took)
            for row in chosen_rows(self.front)
        ]

    def baseline_rows(
        self,
        *,
        names: Sequence[str] | None = None,
        sizes: Sequence[int] = (),
        children: int = CHILDREN,
        max_epochs: int = MAX_EPOCHS,
        factory: Factory | None = None,
        callback: Callback | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Return each method's children as rows of ``baselines.csv``, see `baselines`."""
        config = self.config
        counts = [row["param_count"] for row in self.front]
        module = child_in(self.directory.parent, factory)
        found = baselines(
            task_for(config, module, data_for(config)),
            budget=self.budget,
            between=(min(counts), max(counts)),
            sizes=sizes,
            names=names,
            importance=config.importance,
            recipe=config.finalise_recipe,
            children=children,
            max_epochs=max_epochs,
            population=config.population,
            seed=config.seed,
            engine=config.engine,
            threads=config.threads,
            callback=callback,
        )
        return {
            f.name: [
                _row(child.as_row(), f.name, f.epochs, f.samples, f.evaluations)
                for child in f.children
            ]
            for f in found
        }


def _row(
    child: Mapping[str, Any], method: str, epochs: int, samples: int, evaluations: int
) -> dict[str, Any]:
    own = {"method": method, "epochs": epochs, "samples": samples, "evaluations": evaluations}
    return {name: {**child, **own}[name] for name in _COLUMNS}


def _is_finalised(row: Mapping[str, Any]) -> bool:
    return row.get("validation_accuracy_before") is not None
