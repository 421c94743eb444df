"""Each measure once more, from its definition and in plain NumPy, SciPy and scikit-learn."""

import math

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist, squareform
from sklearn.neighbors import NearestNeighbors


def unbiased_hsic(k, l):  # noqa: E741
    """Song et al. (2012), equation 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    total = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return 1 - unbiased_hsic(k, l) / math.sqrt(unbiased_hsic(k, k) * unbiased_hsic(l, l))


def centred_by_loops(a):
    """Székely & Rizzo (2014), definition 2."""
    n = len(a)
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                row = sum(a[i, k] for k in range(n)) / (n - 2)
                column = sum(a[k, j] for k in range(n)) / (n - 2)
                found[i, j] = a[i, j] - row - column + a.sum() / ((n - 1) * (n - 2))
    return found


def distance_correlation(x, y):
    a, b = (centred_by_loops(squareform(pdist(z))) for z in (x, y))
    return 1 - (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


def procrustes(x, y):
    """Half the squared distance that is left after the best rotation, of equally wide arrays."""
    width = max(x.shape[1], y.shape[1])
    shapes = []
    for z in (x, y):
        padded = np.zeros((len(z), width))
        padded[:, : z.shape[1]] = z - z.mean(axis=0)
        shapes.append(padded / np.linalg.norm(padded))
    turned, _ = orthogonal_procrustes(shapes[1], shapes[0])
    return 0.5 * np.linalg.norm(shapes[0] - shapes[1] @ turned) ** 2


def knn_jaccard(x, y, k=None):
    n = len(x)
    k = k or max(1, min(10, (n - 1) // 3))
    sets = [
        [set(row) for row in NearestNeighbors(n_neighbors=k).fit(z).kneighbors(None, k, False)]
        for z in (x, y)
    ]
    overlaps = [len(a & b) / len(a | b) for a, b in zip(*sets, strict=True)]
    return 1 - sum(overlaps) / n


def pkt(x, y):
    """Passalis & Tefas (2018), equations 3 to 6, as a mean over samples."""

    def kernel(a, b):
        norms = math.sqrt(a @ a) * math.sqrt(b @ b)
        return max((1 + (a @ b / norms if norms else 0.0)) / 2, 1e-7)

    n, total = len(x), 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        p, q = ([kernel(z[i], z[j]) for j in others] for z in (x, y))
        total += sum(
            a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True)
        )
    return total / n


def distance_mse(x, y):
    tables = []
    for z in (x, y):
        table = squareform(pdist(z))
        tables.append((table - table.min()) / (table.max() - table.min()))
    n = len(x)
    return sum(
        (tables[0][i, j] - tables[1][i, j]) ** 2 for i in range(n) for j in range(n) if i != j
    ) / (n * (n - 1))


ORACLES = {
    "cka": cka,
    "distance_correlation": distance_correlation,
    "procrustes": procrustes,
    "knn_jaccard": knn_jaccard,
    "pkt": pkt,
    "distance_mse": distance_mse,
}
