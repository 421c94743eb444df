import contextlib
import functools
import hashlib
import re
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from ecomp_deap.data import (
    candidate_folders,
    find_fashion_mnist,
    fingerprint,
    load_fashion_mnist,
    load_fashion_mnist_original,
)
from ecomp_deap.errors import ArgumentError, DataError
from tests.data.idx_files import PACK, STEMS, idx_bytes, small_set, write_set


def assert_found(found, arrays):
    read = (found.train_images, found.train_labels, found.test_images, found.test_labels)
    for array, expected in zip(read, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.uint8


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_a_given_folder_is_read_in_either_layout(tmp_path, suffix, below):
    arrays = small_set()
    folder = write_set(tmp_path / below, arrays, suffix)

    found = find_fashion_mnist(tmp_path)

    assert_found(found, arrays)
    assert found.source == f"Fashion-MNIST: 40 training and 20 test images from {folder}"
    assert not found.complete


def test_torchvision_reads_the_same_folder_the_same_way(tmp_path):
    write_set(tmp_path / "FashionMNIST" / "raw", small_set())
    found = find_fashion_mnist(tmp_path)
    theirs = torchvision.datasets.FashionMNIST(tmp_path, train=True, download=False)
    np.testing.assert_array_equal(found.train_images, theirs.data)
    np.testing.assert_array_equal(found.train_labels, theirs.targets)


def test_a_given_folder_comes_before_all_candidates(tmp_path):
    arrays = small_set(seed=1)
    write_set(tmp_path / "given", arrays)
    write_set(tmp_path / "cache", small_set(seed=2))
    assert_found(find_fashion_mnist(tmp_path / "given", candidates=[tmp_path / "cache"]), arrays)


def test_the_first_candidate_that_holds_it_is_used(tmp_path):
    arrays = small_set(seed=1)
    unfinished = write_set(tmp_path / "unfinished", small_set(seed=2))
    (unfinished / STEMS[2]).unlink()
    write_set(tmp_path / "first" / "FashionMNIST" / "raw", arrays)
    write_set(tmp_path / "second", small_set(seed=3), ".gz")
    candidates = [tmp_path / name for name in ("absent", "unfinished", "first", "second")]
    assert_found(find_fashion_mnist(candidates=candidates), arrays)
    # What is there already is not downloaded, even when asked to.
    assert_found(find_fashion_mnist(candidates=candidates, download=True), arrays)


def test_debians_archives_are_read_although_packed_anew(tmp_path):
    arrays = small_set()
    folder = write_set(tmp_path / "usr" / "share" / "datasets" / "fashion-mnist", arrays, ".gz")
    assert_found(find_fashion_mnist(candidates=[folder]), arrays)


def test_plain_files_come_before_their_archives(tmp_path):
    write_set(tmp_path, small_set(seed=1), ".gz")
    write_set(tmp_path, small_set(seed=2))
    assert_found(find_fashion_mnist(tmp_path), small_set(seed=2))


def test_the_default_candidates_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    arrays = {name: small_set(seed=seed) for seed, name in enumerate(["torch", "here", "home"])}
    raw = Path("FashionMNIST", "raw")
    write_set(tmp_path / "home" / "data" / raw, arrays["home"])
    assert_found(find_fashion_mnist(), arrays["home"])
    write_set(tmp_path / "data" / raw, arrays["here"])
    assert_found(find_fashion_mnist(), arrays["here"])
    write_set(tmp_path / "torch" / "datasets" / raw, arrays["torch"])
    assert_found(find_fashion_mnist(), arrays["torch"])
    assert_found(find_fashion_mnist("~/data"), arrays["home"])
    assert candidate_folders()[-1] == Path("/usr/share/datasets/fashion-mnist")
    monkeypatch.delenv("TORCH_HOME")
    assert candidate_folders()[0] == tmp_path / "home" / ".cache" / "torch" / "datasets"


def test_a_given_folder_without_it_is_an_error_and_no_reason_to_take_the_slice(tmp_path):
    message = rf"^{re.escape(str(tmp_path))}: expected a folder with the four IDX files"
    with pytest.raises(DataError, match=message):
        find_fashion_mnist(tmp_path)
    with pytest.raises(DataError, match=message):
        load_fashion_mnist(tmp_path)
    write_set(tmp_path, small_set())
    (tmp_path / STEMS[1]).unlink()
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))} lacks {STEMS[1]}; "):
        find_fashion_mnist(tmp_path)
    with pytest.raises(DataError, match=r"absent: expected a folder .*lacks train-images"):
        find_fashion_mnist(tmp_path / "absent")


