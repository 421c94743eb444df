"""KL divergences of many children's neighbour tables from their origins', without gradient.

Tables of several children, and of several probe layers, go through `neighbour_tables` together:
the fewer and larger torch's operations are, the less time is lost between them, and the less do
threads wait for each other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from ecomp_deap.similarity.tables import WORST_LOSS, neighbour_tables, table_capacity

__all__ = ["Job", "Origins", "divergences"]


class Origins(NamedTuple):
    """What children are compared with: the parent's tables of T sets of n samples.

    Attributes:
        p: Joint probabilities, shape ``(T, n, n)``, diagonal 0.
        reciprocal: 1 / p, diagonal 1.
        log_beta: Where calibration starts, see `Tables`; shape ``(T, n)``.
        centre: Whether the samples have so much in common that embeddings should be centred.
    """

    p: torch.Tensor
    reciprocal: torch.Tensor
    log_beta: torch.Tensor
    centre: bool


class Job(NamedTuple):
    """Embeddings to compare with the same origins.

    Attributes:
        origins: T tables, in the embeddings' precision.
        embeddings: One per child, of shape ``(n, n_units)`` if T = 1, else ``(T, n, n_units)``.
    """

    origins: Origins
    embeddings: Sequence[torch.Tensor]


class _Piece(NamedTuple):
    """Consecutive tables of a job's children: where they are, and what they are compared with.

    Attributes:
        job: Index of the job.
        tables: Its tables.
        origin: The origins that they are compared with.
        place: Where they are in their group.
    """

    job: int
    tables: slice
    origin: slice
    place: slice

    @property
    def size(self) -> int:
        """Number of tables."""
        return self.tables.stop - self.tables.start


def divergences(jobs: Sequence[Job], perplexity: float) -> list[torch.Tensor]:
    """Return KL(P‖Q) in nats of each job's embeddings, `WORST_LOSS` for dead ones.

    Args:
        jobs: Of the same number of samples, device and precision.
        perplexity: Effective number of neighbours.

    Returns:
        For each job a double tensor of shape ``(n_embeddings · T,)``.
    """
    found = [
        torch.empty(
            len(job.embeddings) * len(job.origins.p),
            dtype=torch.float64,
            device=job.origins.p.device,
        )
        for job in jobs
    ]
    capacity = table_capacity(jobs[0].origins.p.shape[-1])
    for group in _groups(jobs, capacity):
        tables = neighbour_tables(
            [e for piece in group for e in _embeddings(jobs[piece.job], piece)],
            perplexity,
            log_beta=torch.cat([_log_beta(jobs[piece.job], piece) for piece in group]),
            centre=[
                centre
                for piece in group
                for centre in [jobs[piece.job].origins.centre] * piece.size
            ],
        )
        # Ratios first: their logarithms are near 0, where single precision is finest.
        terms = tables.joint
        for piece in group:
            origins = jobs[piece.job].origins
            own = terms[piece.place].mul_(origins.reciprocal[piece.origin])
            own.log_().mul_(origins.p[piece.origin])
        # Of equal tables rounding may take the divergence below 0.
        losses = (-terms.flatten(1).sum(dim=1)).clamp_min_(0.0)
        losses.masked_fill_(tables.dead, WORST_LOSS)
        for piece in group:
            found[piece.job][piece.tables] = losses[piece.place]
    return found


def _embeddings(job: Job, piece: _Piece) -> Sequence[torch.Tensor]:
    n_origins = len(job.origins.p)
    if n_origins == 1:
        return job.embeddings[piece.tables]
    return [job.embeddings[piece.tables.start // n_origins][piece.origin]]


def _log_beta(job: Job, piece: _Piece) -> torch.Tensor:
    return job.origins.log_beta[piece.origin].expand(piece.size, -1)


def _groups(jobs: Sequence[Job], capacity: int) -> Iterator[list[_Piece]]:
    """Yield pieces of all jobs in order, as many as fill a group, which may cut a piece in two."""
    group: list[_Piece] = []
    room = capacity
    for number, job in enumerate(jobs):
        n_origins = len(job.origins.p)
        n_tables = len(job.embeddings) * n_origins
        # A single origin is everyone's; several are gone through for each child.
        period = n_origins if n_origins > 1 else max(1, n_tables)
        first = 0
        while first < n_tables:
            place = first % period
            size = min(room, period - place, n_tables - first)
            origin = slice(place, place + size) if n_origins > 1 else slice(0, 1)
            filled = capacity - room
            group.append(
                _Piece(number, slice(first, first + size), origin, slice(filled, filled + size))
            )
            first += size
            room -= size
            if room == 0:
                yield group
                group, room = [], capacity
    if group:
        yield group
