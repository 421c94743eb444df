"""`WeightGenome`: the weights and biases of a dense stack, as the original EComp evolved them."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ecomp_deap.errors import argument_error
from ecomp_deap.genomes.base import Genome, describe, frozen_array

__all__ = ["WeightGenome"]

Layer = tuple[np.ndarray, np.ndarray | None]


class WeightGenome(Genome):
    """Every layer's weight and bias, of any widths.

    Args:
        layers: Layer name → (weight of shape ``(n_out, n_in)``, bias of shape ``(n_out,)`` or
            None), in the order of the forward pass; each layer takes what the one before gives.

    Raises:
        ArgumentError: Shapes that do not fit each other, naming the layer.
    """

    _shared = Genome._shared | {"_layers"}

    def __init__(self, layers: Mapping[str, tuple[Any, Any]]) -> None:
        self.rebind(layers)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Layer name → (weight, bias), read-only."""
        return self._layers

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return tuple(weight.shape[0] for weight, _ in self._layers.values())[:-1]

    def rebind(self, layers: Mapping[str, tuple[Any, Any]]) -> None:
        """Replace the layers (in place); the arrays are shared where they are read-only."""
        frozen: dict[str, Layer] = {}
        n_in: int | None = None
        if not isinstance(layers, Mapping):
            raise argument_error("layers", "a mapping from names to (weight, bias)", layers)
        if not layers:
            raise argument_error("layers", "at least one layer", layers)
        for name, layer in layers.items():
            if not isinstance(layer, (tuple, list)) or len(layer) != 2:
                raise argument_error(f"layer {name!r}", "a pair (weight, bias)", layer)
            weight = frozen_array(f"weight of layer {name!r}", layer[0])
            bias = None if layer[1] is None else frozen_array(f"bias of layer {name!r}", layer[1])
            if weight.ndim != 2 or 0 in weight.shape:
                raise argument_error(
                    f"weight of layer {name!r}", "shape (n_out, n_in), none 0", weight.shape
                )
            if n_in is not None and weight.shape[1] != n_in:
                raise argument_error(f"weight of layer {name!r}", f"{n_in} columns", weight.shape)
            if bias is not None and bias.shape != weight.shape[:1]:
                raise argument_error(
                    f"bias of layer {name!r}", f"shape {weight.shape[:1]}", bias.shape
                )
            frozen[name] = (weight, bias)
            n_in = weight.shape[0]
        self._layers: Mapping[str, Layer] = MappingProxyType(frozen)
        self._key = None

    def plain(self) -> "WeightGenome":
        """Return the genome without whatever DEAP or a user attached to it; arrays are shared."""
        if type(self) is WeightGenome and self.__dict__.keys() == {"_layers", "_key"}:
            return self
        plain = WeightGenome.__new__(WeightGenome)
        plain._layers, plain._key = self._layers, self._key
        return plain

    def _content(self) -> Iterable[bytes | memoryview]:
        for name, (weight, bias) in self._layers.items():
            yield describe(name, weight)
            yield np.ascontiguousarray(weight).data
            if bias is not None:
                yield describe(name, bias)
                yield np.ascontiguousarray(bias).data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layers": dict(self._layers)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.rebind(state["_layers"])

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n}: {w.shape[0]}×{w.shape[1]}" for n, (w, _) in self._layers.items())
        return f"{type(self).__name__}({shapes})"
