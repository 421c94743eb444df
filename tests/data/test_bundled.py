import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from ecomp_deap.data import find_fashion_mnist, read_idx
from ecomp_deap.data.fashion_mnist import BUNDLED_FOLDER
from tests.data.idx_files import STEMS, small_set, write_set

SCRIPT = Path(__file__).parents[2] / "experiments" / "build_slice.py"


@pytest.fixture(scope="module")
def build_slice():
    spec = importlib.util.spec_from_file_location("build_slice", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sums_in_the_readme_are_those_of_the_files():
    readme = (BUNDLED_FOLDER / "README.md").read_text(encoding="utf-8")
    stated = {name: digest for digest, name in re.findall(r"^(\w{64})  (\S+)$", readme, re.M)}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in BUNDLED_FOLDER.glob("*.xz")
    }
    assert stated == found
    assert set(found) == {f"{stem}.xz" for stem in STEMS}


def test_the_test_images_are_the_original_ones():
    # Sums of the IDX files in Debian's package, unpacked.
    images, labels = (read_idx(BUNDLED_FOLDER / f"{stem}.xz") for stem in STEMS[2:])
    assert hashlib.sha256(_header(images) + images.tobytes()).hexdigest() == (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    )
    assert hashlib.sha256(_header(labels) + labels.tobytes()).hexdigest() == (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    )


def test_the_licence_comes_with_the_data():
    text = (BUNDLED_FOLDER / "LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")
    assert "2017 Zalando SE" in text
    assert "Permission is hereby granted, free of charge" in text


def test_the_script_takes_the_first_of_each_class_in_order(tmp_path, build_slice, capsys):
    arrays = small_set(n_train=60)
    arrays[STEMS[1]] = np.random.default_rng(4).permutation(arrays[STEMS[1]])
    source, output = write_set(tmp_path / "full", arrays, ".gz"), tmp_path / "new" / "slice"

    build_slice.main([str(source), str(output), "--per-class", "2"])

    labels = arrays[STEMS[1]]
    seen = [int((labels[:i] == label).sum()) for i, label in enumerate(labels)]
    expected = [i for i, count in enumerate(seen) if count < 2]
    found = find_fashion_mnist(output)
    np.testing.assert_array_equal(found.train_images, arrays[STEMS[0]][expected])
    np.testing.assert_array_equal(found.train_labels, labels[expected])
    np.testing.assert_array_equal(found.test_images, arrays[STEMS[2]])
    np.testing.assert_array_equal(found.test_labels, arrays[STEMS[3]])

    # A second run writes the same bytes, and the printed sums are those of the files.
    printed = capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in output.iterdir()}
    build_slice.main([str(source), str(output), "--per-class", "2"])
    assert {path.name: path.read_bytes() for path in output.iterdir()} == files
    for name, content in files.items():
        assert f"{hashlib.sha256(content).hexdigest()}  {name}\n" in printed


def test_the_script_refuses_a_set_with_too_few(tmp_path, build_slice):
    source = write_set(tmp_path / "full", small_set(n_train=60))
    with pytest.raises(SystemExit, match="class 0 has 6 images, 7 are needed"):
        build_slice.main([str(source), str(tmp_path / "slice"), "--per-class", "7"])


def _header(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
