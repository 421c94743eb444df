"""The t-SNE similarity loss: KL divergence between two neighbour distributions.

Source: van den Beemt, Schröder and de Valk (2021), "EComp", after van der Maaten & Hinton (2008),
"Visualizing Data using t-SNE", JMLR 9. A table of pairwise probabilities depends on the number of
samples alone, so the two embeddings may have any widths.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch

from ecomp_deap.errors import argument_error
from ecomp_deap.similarity.calibration import Calibration, calibrate
from ecomp_deap.similarity.distances import finite_distances, median_scale, replace_dead
from ecomp_deap.similarity.divergences import Job, Origins, divergences
from ecomp_deap.similarity.interface import (
    SimilarityLoss,
    as_origin,
    as_tensor,
    check_child,
    check_children,
    refuse_dead,
)
from ecomp_deap.similarity.tables import (
    EPSILON,
    WORST_LOSS,
    neighbour_tables,
    table_capacity,
)

__all__ = [
    "WORST_LOSS",
    "TSNELoss",
    "check_perplexity",
    "default_perplexity",
    "divergences_of_children",
    "joint_probabilities",
    "kl_divergence",
    "student_probabilities",
]


# Squared norms of this many times the variance are far from the centre.
_FAR = 10.0
_MANY = 256


def default_perplexity(n_samples: int) -> float:
    """Return min(30, (n_samples − 1) / 3), the perplexity used when none is given."""
    return min(30.0, (n_samples - 1) / 3)


def check_perplexity(perplexity: float, n_samples: int) -> float:
    """Return ``perplexity`` if ``n_samples`` can have it.

    Raises:
        ArgumentError: Unless 1 < perplexity ≤ (n_samples − 1) / 3.
    """
    limit = (n_samples - 1) / 3
    if (
        isinstance(perplexity, bool)
        or not isinstance(perplexity, Real)
        or not 1 < perplexity <= limit
    ):
        raise argument_error(
            "perplexity",
            f"greater than 1 and at most (n_samples - 1) / 3 = {limit:.4g} for {n_samples} samples",
            perplexity,
        )
    return float(perplexity)


def joint_probabilities(
    distances: torch.Tensor, perplexity: float
) -> tuple[torch.Tensor, Calibration]:
    """Return symmetric joint probabilities p_ij, and the calibration behind them.

    Each table is divided by its median non-zero distance first, which changes no probability but
    keeps scales from 1e-150 to 1e150 within reach.

    Args:
        distances: Squared distances, double, shape ``(..., n, n)``.
        perplexity: Effective number of neighbours.

    Returns:
        Probabilities of shape ``(..., n, n)``: symmetric, summing to 1 over all ordered pairs
        i ≠ j, each at least the double epsilon, diagonal 0; and a `Calibration`.
    """
    calibration = calibrate(distances / median_scale(distances), perplexity)
    conditional = calibration.conditional
    joint = conditional + conditional.transpose(-1, -2)
    return _normalise(joint), calibration


def student_probabilities(distances: torch.Tensor, n_units: int) -> torch.Tensor:
    """Return q_ij ∝ (1 + d_ij / ν)^(−(ν + 1) / 2) with ν = ``n_units`` degrees of freedom.

    Args:
        distances: Squared distances, double, shape ``(..., n, n)``.
        n_units: Columns of the embedding.

    Returns:
        Probabilities of shape ``(..., n, n)`` as `joint_probabilities` gives them.
    """
    log_kernel = torch.log1p(distances / n_units) * (-(n_units + 1) / 2)
    eye = torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device)
    # From the largest entry down: with hundreds of units every kernel value would underflow.
    largest = log_kernel.detach().masked_fill(eye, -torch.inf).amax(dim=(-2, -1), keepdim=True)
    return _normalise((log_kernel - largest).masked_fill(eye, -torch.inf).exp())


def kl_divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return KL(P‖Q) = Σ_{i≠j} p_ij log(p_ij / q_ij) in nats.

    Args:
        p: Probabilities of shape ``(..., n, n)``, at least the double epsilon off the diagonal.
        q: Likewise, of a shape that broadcasts against ``p``.

    Returns:
        Shape ``(...)``. At least 0 up to rounding.
    """
    n = p.shape[-1]
    eye = torch.eye(n, dtype=torch.bool, device=p.device)
    ratio = p.masked_fill(eye, 1.0).log() - q.masked_fill(eye, 1.0).log()
    return (p * ratio).sum(dim=(-2, -1))


def _normalise(table: torch.Tensor) -> torch.Tensor:
    """Scale tables to a sum of 1, and lift entries off the diagonal to the double epsilon."""
    total = table.sum(dim=(-2, -1), keepdim=True)
    eye = torch.eye(table.shape[-1], dtype=torch.bool, device=table.device)
    return (table / total).clamp_min(EPSILON).masked_fill(eye, 0.0)


