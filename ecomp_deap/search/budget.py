"""`Budget`: what a search took, and what is left of it to a baseline."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecomp_deap.checks import check_count

if TYPE_CHECKING:
    from ecomp_deap.search.compress import Result

__all__ = ["Budget", "plan"]

# Of what is left for training, the part that may go into trials of learning rates.
_TRIALS = 0.25


@dataclass(frozen=True)
class Budget:
    """What a baseline may take: as many training samples and evaluations as a search did.

    A training sample is one sample in one gradient step of one child.

    Attributes:
        search_samples: What children trained on before the final training.
        finalise_samples: What they trained on in it.
        evaluations: Children measured on a batch.

    Raises:
        ArgumentError: A number below 0.
    """

    search_samples: int
    finalise_samples: int
    evaluations: int

    def __post_init__(self) -> None:
        for name in ("search_samples", "finalise_samples", "evaluations"):
            check_count(name, getattr(self, name), minimum=0)

    @property
    def samples(self) -> int:
        """Training samples in all."""
        return self.search_samples + self.finalise_samples

    @classmethod
    def of(cls, result: "Result") -> "Budget":
        """Return what a search took."""
        found = result.training_samples
        evaluations = result.toolbox.counters.evaluations
        return cls(found["search"], found["finalise"], evaluations)


def plan(
    samples: int, *, n_samples: int, n_children: int, n_rates: int, n_tried: int, max_epochs: int
) -> tuple[int, int, int]:
    """Return how many children to train, and on how many to try learning rates, for what epochs.

    Up to a quarter of the training samples goes into trials, on fewer children if it does not
    give an epoch for each. The rest is for ``n_children`` children; for more if each would have
    more than ``max_epochs``, for fewer if there is not an epoch for each.

    Args:
        samples: Training samples in all.
        n_samples: Samples of an epoch.
        n_children: Children wanted.
        n_rates: Learning rates to try on a child.
        n_tried: Children wanted to try them on.
        max_epochs: No child trains for more.

    >>> plan(480 * 100, n_samples=100, n_children=8, n_rates=4, n_tried=3, max_epochs=60)
    (8, 3, 10)
    >>> plan(1000 * 100, n_samples=100, n_children=8, n_rates=4, n_tried=3, max_epochs=60)
    (13, 3, 20)
    >>> plan(32 * 100, n_samples=100, n_children=8, n_rates=4, n_tried=3, max_epochs=60)
    (8, 2, 1)
    """
    n_epochs = samples // n_samples
    affordable = int(_TRIALS * n_epochs)
    n_tried = max(min(n_tried, affordable // n_rates), 1)
    trial_epochs = min(max_epochs, affordable // (n_tried * n_rates))
    left = n_epochs - n_tried * n_rates * trial_epochs
    if left < 1 or max_epochs == 0:
        return n_children, n_tried, 0
    return min(max(n_children, -(-left // max_epochs)), left), n_tried, trial_epochs
