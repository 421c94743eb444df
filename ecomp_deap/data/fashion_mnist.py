"""Fashion-MNIST: 28 × 28 grey images of clothes in 10 classes (Xiao, Rasul, Vollgraf, 2017).

Found on this machine, downloaded when asked to, or else taken from the slice that comes with
the package (``bundled/README.md``).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ecomp_deap.checks import check_count, check_path
from ecomp_deap.data import _streams
from ecomp_deap.data.idx import read_idx
from ecomp_deap.data.samples import TensorSamples
from ecomp_deap.data.splits import Splits, split
from ecomp_deap.errors import DataError

__all__ = [
    "BUNDLED_FOLDER",
    "FashionMNIST",
    "candidate_folders",
    "find_fashion_mnist",
    "load_fashion_mnist",
    "load_fashion_mnist_original",
]

BUNDLED_FOLDER = Path(__file__).parent / "bundled"

_STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_SUFFIXES = ("", ".gz", ".xz")
_TORCHVISION_LAYOUT = Path("FashionMNIST", "raw")
_COMPLETE = (60_000, 10_000)
_NAME = "fashion-mnist"


@dataclass(frozen=True, eq=False)
class FashionMNIST:
    """The images as they are stored.

    Attributes:
        train_images: uint8, shape ``(n, 28, 28)``, 0 black to 255 white.
        train_labels: uint8, shape ``(n,)``, 0 to 9.
        test_images: uint8, shape ``(m, 28, 28)``.
        test_labels: uint8, shape ``(m,)``.
        source: one line for people: what was used, and from where.
        complete: whether these are all 60,000 training and 10,000 test images.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    complete: bool


def candidate_folders() -> list[Path]:
    """Return the folders that are looked through, in this order, when none is given.

    ``$TORCH_HOME/datasets`` (``~/.cache/torch/datasets`` where TORCH_HOME is not set),
    ``./data`` and ``~/data``, where torchvision's users keep their data, and the folder of
    Debian's package ``dataset-fashion-mnist``.
    """
    torch_home = os.environ.get("TORCH_HOME") or os.path.join("~", ".cache", "torch")
    return [
        Path(os.path.expanduser(torch_home), "datasets"),
        Path("data"),
        Path(os.path.expanduser(os.path.join("~", "data"))),
        Path("/usr/share/datasets/fashion-mnist"),
    ]


def find_fashion_mnist(
    data_dir: str | Path | None = None,
    *,
    download: bool = False,
    candidates: Sequence[str | Path] | None = None,
) -> FashionMNIST:
    """Return Fashion-MNIST from the first place that holds it.

    The places, in order: ``data_dir`` if given, and then no other; the ``candidates``, by
    default `candidate_folders`; with ``download``, torchvision's download into ``data_dir`` or
    ``./data``; the bundled slice. A folder holds it if the four IDX files, plain or packed as
    ``.gz`` or ``.xz``, lie in it or in ``FashionMNIST/raw`` below it. Archives are read as IDX
    files, whatever their checksum: Debian packs them anew.

    Raises:
        ArgumentError: ``data_dir`` is no path.
        DataError: ``data_dir`` does not hold it, a file is damaged, or the download failed.
    """
    given = None
    if data_dir is not None:
        given = Path(os.path.expanduser(check_path("data_dir", data_dir)))
    if given is not None:
        places: Sequence[str | Path] = [given]
    else:
        places = candidate_folders() if candidates is None else candidates
    for place in places:
        for folder in (Path(place), Path(place) / _TORCHVISION_LAYOUT):
            files = _idx_files(folder)
            if len(files) == len(_STEMS):
                return _read(files, folder)
    if download:
        return _download(given or Path("data"))
    if given is not None:
        raise DataError(_nothing_found(given))
    return _read(_idx_files(BUNDLED_FOLDER), BUNDLED_FOLDER)


def load_fashion_mnist(
    data_dir: str | Path | None = None,
    *,
    download: bool = False,
    flatten: bool = True,
    validation_fraction: float = 1 / 6,
    seed: int = 0,
    candidates: Sequence[str | Path] | None = None,
) -> Splits:
    """Return `Splits` of Fashion-MNIST: the training images are shared out, the test ones kept.

    Images are float32 in [0, 1] (grey value ÷ 255, no other scaling), shape ``(n, 784)``, or
    ``(n, 1, 28, 28)`` without ``flatten``; labels are int64. The rest is as for `split` and
    `find_fashion_mnist`.

    Raises:
        ArgumentError: as for `split`.
        DataError: as for `find_fashion_mnist`.
    """
    found = find_fashion_mnist(data_dir, download=download, candidates=candidates)
    parts = split(
        _samples(found.train_images, found.train_labels, flatten),
        test=_samples(found.test_images, found.test_labels, flatten),
        validation_fraction=validation_fraction,
        seed=seed,
    )
    return replace(parts, name=_NAME, source=found.source)


