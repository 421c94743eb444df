"""`Task`: what is asked of a search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.checks import (
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_sequence,
    check_type,
)
from ecomp_deap.copying import check_module, copy_network
from ecomp_deap.data import Splits, split
from ecomp_deap.errors import ArgumentError, argument_error, one_line
from ecomp_deap.measurement import Measurement
from ecomp_deap.recipe import SEARCH_RECIPE, Recipe
from ecomp_deap.similarity import SimilarityLoss, similarity_class

__all__ = [
    "ACCURACY",
    "LIMITS",
    "Metric",
    "Task",
    "accuracy",
    "check_task",
    "check_weights",
    "default_forward",
]


# What else has a name in measurements and logbooks.
_TAKEN = {field.name for field in fields(Measurement)} | {"fitness", "population"}


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the fraction of samples whose largest logit is the target's.

    Args:
        outputs: Logits of shape ``(n_samples, n_classes)``.
        targets: Class labels of shape ``(n_samples,)``.
    """
    found = outputs.argmax(dim=1)
    if found.shape != targets.shape:  # they would be compared each with each
        expected = f"labels of shape {tuple(found.shape)}, as outputs have classes for"
        raise argument_error("targets", expected, tuple(targets.shape))
    return float((found == targets).double().mean())


@dataclass(frozen=True)
class Metric:
    """How well a network does the task, as a mean over samples.

    Attributes:
        function: ``(outputs, targets) -> float`` for a batch; a tensor or array of one number will
            do.
        name: What it is called in fitness, logbook and files.
        maximise: Whether more is better.
        worst: The finite value that a failed child gets; 0 unless given, which suits a metric
            that is maximised and never negative. One that is minimised needs it.

        tolerance: A child is as good as its parent if it is worse by at most this; by default
            1 % of the parent's value.

    Raises:
        ArgumentError: The name is that of another measurement; ``worst`` is missing or not finite.
    """

    function: Callable[[Any, torch.Tensor], float]
    name: str
    maximise: bool = True
    worst: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_callable("metric function", self.function, "a function of outputs and targets")
        if not isinstance(self.name, str):
            raise argument_error("metric name", "a text", self.name)
        check_flag("maximise", self.maximise)
        if not self.name or self.name in _TAKEN:
            raise argument_error(
                "metric name", f"one that is not among {sorted(_TAKEN)}", self.name
            )
        if self.worst is None:
            if not self.maximise:
                raise argument_error("worst", "a value for failed children if less is better", None)
            object.__setattr__(self, "worst", 0.0)
        else:
            check_number("worst", self.worst)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, minimum=0.0)

    def __call__(self, outputs: Any, targets: torch.Tensor) -> float:
        """Return what the function gives for a batch, as a float.

        Raises:
            TypeError: That is no number; and whatever the function raises.
        """
        value = self.function(outputs, targets)
        if isinstance(value, (torch.Tensor, np.ndarray)):
            value = value.item()
        if isinstance(value, str):
            raise TypeError(f"it gives {value!r}")
        return float(value)


#: The argument of `Task` that limits each cost.
LIMITS = {
    "param_count": "max_params",
    "mac_count": "max_macs",
    "size_bytes": "max_size_bytes",
    "latency_ms": "max_latency_ms",
}
ACCURACY = Metric(accuracy, "accuracy", tolerance=0.01)


