"""Callbacks: what to do at the milestones of runs, such as showing how far they are.

A callback only watches. Nothing it does may draw random numbers or change what it is given, so
that a run is the same with and without it.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ecomp_deap.errors import argument_error, named

__all__ = ["Callback", "Callbacks", "as_callback"]

Self = TypeVar("Self", bound="Callback")


class Callback:
    """Hooks that do nothing, to be overridden one by one.

    >>> class Best(Callback):
    ...     def on_generation(self, generation, n_generations, record):
    ...         print(f"{generation}/{n_generations}: {record['accuracy_max']}")
    >>> Best().on_generation(3, 60, {"accuracy_max": 0.8125})
    3/60: 0.8125

    Attributes:
        vital: Whether an error in a hook ends the run. If not, the other callbacks are told of it
            by `on_message`, or Python's `logging` is where there is no vital one, and this one is
            left out for the rest of the run.
    """

    vital = True

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

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class Callbacks(Callback):
    """Several callbacks as one: each hook is called of all of them, in order.

    Of those that are not vital the libraries underneath may draw from Python's `random`, as some do
    before they try again to reach a server: its state is put back.

    Args:
        callbacks: One or more.
    """

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = callbacks
        self._failed: list[Callback] = []

    def _call(self, hook: str, *args: Any, **options: Any) -> None:
        if hook == "on_run_start":
            self._failed.clear()
        for callback in self._callbacks:
            if callback.vital:
                getattr(callback, hook)(*args, **options)
            elif callback not in self._failed or hook == "close":
                state = random.getstate()
                try:
                    getattr(callback, hook)(*args, **options)
                except Exception as error:
                    self._leave_out(callback, error)
                finally:
                    random.setstate(state)

    def _leave_out(self, callback: Callback, error: Exception) -> None:
        """Say once why a callback is not called any more."""
        if callback in self._failed:
            return
        self._failed.append(callback)
        text = f"{type(callback).__name__} is left out of this run: {named(error)}"
        told = [other for other in self._callbacks if other.vital]
        for other in told:
            other.on_message(text)
        if not told:
            logging.getLogger(__name__).warning(text)


def _forwarded(hook: str) -> Callable[..., None]:
    def call(self: Callbacks, *args: Any, **options: Any) -> None:
        self._call(hook, *args, **options)

    call.__doc__ = getattr(Callback, hook).__doc__
    return call


# Made of the list above, so that none is forgotten.
for _hook, _value in list(vars(Callback).items()):
    if callable(_value) and not _hook.startswith("_"):
        setattr(Callbacks, _hook, _forwarded(_hook))


def as_callback(given: Callback | Sequence[Callback] | None) -> Callback:
    """Return one callback for what an argument ``callback`` may be: one, several or None.

    Raises:
        ArgumentError: It is something else.
    """
    callbacks = [given] if isinstance(given, Callback) else given
    if callbacks is None:
        return Callback()
    if not isinstance(callbacks, (list, tuple)) or not all(
        isinstance(callback, Callback) for callback in callbacks
    ):
        raise argument_error("callback", "a Callback, or a list of them", given)
    if len(callbacks) == 1 and callbacks[0].vital:
        return callbacks[0]
    return Callbacks(*callbacks)
