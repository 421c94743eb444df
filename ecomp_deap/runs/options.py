"""The options of a run: what each takes and how help tells of it.

One table for Python, TOML, JSON and the command line. Types and defaults stand in
`ecomp_deap.runs.config.RunConfig`, under the same names.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ecomp_deap.defaults import (
    ENGINES,
    GENERATIONS,
    GENOMES,
    IMPORTANCES,
    LEARNT,
    LOSS_WEIGHTS,
    MUTATIONS,
    PARETO_SELECTIONS,
    SIMILARITIES,
    WEIGHTED_SELECTIONS,
)
from ecomp_deap.errors import ArgumentError
from ecomp_deap.recipe import LOSSES, OPTIMIZERS, SCHEDULES
from ecomp_deap.runs.kinds import (
    Address,
    Choice,
    Code,
    Flag,
    FolderName,
    Integer,
    Integers,
    Kind,
    Location,
    Losses,
    Names,
    Number,
    Uri,
    Weights,
)

__all__ = [
    "DEFAULT_OBJECTIVES",
    "LAST_SEED",
    "OBJECTIVES",
    "OPTIONS",
    "PRESETS",
    "Option",
    "unknown_name_error",
]

OBJECTIVES = (
    *("accuracy", "similarity_loss", "relative_width"),
    *("param_count", "mac_count", "size_bytes", "latency_ms"),
)

#: Seeds have 32 bits, as numpy's generators take them.
LAST_SEED = 2**32 - 1

DEFAULT_OBJECTIVES = ("accuracy", "similarity_loss", "param_count")

# The original's protocol. A perplexity p needs 3 p + 1 samples, so 30 goes with batches of 100.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "report": MappingProxyType(
            {
                "genome": "weights",
                "selection": "roulette",
                "loss_weights": LOSS_WEIGHTS,
                "population": 100,
                "epochs": 1,
                "batch_size": 100,
                "evaluation": "fresh",
                "train_steps": 0,
                "crossover_rate": 1.0,
                "mutation_rate": 0.01,
                "perplexity": 30.0,
                "finalise_epochs": 0,
                "finalise_count": 0,
                "finalise_trials": 0,
            }
        )
    }
)


@dataclass(frozen=True)
class Option:
    """One option: the group it is shown in, what it takes, and a line of help.

    ``unset`` says what happens where the option is None; those without it take no None.
    """

    name: str
    group: str
    kind: Kind
    help: str
    unset: str = ""

    @property
    def flag(self) -> str:
        """The option as the command line spells it.

        >>> OPTIONS["batch_size"].flag
        '--batch-size'
        """
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any, *, name: str = "") -> Any:
        """Return ``value`` in its final type; errors call it ``name``, else by its own name.

        Raises:
            ArgumentError: the value is not of the option's kind.
        """
        if value is None and self.unset:
            return None
        return self.kind.check(name or self.name, value)


def unknown_name_error(what: str, name: str, known: Iterable[str]) -> ArgumentError:
    """Return the error for an unknown ``name``, which suggests the nearest known one.

    That is the shortest of those that begin with it, if any do.

    >>> str(unknown_name_error("run.toml: unknown option", "popluation", ["population", "seed"]))
    "run.toml: unknown option 'popluation'; did you mean 'population'?"
    """
    known = sorted(known)
    begun = [option for option in known if option.startswith(name) and name.strip("-")]
    near = sorted(begun, key=len)[:1] or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return ArgumentError(f"{what} {name!r}; {hint}")


_WHAT = "what to run"
_SEARCH = "search"
_UNITS = "units that may go"
_FITNESS = "fitness"
_EVALUATION = "evaluation"
_WORKERS = "workers"
_DATA = "data and parent"
_OUTPUT = "output"


def _recipe(prefix: str, steps: str) -> Iterator[Option]:
    """Yield the options of a `Recipe` but for its size of batches."""
    rows: Sequence[tuple[str, Kind, str]] = (
        ("learning_rate", Number(above=0), "highest learning rate of"),
        ("optimizer", Choice(OPTIMIZERS), "optimiser of"),
        ("weight_decay", Number(minimum=0), "weight decay of"),
        ("schedule", Choice(SCHEDULES), "how the learning rate changes over"),
        ("temperature", Number(above=0), "temperature of distillation in"),
        ("mixup", Number(minimum=0), "alpha of Beta(alpha, alpha), by which samples are mixed in"),
        ("averaging", Number(minimum=0, maximum=1), "last fraction whose weights are averaged, of"),
    )
    for name, kind, what in rows:
        yield Option(prefix + name, _EVALUATION, kind, f"{what} {steps}")


_TABLE = (
    Option("n_runs", _WHAT, Integer(1), "how many runs, each with a seed of its own"),
    Option("name", _WHAT, FolderName(), "what to call them; run K is left in OUT/NAME_K"),
    Option(
        "preset",
        _SEARCH,
        Choice(tuple(PRESETS)),
        "a bundle of defaults; report is the protocol of the original EComp",
        unset="none",
    ),
    Option(
        "genome",
        _SEARCH,
        Choice(GENOMES),
        "what evolves: a bit per unit, a number of units per group, or weights as in the original",
    ),
    Option("population", _SEARCH, Integer(4), "individuals in a generation"),
    Option(
        "generations",
        _SEARCH,
        Integer(0),
        "generations that follow the initial one",
        unset=f"{GENERATIONS}, or by --epochs",
    ),
    Option(
        "epochs",
        _SEARCH,
        Integer(1),
        "instead of --generations: passes over the search data, one batch a generation",
        unset="by --generations",
    ),
    Option(
        "time_budget",
        _SEARCH,
        Number(above=0),
        "seconds after which the search ends; its children are finalised as ever",
        unset="none",
    ),
    Option(
        "stall_generations",
        _SEARCH,
        Integer(1),
        "end the search when the hypervolume has grown by less than 0.1 % in so many generations",
        unset="never",
    ),
    Option(
        "target_accuracy",
        _SEARCH,
        Number(minimum=0, maximum=1),
        "end the search when a child reaches this on its batch, with --target-params or fewer",
        unset="none",
    ),
    Option(
        "target_params", _SEARCH, Integer(1), "see --target-accuracy, which needs it", unset="none"
    ),
    Option(
        "crossover_rate",
        _SEARCH,
        Number(minimum=0, maximum=1),
        "share of a generation that is crossed over; with nsga2, nsga3 and spea2, this and "
        "--mutation-rate are at most 1 together",
        unset="0.7, for weights with roulette or tournament 1; or what --mutation-rate leaves",
    ),
    Option(
        "mutation_rate",
        _SEARCH,
        Number(minimum=0, maximum=1),
        "share of a generation that is mutated",
        unset="0.3, for weights with roulette or tournament 0.01; or what --crossover-rate leaves",
    ),
    Option(
        "steady_state",
        _SEARCH,
        Flag(),
        "let no worker wait for a slower one's child: results then do not repeat to the last bit",
    ),
    Option(
        "recombination_layers",
        _SEARCH,
        Names(),
        "layers that crossover and mutation of --genome weights vary",
        unset="all",
    ),
    Option(
        "mutation",
        _SEARCH,
        Choice(tuple(dict.fromkeys(name for names in MUTATIONS.values() for name in names))),
        "how children mutate, with --genome "
        + "; ".join(f"{genome}: {', '.join(names)}" for genome, names in MUTATIONS.items()),
        unset="the first of these",
    ),
    Option(
        "learnt",
        _SEARCH,
        Choice(LEARNT),
        "with --inherit: where both mates have learnt a weight, the child gets either's, their "
        "mean, or their mean once like units are aligned",
        unset=LEARNT[0],
    ),
    Option(
        "importance",
        _SEARCH,
        Choice(IMPORTANCES),
        "which units go first, in the first population and in all of --genome width",
    ),
    Option(
        "highest_rate",
        _SEARCH,
        Number(above=0.1, maximum=0.999),
        "the first population is pruned at evenly spaced rates from 0.1 up to this one",
    ),
    Option("seed", _SEARCH, Integer(0, LAST_SEED), "what all randomness follows from"),
    Option("protect", _UNITS, Names(), "layers whose units all stay", unset="none"),
    Option("min_units", _UNITS, Integer(1), "units that every group keeps at least"),
    Option("round_to", _UNITS, Integer(1), "groups keep a multiple of so many units, or all"),
    Option("prune_inputs", _UNITS, Flag(), "let input features be removed too"),
    Option(
        "selection",
        _FITNESS,
        Choice(PARETO_SELECTIONS + WEIGHTED_SELECTIONS),
        "by --objectives (the first three), or by the sum of losses that --loss-weights weigh",
    ),
    Option(
        "objectives",
        _FITNESS,
        Names(minimum=2, choices=OBJECTIVES),
        f"two or more of {', '.join(OBJECTIVES)}",
        unset=",".join(DEFAULT_OBJECTIVES),
    ),
    Option(
        "loss_weights",
        _FITNESS,
        Weights(),
        "weights of accuracy, similarity loss and compression",
        unset=",".join(f"{weight:g}" for weight in LOSS_WEIGHTS),
    ),
    Option(
        "max_params",
        _FITNESS,
        Integer(1),
        "parameters that a child has at most; a child within the limits beats any beyond them",
        unset="no limit",
    ),
    Option(
        "max_macs",
        _FITNESS,
        Integer(1),
        "multiply-accumulate operations for one sample at most",
        unset="no limit",
    ),
    Option(
        "max_size_bytes",
        _FITNESS,
        Integer(1),
        "bytes of parameters and buffers at most",
        unset="no limit",
    ),
    Option(
        "max_latency_ms",
        _FITNESS,
        Number(above=0),
        "milliseconds for a batch of 8 at most, in one thread of this machine",
        unset="no limit",
    ),
    Option(
        "probe_layers",
        _FITNESS,
        Names(minimum=0),
        "layers at which the similarity loss compares child and parent; an empty list: nowhere",
        unset="the hidden layers",
    ),
    Option(
        "perplexity",
        _FITNESS,
        Number(above=1),
        "neighbours of a sample in --similarity tsne",
        unset="30, or a third of the other samples if that is less",
    ),
    Option(
        "kernel",
        _FITNESS,
        Choice(("gaussian", "student")),
        "of the child's embeddings in --similarity tsne",
    ),
    Option(
        "similarity",
        _FITNESS,
        Choice(SIMILARITIES),
        "measure behind the similarity loss",
    ),
    Option(
        "evaluation",
        _EVALUATION,
        Choice(("fresh", "fixed")),
        "a fresh batch for each generation, or the same samples for all",
    ),
    # Four samples would allow no perplexity beyond 1.
    Option("batch_size", _EVALUATION, Integer(5), "samples in a batch"),
    Option("balanced", _EVALUATION, Flag(), "draw as many samples of each class"),
    Option("train_steps", _EVALUATION, Integer(0), "gradient steps of a child before it is scored"),
    Option("train_loss", _EVALUATION, Losses(), f"weights of {', '.join(LOSSES)} in these steps"),
    Option(
        "train_batch_size",
        _EVALUATION,
        Integer(1),
        "samples of each of these steps",
        unset="that of a batch",
    ),
    *_recipe("", "these steps"),
    Option(
        "recalibration_samples",
        _EVALUATION,
        Integer(0),
        "samples from which a child's batch norms take their statistics; 0: keep the parent's",
    ),
    Option("inherit", _EVALUATION, Flag(), "let masks keep what their child learnt"),
    Option(
        "finalise_count", _EVALUATION, Integer(0), "children to train at the end, spread by size"
    ),
    Option("finalise_epochs", _EVALUATION, Integer(0), "epochs of this last training; 0: none"),
    Option(
        "finalise_trials",
        _EVALUATION,
        Integer(0),
        "children to train for a sixth of this first, to choose who trains on; 0: none",
    ),
    Option(
        "finalise_sizes",
        _EVALUATION,
        Integers(1),
        "numbers of parameters wanted: half of this training is for children that just keep them",
        unset="none",
    ),
    Option("finalise_loss", _EVALUATION, Losses(), "as --train-loss, for this training"),
    Option("finalise_batch_size", _EVALUATION, Integer(1), "samples of each of its steps"),
    *_recipe("finalise_", "this training"),
    Option(
        "finalise_size_power",
        _EVALUATION,
        Number(minimum=0, maximum=1),
        "power of (the parent's parameters / a child's) that its learning rate is multiplied by",
    ),
    Option(
        "engine",
        _EVALUATION,
        Choice(ENGINES),
        "what measures children: all of a block at once, in a loop, or as masks of the parent",
    ),
    Option(
        "threads",
        _EVALUATION,
        Integer(1),
        "threads that measure; they change nothing about a dense network's results",
        unset="what proves fastest",
    ),
    Option(
        "workers",
        _WORKERS,
        Integer(1, 10_000),
        "processes that measure children; they change nothing about the results",
        unset="threads of this process, or what a cluster has",
    ),
    Option(
        "dask",
        _WORKERS,
        Address("tcp://host:8786"),
        "Dask scheduler whose workers measure, or 'local' to start some "
        "(needs pip install 'ecomp-deap[dask]')",
        unset="none",
    ),
    Option(
        "ray",
        _WORKERS,
        Address("host:6379"),
        "Ray cluster whose actors measure: 'auto', an address, or 'local' to start one "
        "(needs pip install 'ecomp-deap[ray]')",
        unset="none",
    ),
    Option(
        "gpus_per_worker",
        _WORKERS,
        Number(minimum=0),
        "GPUs, or the share of one, that each worker of a cluster takes",
    ),
    Option(
        "block_timeout",
        _WORKERS,
        Number(above=0),
        "seconds that a worker may take for a block of children before another gets it",
        unset="any time",
    ),
    Option(
        "data_dir",
        _DATA,
        Location(),
        "folder of FashionMNIST",
        unset="the usual places, then the bundled slice",
    ),
    Option("download", _DATA, Flag(), "download FashionMNIST where it is not found"),
    Option(
        "parent",
        _DATA,
        Location(),
        "weights of the network to compress, .safetensors or .pt",
        unset="train one",
    ),
    Option(
        "factory",
        _DATA,
        Code(),
        "class or function that makes a network like the parent, such as my_models.py:LeNet5; its "
        "code is run",
        unset="784-256-256-10, or as --parent tells",
    ),
    Option("images", _DATA, Flag(), "give networks images of 1 × 28 × 28, not 784 numbers"),
    Option("parent_epochs", _DATA, Integer(1), "epochs to train the parent, if none is given"),
    Option("out", _OUTPUT, Location(), "folder that receives the run directories"),
    Option(
        "tensorboard",
        _OUTPUT,
        Location(),
        "folder to log into for TensorBoard (needs pip install 'ecomp-deap[tensorboard]')",
        unset="none",
    ),
    Option(
        "mlflow",
        _OUTPUT,
        Uri(),
        "where MLflow keeps runs, in an experiment called NAME "
        "(needs pip install 'ecomp-deap[mlflow]')",
        unset="none",
    ),
    Option("quiet", _OUTPUT, Flag(), "print nothing but errors"),
)

OPTIONS: Mapping[str, Option] = MappingProxyType({option.name: option for option in _TABLE})
