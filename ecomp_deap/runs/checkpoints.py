"""`Checkpoints`: where a search is saved while it runs, and goes on from.

Full saves (`Store`) come as often as they take a twentieth of the time at most; a journal has what
was measured since the last one. Their cost decides how often, and nothing else: what is found does
not depend on when it was saved.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecomp_deap.errors import DataError
from ecomp_deap.files import make_folder, naming, parse_json
from ecomp_deap.runs.description import adopt, identify
from ecomp_deap.runs.journal import Journal
from ecomp_deap.runs.lock import locked
from ecomp_deap.runs.recording import Recording
from ecomp_deap.runs.state import State, pack, unpack
from ecomp_deap.runs.store import NewerFormatError, Store
from ecomp_deap.toolbox import Toolbox

__all__ = ["Checkpoints"]

_SEARCH = "search.json"
# What journals of ours are called; the folder may hold those of others.
_JOURNAL = re.compile(r"(start|after_[0-9]{6,})\.journal", re.ASCII)
# Of the time of a search, for full saves at most.
_SHARE = 0.05


class Checkpoints:
    """The saves of one search, in a folder.

    Args:
        folder: Made if it is not there; it may be a link to one, what is in it may not.
        toolbox: Of the search.
        description: What it is asked, see `describe`.
        tell: Called with what a user should know, a line each.
        replayable: Whether the same seed makes the same children, so that a journal can be kept.
    """

    def __init__(
        self,
        folder: Path,
        toolbox: Toolbox,
        description: Mapping[str, Any],
        tell: Callable[[str], None],
        *,
        replayable: bool = True,
    ) -> None:
        self.folder, self._toolbox, self._tell = folder, toolbox, tell
        self._description = dict(description)
        self._store, self._replayable = Store(folder), replayable
        self._journal: Journal | None = None
        self._recording: Recording | None = None
        self._began = time.perf_counter()
        self._spent = self._longest = 0.0
        self._saved = -1

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[State | None]:
        """Hold the folder, and yield the state to go on from; None where there is none yet.

        Args:
            resume: Whether there may be one. If not, and there is, it is refused.

        Raises:
            DataError: The folder cannot be written, is in use, or holds nothing but damaged saves,
                all named; or what it holds is of another search.
        """
        with locked(make_folder(self.folder)):
            try:
                state = self._load(resume=resume)
                self._start_journal()
                yield state
            finally:
                self._toolbox.recorder = None
                if self._journal is not None:
                    self._journal.close()

    def after_generation(self, state: Callable[[], State], *, now: bool = False) -> None:
        """Save, if it is time to, or ``now``, unless this generation is saved.

        Raises:
            DataError: It cannot be saved; earlier saves are as they were.
        """
        generation = self._toolbox.generation
        elapsed = time.perf_counter() - self._began
        due = self._saved < 0 or self._spent + self._longest <= _SHARE * elapsed
        # A save ends the journal before it, which is not to lose what was not replayed yet.
        replays = self._recording is not None and self._recording.replays
        if generation == self._saved or replays or not (due or now):
            return
        if not self.folder.is_dir():  # and with it the lock, so that anyone may be in its place
            raise DataError(f"{self.folder}: was removed while it was in use")
        started = time.perf_counter()
        self._save(generation, state())
        seconds = time.perf_counter() - started
        self._spent, self._longest = self._spent + seconds, max(self._longest, seconds)

    def _save(self, generation: int, state: State) -> None:
        search = json.dumps(self._identity(), allow_nan=False, indent=1).encode()
        self._store.save(generation, {_SEARCH: search, **pack(state)})
        self._saved = generation
        self._start_journal()

    def _load(self, *, resume: bool) -> State | None:
        save, damaged = self._store.newest()
        if save is None and damaged:
            raise DataError(f"{self.folder}: all saves are damaged: {'; '.join(damaged)}")
        if save is None:
            return None
        if not resume:
            raise DataError(
                f"{self.folder}: holds a search that was saved after generation {save.number}: "
                "resume=True goes on with it, another folder starts anew"
            )
        for text in damaged:
            self._tell(f"{text}; going on from generation {save.number}")
        self._adopt(_parsed(save.files.get(_SEARCH, b"")))
        state = unpack(save.files, self._toolbox)
        if state.generation != save.number:
            raise DataError(
                f"{self.folder}: save {save.number} holds generation {state.generation}"
            )
        self._toolbox.restore(state.toolbox)
        self._saved = state.generation
        return state

    def _adopt(self, identity: Any) -> None:
        """Check that what is saved is of this search, and tell of other versions."""
        for text in adopt(identity, self._toolbox, self._description, self.folder):
            self._tell(text)

    def _identity(self) -> dict[str, Any]:
        return identify(self._toolbox, self._description)

    def _start_journal(self) -> None:
        """Open the journal of what is measured after the last save, and drop those before."""
        if not self._replayable:
            return
        if self._journal is not None:
            self._journal.close()
        path = self.folder / f"after_{max(self._saved, 0):06d}.journal"
        if self._saved < 0:
            path = self.folder / "start.journal"
        with naming(self.folder):
            for old in self.folder.iterdir():
                ours = _JOURNAL.fullmatch(old.name) and old.is_file() and not old.is_symlink()
                if ours and old != path:
                    old.unlink()
        try:
            self._journal = Journal(path)
        except NewerFormatError:
            raise
        except DataError as error:  # it is ours, and all that is lost is time
            if path.is_dir() and not path.is_symlink():
                raise  # that is none of ours
            self._tell(f"{error}; it is begun anew")
            path.unlink()
            self._journal = Journal(path)
        if self._journal.dropped:
            self._tell(self._journal.dropped)
        if self._journal.lines and self._saved < 0:
            # There is no save yet that would tell what search it is of.
            self._adopt(self._journal.lines[0])
        self._recording = Recording(self._journal, self._toolbox.evaluator, self._identity)
        self._toolbox.recorder = self._recording


def _parsed(content: bytes) -> Any:
    """Return what JSON holds; None if it is none, which `adopt` refuses."""
    try:
        return parse_json(content)
    except ValueError:
        return None
