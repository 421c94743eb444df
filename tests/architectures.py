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


def build(name: str, seed: int = 0) -> nn.Sequential:
    """Return a network in eval mode, whose batch norms have statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ARCHITECTURES[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
    return network.eval()


def inputs_for(network: nn.Module, n: int = 9, seed: int = 0) -> torch.Tensor:
    """Return random inputs, of two dimensions a sample where a Flatten comes first."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 2, 3) if isinstance(network[0], nn.Flatten) else (n, N_INPUTS)
    inputs = torch.randn(shape, generator=generator)
    return inputs.to(next(network.parameters()).dtype)


def layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers in the order of the forward pass."""
    return [module for module in network.modules() if not list(module.children())]


def masked_outputs(
    network: nn.Module, masks: Sequence[np.ndarray], inputs: torch.Tensor
) -> torch.Tensor:
    """Run the whole network, with 0 where the next layer would read a unit that masks remove."""
    n_linear = 0
    with torch.no_grad():
        x = inputs
        for layer in layers(network):
            if isinstance(layer, nn.Linear):
                if n_linear:
                    x = x * torch.from_numpy(masks[n_linear - 1]).to(x.dtype)
                n_linear += 1
            x = layer(x)
    return x


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of all tensors."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal_states(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
