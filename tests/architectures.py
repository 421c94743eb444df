"""Small networks of every supported kind, and what a masked one gives: the tests' slow twin."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

N_INPUTS = 6


def _nested() -> nn.Sequential:
    block = nn.Sequential(nn.BatchNorm1d(7), nn.Sequential(nn.GELU(), nn.Dropout(0.2)))
    return nn.Sequential(
        OrderedDict(body=nn.Sequential(nn.Linear(6, 7), block), middle=nn.Linear(7, 4)),
    ).extend([nn.Softplus(), nn.Identity(), nn.Linear(4, 3)])


ARCHITECTURES: dict[str, Callable[[], nn.Sequential]] = {
    "one hidden layer": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)),
    "activations": lambda: nn.Sequential(
        *(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 4)),
        *(nn.LeakyReLU(0.3), nn.Linear(4, 3)),
    ),
    "batch norm": lambda: nn.Sequential(
        *(nn.Flatten(), nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(inplace=True)),
        *(nn.Dropout(0.4), nn.Linear(7, 5), nn.BatchNorm1d(5, eps=0.01), nn.ELU(0.5)),
        nn.Linear(5, 3),
    ),
    "batch norm without affine": lambda: nn.Sequential(
        *(nn.BatchNorm1d(6), nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False), nn.SiLU()),
        *(nn.Linear(6, 4), nn.Hardtanh(-2, 2), nn.BatchNorm1d(4), nn.Linear(4, 2)),
        nn.BatchNorm1d(2),
    ),
    "no bias": lambda: nn.Sequential(
        *(nn.Linear(6, 6, bias=False), nn.ReLU6(), nn.Linear(6, 3, bias=False), nn.CELU(2.0)),
        nn.Linear(3, 2, bias=False),
    ),
    "nested": _nested,
    "double": lambda: nn.Sequential(nn.Linear(6, 5), nn.Mish(), nn.Linear(5, 2)).double(),
}


# Of maps of 2 channels, 8 × 7 pixels.
MAP_SHAPE = (2, 8, 7)


def _visual() -> nn.Sequential:
    features = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(4, 6, (2, 3), bias=False), nn.BatchNorm2d(6, affine=False)),
        *(nn.Sigmoid(), nn.AvgPool2d(2, stride=3, padding=1), nn.Dropout2d(0.3)),
    )
    head = nn.Sequential(nn.Linear(6 * 6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Dropout(0.2))
    return nn.Sequential(
        OrderedDict(features=features, flat=nn.Flatten(), head=head, output=nn.Linear(5, 3))
    )


CONVOLUTIONAL: dict[str, Callable[[], nn.Sequential]] = {
    "one convolution": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3)),
    ),
    "pooled": lambda: nn.Sequential(
        *(nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5, eps=0.01)),
        *(nn.ReLU(inplace=True), nn.Conv2d(5, 7, 3, stride=2, dilation=2), nn.SiLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3)),
    ),
    "visual": _visual,
    "norm behind flatten": lambda: nn.Sequential(
        *(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 5, padding=2, padding_mode="reflect")),
        *(nn.MaxPool2d(3, ceil_mode=True), nn.Flatten(), nn.Sigmoid(), nn.BatchNorm1d(27)),
        *(nn.Identity(), nn.Linear(27, 6), nn.Softplus(), nn.Linear(6, 2)),
    ),
    "convolutions alone": lambda: nn.Sequential(
        *(nn.Unflatten(1, MAP_SHAPE), nn.AvgPool2d((1, 2)), nn.Conv2d(2, 4, 3, padding="same")),
        *(nn.ELU(), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ),
    "double convolution": lambda: nn.Sequential(
        *(nn.Conv2d(2, 3, 4), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Flatten(1, 3)),
        *(nn.Linear(36, 4), nn.Mish(), nn.Linear(4, 2)),
    ).double(),
}
ALL = {**ARCHITECTURES, **CONVOLUTIONAL}


def build(name: str, seed: int = 0) -> nn.Sequential:
    """Return a network in eval mode, whose batch norms have statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ALL[name]()
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
    return network.eval()


def inputs_for(network: nn.Module, n: int = 9, seed: int = 0) -> torch.Tensor:
    """Return random inputs: columns, maps for a network with convolutions, or as it flattens."""
    generator = torch.Generator().manual_seed(seed)
    shape: tuple[int, ...] = (N_INPUTS,)
    if isinstance(network[0], nn.Flatten):
        shape = (2, 3)
    elif isinstance(network[0], nn.Unflatten):
        shape = (int(np.prod(MAP_SHAPE)),)
    elif any(isinstance(module, nn.Conv2d) for module in network.modules()):
        shape = MAP_SHAPE
    inputs = torch.randn((n, *shape), generator=generator)
    return inputs.to(next(network.parameters()).dtype)


def random_masks(widths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Masks that keep at least one unit and, in all, anything from few units to all of them."""
    rng = np.random.default_rng(seed)
    masks = []
    for n in widths:
        mask = np.zeros(n, dtype=bool)
        mask[rng.permutation(n)[: rng.integers(1, n + 1)]] = True
        masks.append(mask)
    return masks


def layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers in the order of the forward pass."""
    return [module for module in network.modules() if not list(module.children())]


def masked_outputs(
    network: nn.Module, masks: Sequence[np.ndarray], inputs: torch.Tensor
) -> torch.Tensor:
    """Run the whole network, with 0 where the next layer would read a unit that masks remove."""
    n_weighted = 0
    with torch.no_grad():
        x = inputs
        for layer in layers(network):
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                if n_weighted:
                    mask = torch.from_numpy(masks[n_weighted - 1]).to(x.dtype)
                    # Behind a Flatten, as many columns in a row belong to one unit.
                    columns = mask.repeat_interleave(x.shape[1] // len(mask))
                    x = x * columns.reshape(1, -1, *[1] * (x.ndim - 2))
                n_weighted += 1
            x = layer(x)
    return x


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of all tensors."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal_states(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
