"""Small networks whose layers put samples and units into other dimensions than images do."""

import torch
from torch import nn


class Series(nn.Module):
    """Convolutions over time: maps of shape ``(n, units, length)``."""

    shape = (3, 12)

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv1d(3, 10, 3), nn.ReLU()
        self.second, self.norm = nn.Conv1d(10, 8, 3), nn.BatchNorm1d(8)
        self.pool, self.last_act = nn.MaxPool1d(2), nn.Tanh()
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.norm(self.second(self.act(self.first(x)))))
        return self.last(self.last_act(x).mean(dim=2))


class Volumes(nn.Module):
    """Convolutions of maps of shape ``(n, units, depth, height, width)``."""

    shape = (2, 5, 5, 5)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv3d(2, 10, 3), nn.Conv3d(10, 8, 2)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).relu().mean(dim=(2, 3, 4)))


class TokensFirst(nn.Module):
    """torch's encoder as it is by default: sequences of shape ``(tokens, n, units)``."""

    def __init__(self, n_tokens=7):
        super().__init__()
        self.shape = (n_tokens, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.encoder(x.transpose(0, 1)).mean(dim=0))


class ChannelsLast(nn.Module):
    """Maps of shape ``(n, height, width, units)``."""

    shape = (4, 4, 3)

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Linear(3, 10), nn.GELU()
        self.second, self.last_act = nn.Linear(10, 8), nn.GELU()
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.last_act(self.second(self.act(self.first(x)))).mean(dim=(1, 2)))


class Turned(nn.Module):
    """Units that only a child can tell: those of maps go last, those of tokens behind samples."""

    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 10, 3), nn.GELU()
        self.second, self.last_act = nn.Linear(10, 8), nn.GELU()
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.act(self.first(x).permute(0, 2, 3, 1))
        x = self.last_act(self.second(x).flatten(1, 2).transpose(1, 2))
        return self.last(x.mean(dim=2))


class AmongSamples(nn.Module):
    """Tokens that are taken for samples: outputs of shape ``(n * tokens, units)``."""

    shape = (7, 6)

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Linear(6, 10), nn.ReLU()
        self.last = nn.Linear(10, 5)

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(0, 1))).unflatten(0, (len(x), -1)).mean(1))


class Padded(nn.Module):
    """An encoder of tokens of which those that are 0 are padding."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.encoder(self.tokens(x), src_key_padding_mask=x == 0)[:, 0])


def build_layout(make, seed=0):
    """Return a network in eval mode."""
    torch.manual_seed(seed)
    return make().eval()


def samples_for(network, n, seed=0):
    """Return inputs of n samples."""
    return torch.randn(n, *network.shape, generator=torch.Generator().manual_seed(seed))
