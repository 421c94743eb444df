"""The original's parent: 784-256-256-10 with ReLU and named layers; made, or loaded from a file."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ecomp_deap.copying import copy_network
from ecomp_deap.errors import DataError, argument_error, one_line

__all__ = ["load_parent", "make_parent"]


def make_parent(
    hidden: Sequence[int] = (256, 256), *, n_inputs: int = 784, n_outputs: int = 10, seed: int = 0
) -> nn.Sequential:
    """Return an untrained stack of dense ReLU layers.

    Its layers are named ``layer_1_linear``, ``layer_1_act``, …, ``output``.

    Args:
        hidden: Units of each hidden layer.
        n_inputs: Input features.
        n_outputs: Classes.
        seed: Of the initial weights.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = n_inputs
        for i, units in enumerate(hidden, start=1):
            layers[f"layer_{i}_linear"] = nn.Linear(width, units)
            layers[f"layer_{i}_act"] = nn.ReLU()
            width = units
        layers["output"] = nn.Linear(width, n_outputs)
    return nn.Sequential(layers)


def load_parent(path: str | Path, network: nn.Module | None = None) -> nn.Module:
    """Return the parent whose weights a file holds.

    Args:
        path: A ``.safetensors`` file, or a ``.pt`` or ``.pth`` file with a state dict, which is
            read with ``weights_only=True``.
        network: A network that the weights are for, which is not changed; by default they are a
            dense ReLU stack's, whose widths are read from the file.

    Returns:
        The parent in eval mode.

    Raises:
        DataError: No such file, unreadable, or tensors that do not fit, by name.
        ArgumentError: Another suffix.
    """
    state = _read(Path(path))
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise DataError(f"parent: {path} holds no state dict of tensors")
    if network is None:
        return _from_state(state, Path(path))
    parent = copy_network(network)
    try:
        parent.load_state_dict(state)
    except RuntimeError as error:
        name = type(network).__name__
        raise DataError(f"parent: {path} does not fit {name}: {one_line(error)}") from error
    return parent.eval()


def _read(path: Path) -> object:
    """Return what a file of weights holds."""
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise argument_error("parent", "a .safetensors, .pt or .pth file", str(path))
    if not path.is_file():
        raise DataError(f"parent: no such file: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError, KeyError) as error:
        raise DataError(f"parent: cannot read {path}: {one_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a damaged archive raises
        raise DataError(
            f"parent: cannot read {path} with weights only: {one_line(error)}"
        ) from error


def _from_state(state: dict[str, torch.Tensor], path: Path) -> nn.Sequential:
    for name, tensor in state.items():
        if tensor.ndim not in (1, 2):
            raise DataError(
                f"parent: {path}: expected weights and biases, "
                f"got {name!r} of shape {tuple(tensor.shape)}"
            )
    hidden: list[int] = []
    while f"layer_{len(hidden) + 1}_linear.weight" in state:
        hidden.append(int(state[f"layer_{len(hidden) + 1}_linear.weight"].shape[0]))
    if not hidden or "output.weight" not in state:
        raise DataError(
            f"parent: {path} holds {sorted(state)}, expected layer_1_linear.weight, … and "
            "output.weight with their biases"
        )
    first, last = state["layer_1_linear.weight"], state["output.weight"]
    parent = make_parent(hidden, n_inputs=int(first.shape[-1]), n_outputs=int(last.shape[0]))
    try:
        parent.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"parent: {path} does not fit a dense stack: {one_line(error)}") from error
    return parent.eval()
