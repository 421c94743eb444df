"""`run_many`: runs for a configuration, each of which leaves a run directory behind."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from ecomp_deap.callbacks import Callback, as_callback
from ecomp_deap.data import Splits, load_fashion_mnist, load_fashion_mnist_original
from ecomp_deap.errors import DataError, EvaluationError, argument_error
from ecomp_deap.evaluation.workers import Workers
from ecomp_deap.exports import export
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.interrupts import Interrupts
from ecomp_deap.network import make_parent
from ecomp_deap.runs import RunConfig
from ecomp_deap.runs.directory import RunDirectory
from ecomp_deap.runs.options import LAST_SEED
from ecomp_deap.search.code import child_in, network_from_code
from ecomp_deap.search.compress import Result, check_finish, evolve
from ecomp_deap.search.parent import (
    check_images,
    find_trained_parent,
    given_parent,
    parent_recipe,
    train_parent,
)
from ecomp_deap.search.run_files import check_places, example_of, write_result
from ecomp_deap.search.run_workers import workers_for
from ecomp_deap.search.stopping import Stalled, StopRule, TargetMet, TimeBudget
from ecomp_deap.task import Task
from ecomp_deap.threads import torch_threads
from ecomp_deap.toolbox import Toolbox, make_toolbox

__all__ = ["RunResult", "data_for", "resume_run", "run_many", "task_for", "to_go_on"]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        directory: Its folder.
        summary: The content of its ``summary.json``.
    """

    directory: RunDirectory
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Parent:
    module: nn.Module
    metadata: dict[str, Any]


def run_many(
    config: RunConfig,
    *,
    callback: Callback | Sequence[Callback] | None = None,
    interrupts: Interrupts | None = None,
) -> Iterator[RunResult]:
    """Do the runs that a configuration asks for, one after the other.

    Run k has the seed ``config.seed + k − 1``. All share one parent: the given one, or one that
    an earlier run of this name trained by the same recipe, or one that is trained now.

    Args:
        config: What is asked.
        callback: Told of everything; or several.
        interrupts: See `evolve`.

    Yields:
        Each run when it is finished and its files are written.

    Raises:
        EcompError: Bad input, before any search starts.
        Interrupted: As `evolve`.
    """
    callback = as_callback(callback)
    _check_seeds(config)
    config = config.resolved()
    data = data_for(replace(config, preset=None))
    callback.on_message(data.source)
    # The one number that needs no mention in the recipe.
    with torch_threads(1):
        parent = _get_parent(config, data, callback)
    with workers_for(config) as workers:
        for index in range(config.n_runs):
            seed = config.seed + index
            if config.preset == "report":
                data = data_for(replace(config, seed=seed))
            # Whatever is wrong with the parent shows here, before a folder is made.
            toolbox = _toolbox(replace(config, seed=seed), parent.module, data, workers)
            toolbox.settle(config.population)
            own = _as_used(replace(config, seed=seed), toolbox)
            directory = RunDirectory.create(config.out, config.name)
            callback.on_run_start(index + 1, config.n_runs, directory.path, own.generations or 0)
            export(
                *(parent.module, directory.parent),
                example=example_of(toolbox),
                metadata=parent.metadata,
            )
            # Last, as whoever finds it takes the rest to be there.
            directory.write_json("config.json", own.to_json_dict())
            yield _search(own, toolbox, parent, directory, callback, interrupts)


def resume_run(
    run: Path,
    *,
    callback: Callback | Sequence[Callback] | None = None,
    interrupts: Interrupts | None = None,
) -> RunResult:
    """Go on with a run that was interrupted, to the same result as if it had not been.

    A finished one is left as it is.

    Args:
        run: Its folder.
        callback: Told of everything; or several.
        interrupts: See `evolve`.

    Raises:
        DataError: No run, damaged files, something in the place of those to come, or other data
            than it began with; see also `Checkpoints`.
        Interrupted: As `evolve`.
    """
    callback = as_callback(callback)
    directory = RunDirectory(run)
    if directory.is_finished:
        callback.on_message(f"{run} is finished")
        return RunResult(directory, directory.summary())
    config = directory.config()
    check_places(directory)
    factory = config.factory and network_from_code(config.factory)
    module = child_in(directory.parent, factory or None)
    metadata = read_manifest(directory.parent.with_suffix(".json"))["metadata"]
    data = data_for(config)
    callback.on_message(data.source)
    parent = _Parent(module, metadata)
    with workers_for(config) as workers:
        toolbox = _toolbox(config, module, data, workers)
        callback.on_run_start(1, 1, run, config.generations or 0)
        return _search(config, toolbox, parent, directory, callback, interrupts, resumed=True)


def to_go_on(run: Path) -> str:
    """Return what a user is told where a run ends before its end."""
    return f"to go on: ecomp-deap resume {run}"


def _check_seeds(config: RunConfig) -> None:
    """Check that the last run has a seed, too."""
    last = LAST_SEED - config.n_runs + 1
    if config.seed > last:
        expected = f"at most {last} for {config.n_runs} runs, each with the next one"
        raise argument_error("seed", expected, config.seed)


def _search(
    config: RunConfig,
    toolbox: Toolbox,
    parent: _Parent,
    directory: RunDirectory,
    callback: Callback,
    interrupts: Interrupts | None,
    *,
    resumed: bool = False,
) -> RunResult:
    """Search from the beginning, or from where the run's folder has it saved, and write it all."""
    try:
        result = _evolve(config, toolbox, directory, callback, interrupts)
        source = parent.metadata["source"]
        summary = write_result(
            *(result, directory, example_of(toolbox)),
            seed=config.seed,
            parent_source=source,
            callback=callback,
        )
    except (KeyboardInterrupt, EvaluationError, DataError) as error:
        # Saves that were refused before it went on would be refused again.
        if not (resumed and isinstance(error, DataError) and toolbox.generation < 0):
            callback.on_message(to_go_on(directory.path))
        raise
    # There is nothing to go on from any more.
    shutil.rmtree(directory.checkpoints, ignore_errors=True)
    callback.on_run_end(summary)
    return RunResult(directory, summary)


