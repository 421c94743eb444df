"""Training the parent, and finding one that was trained before."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap._version import __version__
from ecomp_deap.checks import check_callable, check_count, check_type
from ecomp_deap.copying import check_module, copy_network
from ecomp_deap.data import Splits, fingerprint, split
from ecomp_deap.errors import (
    ArgumentError,
    DataError,
    EcompError,
    EvaluationError,
    argument_error,
    one_line,
)
from ecomp_deap.evaluation.parent import check_parent
from ecomp_deap.evaluation.soundness import Soundness
from ecomp_deap.exports import load_child
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.samples import make_example
from ecomp_deap.files import read_json
from ecomp_deap.network import fit, load_parent, make_parent
from ecomp_deap.network.failures import other_type
from ecomp_deap.network.running import run
from ecomp_deap.recipe import FINALISE_RECIPE, Recipe
from ecomp_deap.search.code import child_in
from ecomp_deap.task import Task, default_forward

__all__ = [
    "check_images",
    "find_trained_parent",
    "given_parent",
    "parent_recipe",
    "train_parent",
]

# Of Fashion-MNIST.
_IMAGE = (1, 28, 28)


def train_parent(
    data: Any,
    network: nn.Module | None = None,
    *,
    epochs: int = 10,
    seed: int = 0,
    recipe: Recipe = FINALISE_RECIPE,
    on_epoch: Callable[[], None] | None = None,
) -> nn.Module:
    """Return a classifier trained on the search data, by default the original's parent.

    Args:
        data: A `Splits`, or what `Task` takes, and splits likewise. Search data alone are trained
            on, flattened images for the original's parent.
        network: What is trained, which is not changed; by default 784-256-256-10 with ReLU.
        epochs: Passes over them.
        seed: Of the initial weights and the order of the samples.
        recipe: How it trains.
        on_epoch: Called after each epoch.

    Raises:
        ArgumentError: An argument of another type or out of range, a network without parameters
            to train or that does not take the data, search data that are not finite or whose labels
            no output stands for, a recipe with losses that need a parent.
        DataError: Data that the original's parent does not take.
        EvaluationError: Weights that are not finite in the end.
    """
    data = data if isinstance(data, Splits) else split(data)
    if network is not None:
        check_module("network", network)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise argument_error("network", "one with parameters to train", type(network).__name__)
    epochs = check_count("epochs", epochs, minimum=0)
    seed = check_count("seed", seed, minimum=0, maximum=2**64 - 1)
    if check_type("recipe", recipe, Recipe).needs_teacher:
        raise argument_error("recipe", "a loss of the task alone, without a parent", recipe.loss)
    if on_epoch is not None:
        check_callable("on_epoch", on_epoch, "a function, or None")
    parent = _original(data, seed) if network is None else copy_network(network)
    _check_takes(parent, data)
    soundness = Soundness(copy_network(parent), data.search, forward=default_forward)
    soundness.check_known("search", data.search, learnt=True)
    try:
        fit(
            parent,
            data.search,
            epochs=epochs,
            loss_fn=nn.functional.cross_entropy,
            forward=default_forward,
            seed=seed,
            recipe=recipe,
            on_epoch=on_epoch,
        )
        _check_weights(parent)
    except Exception as error:  # also whatever a user's network raises
        # Samples that are read one by one were not all looked at before.
        problem = soundness.problem("search", data.search, learnt=True)
        if problem is None:
            raise
        raise ArgumentError(problem) from error
    return parent


def _check_takes(network: nn.Module, data: Splits) -> None:
    """Check that a network's outputs for the data are something to learn from."""
    # Two, as a norm without statistics of its own takes no single sample.
    inputs, targets = data.search.batch(np.arange(min(len(data.search), 2)))
    network.eval()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            nn.functional.cross_entropy(default_forward(network, inputs), targets)
    except Exception as error:  # whatever a user's network raises
        why = other_type(network, inputs, default_forward) or one_line(error)
        raise ArgumentError(
            f"network: expected a classifier of the search data, but {why}"
        ) from error


def _check_weights(network: nn.Module) -> None:
    """Check that training has left a network with finite weights."""
    if not all(bool(p.isfinite().all()) for p in network.parameters() if p.requires_grad):
        raise EvaluationError(
            "network: expected finite weights after training, got NaN or Inf; a lower learning "
            "rate may help"
        )


