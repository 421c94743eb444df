"""Callbacks: what to do at the milestones of runs, such as showing how far they are.

A callback only watches. Nothing it does may draw random numbers or change what it is given, so
that a run is the same with and without it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Callback"]


class Callback:
    """Hooks that do nothing, to be overridden one by one.

    >>> class Best(Callback):
    ...     def on_generation(self, generation, n_generations, record):
    ...         print(f"{generation}/{n_generations}: {record['accuracy_max']}")
    >>> Best().on_generation(3, 60, {"accuracy_max": 0.8125})
    3/60: 0.8125
    """

    def on_run_start(
        self, run_index: int, n_runs: int, directory: Path, n_generations: int
    ) -> None:
        """Run number ``run_index``, from 1 to ``n_runs``, starts; it will leave ``directory``.

        The search has an initial generation, 0, and ``n_generations`` more.
        """

    def on_generation(self, generation: int, n_generations: int, record: Mapping[str, Any]) -> None:
        """Generation ``generation``, from 0 to ``n_generations``, is evaluated.

        ``record`` is its row of the logbook, flat: ``accuracy_max``, ``similarity_loss_min`` ...
        """

    def on_front(
        self,
        generation: int,
        rows: Sequence[Mapping[str, float]],
        hypervolumes: Sequence[float],
    ) -> None:
        """What the search has found when generation ``generation`` is evaluated.

        ``rows`` are the children of the archive, or of the population where there is none, from the
        smallest to the largest, those that failed or exceed the limits left out: each a
        measurement, with its ``param_share`` of the parent's parameters. ``hypervolumes`` are those
        of the populations so far, one a generation, as `Watch.front_hypervolumes`.
        """

    def on_phase(self, name: str, total: int) -> None:
        """A phase of ``total`` steps other than the search starts, "training the parent" say."""

    def on_phase_step(self) -> None:
        """One step of the phase is done."""

    def on_message(self, text: str) -> None:
        """Something the user should know of, in one line."""

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        """The run is complete; ``summary`` is the content of its ``summary.json``."""

    def close(self) -> None:
        """No more hooks will be called; also after an error or an interrupt."""
