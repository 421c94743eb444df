"""Settings of the whole test run, and what many tests compress: tiny data and a tiny parent."""

import os

# Before torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from safetensors.torch import save_file
from torch import nn

from ecomp_deap.data import Splits, TensorSamples, find_fashion_mnist
from ecomp_deap.data.fashion_mnist import BUNDLED_FOLDER
from ecomp_deap.network import make_parent
from ecomp_deap.task import Task
from tests.data.idx_files import STEMS, write_set

settings.register_profile("local", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=15, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """The number of threads changes last bits, and several test processes share few cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_number_of_threads_afterwards():
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_splits() -> Splits:
    """Three overlapping clouds in 12 dimensions: 300 search, 60 validation and 90 test samples."""
    rng = np.random.default_rng(0)
    centres = 0.9 * rng.standard_normal((3, 12))

    def samples(n: int) -> TensorSamples:
        labels = np.arange(n) % 3
        inputs = (centres[labels] + rng.standard_normal((n, 12))).astype(np.float32)
        return TensorSamples(inputs, labels)

    return Splits(samples(300), samples(60), samples(90), name="clouds", source="made up")


@pytest.fixture(scope="session")
def _trained(tiny_splits) -> nn.Sequential:
    parent = make_parent((16, 12), n_inputs=12, n_outputs=3, seed=1)
    samples = tiny_splits.search
    _train(parent, samples.inputs, samples.targets, steps=60)
    return parent


@pytest.fixture
def tiny_parent(_trained) -> nn.Sequential:
    """A parent 12-16-12-3 trained on the clouds; each test has its own copy."""
    return copy.deepcopy(_trained)


@pytest.fixture
def tiny_task(tiny_parent, tiny_splits):
    """Return a function that makes a task of the tiny parent and data, with batches of 30."""

    def make(**options) -> Task:
        return Task(tiny_parent, tiny_splits, **{"batch_size": 30, **options})

    return make


@pytest.fixture(scope="session")
def small_fashion(tmp_path_factory) -> Path:
    """A folder with 1,000 training and 500 test images of the bundled slice, as IDX files."""
    found = find_fashion_mnist(BUNDLED_FOLDER)
    arrays = (
        found.train_images[::10],
        found.train_labels[::10],
        found.test_images[::20],
        found.test_labels[::20],
    )
    folder = tmp_path_factory.mktemp("small-fashion")
    return write_set(folder, dict(zip(STEMS, arrays, strict=True)))


@pytest.fixture(scope="session")
def small_parent_file(small_fashion, tmp_path_factory) -> Path:
    """A file with the weights of a parent 784-24-16-10, briefly trained on the small folder."""
    found = find_fashion_mnist(small_fashion)
    inputs = torch.from_numpy(found.train_images.reshape(-1, 784)).float().div(255)
    parent = make_parent((24, 16), seed=2)
    _train(parent, inputs, torch.from_numpy(found.train_labels).long(), steps=60)
    path = tmp_path_factory.mktemp("small-parent") / "parent.safetensors"
    save_file(parent.state_dict(), path)
    return path


def _train(module: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, steps: int) -> None:
    """Train in plain torch, so that no test depends on what it tests."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs), targets).backward()
        optimizer.step()
    module.eval()
    for parameter in module.parameters():
        parameter.grad = None
