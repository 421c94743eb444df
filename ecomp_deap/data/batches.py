"""Batches: which samples a generation scores on and which it trains on.

Every answer is a pure function of the seed, the generation and the sampler's settings, so a
resumed run, another process or a reader of the log gets the same indices again.
"""

from typing import Any

import numpy as np

from ecomp_deap.checks import check_count, check_indices
from ecomp_deap.data import _streams
from ecomp_deap.errors import ArgumentError, argument_error

__all__ = ["BatchSampler"]


class BatchSampler:
    """Draws batches of sample indices for the generations of a search.

    Indices are int64 arrays, shape ``(batch_size,)``, and the caller's own. With ``balanced``
    every scoring batch holds equally many samples of each class in ``labels``, shape
    ``(n_samples,)``.

    Raises:
        ArgumentError: ``batch_size`` exceeds ``n_samples``; ``labels`` do not fit; or
            ``balanced`` without labels or with a ``batch_size`` that the classes cannot share.

    >>> sampler = BatchSampler(10, 4, seed=1)
    >>> sampler.batches_per_epoch
    2
    >>> bool(np.isin(sampler.scoring(1), sampler.scoring(2)).any())
    False
    """

    def __init__(
        self,
        n_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        labels: np.ndarray | None = None,
        balanced: bool = False,
    ) -> None:
        self.n_samples = check_count("n_samples", n_samples, minimum=1)
        self.batch_size = check_count("batch_size", batch_size, minimum=1, maximum=self.n_samples)
        self.seed = check_count("seed", seed, minimum=0)
        self.balanced = bool(balanced)
        self._groups = self._grouped(labels)
        self._check_shared("batch_size", self.batch_size)
        rarest = min(len(group) for group in self._groups)
        self.batches_per_epoch = rarest // (self.batch_size // len(self._groups))
        # The epoch last asked for; it saves time and changes nothing.
        self._cached_epoch: tuple[int, np.ndarray] | None = None

    def scoring(self, generation: int) -> np.ndarray:
        """Return the indices of the batch that ``generation`` is scored on.

        Generation 0 has a draw of its own; generations 1, 2, … walk through the epochs.

        Raises:
            ArgumentError: ``generation`` is no whole number of at least 0.
        """
        generation = check_count("generation", generation, minimum=0)
        if generation == 0:
            rng = _streams.generator(self.seed, _streams.FIRST_BATCH)
            return self._rows(rng, 1, self.batch_size)[0]
        epoch_index, position = divmod(generation - 1, self.batches_per_epoch)
        return self._epoch_rows(epoch_index)[position].copy()

    def epoch(self, epoch_index: int) -> list[np.ndarray]:
        """Return the `batches_per_epoch` batches of an epoch, counted from 0.

        An epoch is a fresh permutation cut into whole batches: no sample occurs twice, and
        what does not fill a batch is left out.

        Raises:
            ArgumentError: ``epoch_index`` is no whole number of at least 0.
        """
        epoch_index = check_count("epoch_index", epoch_index, minimum=0)
        return list(self._epoch_rows(epoch_index).copy())

    def training(
        self,
        generation: int,
        n_steps: int,
        batch_size: int,
        *,
        exclude: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Return ``n_steps`` training batches of ``batch_size`` indices for ``generation``.

        The pool is every sample but those in ``exclude``, by default the generation's scoring
        batch. It is drawn without repetition until it is used up, then anew, also in the
        middle of a batch. Fewer steps give the beginning of what more steps give. Training
        batches are not balanced.

        Raises:
            ArgumentError: a number is out of range, ``exclude`` is no array of indices, or
                nothing is left to train on.
        """
        generation = check_count("generation", generation, minimum=0)
        n_steps = check_count("n_steps", n_steps, minimum=0)
        batch_size = check_count("batch_size", batch_size, minimum=1)
        if exclude is None:
            excluded = self.scoring(generation)
        else:
            excluded = check_indices("exclude", exclude, self.n_samples, empty=True)
        if n_steps == 0:
            return []
        in_pool = np.ones(self.n_samples, dtype=bool)
        in_pool[excluded] = False
        pool = np.flatnonzero(in_pool).astype(np.int64, copy=False)
        if len(pool) == 0:
            raise ArgumentError(
                f"{'batch_size' if exclude is None else 'exclude'}: expected at least one of the "
                f"{self.n_samples} samples to be left to train on, got all of them set aside"
            )
        rng = _streams.generator(self.seed, _streams.TRAINING, generation)
        n_passes = -(-n_steps * batch_size // len(pool))
        drawn = np.concatenate([rng.permutation(pool) for _ in range(n_passes)])
        return list(drawn[: n_steps * batch_size].reshape(n_steps, batch_size))

    def fixed(self, n: int) -> np.ndarray:
        """Return the ``n`` indices, ascending, of a set that is the same in every generation.

        Raises:
            ArgumentError: ``n`` exceeds the number of samples, or the classes cannot share it
                when ``balanced``.
        """
        n = check_count("n", n, minimum=1, maximum=self.n_samples)
        self._check_shared("n", n)
        return np.sort(self._rows(_streams.generator(self.seed, _streams.FIXED), 1, n)[0])

    def calibration(self, n: int) -> np.ndarray:
        """Return ``n`` indices, ascending, of a set of its own that is the same throughout.

        All indices if there are not as many.
        """
        rng = _streams.generator(self.seed, _streams.CALIBRATION)
        return np.sort(rng.permutation(self.n_samples)[: check_count("n", n, minimum=0)])

    def _grouped(self, labels: Any) -> list[np.ndarray]:
        """Return the indices that a batch takes equal parts of: all, or those of each class."""
        if labels is None:
            if self.balanced:
                raise argument_error("labels", "class labels, as balanced is set", None)
            return [np.arange(self.n_samples, dtype=np.int64)]
        labels = np.asarray(labels)
        if labels.shape != (self.n_samples,) or labels.dtype.kind not in "iu":
            raise ArgumentError(
                f"labels: expected integers of shape ({self.n_samples},), "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        if not self.balanced:
            return [np.arange(self.n_samples, dtype=np.int64)]
        return [
            np.flatnonzero(labels == label).astype(np.int64, copy=False)
            for label in np.unique(labels)
        ]

    def _check_shared(self, name: str, size: int) -> None:
        n_groups = len(self._groups)
        rarest = min(len(group) for group in self._groups)
        share = size // n_groups
        if size % n_groups == 0 and share <= rarest:
            return
        fitting = sorted({n_groups * min(max(part, 1), rarest) for part in (share, share + 1)})
        raise argument_error(
            name,
            f"a multiple of the {n_groups} classes up to {n_groups * rarest}, as balanced is set "
            f"(nearest: {' or '.join(map(str, fitting))})",
            size,
        )

    def _epoch_rows(self, epoch_index: int) -> np.ndarray:
        cached = self._cached_epoch
        if cached is None or cached[0] != epoch_index:
            rng = _streams.generator(self.seed, _streams.EPOCH, epoch_index)
            rows = self._rows(rng, self.batches_per_epoch, self.batch_size)
            cached = self._cached_epoch = (epoch_index, rows)
        return cached[1]

    def _rows(self, rng: np.random.Generator, n_rows: int, size: int) -> np.ndarray:
        """Draw ``n_rows`` batches that share no sample, shape ``(n_rows, size)``."""
        share = size // len(self._groups)
        parts = [
            rng.permutation(group)[: n_rows * share].reshape(n_rows, share)
            for group in self._groups
        ]
        if len(parts) == 1:
            return parts[0]
        return rng.permuted(np.hstack(parts), axis=1)  # no order by class within a batch
