"""Embeddings in two dimensions: how parent and children lay out the same samples, to look at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ecomp_deap.evaluation import Evaluator
from ecomp_deap.network.embedding import Probe, embed
from ecomp_deap.network.training import to_device

__all__ = ["laid_out", "principal_plane", "turned_to"]

#: Samples that are laid out, at most.
N_SAMPLES = 500
# Digits after the point; a plane has points about 1 from its centre.
_DIGITS = 3


def laid_out(evaluator: Evaluator, children: Mapping[str, nn.Module]) -> dict[str, Any] | None:
    """Return where parent and children put some validation samples, in JSON's types.

    Each is projected on the plane of its two principal components at the last probe layer, and
    turned so that it lies as the parent's does, which changes no distance in it.

    Args:
        evaluator: Of the search.
        children: By name, in eval mode; they are not changed.

    Returns:
        ``layer``, ``labels`` of the samples (None if they are no whole numbers) and ``points``, by
        name, each x and y, the parent first. None without a probe layer, or where embeddings are
        not finite.
    """
    if not evaluator.probes:
        return None
    probe, samples = evaluator.probes[-1], evaluator.task.splits.validation
    n = min(N_SAMPLES, len(samples))
    inputs, targets = samples.batch(np.linspace(0, len(samples) - 1, n).round().astype(int))
    points: dict[str, list[list[float]]] = {}
    whole: np.ndarray | None = None
    for name, module in {"parent": evaluator.task.parent, **children}.items():
        embedding = _embedding(evaluator, module, inputs, probe)
        if not np.isfinite(embedding).all():
            return None
        plane = principal_plane(embedding)
        whole = plane if whole is None else whole
        points[name] = np.round(turned_to(whole, plane), _DIGITS).tolist()
    labelled = targets.ndim == 1 and not targets.is_floating_point() and int(targets.min()) >= 0
    return {
        "layer": probe.name,
        "labels": targets.tolist() if labelled else None,
        "points": points,
    }


def principal_plane(embedding: np.ndarray) -> np.ndarray:
    """Return samples on the plane of their two principal components, 1 from its centre on average.

    Args:
        embedding: Shape ``(n_samples, n_units)``.

    Returns:
        Shape ``(n_samples, 2)``; 0 along components that there are not.
    """
    centred = embedding - embedding.mean(axis=0)
    # Of the smaller of the two products, which takes a fraction of decomposing the samples.
    if centred.shape[1] <= len(centred):
        _, axes = _main_axes(centred.T @ centred)
        main = centred @ axes[:, :-3:-1]
    else:
        squares, axes = _main_axes(centred @ centred.T)
        main = axes[:, :-3:-1] * np.sqrt(np.maximum(squares[:-3:-1], 0.0))
    plane = np.zeros((len(embedding), 2))
    plane[:, : main.shape[1]] = main
    radius = np.sqrt((plane**2).sum(axis=1).mean())
    return plane / radius if radius > 0 else plane


def _main_axes(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors by torch, whose threads the caller has set."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(products))
    return values.numpy(), vectors.numpy()


def turned_to(wanted: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Return a plane turned or mirrored so that its points lie as near to others as they may.

    Both have shape ``(n_samples, 2)`` and are centred (orthogonal Procrustes, Schönemann 1966).
    """
    left, _, right = np.linalg.svd(plane.T @ wanted)
    turned: np.ndarray = plane @ (left @ right)
    return turned


def _embedding(evaluator: Evaluator, module: nn.Module, inputs: Any, probe: Probe) -> np.ndarray:
    task = evaluator.task
    with torch.no_grad():
        _, found = embed(module, to_device(inputs, task.device), [probe], forward=task.apply)
    rows: np.ndarray = found[probe.name].double().cpu().numpy()
    return rows
