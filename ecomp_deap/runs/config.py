"""The configuration of a run: layers of options merged, checked together and written down.

Nothing here imports more than the standard library, so that help and errors come at once.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ecomp_deap.defaults import (
    FINALISE_COUNT,
    FINALISE_EPOCHS,
    GENERATIONS,
    HIGHEST_RATE,
    LEARNT,
    LOSS_WEIGHTS,
    MUTATIONS,
    PARETO_SELECTIONS,
    POPULATION,
    variation_rates,
)
from ecomp_deap.errors import ArgumentError, DataError, argument_error
from ecomp_deap.files import read_file
from ecomp_deap.recipe import FINALISE_RECIPE, SEARCH_RECIPE, Recipe, check_finalising
from ecomp_deap.runs.options import DEFAULT_OBJECTIVES, OPTIONS, PRESETS, unknown_name_error

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

__all__ = ["RunConfig", "load_toml"]

# All options take some thousand.
_TOML_BYTES = 2**16
_MOST_KEY_PARTS = 32


@dataclass(frozen=True)
class RunConfig:
    """What ``n_runs`` runs called ``name`` are asked to do.

    `ecomp_deap.runs.options.OPTIONS` describes every field under its name. Values are
    checked one by one and then together, and converted to the field's type: an integer will do
    for a float, a list for a tuple, a string for a path.

    Raises:
        ArgumentError: a value is of the wrong type or out of range, or two contradict.

    >>> RunConfig(selection="roulette").resolved().loss_weights
    (1.0, 2.0, 1.0)
    >>> RunConfig(loss_weights=(1, 2, 1))
    Traceback (most recent call last):
    ecomp_deap.errors.ArgumentError: loss_weights: expected only with --selection roulette or \
