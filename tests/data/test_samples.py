"""Seen to fail without what protects: experiments/reliability/protections.py."""

import pickle
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ecomp_deap.data import DatasetSamples, Samples, TensorSamples, as_samples, fingerprint
from ecomp_deap.errors import ArgumentError, DataError

Pair = namedtuple("Pair", ["left", "right"])

N = 12
IMAGES = np.random.default_rng(0).normal(size=(N, 2, 3)).astype(np.float32)
MASKS = np.random.default_rng(1).integers(0, 2, (N, 4), dtype=np.uint8)
LABELS = np.arange(N, dtype=np.uint8) % 5

CONTAINERS = {
    "tensor": torch.from_numpy(IMAGES),
    "tuple": (IMAGES, MASKS),
    "list": [IMAGES, torch.from_numpy(MASKS)],
    "dict": {"image": IMAGES, "mask": MASKS},
    "named tuple": Pair(IMAGES, MASKS),
    "nested": {"pair": (IMAGES, [MASKS]), "image": IMAGES},
}


class Items(Dataset):
    """A dataset that looks its items up in a list, as a user's own would."""

    def __init__(self, items):
        self.items = list(items)
        self.n_reads = 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.n_reads += 1
        return self.items[index]


def row(tree, index):
    if isinstance(tree, dict):
        return {key: row(value, index) for key, value in tree.items()}
    if isinstance(tree, Pair):
        return Pair(*(row(value, index) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(row(value, index) for value in tree)
    return tree[index]


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("container", CONTAINERS)
def test_dataset_and_tensors_give_the_same(container):
    inputs = CONTAINERS[container]
    tensors = TensorSamples(inputs, LABELS)
    dataset = DatasetSamples(Items((row(inputs, i), int(LABELS[i])) for i in range(N)))
    chosen = np.array([7, 0, 7, 11])

    assert len(tensors) == len(dataset) == N
    assert_same(tensors.batch(chosen), dataset.batch(chosen))
    assert_same(tensors.subset(chosen).batch(np.arange(4)), tensors.batch(chosen))
    assert_same(dataset.subset(chosen).batch(np.arange(4)), tensors.batch(chosen))
    np.testing.assert_array_equal(dataset.labels, tensors.labels)
    assert fingerprint(tensors) == fingerprint(dataset)


@given(indices=st.lists(st.integers(0, N - 1), min_size=1, max_size=30))
def test_batches_and_subsets_hold_the_asked_samples_in_order(indices):
    chosen = np.array(indices)
    for samples in (TensorSamples(IMAGES, LABELS), as_samples(Items(zip(IMAGES, LABELS)))):  # noqa: B905
        inputs, targets = samples.batch(chosen)
        np.testing.assert_array_equal(inputs.numpy(), IMAGES[chosen])
        np.testing.assert_array_equal(targets.numpy(), LABELS[chosen])
        part = samples.subset(chosen)
        assert len(part) == len(chosen)
        np.testing.assert_array_equal(part.labels, LABELS[chosen])
        np.testing.assert_array_equal(
            part.subset(np.array([0])).batch(np.array([0]))[0][0], IMAGES[chosen[0]]
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_integer_labels_become_int64(dtype):
    samples = TensorSamples(IMAGES, LABELS.astype(dtype))
    assert samples.targets.dtype == torch.int64
    assert samples.labels.dtype == np.int64
    np.testing.assert_array_equal(samples.labels, LABELS)


@pytest.mark.parametrize(
    "targets",
    [
        np.linspace(0, 1, N),
        np.zeros((N, 3), dtype=np.int32),
        np.zeros(N, dtype=bool),
        np.zeros(N, dtype=np.complex64),
    ],
)
def test_other_targets_stay_as_they_are_and_are_no_labels(targets):
    samples = TensorSamples(IMAGES, targets)
    assert samples.labels is None
    assert samples.targets.dtype == torch.from_numpy(targets).dtype
    dataset = as_samples(Items(zip(IMAGES, targets, strict=True)))
    assert dataset.labels is None
    assert_same(dataset.batch(np.arange(3)), samples.batch(np.arange(3)))


def test_input_types_stay_as_they_are():
    samples = TensorSamples(IMAGES.astype(np.float64), LABELS)
    assert samples.inputs.dtype == samples.batch(np.array([1]))[0].dtype == torch.float64


def test_read_only_and_reversed_arrays_are_taken():
    frozen = IMAGES.copy()
    frozen.flags.writeable = False
    samples = TensorSamples((frozen, IMAGES[::-1]), LABELS)
    inputs, _ = samples.batch(np.array([2]))
    np.testing.assert_array_equal(inputs[0][0], IMAGES[2])
    np.testing.assert_array_equal(inputs[1][0], IMAGES[-3])


def test_gradients_are_not_kept():
    inputs = torch.ones(3, 2, requires_grad=True) * 2
    assert not TensorSamples(inputs, np.arange(3)).batch(np.array([0]))[0].requires_grad


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_what_is_handed_out_may_be_written_to(kind):
    samples = as_samples((IMAGES.copy(), LABELS.copy()))
    if kind == "dataset":
        samples = as_samples(Items(zip(IMAGES.copy(), LABELS.tolist(), strict=True)))
    before = fingerprint(samples)
    inputs, targets = samples.batch(np.arange(N))
    inputs.zero_()
    targets.zero_()
    samples.labels[:] = 0
    assert fingerprint(samples) == before
    np.testing.assert_array_equal(samples.labels, LABELS)


@given(first=st.integers(0, N - 1), size=st.integers(1, N))
def test_a_span_is_the_batch_of_its_indices(first, size):
    last = min(first + size, N)
    for samples in (
        TensorSamples(CONTAINERS["nested"], LABELS),
        as_samples(Items((row(CONTAINERS["nested"], i), int(LABELS[i])) for i in range(N))),
    ):
        assert_same(samples.span(first, last), samples.batch(np.arange(first, last)))


@pytest.mark.parametrize(
    ("first", "last", "got"), [(0, N + 1, N), (-1, 3, -1), (N, N + 2, N + 1), (-3, -1, -3)]
)
@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_a_span_out_of_range_is_refused(kind, first, last, got):
    samples = TensorSamples(IMAGES, LABELS)
    if kind == "dataset":
        samples = as_samples(Items(zip(IMAGES, LABELS, strict=True)))
    with pytest.raises(ArgumentError, match=f"expected indices from 0 to {N - 1}, got {got}"):
        samples.span(first, last)


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_a_span_of_no_samples_is_refused(kind):
    samples = TensorSamples(IMAGES, LABELS)
    if kind == "dataset":
        samples = as_samples(Items(zip(IMAGES, LABELS, strict=True)))
    for first, last in ((3, 3), (4, 2)):
        with pytest.raises(ArgumentError, match="expected at least one index"):
            samples.span(first, last)


def test_labels_of_a_dataset_are_read_once():
    dataset = Items(zip(IMAGES, LABELS, strict=True))
    samples = DatasetSamples(dataset)
    assert dataset.n_reads == 1
    assert samples.labels is not None
    n_reads = dataset.n_reads
    part = samples.subset(np.array([3, 4]))
    n_reads_of_new_part = dataset.n_reads - n_reads
    assert samples.labels is not None
    assert part.labels.tolist() == [3, 4]
    assert n_reads_of_new_part == 1
    assert dataset.n_reads == n_reads + n_reads_of_new_part


def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    samples = as_samples(Items(zip(IMAGES, LABELS, strict=True)))
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    assert samples.batch(np.arange(5))[1].shape == (5,)
    assert samples.subset(np.arange(5)).labels is not None
    assert fingerprint(samples)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_samples_survive_pickling():
    for samples in (
        TensorSamples(CONTAINERS["nested"], LABELS),
        as_samples(Items(zip(IMAGES, LABELS, strict=True))),
    ):
        assert fingerprint(pickle.loads(pickle.dumps(samples))) == fingerprint(samples)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "indices: expected at least one index"),
        ([N], f"indices: expected indices from 0 to {N - 1}, got {N}"),
        ([0, -1], f"indices: expected indices from 0 to {N - 1}, got -1"),
        ([0.0], "indices: expected indices of an integer type"),
        ([True], "indices: expected indices of an integer type"),
        ([[0]], "indices: expected a one-dimensional array"),
    ],
)
@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_wrong_indices_are_refused(kind, indices, message):
    samples = TensorSamples(IMAGES, LABELS)
    if kind == "dataset":
        samples = as_samples(Items(zip(IMAGES, LABELS, strict=True)))
    with pytest.raises(ArgumentError, match=message):
        samples.batch(np.array(indices))
    with pytest.raises(ArgumentError, match=message):
        samples.subset(np.array(indices))


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (IMAGES, LABELS[:-1], "^inputs: expected 11 samples, as many as targets, got 12"),
        ((IMAGES, MASKS[:3]), LABELS, r"^inputs\[1\]: expected 12 samples.*got 3"),
        ({"a": {"b": MASKS[:3]}}, LABELS, r"^inputs\['a'\]\['b'\]: expected 12 samples"),
        (IMAGES[:0], LABELS[:0], "^inputs: expected at least one sample, got none"),
        (np.ones(()), LABELS, "^inputs: expected samples along the first dim"),
        (IMAGES, torch.tensor(1), "^targets: expected samples along the first dimension"),
        ("images", LABELS, "^inputs: expected a tensor or a NumPy array, got <class 'str'>"),
        (IMAGES, [0] * N, "^targets: expected a tensor or a NumPy array, got <class 'list'>"),
        ((), LABELS, "^inputs: expected at least one tensor or NumPy array"),
        (np.array(["a"] * N), LABELS, "^inputs: expected an array of numbers, got <U1"),
    ],
)
def test_unfit_tensors_are_refused(inputs, targets, message):
    with pytest.raises(ArgumentError, match=message):
        TensorSamples(inputs, targets)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(IMAGES[0], 0)])


