"""`Crew`: sends the blocks of a measuring to workers, and sees to it that each is answered.

Which worker measures a block, when, and how often it was begun in vain has no bearing on what is
found: a job has its seeds with it, and answers are put in order by index.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any

from ecomp_deap.checks import check_number
from ecomp_deap.errors import EcompError, EvaluationError, argument_error, named
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.engines import Block
from ecomp_deap.evaluation.workers.job import Answer, Job, pack_genomes
from ecomp_deap.evaluation.workers.kit import Kit, pack_kit
from ecomp_deap.evaluation.workers.workers import Ended, Lost, Workers

__all__ = ["Crew", "Incidents"]

# A block that has broken so often what measured it is measured with nothing beside it, so that no
# other block is blamed; and where it goes on so, it is at fault.
_BREAKS, _BREAKS_ALONE = 2, 3
# Seconds after which workers are looked after again.
_TENDED_S = 5.0
# Where no worker has ever answered, something is wrong with all of them.
_BREAKS_AT_START = 8


@dataclass
class Incidents:
    """What went wrong with workers, and did no harm.

    Attributes:
        lost: Workers, or pools of them, that ended.
        hung: Blocks that took too long.
        resubmitted: Blocks that were sent again.
        dropped: Answers that came after another to the same block.
        blamed: Children that broke whatever measured them, and so have failed.
    """

    lost: int = 0
    hung: int = 0
    resubmitted: int = 0
    dropped: int = 0
    blamed: int = 0


class Crew:
    """Measures blocks by workers.

    Args:
        workers: Who measures.
        timeout_s: Seconds that one block may take; None for any time.

    Attributes:
        incidents: What went wrong so far.
    """

    def __init__(self, workers: Workers, *, timeout_s: float | None = None) -> None:
        self.workers = workers
        self.timeout_s = (
            None if timeout_s is None else check_number("timeout_s", timeout_s, above=0.0)
        )
        self.incidents = Incidents()
        self.has_answered = False
        self._kit: Kit | None = None
        self._kit_of: tuple[Any, ...] = ()

    def measure(
        self,
        evaluator: Any,
        blocks: Sequence[Block],
        *,
        generation: int,
        train: bool,
        failed: Callable[[str], Outcome],
    ) -> list[list[Outcome]]:
        """Return the outcomes of each block, in order.

        Args:
            evaluator: Whose kit workers need.
            blocks: Genomes and seeds.
            generation: Whose batches are used.
            train: Whether children take their gradient steps.
            failed: Gives the outcome of a child that breaks what measures it, for a reason.

        Raises:
            EvaluationError: Workers cannot be kept alive.
        """
        measuring = _Measuring(self, self._kit_for(evaluator), generation, train, failed)
        return measuring.run(blocks)

    def _kit_for(self, evaluator: Any) -> Kit:
        """Return the evaluator's kit, made once for as long as its settings stay."""
        settings = (evaluator, evaluator.engine, evaluator.threads)
        if self._kit is None or self._kit_of != settings:
            try:
                self._kit, self._kit_of = pack_kit(evaluator), settings
            except Exception as error:  # whatever a user's objects raise
                expected = "none for a task that cannot be pickled"
                raise argument_error("workers", expected, named(error)) from error
        return self._kit


@dataclass(eq=False)
class _Piece:
    """A block on its way.

    Attributes:
        index: Among the blocks.
        block: Genomes and seeds.
        breaks: How often what measured it ended, or took too long.
        reason: Why, the last time.
        needs_kit: Whether a worker has said so.
        outcomes: None until there is an answer.
    """

    index: int
    block: Block
    breaks: int = 0
    reason: str = ""
    needs_kit: bool = False
    outcomes: list[Outcome] | None = None


