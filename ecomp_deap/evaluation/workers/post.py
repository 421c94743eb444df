"""`Post`: sends requests to workers and takes the answers, and sends again what was lost."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass

from ecomp_deap.errors import EcompError, EvaluationError, named
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.workers.job import Answer, Job, pack_genomes
from ecomp_deap.evaluation.workers.kit import Kit
from ecomp_deap.evaluation.workers.workers import Ended, Lost, Workers
from ecomp_deap.genomes import Genome

__all__ = ["Incidents", "Piece", "Post", "Request"]

# Seconds after which workers are looked after again.
_TENDED_S = 5.0
# How often workers may end before they begin with a piece, until it is taken to be at fault.
_FALSE_STARTS = 8
# Errors of workers that are remembered: more than can come at once.
_TOLD = 64
# Where no worker has ever answered, something is wrong with all of them.
_BREAKS_AT_START = 8


@dataclass(frozen=True)
class Request:
    """Genomes that are measured together.

    Attributes:
        genomes: As engines take them.
        seeds: Of each one's training.
        generation: Whose batches are used.
        train: Whether children take their gradient steps.
    """

    genomes: Sequence[Genome]
    seeds: Sequence[int]
    generation: int
    train: bool = True


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


@dataclass(eq=False)
class Piece:
    """A request on its way.

    Attributes:
        index: Among the requests.
        request: What is asked.
        breaks: How often what measured it ended, or took too long.
        false_starts: How often what was to measure it ended before.
        reason: Why, the last time.
        needs_kit: Whether a worker has said so.
        outcomes: None until there is an answer.
    """

    index: int
    request: Request
    breaks: int = 0
    false_starts: int = 0
    reason: str = ""
    needs_kit: bool = False
    outcomes: list[Outcome] | None = None


class Post:
    """Sends pieces to workers.

    Args:
        workers: Who measures.
        kit: What they need for it.
        timeout_s: Seconds that one piece may take; None for any time.
        incidents: Where it is counted what goes wrong.
    """

    def __init__(
        self, workers: Workers, kit: Kit, timeout_s: float | None, incidents: Incidents
    ) -> None:
        self._workers, self._kit = workers, kit
        self._timeout_s, self._incidents = timeout_s, incidents
        self._waiting = deque[Piece]()
        self._flying: dict[Future[Answer], Piece] = {}
        self._begun: dict[Future[Answer], float] = {}
        # Given up, but nobody can end them; what they answer is as good as any other answer.
        self._late: dict[Future[Answer], Piece] = {}
        # One error is that of all jobs that a worker was sent.
        self._told: deque[BaseException | None] = deque(maxlen=_TOLD)
        self._tended = time.monotonic()

    def send(
        self,
        pieces: Iterator[Piece | None],
        given_up: list[Piece],
        *,
        breaks: int,
        at_once: int | None = None,
    ) -> Generator[Piece, None, None]:
        """Send pieces, and yield each when it is answered.

        Args:
            pieces: Taken when there is room for one; None where there is none before the next
                answer.
            given_up: Where those are put that have broken so often what measured them. No further
                ones are begun then.
            breaks: How often.
            at_once: Pieces that are on their way at the same time, and so have all the time that
                there is; by default as many as workers can be sent.

        Raises:
            EvaluationError: Workers cannot be kept alive.
        """
        try:
            while True:
                # There may be more or fewer of them than before.
                room = at_once or self._workers.depth * self._workers.n_workers
                answered: list[Piece] = []
                broken: list[Piece] = []
                lost = self._fill(pieces, room, broken, stop=given_up)
                if not self._flying and lost is None:
                    return
                if lost is None:
                    lost = self._collect(answered, broken)
                # With nothing beside it, it had all the time, and would only take it again.
                broken += self._end_hung(0 if at_once is None else breaks)
                if lost is not None:
                    broken += self._lose_all(lost)
                for piece in broken:
                    if piece.outcomes is not None:
                        continue  # it was answered late
                    go_on = piece.breaks < breaks and piece.false_starts < _FALSE_STARTS
                    (self._waiting if go_on else given_up).append(piece)
                    self._incidents.resubmitted += go_on
                # At the end, as whoever takes them may need no more.
                yield from answered
        finally:
            for future in self._flying:
                self._workers.drop(future)

    def _fill(
        self, pieces: Iterator[Piece | None], room: int, broken: list[Piece], *, stop: list[Piece]
    ) -> Lost | None:
        """Send as many as there is room for; return why there is no one to send them to."""
        while len(self._flying) < room:
            piece = self._waiting.popleft() if self._waiting else None
            if piece is None and not stop:
                piece = next(pieces, None)
            if piece is None:
                return None
            if piece.outcomes is not None:
                continue  # it was answered late
            try:
                self._flying[self._submit(piece)] = piece
            except Lost as error:
                broken.append(self._broken(piece, None, error))
                return error
        return None

    def _is_news(self, error: BaseException | None) -> bool:
        """Return whether an error tells of another worker than those before."""
        if error is not None and any(error is other for other in self._told):
            return False
        self._told.append(error)
        return True

    def _broken(self, piece: Piece, future: "Future[Answer] | None", lost: Lost) -> Piece:
        """Return a piece whose worker has ended."""
        piece.reason = str(lost)
        begun = future is not None and self._workers.had_begun(future)
        piece.breaks += begun
        piece.false_starts += not begun
        return piece

    def _submit(self, piece: Piece) -> "Future[Answer]":
        asked, packed = piece.request, pack_genomes(piece.request.genomes)
        job = Job(
            self._kit.key, piece.index, asked.generation, asked.train, packed, list(asked.seeds)
        )
        return self._workers.submit(job, self._kit, needed=piece.needs_kit)

    def _collect(self, answered: list[Piece], broken: list[Piece]) -> Lost | None:
        """Wait for answers and take them in; return why all workers are lost, if they are."""
        lost: Lost | None = None
        for future in self._wait():
            piece = (self._flying if future in self._flying else self._late).pop(future)
            is_first = piece.outcomes is None
            try:
                if not self._take(piece, future):
                    self._waiting.appendleft(piece)
                elif is_first:
                    answered.append(piece)
            except Lost as error:
                broken.append(self._broken(piece, future, error))
                if error.alone and self._is_news(error.__cause__):
                    self._count_lost(error)
                lost = lost if error.alone else error
        return lost

    def _take(self, piece: Piece, future: "Future[Answer]") -> bool:
        """Take an answer in; return whether it is one, and not a worker that lacks the kit.

        Raises:
            Lost: There is none, as the worker has ended.
        """
        try:
            answer = future.result()
        except CancelledError as error:
            raise Lost("it was cancelled", alone=True) from error
        except Exception as error:
            lost = self._workers.as_lost(error)
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
        self._workers.has_answered = True
        if piece.outcomes is not None:
            self._incidents.dropped += 1
        else:
            piece.outcomes = answer.outcomes
        return True

    def _wait(self) -> set["Future[Answer]"]:
        """Wait for answers, but not beyond the time that a piece may take."""
        limit, seconds, flying = self._timeout_s, _TENDED_S, self._flying
        if limit is not None:
            begun = self._begun = {f: t for f, t in self._begun.items() if f in flying}
            # Jobs are taken in order, so that the first ones are those that are being measured.
            for future in list(flying)[: self._workers.n_workers]:
                begun.setdefault(future, time.monotonic())
            first = min(begun.values())
            seconds = min(seconds, max(0.0, first + limit - time.monotonic()))
        done, _ = wait([*flying, *self._late], timeout=seconds, return_when=FIRST_COMPLETED)
        if time.monotonic() - self._tended >= _TENDED_S:
            self._workers.tend()
            self._tended = time.monotonic()
        return done

    def _end_hung(self, further_breaks: int) -> list[Piece]:
        """End the worker of a piece that takes too long, if there is one; return the piece."""
        if self._timeout_s is None:
            return []
        since = time.monotonic() - self._timeout_s
        hung = (f for f in self._flying if self._begun.get(f, since) < since and not f.done())
        future = next(hung, None)
        if future is None:
            return []
        ended = self._workers.end(future)
        if ended is Ended.UNBEGUN:
            self._begun.pop(future, None)
            return []
        piece = self._flying.pop(future)
        piece.reason = f"it took longer than {self._timeout_s:g} s"
        piece.breaks += 1 + further_breaks
        self._incidents.hung += 1
        if ended is Ended.ALL:  # the others did nothing wrong
            self._waiting.extendleft(reversed([*self._flying.values()]))
            self._flying.clear()
        elif ended is Ended.NONE:
            self._leave(future, piece)
        return [piece]

    def _leave(self, future: "Future[Answer]", piece: Piece) -> None:
        """Go on without a worker that nobody can end."""
        self._late[future] = piece
        if len(self._late) >= self._workers.n_workers:
            raise EvaluationError(
                f"workers: all {len(self._late)} take longer than {self._timeout_s:g} s for a "
                "block, and they are not ours to end"
            )

    def _lose_all(self, lost: Lost) -> list[Piece]:
        """Start the workers anew; return the pieces that were on their way."""
        self._count_lost(lost)
        pieces = [self._broken(piece, future, lost) for future, piece in self._flying.items()]
        self._flying.clear()
        self._workers.restart()
        return pieces

    def _count_lost(self, lost: Lost) -> None:
        self._incidents.lost += 1
        if not self._workers.has_answered and self._incidents.lost >= _BREAKS_AT_START:
            raise EvaluationError(f"workers: each one ended before it answered anything: {lost}")