class NoLength(Dataset):
    def __getitem__(self, index):
        return IMAGES[index], 0


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "^dataset: expected a map-style dataset with a length"),
        (NoLength(), "^dataset: expected a map-style dataset with a length"),
        (Items([]), "^dataset: expected at least one sample, got an empty dataset"),
        (Items([IMAGES[0]]), r"^dataset: expected items that are \(input, target\) pairs"),
        (Items([(IMAGES[0], 0, 1)]), r"^dataset: expected items that are \(input, target\) pairs"),
        (Items([(object(), 0)]), "^dataset: expected inputs and targets of tensors.*object"),
        (Items([(IMAGES[0], "shirt")]), "^dataset: expected inputs and targets of tensors"),
        (Items([("shirt", 0)]), "^dataset: expected inputs and targets of tensors"),
    ],
)
def test_unfit_datasets_are_refused(dataset, message):
    with pytest.raises(ArgumentError, match=message):
        DatasetSamples(dataset)


def test_as_samples_takes_samples_pairs_and_datasets():
    samples = TensorSamples(IMAGES, LABELS)
    assert as_samples(samples) is samples
    assert isinstance(as_samples((IMAGES, LABELS)), TensorSamples)
    assert isinstance(as_samples(((IMAGES, MASKS), torch.from_numpy(LABELS))), TensorSamples)
    pairs = TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
    assert isinstance(as_samples(pairs), TensorSamples)
    assert isinstance(as_samples(Items([(IMAGES[0], 0)])), DatasetSamples)


