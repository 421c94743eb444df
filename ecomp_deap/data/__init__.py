"""Data: the samples that children are trained, scored and compared on.

*Samples* are inputs and targets that can be fetched in batches by index, from tensors or from
a dataset. *Splits* are the three parts of a job: search, validation and test. A *batch* is
what one generation scores or trains on, drawn by a `BatchSampler` from seed and generation
alone. Fashion-MNIST comes along, as a slice, so that everything can be tried at once.
"""

from ecomp_deap.data.batches import BatchSampler
from ecomp_deap.data.fashion_mnist import (
    FashionMNIST,
    candidate_folders,
    find_fashion_mnist,
    load_fashion_mnist,
    load_fashion_mnist_original,
)
from ecomp_deap.data.idx import read_idx
from ecomp_deap.data.samples import (
    DatasetSamples,
    Samples,
    TensorSamples,
    as_samples,
    fingerprint,
)
from ecomp_deap.data.splits import Splits, split

__all__ = [
    "BatchSampler",
    "DatasetSamples",
    "FashionMNIST",
    "Samples",
    "Splits",
    "TensorSamples",
    "as_samples",
    "candidate_folders",
    "find_fashion_mnist",
    "fingerprint",
    "load_fashion_mnist",
    "load_fashion_mnist_original",
    "read_idx",
    "split",
]
