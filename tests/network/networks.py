"""Small networks with branches, for what must hold of any network."""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Convolutions, a stem whose units two blocks add to, and a head without modules between."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.outer = nn.Conv2d(6, 8, 3, padding=1)
        self.last = nn.Linear(8 * 4, 5)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        x = x + self.outer(functional.relu(self.inner(x)))
        return self.last(functional.adaptive_avg_pool2d(x, 2).flatten(1))


class Concatenation(nn.Module):
    """Two branches side by side, and perhaps the input itself."""

    def __init__(self, n_beside=0):
        super().__init__()
        self.n_beside = n_beside
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(10 + n_beside)
        self.join = nn.Conv2d(10 + n_beside, 7, 1)
        self.last = nn.Linear(7, 5)

    def forward(self, x):
        x = torch.cat([self.left(x), x[:, : self.n_beside], self.right(x).relu()], dim=1)
        return self.last(self.join(self.norm(x).tanh()).relu().mean(dim=(2, 3)))


class InputBeside(Concatenation):
    """A concatenation with the inputs, of which Torch-Pruning counts no entries."""

    def __init__(self):
        super().__init__(n_beside=3)


class Grouped(nn.Module):
    """A grouped and a depthwise convolution, and channels that scale channels."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 12, 1)
        self.grouped = nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Conv2d(8, 5, 1)
        self.excite = nn.Conv2d(5, 8, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.depthwise(self.grouped(self.first(x).relu()).relu())
        scale = self.excite(self.squeeze(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
        return self.last((x * scale).mean(dim=(2, 3)))


class Transformer(nn.Module):
    """Tokens, attention, a norm across units, and an MLP."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.tokens(x).flatten(2).transpose(1, 2)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.last((x + self.mlp(x)).mean(dim=1))


class Encoder(nn.Module):
    """torch's own encoder, with a token that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 4, 12, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.tokens(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.last(self.encoder(x)[:, 0])


class Handwritten(nn.Module):
    """Attention of a user's own, whose heads no layer knows of, beside an MLP."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Linear(12, 8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.hidden = nn.Linear(8, 16)
        self.back = nn.Linear(16, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.tokens(x.reshape(len(x), 16, 12))
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        x = x + self.back(functional.gelu(self.hidden(x)))
        return self.last(x.mean(dim=1))


class Tied(nn.Module):
    """Two layers with one weight, and two of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.again = nn.Linear(12, 12)
        self.again.weight = self.first.weight
        self.hidden = nn.Linear(12, 9)
        self.last = nn.Linear(9, 5)

    def forward(self, x):
        x = self.again(self.first(x.flatten(1)[:, :12]).relu()).relu()
        return self.last(self.hidden(x).relu())


class ZeroHead(Residual):
    """A network whose outputs are always 0, as some initialisations leave it."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class Fading(nn.Module):
    """Layers of so small weights that its outputs are those of its last bias."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(8))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(8))
        self.last = nn.Linear(8, 5)
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = x.flatten(1)[:, :8]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).flip(1)  # which no graph of layers shows
        return self.last(x)


class Auxiliary(nn.Module):
    """A second head that runs in training alone, as deep networks have them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(10, 8), nn.Linear(8, 6)
        self.last, self.aside = nn.Linear(6, 3), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x).relu()
        y = self.last(self.second(x).relu())
        return (y, self.aside(x)) if self.training else y


class Experts(nn.Module):
    """A mixture of experts, each of which sees the samples that go its way."""

    def __init__(self):
        super().__init__()
        self.first, self.route = nn.Linear(10, 8), nn.Linear(10, 4)
        experts = (nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 5)) for _ in range(4))
        self.experts = nn.ModuleList(experts)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        ways, x = self.route(x).argmax(dim=1), self.first(x).relu()
        found = x.new_zeros(len(x), 5)
        for way, expert in enumerate(self.experts):
            if (ways == way).any():
                found[ways == way] = expert(x[ways == way])
        return self.last(found)