def test_a_subclass_of_tensor_dataset_keeps_its_own_items():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image * 2, label

    samples = as_samples(Doubled(torch.from_numpy(IMAGES), torch.from_numpy(LABELS)))
    np.testing.assert_array_equal(samples.batch(np.array([4]))[0][0], IMAGES[4] * 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "^validation: expected Samples, a tuple .*, or a map-style Dataset, got <class 'int'>"),
        (None, "^validation: expected Samples.*NoneType"),
        (IMAGES, "^validation: expected Samples.*ndarray"),
        (DataLoader(Items([(IMAGES[0], 0)])), "DataLoader'>; give its dataset, loader.dataset$"),
        ((IMAGES, LABELS, LABELS), r"got a tuple of \(ndarray, ndarray, ndarray\)"),
        ((IMAGES, "labels"), r"^validation: .*got a tuple of \(ndarray, str\)"),
        ((IMAGES, LABELS[1:]), "^validation inputs: expected 11 .* as validation targets, got 12"),
        (Items([]), "^validation: expected at least one sample"),
    ],
)
def test_as_samples_names_the_argument(data, message):
    with pytest.raises(ArgumentError, match=message):
        as_samples(data, name="validation")


def test_the_fingerprint_changes_with_everything_it_covers():
    def of(inputs, targets):
        return fingerprint(TensorSamples(inputs, targets))

    changed = IMAGES.copy()
    changed[N - 1, 1, 2] = np.nextafter(changed[N - 1, 1, 2], np.float32(9))
    other_labels = LABELS.copy()
    other_labels[0] = 4
    all_of_them = [
        of(IMAGES, LABELS),
        of(changed, LABELS),
        of(IMAGES, other_labels),
        of(IMAGES.reshape(N, 3, 2), LABELS),
        of(IMAGES.view(np.int32), LABELS),
        of(IMAGES[::-1], LABELS),
        of(IMAGES[:-1], LABELS[:-1]),
        of({"image": IMAGES}, LABELS),
        of({"picture": IMAGES}, LABELS),
        of((IMAGES,), LABELS),
        of(IMAGES, LABELS.astype(np.float32)),
    ]
    assert len(set(all_of_them)) == len(all_of_them)
    assert all(len(digest) == 64 for digest in all_of_them)
    assert of(IMAGES, LABELS) == of(torch.from_numpy(IMAGES), LABELS.astype(np.int64))