tournament, got selection 'nsga2' (which takes --objectives)
    """

    n_runs: int = 1
    name: str = "run"

    preset: str | None = None
    genome: str = "mask"
    population: int = POPULATION
    generations: int | None = None
    epochs: int | None = None
    time_budget: float | None = None
    stall_generations: int | None = None
    target_accuracy: float | None = None
    target_params: int | None = None
    crossover_rate: float | None = None
    mutation_rate: float | None = None
    recombination_layers: tuple[str, ...] | None = None
    mutation: str | None = None
    learnt: str | None = None
    importance: str = "l1"
    highest_rate: float = HIGHEST_RATE
    seed: int = 0

    protect: tuple[str, ...] | None = None
    min_units: int = 1
    round_to: int = 1
    prune_inputs: bool = False

    selection: str = "nsga2"
    objectives: tuple[str, ...] | None = None
    loss_weights: tuple[float, float, float] | None = None
    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    probe_layers: tuple[str, ...] | None = None
    perplexity: float | None = None
    kernel: str = "gaussian"
    similarity: str = "tsne"

    evaluation: str = "fresh"
    batch_size: int = 100
    balanced: bool = False
    train_steps: int = 0
    train_loss: Mapping[str, float] = SEARCH_RECIPE.loss
    learning_rate: float = SEARCH_RECIPE.learning_rate
    optimizer: str = SEARCH_RECIPE.optimizer
    weight_decay: float = SEARCH_RECIPE.weight_decay
    schedule: str = SEARCH_RECIPE.schedule
    train_batch_size: int | None = SEARCH_RECIPE.batch_size
    temperature: float = SEARCH_RECIPE.temperature
    mixup: float = SEARCH_RECIPE.mixup
    averaging: float = SEARCH_RECIPE.averaging
    recalibration_samples: int = 128
    inherit: bool = False
    steady_state: bool = False
    finalise_count: int = FINALISE_COUNT
    finalise_epochs: int = FINALISE_EPOCHS
    finalise_trials: int = 0
    finalise_sizes: tuple[int, ...] | None = None
    finalise_loss: Mapping[str, float] = FINALISE_RECIPE.loss
    finalise_learning_rate: float = FINALISE_RECIPE.learning_rate
    finalise_optimizer: str = FINALISE_RECIPE.optimizer
    finalise_weight_decay: float = FINALISE_RECIPE.weight_decay
    finalise_schedule: str = FINALISE_RECIPE.schedule
    finalise_batch_size: int = FINALISE_RECIPE.batch_size or 128
    finalise_temperature: float = FINALISE_RECIPE.temperature
    finalise_mixup: float = FINALISE_RECIPE.mixup
    finalise_averaging: float = FINALISE_RECIPE.averaging
    finalise_size_power: float = FINALISE_RECIPE.size_power
    engine: str = "auto"
    threads: int | None = None

    workers: int | None = None
    dask: str | None = None
    ray: str | None = None
    gpus_per_worker: float = 0.0
    block_timeout: float | None = None

    data_dir: Path | None = None
    download: bool = False
    parent: Path | None = None
    factory: str | None = None
    images: bool = False
    parent_epochs: int = 10

    out: Path = Path("results")
    tensorboard: Path | None = None
    mlflow: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, option.check(getattr(self, name)))
        _refuse_contradictions(self)

    @property
    def training(self) -> Recipe:
        """How children train in the search."""
        return Recipe(
            loss=self.train_loss,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            batch_size=self.train_batch_size,
            temperature=self.temperature,
            mixup=self.mixup,
            averaging=self.averaging,
        )

    @property
    def finalise_recipe(self) -> Recipe:
        """How the chosen children train at the end."""
        names = [field.name for field in fields(Recipe) if field.name != "augment"]
        return Recipe(**{name: getattr(self, f"finalise_{name}") for name in names})

    @property
    def is_pareto(self) -> bool:
        """Whether the selection is a Pareto selection, not one by a weighted sum."""
        return self.selection in PARETO_SELECTIONS

    def resolved(self) -> "RunConfig":
        """Return a configuration without None wherever the default follows from the rest.

        ``epochs`` and ``perplexity`` wait for the data, the latter only with t-SNE; of
        ``objectives`` and ``loss_weights`` the one that the selection does not use stays None.

        >>> config = RunConfig(mutation_rate=0.25).resolved()
        >>> config.generations, config.crossover_rate, config.mutation_rate
        (60, 0.75, 0.25)
        """
        crossover_rate, mutation_rate = variation_rates(
            self.crossover_rate, self.mutation_rate, genome=self.genome, pareto=self.is_pareto
        )
        generations = self.generations
        if generations is None and self.epochs is None:
            generations = GENERATIONS
        return replace(
            self,
            generations=generations,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
            mutation=self.mutation or MUTATIONS[self.genome][0],
            learnt=self.learnt or (LEARNT[0] if self.inherit else None),
            objectives=(self.objectives or DEFAULT_OBJECTIVES) if self.is_pareto else None,
            loss_weights=None if self.is_pareto else self.loss_weights or LOSS_WEIGHTS,
        )

    @classmethod
    def from_layers(cls, *layers: Mapping[str, Any]) -> "RunConfig":
        """Merge layers of options, later ones over earlier ones and all over their preset.

        A later layer also displaces what it makes meaningless in earlier ones: generations and
        epochs each other, a Pareto selection the loss weights, a weighted one the objectives, a
        similarity measure other than t-SNE the latter's perplexity and kernel.
        None means that the option is not given.

        Raises:
            ArgumentError: an option is unknown, or as for the class.

        >>> config = RunConfig.from_layers({"preset": "report"}, {"generations": 5})
        >>> config.selection, config.epochs, config.generations
        ('roulette', None, 5)
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            given = _check_layer(layer)
            merged = {k: v for k, v in merged.items() if k not in _displaced(given)} | given
        bundle = PRESETS.get(merged.get("preset", ""), {})
        unwanted = _displaced(merged)
        if merged.get("selection") in PARETO_SELECTIONS:
            unwanted |= {"crossover_rate", "mutation_rate"}
        if _too_few_samples(merged.get("batch_size", cls.batch_size), bundle.get("perplexity")):
            unwanted |= {"perplexity"}
        return cls(**{k: v for k, v in bundle.items() if k not in unwanted} | merged)

    def as_dict(self) -> dict[str, Any]:
        """Return every option's value by name, in the order above."""
        return {name: getattr(self, name) for name in OPTIONS}

    def to_json_dict(self) -> dict[str, Any]:
        """Return `as_dict` in JSON's types: paths as strings, tuples as lists."""
        return {name: _to_json(value) for name, value in self.as_dict().items()}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Return the configuration that `to_json_dict` wrote; absent options have their default.

        Raises:
            ArgumentError: an option is unknown, or as for the class.
        """
        for name in values:
            if name not in OPTIONS:
                raise unknown_name_error("unknown option", str(name), OPTIONS)
        return cls(**values)


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read options from a TOML file, each checked, as one layer for `RunConfig.from_layers`.

    Names may be written with "-" or "_". Relative paths start at the current directory, as they
    do on the command line.

    Raises:
        DataError: the file cannot be read, is no TOML, or has more than 64 KiB.
        ArgumentError: an option is unknown or given twice, or its value is not of its kind.
    """
    try:
        text = read_file(Path(path), at_most=_TOML_BYTES)
    except DataError as error:
        reason = str(error).removeprefix(f"{Path(path)}: ")
        raise DataError(f"{path}: cannot read the configuration: {reason}") from error
    try:
        content = _parse_toml(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a TOML file: {error}") from error
    layer: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in layer:
            raise ArgumentError(f"{path}: {name} is given twice, with '-' and with '_'")
        layer |= _check_layer({name: value}, where=f"{path}: ")
    return layer


def _parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML holds; tomllib's time grows with the square of a key's parts, a.b.c…"""
    for line in re.sub("\"[^\"\n]*\"|'[^'\n]*'", "q", text).split("\n"):
        n_parts = 0
        for part in line.split("."):
            n_parts = n_parts + 1 if part.strip().replace("-", "_").isidentifier() else 0
            if n_parts > _MOST_KEY_PARTS:
                raise ValueError(f"a key has more than {_MOST_KEY_PARTS} parts")
    return tomllib.loads(text)


def _check_layer(layer: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    checked = {}
    for name, value in layer.items():
        if name not in OPTIONS:
            raise unknown_name_error(f"{where}unknown option", str(name), OPTIONS)
        if value is not None:
            checked[name] = OPTIONS[name].check(value, name=where + name)
    return checked


def _displaced(given: Mapping[str, Any]) -> set[str]:
    """Return the options that a layer makes meaningless in the layers below it."""
    displaced: set[str] = set()
    if "generations" in given:
        displaced.add("epochs")
    if "epochs" in given:
        displaced.add("generations")
    if "selection" in given:
        pareto = given["selection"] in PARETO_SELECTIONS
        displaced.add("loss_weights" if pareto else "objectives")
    if given.get("similarity", "tsne") != "tsne":
        displaced |= {"perplexity", "kernel"}
    return displaced


def _refuse_contradictions(config: RunConfig) -> None:
    selection = config.selection
    if config.generations is not None and config.epochs is not None:
        raise ArgumentError(
            "epochs: expected either --epochs or --generations, "
            f"got both ({config.epochs} and {config.generations})"
        )
    if config.dask is not None and config.ray is not None:
        raise argument_error("dask and ray", "one of them", (config.dask, config.ray))
    if config.workers is not None and config.dask not in (None, "local"):
        raise ArgumentError(
            "workers: expected none with a Dask cluster, which has its own, or --dask local, "
            f"got {config.workers}"
        )
    if config.gpus_per_worker and config.dask is None and config.ray is None:
        raise argument_error("gpus_per_worker", "0 without a cluster", config.gpus_per_worker)
    if config.block_timeout and not (config.workers or config.dask or config.ray):
        raise argument_error("block_timeout", "none without workers", config.block_timeout)
    if config.steady_state and not config.is_pareto:
        raise argument_error("steady_state", "False with a weighted selection", selection)
    if (config.target_accuracy is None) != (config.target_params is None):
        raise argument_error(
            "target_accuracy and target_params",
            "both or neither",
            (config.target_accuracy, config.target_params),
        )
    if config.is_pareto and config.loss_weights is not None:
        raise ArgumentError(
            "loss_weights: expected only with --selection roulette or tournament, "
            f"got selection {selection!r} (which takes --objectives)"
        )
    if not config.is_pareto and config.objectives is not None:
        raise ArgumentError(
            "objectives: expected only with --selection nsga2, nsga3 or spea2, "
            f"got selection {selection!r} (which takes --loss-weights)"
        )
    if config.is_pareto and (config.crossover_rate or 0) + (config.mutation_rate or 0) > 1:
        raise argument_error(
            "crossover_rate",
            f"at most 1 together with mutation_rate under selection {selection!r}",
            (config.crossover_rate, config.mutation_rate),
        )
    if config.genome != "weights" and config.recombination_layers is not None:
        raise ArgumentError(
            "recombination_layers: expected only with --genome weights, "
            f"got genome {config.genome!r}"
        )
    if config.genome != "mask" and config.inherit:
        raise ArgumentError(
            f"inherit: expected only with --genome mask, got genome {config.genome!r}"
        )
    if config.mutation is not None and config.mutation not in MUTATIONS[config.genome]:
        kinds = ", ".join(MUTATIONS[config.genome])
        raise ArgumentError(
            f"mutation: expected {kinds} with --genome {config.genome}, got {config.mutation!r}"
        )
    if config.learnt is not None and not config.inherit:
        raise ArgumentError(f"learnt: expected only with --inherit, got {config.learnt!r}")
    if config.genome == "weights" and config.prune_inputs:
        raise ArgumentError(
            "prune_inputs: expected only with --genome mask or width, got genome 'weights'"
        )
    for name, default in (("perplexity", None), ("kernel", "gaussian")):
        if config.similarity != "tsne" and getattr(config, name) != default:
            raise ArgumentError(
                f"{name}: expected only with --similarity tsne, "
                f"got similarity {config.similarity!r}"
            )
    if config.genome == "weights" and config.finalise_sizes is not None:
        raise ArgumentError(
            "finalise_sizes: expected only with --genome mask or width, got genome 'weights'"
        )
    check_finalising(config.finalise_count, config.finalise_trials, config.finalise_sizes or ())
    if _too_few_samples(config.batch_size, config.perplexity):
        raise argument_error(
            "perplexity",
            f"at most {(config.batch_size - 1) / 3:g}, a third of the other samples in a batch "
            f"of {config.batch_size}",
            config.perplexity,
        )


def _too_few_samples(n_samples: int, perplexity: float | None) -> bool:
    return perplexity is not None and 3 * perplexity > n_samples - 1


def _to_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