def test_a_damaged_candidate_is_an_error(tmp_path):
    write_set(tmp_path, small_set(), ".gz")
    path = tmp_path / f"{STEMS[0]}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: truncated or corrupt"):
        find_fashion_mnist(candidates=[tmp_path])


@pytest.mark.parametrize(
    ("stem", "array", "message"),
    [
        (STEMS[0], np.zeros((40, 27, 28), np.uint8), "expected images of 28 × 28, got shape"),
        (STEMS[0], np.zeros((40, 784), np.uint8), "expected images of 28 × 28, got shape"),
        (STEMS[3], np.zeros(19, np.uint8), "expected one label for each of the 20 images"),
        (STEMS[3], np.zeros((20, 1), np.uint8), "expected one label for each of the 20 images"),
        (STEMS[1], np.full(40, 10, np.uint8), "expected labels from 0 to 9, got 10"),
    ],
)
def test_files_that_are_something_else_are_errors(tmp_path, stem, array, message):
    write_set(tmp_path, small_set() | {stem: array})
    with pytest.raises(DataError, match=f"{stem}: {message}"):
        find_fashion_mnist(tmp_path)


def test_files_without_images_are_errors(tmp_path):
    write_set(tmp_path, small_set(n_test=0))
    with pytest.raises(DataError, match=r"t10k-labels.*: expected .* at least one"):
        find_fashion_mnist(tmp_path)