NETWORKS = {
    cls.__name__: cls
    for cls in (
        *(Residual, Concatenation, InputBeside, Grouped, Transformer, Encoder, Handwritten),
        *(Tied, ZeroHead),
    )
}


class Bag(nn.Module):
    """A text classifier of a bag of tokens."""

    def __init__(self, mode="mean", **options):
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 8, mode=mode, padding_idx=0, **options)
        self.hidden = nn.Linear(8, 6)
        self.last = nn.Linear(6, 5)

    def forward(self, x):
        return self.last(self.hidden(self.bag(x)).relu())


class Positions(nn.Module):
    """Tokens and their positions, to which a layer adds, read at each position."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(7, 8)
        self.tokens = nn.Embedding(20, 8)
        self.inner = nn.Linear(8, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        return self.last((x + self.inner(x).relu()).mean(dim=1))


class Fields(nn.Module):
    """Two embeddings of their own widths side by side, and a third that is read by convolution."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Embedding(20, 4), nn.Embedding(20, 3)
        self.text = nn.Embedding(20, 6, padding_idx=0)
        self.convolution = nn.Conv1d(6, 5, 2)
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        maps = self.convolution(self.text(x[:, 2:]).transpose(1, 2)).relu()
        return self.last(torch.cat([self.left(x[:, 0]), self.right(x[:, 1]), maps.amax(2)], dim=1))


class Tokens(nn.Module):
    """Tokens to which an MLP adds, behind a norm if there is one."""

    def __init__(self, norm=None, **options):
        super().__init__()
        self.tokens = nn.Embedding(20, 8, **options)
        self.norm = nn.Identity() if norm is None else norm
        self.hidden, self.back = nn.Linear(8, 6), nn.Linear(6, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = self.tokens(x)
        return self.last((x + self.back(self.hidden(self.norm(x)).relu())).mean(dim=1))


class TiedTokens(Tokens):
    """A language model, whose outputs are weighted by its own tokens."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 20, bias=False)
        self.last.weight = self.tokens.weight


class Flattened(nn.Module):
    """Tokens that are told apart by where they stand, and read one by one too."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(20, 4)
        self.beside = nn.Linear(4, 3)
        self.hidden = nn.Linear(28, 6)
        self.last = nn.Linear(9, 5)

    def forward(self, x):
        x = self.tokens(x)
        beside = self.beside(x).relu().mean(dim=1)
        return self.last(torch.cat([self.hidden(x.flatten(1)).relu(), beside], dim=1))


class WeightedBag(Bag):
    """Tokens that count as much as another layer finds, as no graph of layers shows."""

    def __init__(self):
        super().__init__("sum")
        self.weights = nn.Linear(7, 7)

    def forward(self, x):
        weights = self.weights(x.float()).sigmoid()
        return self.last(self.hidden(self.bag(x, per_sample_weights=weights)).relu())


# Of token ids, unlike all others.
TEXTS = {
    "Bag": Bag,
    "BagOfSums": lambda: Bag("sum", sparse=True),
    "BagOfMaxima": lambda: Bag("max"),
    "LimitedBag": lambda: Bag(max_norm=1.0),
    "WeightedBag": WeightedBag,
    "Stack": lambda: nn.Sequential(
        *(nn.EmbeddingBag(20, 8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)),
    ),
    "Positions": Positions,
    "Fields": Fields,
    "Flattened": Flattened,
    "Tokens": lambda: Tokens(padding_idx=0, scale_grad_by_freq=True),
    "NormedTokens": lambda: Tokens(nn.LayerNorm(8)),
    "LimitedTokens": lambda: Tokens(max_norm=1.0),
    "TiedTokens": TiedTokens,
}


def build_network(name, seed=0):
    """Return a network of that name in eval mode, with batch norms that have seen something."""
    torch.manual_seed(seed)
    network = (NETWORKS | TEXTS)[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return network.eval()


def images(n=3, size=8, seed=0):
    """Return inputs of shape ``(n, 3, size, size)``."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def tokens(n=3, seed=0):
    """Return token ids of shape ``(n, 7)``."""
    return torch.randint(20, (n, 7), generator=torch.Generator().manual_seed(seed))
