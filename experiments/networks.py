"""Networks of users' own, as they write them: modules with a ``forward``, none a sequential stack.

All take grey images of shape ``(n, 1, 28, 28)`` and give logits of shape ``(n, 10)``.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

__all__ = ["NETWORKS", "LeNet5", "ResNet20", "TwoKernels", "VisionTransformer", "build"]


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and max pooling, the images padded to 32 × 32: 61,706 parameters.

    Source: LeCun et al. (1998), "Gradient-Based Learning Applied to Document Recognition".
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(self.relu(self.conv2(x)), 2)
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc3(self.relu(self.fc2(x)))


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose outputs are added to the block's inputs.

    Args:
        n_inputs: Channels that come in.
        n_outputs: Channels that go out.
        stride: Of the first convolution, and of the projection of the inputs where sizes differ.
    """

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_inputs != n_outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(n_outputs),
            )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.shortcut(x) + self.norm2(self.conv2(inner)))


class ResNet20(nn.Module):
    """ResNet-20 as for CIFAR, for one channel, with projections where sizes change.

    Source: He et al. (2016), "Deep Residual Learning for Image Recognition", section 4.2; the
    shortcuts are its option B.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        blocks, width = [], 16
        for stage, n_units in enumerate((16, 32, 64)):
            for i in range(3):
                blocks.append(ResidualBlock(width, n_units, stride=2 if stage and i == 0 else 1))
                width = n_units
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class EncoderBlock(nn.Module):
    """Attention and an MLP, each behind a LayerNorm and added to what came in.

    Args:
        width: Features of a token.
        n_heads: Attention heads.
        n_hidden: Units of the MLP.
    """

    def __init__(self, width: int, n_heads: int, n_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, n_hidden), nn.GELU(), nn.Linear(n_hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """A small vision transformer: 16 patches of 7 × 7 pixels, the mean of the tokens classified.

    Source: Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words".
    """

    def __init__(self, width: int = 64, depth: int = 3, n_heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.positions = nn.Parameter(torch.empty(16, width))
        nn.init.normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(
            *(EncoderBlock(width, n_heads, 4 * width) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.last(self.norm(self.blocks(x)).mean(dim=1))


class Cell(nn.Module):
    """Two branches of different kernel sizes, concatenated and mixed by a 1 × 1 convolution.

    Args:
        n_inputs: Channels that come in.
        n_branch: Channels of each branch.
        n_outputs: Channels that go out.
    """

    def __init__(self, n_inputs: int, n_branch: int, n_outputs: int) -> None:
        super().__init__()
        self.small = nn.Conv2d(n_inputs, n_branch, 3, padding=1)
        self.large = nn.Conv2d(n_inputs, n_branch, 5, padding=2)
        self.norm = nn.BatchNorm2d(2 * n_branch)
        self.mix = nn.Conv2d(2 * n_branch, n_outputs, 1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(torch.cat([self.small(x), self.large(x)], dim=1)))
        return functional.max_pool2d(self.relu(self.mix(x)), 2)


class TwoKernels(nn.Module):
    """Two cells that look at every place with small and with large kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Cell(1, 8, 16)
        self.second = Cell(16, 16, 32)
        self.hidden = nn.Linear(32 * 7 * 7, 64)
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x))
        return self.last(self.hidden(x.flatten(1)).relu())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": LeNet5,
    "resnet20": ResNet20,
    "vit": VisionTransformer,
    "concat": TwoKernels,
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return an untrained network.

    Args:
        name: One of `NETWORKS`.
        seed: Of the initial weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[name]()