@pytest.fixture
def serve(monkeypatch):
    """Let torchvision download from a folder, through a server of this machine's own."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    theirs = torchvision.datasets.FashionMNIST

    def start(folder):
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(server.shutdown)
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        files = [(f"{stem}.gz", sums.get(f"{stem}.gz", "0" * 32)) for stem in STEMS]
        monkeypatch.setattr(theirs, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(theirs, "resources", files)

    with contextlib.ExitStack() as stack:
        yield start


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_the_download_goes_where_it_is_asked_to(tmp_path, monkeypatch, serve):
    arrays = small_set()
    serve(write_set(tmp_path / "mirror", arrays, ".gz"))
    monkeypatch.chdir(tmp_path)

    found = find_fashion_mnist(tmp_path / "new", download=True)
    assert_found(found, arrays)
    assert found.source.endswith(f"from {tmp_path / 'new' / 'FashionMNIST' / 'raw'}")
    assert_found(find_fashion_mnist(tmp_path / "new"), arrays)

    assert_found(find_fashion_mnist(candidates=[], download=True), arrays)
    assert (tmp_path / "data" / "FashionMNIST" / "raw" / STEMS[0]).is_file()


def test_a_failed_download_says_what_to_do(tmp_path, serve):
    mirror = write_set(tmp_path / "mirror", small_set(), ".gz")
    serve(mirror)
    (mirror / f"{STEMS[3]}.gz").write_bytes(b"not the file that was announced")
    with pytest.raises(
        DataError, match=r"new: Fashion-MNIST could not be downloaded .*corrupt.*IDX files there"
    ):
        find_fashion_mnist(tmp_path / "new", download=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file: Fashion-MNIST could not be downloaded"):
        find_fashion_mnist(tmp_path / "file", download=True)


def test_the_slice_serves_where_nothing_else_is_found(tmp_path):
    start = time.process_time()
    found = find_fashion_mnist(candidates=[tmp_path])
    assert time.process_time() - start < 1.5
    assert found.train_images.shape == found.test_images.shape == (10_000, 28, 28)
    assert np.bincount(found.train_labels).tolist() == [1_000] * 10
    assert np.bincount(found.test_labels).tolist() == [1_000] * 10
    assert not found.complete
    assert re.search(r"bundled slice of 10,000 training and 10,000 test", found.source)
    assert "download or data_dir" in found.source
    assert "\n" not in found.source


def test_completeness_is_60000_and_10000(tmp_path):
    arrays = {
        STEMS[0]: np.zeros((60_000, 28, 28), np.uint8),
        STEMS[1]: np.zeros(60_000, np.uint8),
        STEMS[2]: np.zeros((10_000, 28, 28), np.uint8),
        STEMS[3]: np.zeros(10_000, np.uint8),
    }
    write_set(tmp_path, arrays)
    assert find_fashion_mnist(tmp_path).complete
    (tmp_path / STEMS[3]).write_bytes(idx_bytes(np.zeros(9_999, np.uint8)))
    (tmp_path / STEMS[2]).write_bytes(idx_bytes(np.zeros((9_999, 28, 28), np.uint8)))
    assert not find_fashion_mnist(tmp_path).complete


@pytest.mark.parametrize("flatten", [True, False])
def test_images_are_scaled_to_0_and_1_and_nothing_else(tmp_path, flatten):
    arrays = small_set(n_train=60)
    write_set(tmp_path, arrays)
    parts = load_fashion_mnist(tmp_path, flatten=flatten)

    assert (len(parts.search), len(parts.validation), len(parts.test)) == (50, 10, 20)
    assert parts.name == "fashion-mnist"
    assert parts.source == find_fashion_mnist(tmp_path).source
    images, labels = parts.test.batch(np.arange(20))
    assert images.dtype == torch.float32
    assert images.shape == ((20, 784) if flatten else (20, 1, 28, 28))
    assert labels.dtype == torch.int64
    theirs = torchvision.transforms.functional.to_tensor(arrays[STEMS[2]][3])
    torch.testing.assert_close(images[3].reshape(28, 28), theirs[0], rtol=0, atol=0)


def test_search_and_validation_come_from_the_training_part(tmp_path):
    arrays = small_set(n_train=60)
    write_set(tmp_path, arrays)
    parts = load_fashion_mnist(tmp_path, validation_fraction=0.5, seed=3)
    images = np.concatenate([parts.search.inputs, parts.validation.inputs])
    stored = arrays[STEMS[0]].reshape(60, 784).astype(np.float32) / 255
    assert sorted(map(bytes, images)) == sorted(map(bytes, stored))
    np.testing.assert_array_equal(np.bincount(parts.validation.labels), [3] * 10)
    again = load_fashion_mnist(tmp_path, validation_fraction=0.5, seed=3)
    assert fingerprint(again.search) == fingerprint(parts.search)
    other = load_fashion_mnist(tmp_path, validation_fraction=0.5, seed=4)
    assert fingerprint(other.search) != fingerprint(parts.search)


def test_the_original_chooses_on_its_search_data(tmp_path):
    arrays = small_set(n_train=60)
    write_set(tmp_path, arrays)
    parts = load_fashion_mnist_original(tmp_path, n_search=25, seed=1)

    assert parts.validation is parts.search
    assert (len(parts.search), len(parts.test)) == (25, 20)
    assert (parts.name, parts.source) == ("fashion-mnist", find_fashion_mnist(tmp_path).source)
    stored = {
        bytes(image): label
        for image, label in zip(
            arrays[STEMS[0]].reshape(60, 784).astype(np.float32) / 255,
            arrays[STEMS[1]],
            strict=True,
        )
    }
    drawn = [bytes(image) for image in parts.search.inputs.numpy()]
    assert len(set(drawn)) == 25
    assert [stored[image] for image in drawn] == parts.search.labels.tolist()
    same = load_fashion_mnist_original(tmp_path, n_search=25, seed=1)
    other = load_fashion_mnist_original(tmp_path, n_search=25, seed=2)
    assert fingerprint(same.search) == fingerprint(parts.search) != fingerprint(other.search)


def test_the_original_can_run_on_the_slice():
    parts = load_fashion_mnist_original(candidates=[], flatten=False)
    assert parts.search.inputs.shape == (10_000, 1, 28, 28)
    with pytest.raises(ArgumentError, match=r"^n_search: expected .* at most 10000, got 10001"):
        load_fashion_mnist_original(candidates=[], n_search=10_001)