def test_the_fingerprint_reads_past_its_first_batch():
    inputs = np.zeros((3000, 1), np.float32)
    before = fingerprint(TensorSamples(inputs, np.zeros(3000)))
    inputs[2999] = 1
    assert fingerprint(TensorSamples(inputs, np.zeros(3000))) != before


def test_the_fingerprint_of_known_content_stays_the_same():
    samples = TensorSamples(torch.arange(6, dtype=torch.bfloat16).reshape(3, 2), np.arange(3))
    assert fingerprint(samples).startswith("e1438fa45da4")


def test_own_samples_need_all_four_members():
    class Half(Samples):
        def __len__(self):
            return 1

    with pytest.raises(TypeError, match="abstract"):
        Half()


class Broken(Dataset):
    """Raises an error at one place, or has samples of different shapes."""

    def __init__(self, *, at=None, length=12, ragged=False):
        self.at, self.length, self.ragged = at, length, ragged

    def __len__(self):
        if self.length < 0:
            raise OSError("the index is gone")
        return self.length

    def __getitem__(self, index):
        if index == self.at:
            raise OSError("a bad sector")
        return torch.zeros(index if self.ragged else 3), index % 2


def test_a_sample_that_cannot_be_read_is_named():
    samples = as_samples(Broken(at=5), name="validation")
    with pytest.raises(DataError, match=r"validation\[5\]: cannot be read \(OSError: a bad sector"):
        samples.batch(np.arange(8))


def test_samples_of_different_shapes_are_refused():
    with pytest.raises(ArgumentError, match=r"data: expected inputs and targets .*stack expects"):
        as_samples(Broken(ragged=True)).batch(np.arange(3))


def test_a_length_that_raises_is_refused():
    with pytest.raises(ArgumentError, match="data: expected a dataset with a length"):
        as_samples(Broken(length=-1))


@pytest.mark.parametrize("target", ["cat", None, 2.5, [1], 2**80])
def test_a_label_that_is_no_whole_number_is_named(target):
    class Mixed(Items):
        def __getitem__(self, index):
            return torch.zeros(2), target if index == 3 else 1

    with pytest.raises(DataError, match=r"^dataset\[3\]: expected a class label, .*, got "):
        _ = DatasetSamples(Mixed(range(5))).labels


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.eye(4).to_sparse(), "expected a dense tensor, got .*torch.sparse_coo"),
        (torch.eye(4, device="meta"), "expected a tensor that holds numbers, got .*'meta'"),
    ],
)
def test_tensors_that_samples_cannot_be_taken_from_are_refused(tensor, match):
    with pytest.raises(ArgumentError, match=f"^data inputs: {match}"):
        as_samples((tensor, torch.arange(4)))
    with pytest.raises(ArgumentError, match=rf"^data inputs\['a'\]\[0\]: {match}"):
        as_samples(({"a": (tensor,)}, torch.arange(4)))