def _original(data: Splits, seed: int) -> nn.Module:
    """Return the original's parent for the data, untrained."""
    inputs, _ = data.search.batch(np.array([0]))
    labels = data.search.labels
    if labels is None or not isinstance(inputs, torch.Tensor) or inputs.ndim != 2:
        raise DataError("data: expected flat images with class labels to train a parent on")
    return make_parent(n_inputs=inputs.shape[1], n_outputs=int(labels.max()) + 1, seed=seed)


def check_images(task: Task) -> None:
    """Check that a task's parent takes the images that the command gives it, flat or not.

    Raises:
        ArgumentError: It does not, with what may help.
    """
    inputs, _ = task.splits.search.batch(np.arange(2))
    if _takes(task, inputs):
        return
    if inputs.ndim == 2:
        other, remedy = inputs.unflatten(1, _IMAGE), "add --images"
    else:
        other, remedy = inputs.flatten(1), "leave out --images"
    if _takes(task, other):
        raise ArgumentError(
            f"parent: expected a network that takes samples of shape {tuple(inputs.shape[1:])}, "
            f"but it takes {tuple(other.shape[1:])}: {remedy}"
        )
    try:
        check_parent(task, inputs)
    except ArgumentError as error:
        hint = "the command has Fashion-MNIST alone, 1 × 28 × 28; in Python ed.Task takes any data"
        raise ArgumentError(f"{error}; {hint}") from error


def _takes(task: Task, inputs: torch.Tensor) -> bool:
    try:
        with torch.no_grad():
            run(copy_network(task.parent), inputs, task.apply)
    except Exception:  # whatever the network's own code raises
        return False
    return True


def given_parent(path: Path, network: nn.Module | None = None) -> nn.Module:
    """Return the network in a file: by its manifest if one lies beside it, else by its weights.

    Args:
        path: See `load_child` and `load_parent`.
        network: A network of its architecture, where that is not to be read from the file.
    """
    if path.suffix == ".safetensors" and os.path.isfile(path.with_suffix(".json")):
        return child_in(path, network)
    return load_parent(path, network)


def given_example(path: Path) -> Any:
    """Return inputs that the network in a file takes, if a manifest beside it tells; else None."""
    manifest = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not os.path.isfile(manifest):
        return None
    inputs = read_manifest(manifest)["inputs"]
    return None if inputs is None else make_example(inputs, 1)


def parent_recipe(
    data: Splits, network: nn.Module | None = None, *, epochs: int, seed: int
) -> dict[str, Any]:
    """Return what a trained parent depends on: equal recipes make equal parents.

    Args:
        data: See `train_parent`, like the others.
        network: See there; it is known by its class and its initial weights.
        epochs: See there.
        seed: See there.
    """
    made = {} if network is None else {"network": _describe(network)}
    return made | {
        "data": fingerprint(data.search),
        "epochs": epochs,
        "seed": seed,
        "ecomp_deap": __version__,
        "torch": torch.__version__,
    }


def _describe(network: nn.Module) -> str:
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"{type(network).__name__} {digest.hexdigest()}"


def find_trained_parent(
    out: Path,
    name: str,
    recipe: dict[str, Any],
    *,
    tell: Callable[[str], None],
    network: nn.Module | None = None,
) -> nn.Module | None:
    """Return a parent that an earlier run ``OUT/NAME_K`` trained by the same recipe, if any.

    Args:
        out: Folder of the runs.
        name: Their name.
        recipe: What `parent_recipe` gives.
        tell: Called with a line on what was found; also if it is damaged and of no use.
        network: What was trained, see `train_parent`.
    """
    for path in sorted(out.glob(f"{name}_*/parent.safetensors")):
        if not path.parent.name.removeprefix(f"{name}_").isdigit():
            continue
        try:
            manifest = read_json(path.with_suffix(".json"))
            if manifest["metadata"]["recipe"] == recipe:
                parent = load_child(path, network)
                tell(f"parent: {path}, trained before")
                return parent
        except (KeyError, TypeError, RecursionError, EcompError) as error:
            tell(f"parent: {path} is of no use: {error}")
    return None