@dataclass(frozen=True)
class Task:
    """What is asked: which parent to compress, on which data, and how children are evaluated.

    Args:
        parent: The trained network. The task works on a copy in eval mode on ``device``.
        data: A `Splits`, or what the search may look at: ``(inputs, targets)`` of tensors, or
            any map-style ``Dataset``. Inputs may be tuples or dicts of tensors.
        validation: Data that choose children; by default 1/6 of ``data`` is split off.
        test: Data that are looked at once, for the report.
        probe_layers: Names of the layers whose embeddings are compared, by default those behind
            each group of a stack, and of any other network up to four, see `find_probe_layers`. An
            empty list saves the comparison where no objective asks for it.
        protect: Names of layers, or of modules that hold layers, whose units all stay.
        min_units: Units that every group keeps at least; or by the name of a layer, or
            ``"inputs"``, those of its group.
        round_to: Groups keep a multiple of so many units, or all; heads of attention any number.
        prune_inputs: Whether input features can be removed too, of a stack that begins with a
            `Linear`. A child takes the parent's inputs and reads some of them.
        batch_size: Samples that children of one generation are scored on, and trained on per step.
        balanced: Draw as many samples of each class into every scoring batch.
        evaluation: ``"fresh"``, a new batch each generation on which everyone is scored, or
            ``"fixed"``, the same ``batch_size`` samples throughout.
        train_steps: Gradient steps for each child before it is scored; 0 for none.
        training: How these steps are taken.
        recalibration_samples: Search samples from which a child's batch norms take their statistics
            anew before it is scored; 0 to keep the parent's.
        inherit: Whether children keep what they learnt (Lamarckian evolution of `MaskGenome`).
        max_params: A child has so many parameters at most. Limits are hard: a child within them is
            better than any beyond, and of two beyond, the one that exceeds them less.
        max_macs: It takes so many multiply-accumulate operations for one sample at most.
        max_size_bytes: Its parameters and buffers take so many bytes at most.
        max_latency_ms: One forward pass of ``latency_batch_size`` samples takes so many
            milliseconds at most, in one thread of this machine.
        latency_batch_size: Samples that networks are timed with.
        costs: Costs of your own: names, and functions of a child that give a finite number, less
            being better. A child's costs follow from its architecture: those of the same widths
            are asked once, in this process. They can be objectives, and are in the logbook.
        max_costs: What they may be at most, each above 0.
        perplexity: Of the t-SNE similarity loss, by default min(30, (batch_size − 1) / 3).
        kernel: Of the t-SNE similarity loss, ``"gaussian"`` or ``"student"``.
        similarity: The measure behind ``similarity_loss``: ``"tsne"``, ``"cka"``,
            ``"distance_correlation"``, ``"procrustes"``, ``"knn_jaccard"``, ``"pkt"`` or
            ``"distance_mse"``, see `ecomp_deap.similarity`; or a class of your own, a
            `SimilarityLoss`, most easily as a `TableLoss`.
        metric: A `Metric`, by default accuracy.
        loss_fn: ``(outputs, targets) -> scalar`` that training minimises, by default cross-entropy.
        forward: ``(module, inputs) -> outputs``, by default `default_forward`: a dict of inputs is
            given as keywords, a tuple or list as positions. A `Sequential` parent takes one input,
            so that these need it.
        device: Where children live, for instance ``"cuda"``.

    Attributes:
        splits: Search, validation and test data.

    Raises:
        ArgumentError: An option out of range or of the wrong type, before any work is done.
    """

    parent: nn.Module = field(repr=False)
    data: Any = field(repr=False)
    _: KW_ONLY
    validation: Any = field(default=None, repr=False)
    test: Any = field(default=None, repr=False)
    probe_layers: Sequence[str] | None = None
    protect: Sequence[str] = ()
    min_units: int | Mapping[str, int] = 1
    round_to: int = 1
    prune_inputs: bool = False
    batch_size: int = 100
    balanced: bool = False
    evaluation: str = "fresh"
    train_steps: int = 0
    training: Recipe = SEARCH_RECIPE
    recalibration_samples: int = 128
    inherit: bool = False
    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    latency_batch_size: int = 8
    costs: Mapping[str, Callable[[nn.Module], float]] | None = None
    max_costs: Mapping[str, float] | None = None
    perplexity: float | None = None
    kernel: str = "gaussian"
    similarity: str | type[SimilarityLoss] = "tsne"
    metric: Metric = ACCURACY
    loss_fn: Callable[[Any, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy
    forward: Callable[[nn.Module, Any], Any] | None = None
    device: str = "cpu"
    splits: Splits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        if not isinstance(self.data, Splits):
            splits = split(self.data, validation=self.validation, test=self.test)
        elif self.validation is None and self.test is None:
            splits = self.data
        else:
            raise argument_error(
                "validation and test", "nothing, as data is a Splits", "data of their own"
            )
        object.__setattr__(self, "splits", splits)
        check_weights(self.parent)
        object.__setattr__(self, "parent", copy_network(self.parent).to(self.device).eval())

    @property
    def apply(self) -> Callable[[nn.Module, Any], Any]:
        """``(module, inputs) -> outputs``: the task's own ``forward``, or `default_forward`."""
        return default_forward if self.forward is None else self.forward

    @property
    def step_samples(self) -> int:
        """Samples of all gradient steps that a child takes before it is scored."""
        return self.train_steps * (self.training.batch_size or self.batch_size)

    @property
    def limits(self) -> dict[str, float]:
        """What a child may cost at most, by the cost's name in a `Measurement`."""
        given = {cost: getattr(self, argument) for cost, argument in LIMITS.items()}
        found = {cost: limit for cost, limit in given.items() if limit is not None}
        return found | dict(self.max_costs or {})

    @staticmethod
    def limit_name(cost: str) -> str:
        """Return the argument that limits a cost, for errors."""
        return LIMITS.get(cost, f"max_costs[{cost!r}]")


def check_task(task: Any) -> None:
    """Check that a task is one.

    Raises:
        ArgumentError: It is none, such as a network; with what makes one.
    """
    if not isinstance(task, Task):
        hint = "ed.Task(network, data) makes one"
        raise argument_error("task", "a Task", type(task).__name__, hint=hint)


def check_weights(parent: nn.Module) -> None:
    """Check that a parent has numbers in its tensors.

    Raises:
        ArgumentError: It has tensors on the device ``meta``, which has none.
    """
    if any(tensor.is_meta for tensor in [*parent.parameters(), *parent.buffers()]):
        raise argument_error("parent", "a network with weights", "one on the device 'meta'")


def default_forward(module: nn.Module, inputs: Any) -> Any:
    """Call a module with a batch: a dict as keywords, a tuple or list as positions."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, Sequence):
        return module(*inputs)
    return module(inputs)


def _check(task: Task) -> None:
    """Check every setting that can be judged without the data."""
    check_module("parent", task.parent)
    # A perplexity above 1 needs more than four samples, see `check_perplexity`.
    check_count("batch_size", task.batch_size, minimum=5)
    check_count("train_steps", task.train_steps, minimum=0)
    check_count("recalibration_samples", task.recalibration_samples, minimum=0)
    if task.recalibration_samples == 1:
        raise argument_error("recalibration_samples", "0, or at least 2 to have a variance", 1)
    for name in ("balanced", "prune_inputs", "inherit"):
        check_flag(name, getattr(task, name))
    check_sequence("protect", task.protect, "names")
    if task.probe_layers is not None:
        check_sequence("probe_layers", task.probe_layers, "names")
    check_callable("loss_fn", task.loss_fn, "a function of outputs and targets")
    if task.forward is not None:
        check_callable("forward", task.forward, "a function of a module and inputs, or None")
    _check_device(task.device)
    for name in ("max_params", "max_macs", "max_size_bytes"):
        if getattr(task, name) is not None:
            check_count(name, getattr(task, name), minimum=1)
    if not isinstance(task.training, Recipe):
        raise argument_error("training", "a Recipe", task.training)
    if task.training.size_power:
        expected = "a recipe with a size_power of 0, which is for the final training alone"
        raise argument_error("training", expected, task.training.size_power)
    if task.max_latency_ms is not None:
        check_number("max_latency_ms", task.max_latency_ms, above=0.0)
    check_count("latency_batch_size", task.latency_batch_size, minimum=1)
    check_choice("evaluation", task.evaluation, ("fresh", "fixed"))
    check_choice("kernel", task.kernel, ("gaussian", "student"))
    similarity_class(task.similarity)
    for name, default in (("perplexity", None), ("kernel", "gaussian")):
        if task.similarity != "tsne" and getattr(task, name) != default:
            expected = f"nothing, as similarity {task.similarity!r} has none"
            raise argument_error(name, expected, getattr(task, name))
    if not isinstance(task.metric, Metric):
        raise argument_error("metric", "a Metric", task.metric)
    _check_costs(task)
    if task.inherit and task.train_steps == 0:
        raise argument_error("inherit", "train_steps of at least 1 to learn something", 0)


def _check_costs(task: Task) -> None:
    """Check costs of one's own, and their limits, and keep them from being changed."""
    for argument in ("costs", "max_costs"):
        given = getattr(task, argument)
        if given is not None:
            check_type(argument, given, Mapping)
            object.__setattr__(task, argument, dict(given))
    taken = {*_TAKEN, task.metric.name}
    for name, function in (task.costs or {}).items():
        if not isinstance(name, str) or not name.isidentifier() or name in taken:
            expected = f"names like energy_nj, none of {', '.join(sorted(taken))}"
            raise argument_error("costs", expected, name)
        check_callable(f"costs[{name!r}]", function, "a function of a network")
    for name, limit in (task.max_costs or {}).items():
        if name not in (task.costs or {}):
            raise argument_error("max_costs", f"names among {list(task.costs or {})}", name)
        check_number(f"max_costs[{name!r}]", limit, above=0.0)


def _check_device(device: Any) -> None:
    """Check that tensors can be put on a device here."""
    try:
        if not isinstance(device, (str, torch.device)):
            raise TypeError("it is no name")
        if torch.device(device).type == "meta":
            raise TypeError("it holds no numbers")
        torch.empty(1, device=device)
    except Exception as error:  # torch raises all kinds, AssertionError among them
        reason = f"{device!r} ({one_line(error)[:200]})"
        raise ArgumentError(f"device: expected a device of this machine, got {reason}") from error