class TSNELoss(SimilarityLoss):
    """Similarity loss of children's embeddings against the parent's, of the same samples.

    Args:
        origin_embeddings: The parent's embedding, an array or tensor of shape
            ``(n_samples, n_units)``; or several tables, ``(..., n_samples, n_units)``, each
            compared with the child's table in the same place.
        perplexity: Effective number of neighbours, > 1 and ≤ (n_samples − 1) / 3; by default
            `default_perplexity`.
        kernel: How the child's probabilities are made: ``"gaussian"``, calibrated like the
            parent's, or ``"student"``, Student-t with as many degrees of freedom as the child's
            embedding has units. The latter is not invariant to width and scale, so it partly
            measures the compression itself.

    Raises:
        ArgumentError: Perplexity, kernel or shape out of range; a non-finite or dead (constant)
            parent embedding, against which nothing can be compared.

    >>> generator = torch.Generator().manual_seed(0)
    >>> origin = torch.randn(100, 8, generator=generator)
    >>> loss = TSNELoss(origin)
    >>> round(float(loss(origin[:, :6])), 3) > 0.01
    True
    >>> abs(float(loss(3.0 * origin))) < 1e-7
    True
    """

    worst = WORST_LOSS

    def __init__(
        self,
        origin_embeddings: Any,
        *,
        perplexity: float | None = None,
        kernel: str = "gaussian",
    ) -> None:
        if not isinstance(kernel, str) or kernel not in ("gaussian", "student"):
            raise argument_error("kernel", "'gaussian' or 'student'", kernel)
        origin = as_origin(origin_embeddings)
        self.n_samples = origin.shape[-2]
        if perplexity is None:
            perplexity = default_perplexity(self.n_samples)
        self.perplexity = check_perplexity(perplexity, self.n_samples)
        self.kernel = kernel
        origin = origin.double()
        tables = list(origin.reshape(-1, *origin.shape[-2:]))
        size = table_capacity(self.n_samples)
        parts = []
        for first in range(0, len(tables), size):
            found = neighbour_tables(tables[first : first + size], self.perplexity)
            parts.append(found._replace(joint=found.joint.clone()))
        joint, log_beta, _, tied, dead = (torch.cat(part) for part in zip(*parts, strict=True))
        if dead.any():
            refuse_dead(origin)
        joint.diagonal(dim1=-2, dim2=-1).zero_()
        #: P, double, shape ``(..., n_samples, n_samples)``.
        self.probabilities = joint.view(*origin.shape[:-1], self.n_samples)
        #: log β per row, see `Tables`: where the calibration of the children starts.
        self.log_beta = log_beta.view(origin.shape[:-1])
        #: Number of rows that are uniform over ties, because ties made the perplexity unreachable.
        self.tied_rows = int(tied.sum())
        # Single precision keeps enough of distances that are a fair part of the norms.
        norms = origin.square().sum(dim=-1)
        variance = norms.mean(dim=-1) - origin.mean(dim=-2).square().sum(dim=-1)
        far = bool((norms.amax(dim=-1) > _FAR * variance).any())
        # The larger a table, the smaller is a row's own scale, and the less does centring cost.
        self._centre = far or self.n_samples >= _MANY
        self._origins: dict[torch.dtype, Origins] = {}

    def __call__(self, compressed_embeddings: Any) -> Any:
        """Return the loss in nats: 0 for equal neighbourhoods, `WORST_LOSS` for a dead child.

        Args:
            compressed_embeddings: Array or tensor of shape ``(n_samples, n_units)`` for one
                child, or ``(n_children, n_samples, n_units)``. Any number of units. Where the
                origin is several tables, ``(..., n_samples, n_units)`` with the same ones last.

        Returns:
            A scalar, or shape ``(n_children,)``: a tensor of the embeddings' dtype for tensors
            (differentiable), a double for arrays. A non-finite or constant embedding scores
            `WORST_LOSS`, with a gradient of 0.

        Raises:
            ArgumentError: Another number of samples, or of tables, than the parent's embedding.
        """
        compressed, is_array = as_tensor("compressed_embeddings", compressed_embeddings)
        self._check(compressed)
        if self._needs_gradient(compressed):
            losses = self.from_distances(finite_distances(compressed), compressed.shape[-1])
        else:
            job = self._job([compressed])
            losses = divergences([job], self.perplexity)[0].view(compressed.shape[:-2])
        if is_array:
            return losses.numpy() if losses.ndim else np.float64(losses.item())
        return losses.to(compressed.dtype)

    def of_children(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the losses of children of different widths, calibrated together.

        Args:
            embeddings: One tensor of shape ``(n_samples, n_units)`` per child; with the origin's
                tables in front where it has several.

        Returns:
            Double tensor of shape ``(n_children,)``, or ``(n_children, ...)`` with those tables.

        Raises:
            ArgumentError: Another number of samples, or of tables, than the parent's embedding.
        """
        return divergences_of_children([self], [embeddings])[0]

    def from_distances(self, distances: torch.Tensor, n_units: int) -> torch.Tensor:
        """Return the losses for tables of squared distances, step by step; differentiable.

        Without a gradient to follow, calling the loss does the same several times faster.

        Args:
            distances: Double, shape ``(..., n_samples, n_samples)``.
            n_units: Columns of the embeddings, used by the Student-t kernel alone.

        Returns:
            Double tensor of shape ``(...)``.
        """
        distances, dead = replace_dead(distances)
        if self.kernel == "gaussian":
            q, _ = joint_probabilities(distances, self.perplexity)
        else:
            q = student_probabilities(distances, n_units)
        losses = kl_divergence(self.probabilities, q)
        return losses.masked_fill(dead, WORST_LOSS)

    def _step_by_step(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the losses of children by `from_distances`."""
        tables = [finite_distances(embedding) for embedding in embeddings]
        if self.kernel == "gaussian":
            return self.from_distances(torch.stack(tables), 1)
        widths = [embedding.shape[-1] for embedding in embeddings]
        pairs = zip(tables, widths, strict=True)
        return torch.stack([self.from_distances(table, width) for table, width in pairs])

    def _needs_gradient(self, compressed: torch.Tensor) -> bool:
        """Return whether the slow path is needed, which the Student-t kernel always takes."""
        return self.kernel != "gaussian" or (torch.is_grad_enabled() and compressed.requires_grad)

    def _job(self, embeddings: Sequence[torch.Tensor]) -> Job:
        """Return the comparison of children's embeddings in their own precision.

        Each is of shape ``(..., n_samples, n_units)``, with the origin's tables before these.
        """
        double = any(embedding.dtype == torch.float64 for embedding in embeddings)
        dtype = torch.float64 if double else torch.float32
        shape = self.probabilities.shape[:-2].numel(), self.n_samples
        tables: list[torch.Tensor] = []
        for embedding in embeddings:
            embedding = embedding.detach().to(dtype)
            if embedding.ndim == 2:
                tables.append(embedding)
            else:
                children = embedding.reshape(-1, *shape, embedding.shape[-1])
                tables.extend(children if shape[0] > 1 else children[:, 0])
        if dtype not in self._origins:
            p = self.probabilities.view(-1, self.n_samples, self.n_samples)
            reciprocal = p.reciprocal()
            reciprocal.diagonal(dim1=-2, dim2=-1).fill_(1.0)
            log_beta = self.log_beta.view(-1, self.n_samples)
            self._origins[dtype] = Origins(
                p.to(dtype), reciprocal.to(dtype), log_beta, self._centre
            )
        return Job(self._origins[dtype], tables)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origins": {}}

    def _check(self, compressed: torch.Tensor) -> None:
        """Refuse a child's embedding whose shape does not fit the parent's."""
        check_child(compressed, self.n_samples, self.probabilities.shape[:-2])


def divergences_of_children(
    losses: Sequence[TSNELoss], embeddings: Sequence[Sequence[torch.Tensor]]
) -> list[torch.Tensor]:
    """Return `TSNELoss.of_children` of several losses, computed together where that helps.

    Args:
        losses: For instance one per probe layer.
        embeddings: For each loss the children's embeddings.
    """
    found: dict[int, torch.Tensor] = {}
    jobs: dict[tuple[Any, ...], dict[int, Job]] = {}
    for i, (loss, own) in enumerate(zip(losses, embeddings, strict=True)):
        check_children(own)
        for embedding in own:
            loss._check(embedding)
        if not own:
            found[i] = torch.zeros(0, dtype=torch.float64)
        elif any(loss._needs_gradient(embedding) for embedding in own):
            found[i] = loss._step_by_step(own)
        else:
            job = loss._job(own)
            key = (loss.perplexity, job.origins.p.dtype, *job.origins.p.shape)
            jobs.setdefault(key, {})[i] = job
    for (perplexity, *_), alike in jobs.items():
        results = divergences(list(alike.values()), perplexity)
        found.update(zip(alike, results, strict=True))
    return [
        found[i].view(len(own), *loss.probabilities.shape[:-2])
        for i, (loss, own) in enumerate(zip(losses, embeddings, strict=True))
    ]