@dataclass(eq=False)
class _Measuring:
    """One call of `Crew.measure`."""

    crew: Crew
    kit: Kit
    generation: int
    train: bool
    failed: Callable[[str], Outcome]
    # Given up, but nobody can end them; what they answer is as good as any other answer.
    late: dict["Future[Answer]", _Piece] = field(default_factory=dict)
    tended: float = field(default_factory=time.monotonic)

    def run(self, blocks: Sequence[Block]) -> list[list[Outcome]]:
        pieces = [_Piece(i, block) for i, block in enumerate(blocks)]
        at_once = self.crew.workers.depth * self.crew.workers.n_workers
        for suspect in self._send(pieces, at_once=at_once, breaks=_BREAKS):
            self._settle(suspect)
        return [piece.outcomes or [] for piece in pieces]

    def _settle(self, piece: _Piece) -> None:
        """Measure a suspect by itself; if that fails, each of its children by itself."""
        piece.breaks = 0
        if not self._send([piece], at_once=1, breaks=_BREAKS_ALONE):
            return
        genomes, seeds = piece.block
        if len(genomes) == 1:
            self.crew.incidents.blamed += 1
            piece.outcomes = [self.failed(piece.reason)]
            return
        children = zip(genomes, seeds, strict=True)
        parts = [_Piece(piece.index, ([genome], [seed])) for genome, seed in children]
        for part in parts:
            self._settle(part)
        piece.outcomes = [outcome for part in parts for outcome in part.outcomes or []]

    def _send(self, pieces: Iterable[_Piece], *, at_once: int, breaks: int) -> list[_Piece]:
        """Send pieces until each is answered, or has broken so often; return the latter."""
        waiting, given_up = deque(pieces), list[_Piece]()
        flying: dict[Future[Answer], _Piece] = {}
        begun: dict[Future[Answer], float] = {}
        while waiting or flying:
            broken: list[_Piece] = []
            lost: Lost | None = None
            try:
                while waiting and len(flying) < at_once:
                    piece = waiting.popleft()
                    if piece.outcomes is None:
                        flying[self._submit(piece)] = piece
            except Lost as error:
                piece.reason, broken, lost = str(error), [piece], error
            if not flying and lost is None:
                continue  # all that waited was answered late
            for future in self._wait(flying, begun) if lost is None else ():
                piece = (flying if future in flying else self.late).pop(future)
                try:
                    if not self._take(piece, future):
                        waiting.appendleft(piece)
                except Lost as error:
                    piece.reason = str(error)
                    broken.append(piece)
                    self.crew.incidents.lost += error.alone
                    lost = lost if error.alone else error
            for future in self._hung(flying, begun):
                piece = flying.pop(future)
                piece.reason = f"it took longer than {self.crew.timeout_s:g} s"
                # With nothing beside it, it had all the time, and would only take it again.
                piece.breaks += breaks if at_once == 1 else 0
                broken.append(piece)
                self.crew.incidents.hung += 1
                ended = self.crew.workers.end(future)
                if ended is Ended.ALL:  # the others did nothing wrong
                    waiting.extendleft(reversed([*flying.values()]))
                    flying.clear()
                elif ended is Ended.NONE:
                    self._leave(future, piece)
            if lost is not None:
                self.crew.incidents.lost += 1
                for piece in flying.values():
                    piece.reason = str(lost)
                broken += flying.values()
                flying.clear()
                self._restart(lost)
            for piece in broken:
                piece.breaks += 1
                (waiting if piece.breaks < breaks else given_up).append(piece)
                self.crew.incidents.resubmitted += piece.breaks < breaks
        return [piece for piece in given_up if piece.outcomes is None]

    def _submit(self, piece: _Piece) -> "Future[Answer]":
        genomes, seeds = piece.block
        packed = pack_genomes(genomes)
        job = Job(self.kit.key, piece.index, self.generation, self.train, packed, list(seeds))
        return self.crew.workers.submit(job, self.kit, needed=piece.needs_kit)

    def _take(self, piece: _Piece, future: "Future[Answer]") -> bool:
        """Take an answer in; return whether it is one, and not a worker that lacks the kit.

        Raises:
            Lost: There is none, as the worker has ended.
        """
        try:
            answer = future.result()
        except CancelledError as error:
            raise Lost("it was cancelled", alone=True) from error
        except Exception as error:
            lost = self.crew.workers.as_lost(error)
            if lost is not None:
                raise lost from error
            if isinstance(error, (EcompError, MemoryError)):
                raise
            # No child's code is behind it, which fails by itself: what was sent cannot be read
            # there, as a module is missing.
            raise EvaluationError(f"workers: one of them raised {named(error)}") from error
        if answer.outcomes is None:
            piece.needs_kit = True
            return False
        self.crew.has_answered = True
        if piece.outcomes is not None:
            self.crew.incidents.dropped += 1
        else:
            piece.outcomes = answer.outcomes
        return True

    def _wait(
        self, flying: dict["Future[Answer]", _Piece], begun: dict["Future[Answer]", float]
    ) -> set["Future[Answer]"]:
        """Wait for answers, but not beyond the time that a block may take."""
        limit, seconds = self.crew.timeout_s, _TENDED_S
        if limit is not None:
            # Jobs are taken in order, so that the first ones are those that are being measured.
            for future in list(flying)[: self.crew.workers.n_workers]:
                begun.setdefault(future, time.monotonic())
            first = min(begun[future] for future in flying if future in begun)
            seconds = min(seconds, max(0.0, first + limit - time.monotonic()))
        done, _ = wait([*flying, *self.late], timeout=seconds, return_when=FIRST_COMPLETED)
        if time.monotonic() - self.tended >= _TENDED_S:
            self.crew.workers.tend()
            self.tended = time.monotonic()
        return done

    def _hung(
        self, flying: dict["Future[Answer]", _Piece], begun: dict["Future[Answer]", float]
    ) -> list["Future[Answer]"]:
        limit = self.crew.timeout_s
        if limit is None:
            return []
        since = time.monotonic() - limit
        return [f for f in flying if begun.get(f, since) < since and not f.done()][:1]

    def _leave(self, future: "Future[Answer]", piece: _Piece) -> None:
        """Go on without a worker that nobody can end."""
        self.late[future] = piece
        if len(self.late) >= self.crew.workers.n_workers:
            raise EvaluationError(
                f"workers: all {len(self.late)} take longer than {self.crew.timeout_s:g} s for a "
                "block, and they are not ours to end"
            )

    def _restart(self, lost: Lost) -> None:
        if not self.crew.has_answered and self.crew.incidents.lost >= _BREAKS_AT_START:
            raise EvaluationError(f"workers: each one ended before it answered anything: {lost}")
        self.crew.workers.restart()