def _evolve(
    config: RunConfig,
    toolbox: Toolbox,
    directory: RunDirectory,
    callback: Callback,
    interrupts: Interrupts | None,
) -> Result:
    return evolve(
        toolbox,
        population=config.population,
        generations=config.generations or 0,
        crossover_rate=config.crossover_rate,
        mutation_rate=config.mutation_rate,
        steady_state=config.steady_state,
        finalise_count=config.finalise_count,
        finalise_epochs=config.finalise_epochs,
        finalise_trials=config.finalise_trials,
        finalise_sizes=config.finalise_sizes,
        finalise_recipe=config.finalise_recipe,
        stop=_stop_rules(config),
        checkpoint=directory.checkpoints,
        resume=True,
        callback=callback,
        interrupts=interrupts,
    )


def _stop_rules(config: RunConfig) -> list[StopRule]:
    """Return the rules that may end the search early."""
    rules: list[StopRule] = []
    if config.time_budget is not None:
        rules.append(TimeBudget(config.time_budget))
    if config.stall_generations is not None:
        rules.append(Stalled(config.stall_generations))
    if config.target_accuracy is not None and config.target_params is not None:
        rules.append(TargetMet(config.target_accuracy, config.target_params))
    return rules


def data_for(config: RunConfig) -> Splits:
    """Return the data of the run with a configuration's seed."""
    options: dict[str, Any] = {"download": config.download, "flatten": not config.images}
    if config.preset == "report":
        return load_fashion_mnist_original(config.data_dir, seed=config.seed, **options)
    return load_fashion_mnist(config.data_dir, **options)


def _toolbox(
    config: RunConfig, parent: nn.Module, data: Splits, workers: Workers | None = None
) -> Toolbox:
    task = task_for(config, parent, data)
    check_images(task)
    return make_toolbox(
        task,
        genome=config.genome,
        selection=config.selection,
        objectives=config.objectives,
        loss_weights=config.loss_weights,
        recombination_layers=config.recombination_layers,
        mutation=config.mutation,
        learnt=config.learnt,
        importance=config.importance,
        highest_rate=config.highest_rate,
        seed=config.seed,
        engine=config.engine,
        threads=config.threads,
        workers=workers,
        timeout_s=config.block_timeout if workers is not None else None,
    )


def task_for(config: RunConfig, parent: nn.Module, data: Splits) -> Task:
    """Return the task that a configuration asks for."""
    return Task(
        parent,
        data,
        probe_layers=config.probe_layers,
        protect=config.protect or (),
        min_units=config.min_units,
        round_to=config.round_to,
        prune_inputs=config.prune_inputs,
        batch_size=config.batch_size,
        balanced=config.balanced,
        evaluation=config.evaluation,
        train_steps=config.train_steps,
        training=config.training,
        recalibration_samples=config.recalibration_samples,
        inherit=config.inherit,
        max_params=config.max_params,
        max_macs=config.max_macs,
        max_size_bytes=config.max_size_bytes,
        max_latency_ms=config.max_latency_ms,
        perplexity=config.perplexity,
        kernel=config.kernel,
        similarity=config.similarity,
    )


def _as_used(config: RunConfig, toolbox: Toolbox) -> RunConfig:
    """Return the configuration with everything in it that waited for data and parent."""
    evaluator = toolbox.evaluator
    generations = config.generations
    if generations is None:
        generations = (config.epochs or 0) * evaluator.batches_per_epoch
    return replace(
        config,
        generations=generations,
        epochs=None,
        perplexity=evaluator.perplexity,
        probe_layers=evaluator.probe_layers,
        engine=evaluator.engine,
        threads=evaluator.threads,
    )


def _get_parent(config: RunConfig, data: Splits, callback: Callback) -> _Parent:
    network = None
    if config.factory is not None:
        network = network_from_code(config.factory, seed=config.seed)
    if config.parent is not None:
        return _Parent(given_parent(config.parent, network), {"source": str(config.parent)})
    # Whatever is wrong with the options shows here, before a parent is trained.
    toolbox = _toolbox(config, make_parent() if network is None else network, data)
    check_finish(
        toolbox,
        count=config.finalise_count,
        epochs=config.finalise_epochs,
        trials=config.finalise_trials,
        sizes=config.finalise_sizes,
        recipe=config.finalise_recipe,
    )
    _check_folder(config.out)
    recipe = parent_recipe(data, network, epochs=config.parent_epochs, seed=config.seed)
    metadata = {"source": "trained", "recipe": recipe}
    found = find_trained_parent(
        config.out, config.name, recipe, tell=callback.on_message, network=network
    )
    if found is not None:
        return _Parent(found, metadata)
    callback.on_phase("training the parent", config.parent_epochs)
    module = train_parent(
        *(data, network),
        epochs=config.parent_epochs,
        seed=config.seed,
        on_epoch=callback.on_phase_step,
    )
    return _Parent(module, metadata)


def _check_folder(path: Path) -> None:
    """Check that runs can be written into a folder, which is made if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path, prefix="."):
            pass
    except OSError as error:
        raise DataError(f"out: {path} cannot be written ({error.strerror})") from error
