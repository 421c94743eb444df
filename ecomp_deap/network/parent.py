"""The original's parent: 784-256-256-10 with ReLU and named layers; made, or loaded from a file."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ecomp_deap.checks import check_count, check_path, check_sequence
from ecomp_deap.copying import check_module, copy_network
from ecomp_deap.errors import DataError, one_line
from ecomp_deap.network.weights_file import FACTORY, listed, read_weights

__all__ = ["load_parent", "make_parent"]

_OTHER = f"another network {FACTORY}"
# Beyond these torch has no sizes and no seeds.
_MOST_UNITS, _HIGHEST_SEED = 2**31 - 1, 2**64 - 1


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

    Raises:
        ArgumentError: A number out of range.
    """
    units_of = [
        check_count(f"hidden[{i}]", units, minimum=1, maximum=_MOST_UNITS)
        for i, units in enumerate(check_sequence("hidden", hidden, "numbers of units"))
    ]
    n_inputs = check_count("n_inputs", n_inputs, minimum=1, maximum=_MOST_UNITS)
    n_outputs = check_count("n_outputs", n_outputs, minimum=1, maximum=_MOST_UNITS)
    seed = check_count("seed", seed, minimum=0, maximum=_HIGHEST_SEED)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = n_inputs
        for i, units in enumerate(units_of, start=1):
            layers[f"layer_{i}_linear"] = nn.Linear(width, units)
            layers[f"layer_{i}_act"] = nn.ReLU()
            width = units
        layers["output"] = nn.Linear(width, n_outputs)
    return nn.Sequential(layers)


def load_parent(path: str | Path, network: nn.Module | None = None) -> nn.Module:
    """Return the parent whose weights a file holds.

    Args:
        path: A ``.safetensors`` file, or a ``.pt`` or ``.pth`` file with a state dict, which is
            read with ``weights_only=True`` once it was looked through, see `read_weights`.
        network: A network that the weights are for, which is not changed; by default they are a
            dense ReLU stack's, whose widths are read from the file.

    Returns:
        The parent in eval mode.

    Raises:
        DataError: No such file, unreadable, or tensors that do not fit, by name.
        ArgumentError: Another suffix.
    """
    path = check_path("path", path)
    state = read_weights(path)
    if network is None:
        return _from_state(state, path)
    parent = copy_network(check_module("network", network))
    try:
        parent.load_state_dict(state)
    except RuntimeError as error:
        name = type(network).__name__
        raise DataError(f"parent: {path} does not fit {name}: {one_line(error)[:500]}") from error
    return parent.eval()


def _from_state(state: dict[str, torch.Tensor], path: Path) -> nn.Sequential:
    for name, tensor in state.items():
        if tensor.ndim not in (1, 2) or not tensor.numel() or not tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise DataError(
                f"parent: {path}: expected weights and biases of a dense network, got "
                f"{name[:60]!r} of {dtype} {tuple(tensor.shape)[:6]}; {_OTHER}"
            )
    hidden: list[int] = []
    while f"layer_{len(hidden) + 1}_linear.weight" in state:
        hidden.append(int(state[f"layer_{len(hidden) + 1}_linear.weight"].shape[0]))
    if not hidden or "output.weight" not in state:
        raise DataError(
            f"parent: {path} holds {listed(sorted(state))}, expected layer_1_linear.weight, … and "
            f"output.weight with their biases; {_OTHER}"
        )
    first, last = state["layer_1_linear.weight"], state["output.weight"]
    parent = make_parent(hidden, n_inputs=int(first.shape[-1]), n_outputs=int(last.shape[0]))
    try:
        parent.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"parent: {path} does not fit a dense stack: {one_line(error)[:500]}"
        ) from error
    return parent.eval()
