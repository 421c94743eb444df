"""Training the parent, and finding one that was trained before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap._version import __version__
from ecomp_deap.data import Splits, fingerprint
from ecomp_deap.errors import DataError
from ecomp_deap.exports import load_child
from ecomp_deap.network import fit, make_parent
from ecomp_deap.task import default_forward

__all__ = ["find_trained_parent", "parent_recipe", "train_parent"]


def train_parent(
    data: Splits,
    *,
    epochs: int = 10,
    seed: int = 0,
    on_epoch: Callable[[], None] | None = None,
) -> nn.Sequential:
    """Return the original's parent, 784-256-256-10 with ReLU, trained on the search data.

    Args:
        data: Splits of flattened images; search data alone are trained on.
        epochs: Passes over them.
        seed: Of the initial weights and the order of the samples.
        on_epoch: Called after each epoch.
    """
    inputs, _ = data.search.batch(np.array([0]))
    labels = data.search.labels
    if labels is None or not isinstance(inputs, torch.Tensor) or inputs.ndim != 2:
        raise DataError("data: expected flat images with class labels to train a parent on")
    parent = make_parent(n_inputs=inputs.shape[1], n_outputs=int(labels.max()) + 1, seed=seed)
    fit(
        parent,
        data.search,
        epochs=epochs,
        loss_fn=nn.functional.cross_entropy,
        forward=default_forward,
        seed=seed,
        on_epoch=on_epoch,
    )
    return parent


def parent_recipe(data: Splits, *, epochs: int, seed: int) -> dict[str, Any]:
    """Return what a trained parent depends on: equal recipes make equal parents."""
    return {
        "data": fingerprint(data.search),
        "epochs": epochs,
        "seed": seed,
        "ecomp_deap": __version__,
        "torch": torch.__version__,
    }


def find_trained_parent(
    out: Path, name: str, recipe: dict[str, Any], *, tell: Callable[[str], None]
) -> nn.Module | None:
    """Return a parent that an earlier run ``OUT/NAME_K`` trained by the same recipe, if any.

    Args:
        out: Folder of the runs.
        name: Their name.
        recipe: What `parent_recipe` gives.
        tell: Called with a line on what was found; also if it is damaged and of no use.
    """
    for path in sorted(out.glob(f"{name}_*/parent.safetensors")):
        if not path.parent.name.removeprefix(f"{name}_").isdigit():
            continue
        try:
            manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if manifest["metadata"]["recipe"] == recipe:
                parent = load_child(path)
                tell(f"parent: {path}, trained before")
                return parent
        except (OSError, ValueError, KeyError, TypeError, DataError) as error:
            tell(f"parent: {path} is of no use: {error}")
    return None