def load_fashion_mnist_original(
    data_dir: str | Path | None = None,
    *,
    n_search: int = 10_000,
    download: bool = False,
    flatten: bool = True,
    seed: int = 0,
    candidates: Sequence[str | Path] | None = None,
) -> Splits:
    """Return Fashion-MNIST as the original EComp used it: validation *is* the search data.

    Each run draws its own ``n_search`` training images, by ``seed``, and chooses its best
    child on these very images. This is the one exception to "the parts share no sample", kept
    to repeat the original's figures; the test images stay apart. Shapes and folders as for
    `load_fashion_mnist`.

    Raises:
        ArgumentError: ``n_search`` is below 1 or more than there are.
        DataError: as for `find_fashion_mnist`.
    """
    found = find_fashion_mnist(data_dir, download=download, candidates=candidates)
    n_train = len(found.train_images)
    n_search = check_count("n_search", n_search, minimum=1, maximum=n_train)
    rng = _streams.generator(seed, _streams.SEARCH_DRAW)
    chosen = np.sort(rng.permutation(n_train)[:n_search])
    search = _samples(found.train_images[chosen], found.train_labels[chosen], flatten)
    test = _samples(found.test_images, found.test_labels, flatten)
    return Splits(search, search, test, name=_NAME, source=found.source)


def _samples(images: np.ndarray, labels: np.ndarray, flatten: bool) -> TensorSamples:
    shape = (len(images), 784) if flatten else (len(images), 1, 28, 28)
    scaled = torch.from_numpy(images).to(torch.float32).div_(255).reshape(shape)
    return TensorSamples(scaled, labels)


def _idx_files(folder: Path) -> dict[str, Path]:
    """Return the files of ``folder`` by attribute, without those that are missing."""
    files = {}
    for attribute, stem in _STEMS.items():
        for suffix in _SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if os.path.isfile(path):  # unlike Path's own, False for every name
                files[attribute] = path
                break
    return files


def _read(files: dict[str, Path], folder: Path) -> FashionMNIST:
    arrays = {attribute: read_idx(path) for attribute, path in files.items()}
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape[1:] != (28, 28):
            path = files[f"{part}_images"]
            raise DataError(f"{path}: expected images of 28 × 28, got shape {images.shape}")
        if labels.shape != (len(images),) or len(images) == 0:
            raise DataError(
                f"{files[f'{part}_labels']}: expected one label for each of the {len(images)} "
                f"images, at least one, got shape {labels.shape}"
            )
        if labels.max() > 9:
            path = files[f"{part}_labels"]
            raise DataError(f"{path}: expected labels from 0 to 9, got {labels.max()}")
    counts = len(arrays["train_images"]), len(arrays["test_images"])
    size = f"{counts[0]:,} training and {counts[1]:,} test images"
    if folder == BUNDLED_FOLDER:
        source = f"Fashion-MNIST: bundled slice of {size} (all of it by download or data_dir)"
    else:
        source = f"Fashion-MNIST: {size} from {folder}"
    return FashionMNIST(**arrays, source=source, complete=counts == _COMPLETE)


def _download(target: Path) -> FashionMNIST:
    # Here, because importing torchvision takes seconds and is needed for nothing else.
    from torchvision.datasets import FashionMNIST as TorchvisionFashionMNIST

    try:
        TorchvisionFashionMNIST(target, download=True)
    except Exception as error:  # the network fails in too many ways to list them
        reason = " ".join(str(error).split())
        raise DataError(
            f"{target}: Fashion-MNIST could not be downloaded ({reason}): try again, put its four "
            "IDX files there, or leave out the download for the bundled slice"
        ) from error
    folder = target / _TORCHVISION_LAYOUT
    return _read(_idx_files(folder), folder)


def _nothing_found(given: Path) -> str:
    folders = given, given / _TORCHVISION_LAYOUT
    looked_for = "; ".join(
        f"{folder} lacks "
        + ", ".join(stem for key, stem in _STEMS.items() if key not in _idx_files(folder))
        for folder in folders
    )
    return (
        f"{given}: expected a folder with the four IDX files of Fashion-MNIST (plain, .gz or "
        f".xz), but {looked_for}"
    )
