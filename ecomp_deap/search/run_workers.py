"""The workers that a run's configuration asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

from ecomp_deap.evaluation.workers import DaskWorkers, ProcessWorkers, RayWorkers, Workers
from ecomp_deap.runs import RunConfig

__all__ = ["workers_for"]


@contextmanager
def workers_for(config: RunConfig) -> Iterator[Workers | None]:
    """Yield the workers that measure children, None for threads of this process; end them then.

    Raises:
        EvaluationError: There is no such cluster.
        ArgumentError: What they take is not installed.
    """
    workers: Workers
    if config.dask is not None:
        workers = DaskWorkers(
            _address(config.dask),
            n_workers=config.workers,
            resources={"GPU": config.gpus_per_worker} if config.gpus_per_worker else None,
        )
    elif config.ray is not None:
        workers = RayWorkers(
            _address(config.ray), n_workers=config.workers, gpus=config.gpus_per_worker
        )
    elif config.workers is not None:
        workers = ProcessWorkers(config.workers)
    else:
        yield None
        return
    with workers:
        yield workers


def _address(text: str) -> str | None:
    return None if text == "local" else text
