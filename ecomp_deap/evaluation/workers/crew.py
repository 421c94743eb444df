"""`Crew`: has blocks of genomes measured by workers, each answered once whatever becomes of them.

Which worker measures a block, when, and how often it was begun in vain has no bearing on what is
found: a job has its seeds with it, and answers are put in order by index.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from ecomp_deap.checks import check_number
from ecomp_deap.errors import argument_error, named
from ecomp_deap.evaluation.context import Outcome
from ecomp_deap.evaluation.engines import Block
from ecomp_deap.evaluation.workers.kit import Kit, pack_kit
from ecomp_deap.evaluation.workers.post import Incidents, Piece, Post, Request
from ecomp_deap.evaluation.workers.workers import Workers

__all__ = ["Crew"]

# A block that has broken so often what measured it is measured with nothing beside it, so that no
# other block is blamed; and where it goes on so, it is at fault.
_BREAKS, _BREAKS_ALONE = 2, 3


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
        requests = (Request(genomes, seeds, generation, train) for genomes, seeds in blocks)
        found = dict(self.stream(evaluator, requests, failed=failed))
        return [found[i] for i in range(len(blocks))]

    def stream(
        self,
        evaluator: Any,
        requests: Iterator[Request | None],
        *,
        failed: Callable[[str], Outcome],
    ) -> Generator[tuple[int, list[Outcome]], None, None]:
        """Yield each request's index and outcomes, as they come.

        Closed before its end, it leaves what was not begun.

        Args:
            evaluator: Whose kit workers need.
            requests: Taken when a worker has room for one; None where there is none before the next
                answer.
            failed: Gives the outcome of a child that breaks what measures it, for a reason.

        Raises:
            EvaluationError: Workers cannot be kept alive.
        """
        post = Post(self.workers, self._kit_for(evaluator), self.timeout_s, self.incidents)
        pieces = _numbered(requests)
        suspects: list[Piece] = []
        while True:
            with closing(post.send(pieces, suspects, breaks=_BREAKS)) as answered:
                for piece in answered:
                    if piece in suspects:  # it was answered late
                        suspects.remove(piece)
                    yield piece.index, piece.outcomes or []
            if not suspects:
                return
            for suspect in suspects:
                if suspect.outcomes is None:  # it may have been, beside the one before
                    self._settle(suspect, post, failed)
                yield suspect.index, suspect.outcomes or []
            suspects.clear()

    def _settle(self, piece: Piece, post: Post, failed: Callable[[str], Outcome]) -> None:
        """Measure a suspect by itself; if that fails, each of its children by itself."""
        piece.breaks = piece.false_starts = 0
        for _ in post.send(iter([piece]), [], breaks=_BREAKS_ALONE, at_once=1):
            pass
        if piece.outcomes is not None:
            return
        asked = piece.request
        if len(asked.genomes) == 1:
            self.incidents.blamed += 1
            piece.outcomes = [failed(piece.reason)]
            return
        parts = [
            Piece(piece.index, replace(asked, genomes=[genome], seeds=[seed]))
            for genome, seed in zip(asked.genomes, asked.seeds, strict=True)
        ]
        for part in parts:
            self._settle(part, post, failed)
        piece.outcomes = [outcome for part in parts for outcome in part.outcomes or []]

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


def _numbered(requests: Iterator[Request | None]) -> Iterator[Piece | None]:
    index = 0
    for request in requests:
        yield None if request is None else Piece(index, request)
        index += request is not None
