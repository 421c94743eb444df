"""Files that were made to do harm: each is refused by an error of ours, soon and in little memory.

A reader that waits, recurses or unpacks without end would not fail a test but stop it, so these
have a limit of time.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import contextlib
import gzip
import hashlib
import json
import lzma
import os
import shutil
import struct
import threading
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors
from torch import nn

from ecomp_deap.data import read_idx
from ecomp_deap.data.fashion_mnist import find_fashion_mnist
from ecomp_deap.errors import ArgumentError, DataError, EcompError
from ecomp_deap.exports import export, load_child
from ecomp_deap.exports.architecture import build
from ecomp_deap.exports.graphs import read_onnx, read_pt2
from ecomp_deap.exports.manifest import read_manifest
from ecomp_deap.exports.samples import make_example
from ecomp_deap.logbook import export_logbook, read_logbook
from ecomp_deap.network.layers import InputLinear
from ecomp_deap.report import plot_attainment, plot_boxes, plot_front, plot_run, run_table
from ecomp_deap.runs.config import load_toml
from ecomp_deap.runs.directory import RunDirectory, read_front
from ecomp_deap.search.exporting import export_from_run
from ecomp_deap.search.parent import find_trained_parent

DEEP = b"[" * 100_000


def kind(value):
    """The short name of a parameter that is too long for one."""
    return type(value).__name__


NAMES = ("id", "validation_accuracy", "test_accuracy", "similarity_loss", "relative_width")
COLUMNS = (*NAMES, "param_count", "mac_count", "size_bytes", "widths")


def row(identifier, accuracy=0.5, count=100):
    values = (identifier, accuracy, accuracy, 0.1, 0.5, count, count, 4 * count, "5-5")
    return dict(zip(COLUMNS, values, strict=True))


@pytest.fixture
def run(tmp_path):
    """A finished run of one child, made by hand."""
    directory = RunDirectory.create(tmp_path / "runs", "first")
    directory.write_rows("front.csv", COLUMNS, [row("001")])
    write_summary(directory.path)
    figures = {"min": 0.1, "mean": 0.2, "max": 0.3, "std": 0.1}
    chapters = ("accuracy", "similarity_loss", "relative_width", "param_count")
    flat = {f"{chapter}_{name}": v for chapter in chapters for name, v in figures.items()}
    export_logbook([{"gen": 0, **flat}], directory.path / "logbook.csv")
    example = torch.zeros(2, 3)
    export(nn.Sequential(nn.Linear(3, 2)), directory.child("001"), example=example)
    return directory


def write_summary(folder, **changes):
    summary = {
        "parent": row("parent", 0.9, 1000),
        "best": row("001"),
        "picks": {"best": "001"},
        "seconds": {"search": 3.0, "finalise": 1.0},
        "evaluations": 100,
    }
    (folder / "summary.json").write_text(json.dumps({**summary, **changes}))


def stopped_after(seconds, function):
    """Return what a function raises, which must do so soon."""
    raised = []

    def call():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it takes too long"
    assert raised, "it is accepted"
    return raised[0]


def read_summary(path):
    return RunDirectory(path.parent).summary()


def read_config(path):
    return RunDirectory(path.parent).config()


def read_tensors(path):
    manifest = {"format": "ecomp_deap.child", "format_version": 1, "sha256": ""}
    path.with_suffix(".json").write_text(json.dumps({**manifest, "architecture": {}}))
    return load_child(path)


READERS = {
    "images": read_idx,
    "images.gz": read_idx,
    "images.xz": read_idx,
    "child.json": lambda path: load_child(path.with_suffix(".safetensors")),
    "child.safetensors": read_tensors,
    "front.csv": read_front,
    "run.toml": load_toml,
    "logbook.csv": read_logbook,
    "logbook.json": read_logbook,
    "logbook.jsonl": read_logbook,
    "summary.json": read_summary,
    "config.json": read_config,
    "child.pt2": read_pt2,
    "child.onnx": read_onnx,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_what_is_no_file_is_not_read(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    error = stopped_after(20, lambda: READERS[name](path))
    assert isinstance(error, DataError)
    assert str(path) in str(error)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content",
    [DEEP, b'{"a":' * 100_000, b"junk", b"", b"\xff\xfe\x00", b'"\\ud800"', b"1" * 5000],
    ids=kind,
)
def test_junk_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    if name.endswith(".csv") and content in (b"junk", DEEP, b'"\\ud800"', b"1" * 5000):
        assert READERS[name](path) == []  # the name of a column, and no rows
    elif content == b"" and name in ("run.toml", "logbook.csv", "logbook.jsonl"):
        READERS[name](path)  # no options, and no rows
    else:
        assert isinstance(stopped_after(20, lambda: READERS[name](path)), EcompError)


@pytest.mark.parametrize("read", [read_idx, load_child, read_logbook])
@pytest.mark.parametrize("path", ["a\0.csv", 3, None, b"a.csv"])
def test_paths_that_are_none_are_refused(read, path):
    with pytest.raises(ArgumentError, match="path: expected a path, got"):
        read(path)


# Exporting


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("where", ["../../outside", "absolute", "a/../../../outside", ".."])
def test_no_id_leads_out_of_a_run(run, tmp_path, where, inside):
    outside = tmp_path / "outside"
    for suffix in (".safetensors", ".json"):
        shutil.copy(run.child("001").with_suffix(suffix), outside.with_suffix(suffix))
    identifier = str(outside) if where == "absolute" else where
    write_summary(run.path, best={"id": identifier})
    if inside:
        run.write_rows("front.csv", ("id",), [{"id": identifier}])
    before = sorted(path for path in tmp_path.rglob("*") if path.name != "exports")
    with pytest.raises(DataError, match=r"expected ids of letters|which the summary calls"):
        export_from_run(run.path, "best", format="safetensors")
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "exports") == before


def test_ids_name_files_of_the_run_alone(run):
    assert run.child("a_B-9").name == "a_B-9.safetensors"
    for identifier in ("a/b", "..", "a\0", "é", 3, None, "x\n"):
        with pytest.raises(DataError, match=r"expected ids of letters, digits, '_' and '-'"):
            run.child(identifier)
        with pytest.raises(DataError, match=r"expected ids of letters, digits, '_' and '-'"):
            run.export(identifier, "onnx")


def test_a_useless_parent_is_passed_over(tmp_path):
    told = []
    for number, content in enumerate([DEEP, b"[]", b"{}", b'{"metadata": 3}', b"\xff"], start=1):
        folder = tmp_path / f"a_{number}"
        folder.mkdir()
        (folder / "parent.safetensors").write_bytes(b"")
        (folder / "parent.json").write_bytes(content)
    assert find_trained_parent(tmp_path, "a", {"seed": 1}, tell=told.append) is None
    assert len(told) == 5
    assert "nested too deeply" in told[0]


# Children


def child(path, tensors, **manifest):
    """Write a child of any tensors and manifest, with the right sum."""
    content = save_tensors(tensors)
    path.write_bytes(content)
    about = {"format": "ecomp_deap.child", "sha256": hashlib.sha256(content).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps({**about, "format_version": 1, **manifest}))
    return path


FACTORIES = {
    "linear": lambda: nn.Sequential(nn.Linear(3, 2)),
    "conv": lambda: nn.Sequential(nn.Conv2d(3, 4, 3)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)),
    "norm": lambda: nn.Sequential(nn.BatchNorm1d(3)),
    "attention": lambda: nn.Sequential(nn.MultiheadAttention(4, 2)),
    "embedding": lambda: nn.Sequential(nn.Embedding(5, 3)),
    "lstm": lambda: nn.Sequential(nn.LSTM(3, 2)),
    "prelu": lambda: nn.Sequential(nn.PReLU(2)),
}
CHANGES = {
    "one dimension more": lambda tensor: tensor[None],
    "one dimension less": lambda tensor: tensor.flatten()[0] if tensor.ndim < 2 else tensor[0],
    "integers": lambda tensor: tensor.to(torch.int64),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "bool": lambda tensor: tensor > 0,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FACTORIES)
def test_tensors_of_other_dimensions_or_kinds_are_refused(tmp_path, name, change):
    network = FACTORIES[name]()
    tensors = {k: v for k, v in network.state_dict().items() if v.ndim}
    changed = {k: CHANGES[change](tensor).contiguous() for k, tensor in tensors.items()}
    state = {**network.state_dict(), **changed}
    path = child(tmp_path / "c.safetensors", state, architecture={})
    with pytest.raises(EcompError, match=r"expected a network like the parent|does not fit"):
        load_child(path, network)


@given(data=st.data())
@settings(deadline=None)
def test_tensors_of_any_sizes_load_or_are_refused(tmp_path_factory, data):
    network = FACTORIES[data.draw(st.sampled_from(sorted(FACTORIES)))]()
    tensors = {
        name: torch.zeros([data.draw(st.integers(0, 6)) for _ in tensor.shape], dtype=tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    path = child(tmp_path_factory.mktemp("c") / "c.safetensors", tensors, architecture={})
    try:
        loaded = load_child(path, network)
    except EcompError:
        return
    assert {k: v.shape for k, v in loaded.state_dict().items()} == {
        k: v.shape for k, v in tensors.items()
    }
    for layer in loaded.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.BatchNorm1d)):
            assert len({len(tensor) for tensor in layer.state_dict().values() if tensor.ndim}) == 1


def test_tensors_of_one_layer_must_fit_each_other(tmp_path):
    tensors = {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(5)}
    path = child(tmp_path / "c.safetensors", tensors, architecture={})
    with pytest.raises(DataError, match=r"the tensors of '0' do not fit each other"):
        load_child(path, nn.Sequential(nn.Linear(3, 2)))


def test_weights_of_a_stack_are_no_integers(tmp_path):
    linear = {"class": "Linear", "arguments": {"in_features": 3, "out_features": 2}}
    tensors = {"0.weight": torch.zeros(2, 3, dtype=torch.int64), "0.bias": torch.zeros(2)}
    stack = {"class": "Sequential", "layers": {"0": linear}}
    path = child(tmp_path / "c.safetensors", tensors, architecture=stack)
    with pytest.raises(DataError, match=r"'0\.weight' is int64\[2, 3\], not float32\[2, 3\]"):
        load_child(path)


ODD_INDICES = {
    "bfloat16": torch.tensor([0, 1], dtype=torch.bfloat16),
    "float8": torch.tensor([0.0, 1.0]).to(torch.float8_e4m3fn),
    "float": torch.tensor([0.0, 1.0]),
    "complex": torch.tensor([0, 1], dtype=torch.complex64),
    "bool": torch.tensor([False, True]),
    "scalar": torch.tensor(1),
    "table": torch.tensor([[0, 1]]),
    "negative": torch.tensor([-1, 1]),
    "beyond": torch.tensor([0, 4]),
    "twice": torch.tensor([1, 1]),
    "too few": torch.tensor([1]),
    "too many": torch.tensor([0, 1, 2]),
}


@pytest.mark.parametrize("by_factory", [True, False])
@pytest.mark.parametrize("odd", ODD_INDICES)
def test_indices_of_inputs_are_distinct_places_of_the_parents(tmp_path, odd, by_factory):
    network = nn.Sequential(InputLinear(2, 3))
    indices = "0.input_indices"
    path = export(
        network, tmp_path / "c.safetensors", factory=lambda: nn.Sequential(nn.Linear(4, 3))
    )
    parent = nn.Sequential(nn.Linear(4, 3))
    assert isinstance(load_child(path, parent if by_factory else None)[0], InputLinear)
    tensors = {**network.state_dict(), indices: ODD_INDICES[odd]}
    manifest = read_manifest(path.with_suffix(".json"))
    del manifest["tensors"], manifest["sha256"]
    child(path, tensors, **{**manifest, "format_version": 1})
    with pytest.raises(DataError, match=r"input_indices"):
        load_child(path, parent if by_factory else None)


def test_manifests_with_odd_entries_are_refused(tmp_path):
    path = child(tmp_path / "c.safetensors", {"a": torch.zeros(1)}, architecture={})
    manifest = json.loads(path.with_suffix(".json").read_text())
    for change in (
        {"metadata": 3},
        {"sha256": 3},
        {"factory": []},
        {"tied": {"b": ["a"]}},
        {"tied": {"b": "c"}},
        {"format_version": True},
        {"format_version": 1.0},
        {"format_version": [[[]]]},
    ):
        path.with_suffix(".json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DataError, match=r"c\.(json|safetensors): "):
            load_child(path)


LINEAR = {"in_features": 3, "out_features": 2}
TRANSFORMER = {"d_model": 8, "nhead": 2, "num_encoder_layers": 20_000, "num_decoder_layers": 0}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Transformer", TRANSFORMER),
        ("Transformer", {}),
        ("LSTM", {"input_size": 1, "hidden_size": 1, "num_layers": 200_000}),
        ("RNNBase", {"mode": "LSTM", "input_size": 1, "hidden_size": 1, "num_layers": 200_000}),
        ("MultiheadAttention", {"embed_dim": 8, "num_heads": 2}),
        ("Linear", {**LINEAR, "device": "cpu"}),
        ("Linear", {**LINEAR, "dtype": "float32"}),
        ("Linear", {**LINEAR, "in_features": 10**30}),
        ("Linear", {**LINEAR, "in_features": [1] * 10_000}),
        ("Linear", {**LINEAR, "in_features": {"a": 1}}),
        ("Linear", {**LINEAR, "in_features": [[1]]}),
        ("InputLinear", {**LINEAR, "device": "cpu"}),
        ("Sequential", {}),
        ("x" * 10_000, {}),
        ("LazyLinear", {"out_features": 3, "device": "cpu"}),
    ],
    ids=kind,
)
def test_layers_are_built_from_few_arguments_alone(kind, arguments):
    start = time.perf_counter()
    with pytest.raises(DataError, match="manifest: layer 'module' cannot be built: ") as caught:
        build({"class": kind, "arguments": arguments})
    assert time.perf_counter() - start < 5
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_stacks_are_not_endlessly_deep():
    description = {"class": "Identity", "arguments": {}}
    for _ in range(300):
        description = {"class": "Sequential", "layers": {"0": description}}
    with pytest.raises(DataError, match="it is nested in more than 64"):
        build(description)


@pytest.mark.parametrize(
    "inputs",
    [
        {"shape": [1] * 10_000, "dtype": "float32"},
        {"shape": [2**40], "dtype": "float32"},
        {"shape": [2**20, 2**20], "dtype": "uint8"},
        {"shape": [0, *[2**28] * 40], "dtype": "float32"},
        {"shape": [-1], "dtype": "float32"},
        {"shape": [1.5], "dtype": "float32"},
        {"shape": [True], "dtype": "float32"},
        {"shape": [2], "dtype": "bits8"},
        {"shape": [2], "dtype": "quint8"},
        {"shape": [2], "dtype": "nn"},
        {"shape": [2], "dtype": ["float32"]},
        [{"shape": [2**27], "dtype": "float32"}] * 4,
        [[[[]]]],
    ],
    ids=kind,
)
def test_examples_are_made_of_sane_shapes_and_types(inputs):
    with pytest.raises(DataError, match="manifest: no inputs can be made of") as caught:
        make_example(inputs, 2)
    assert len(str(caught.value)) < 700


# IDX


def idx(*shape, kind=8):
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes([0, 0, 8, 65]) + b"\0\0\0\1" * 65 + b"x", "4 dimensions at most, but it has 65"),
        (idx(*[2**32 - 1] * 4), "truncated: shape"),
        (idx(0, *[2**32 - 1] * 3), "is too large"),
        (idx(2**32 - 1), "truncated: shape"),
    ],
)
def test_idx_files_of_odd_shapes_are_refused(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_no_more_is_unpacked_than_the_header_asks_for(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    path.write_bytes(pack(idx(1) + bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(DataError, match="followed by other bytes"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24  # of which xz itself takes a half


def test_an_xz_file_that_asks_for_gigabytes_is_refused(tmp_path):
    path = tmp_path / "a.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    path.write_bytes(lzma.compress(idx(1) + b"x", filters=filters))
    with pytest.raises(DataError, match=r"corrupt \.xz file \(Memory usage limit exceeded"):
        read_idx(path)


def test_folders_of_odd_names_hold_no_data():
    with pytest.raises(DataError, match="expected a folder with the four IDX files"):
        find_fashion_mnist("x" * 5000)
    for folder in ("a\0", 3):
        with pytest.raises(ArgumentError, match="data_dir: expected a path"):
            find_fashion_mnist(folder)


# Tables and pictures


@pytest.mark.parametrize("draw", [run_table, plot_run])
@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "x"},
        {"seconds": None},
        {"seconds": {"search": "x", "finalise": 1}},
        {"seconds": {"search": 10**400, "finalise": 1}},
        {"evaluations": None},
        {"evaluations": 1.5},
        {"evaluations": "x"},
        {"evaluations": True},
        {"picks": {"best": []}},
        {"picks": {"best": 3}},
        {"picks": []},
        {"parent": {"param_count": 1.5}},
        {"parent": {"param_count": "x"}},
        {"parent": {"param_count": 10**300}},
        {"parent": {"param_count": 10**400}},
        {"parent": {"param_count": -1}},
        {"parent": {"test_accuracy": []}},
        {"parent": {"test_accuracy": True}},
        {"parent": {"relative_width": {}}},
        {"parent": {"id": 3}},
        {"best": []},
        {"best": {"id": {}}},
        {"training_samples": {"search": "x"}},
    ],
    ids=kind,
)
def test_summaries_of_other_types_are_refused(run, draw, change):
    write_summary(run.path, **change)
    with pytest.raises(DataError, match=r"summary\.json: expected a run's summary, but '"):
        draw(run.path)


@pytest.mark.parametrize("missing", ["seconds", "evaluations"])
def test_a_table_names_what_the_summary_lacks(run, missing):
    summary = run.summary()
    del summary[missing]
    run.write_json("summary.json", summary)
    with pytest.raises(DataError, match=rf"summary\.json: the summary lacks '{missing}|search"):
        run_table(run.path)


def test_a_front_without_ids_is_refused(run):
    run.write_rows("front.csv", ("param_count",), [{"param_count": 3}])
    for draw in (run_table, plot_run):
        with pytest.raises(DataError, match=r"front\.csv: expected a front, but it has no column"):
            draw(run.path)


@pytest.mark.parametrize("count", [0, -1, 10**300, 10**400, 1e300, float("inf")], ids=kind)
def test_networks_of_impossible_sizes_are_not_drawn(tmp_path, count):
    parent = row("parent", 0.9, 1000) | {"param_count": count}
    with pytest.raises(ArgumentError, match="param_count: expected"):
        plot_front([row("001")], parent, tmp_path / "a.png")
    with pytest.raises(ArgumentError, match=r"param_count|finite"):
        plot_front([parent], None, tmp_path / "a.png")
    with pytest.raises(ArgumentError, match=r"param_count|finite"):
        plot_attainment({"a": [[row("001")]]}, parent, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_parent_of_no_size_is_an_error_of_the_run(run):
    write_summary(run.path, parent=row("parent", 0.9, 0))
    with pytest.raises(DataError, match=r"its files hold what cannot be drawn: param_count"):
        plot_run(run.path)


def test_a_file_in_the_way_of_plots_is_named(run):
    (run.path / "plots").write_text("")
    with pytest.raises(DataError, match=r"plots: expected a folder, but it is none"):
        plot_run(run.path)


@pytest.mark.parametrize("name", ["$\\frac{$", "$x", "\ud800", "$a$ $b", "x" * 10_000], ids=kind)
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_names_are_drawn_as_they_are(tmp_path, name):
    path = tmp_path / "a.png"
    groups = {name: [1.0, 2.0]}
    assert plot_boxes(
        groups, path, ylabel=name, xlabel=name, title=name, label=name, overlay=groups
    )
    assert plot_front([row("001")], None, path, title=name, picks={name: "001"})
    assert plot_attainment({name: [[row("001")]]}, row("p"), path, title=name)


# CSV


@pytest.mark.parametrize("value", ["\ud800", 10**5000, -(10**5000)], ids=kind)
@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_what_no_file_can_hold_is_not_exported(tmp_path, value, suffix):
    with pytest.raises(ArgumentError, match=r"logbook\[0\] reason: expected"):
        export_logbook([{"gen": 0, "reason": value}], tmp_path / f"x.{suffix}")
    with pytest.raises(ArgumentError, match="logbook: expected names that UTF-8 can write"):
        export_logbook([{"\ud800": 0}], tmp_path / f"x.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_records_that_are_none_are_not_exported(tmp_path):
    endless = []
    endless.append(endless)
    for logbook in ([3], [{"a": endless}]):
        with pytest.raises(ArgumentError, match=r"logbook(\[0\])?: expected"):
            export_logbook(logbook, tmp_path / "x.csv")


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "=cmd|' /C calc'!A0", "'=1", "''", "'", "'x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula_to_spreadsheets(tmp_path, text):
    path = export_logbook([{"gen": -1, text: text, "x": -0.5}], tmp_path / "x.csv")
    assert read_logbook(path) == [{"gen": -1, text: text, "x": -0.5}]
    fields = path.read_text().replace("\n", ",").split(",")
    assert not any(field.startswith(("=", "+", "@", "\t")) for field in fields)
    assert "-1" in fields  # a number stays one
    RunDirectory(tmp_path).write_rows("front.csv", ("id", "y", "widths"), [{"id": text, "y": -1.0}])
    written = (tmp_path / "front.csv").read_bytes().decode().split("\n")[1]
    assert written.lstrip('"').startswith("'")
    assert read_front(tmp_path / "front.csv") == [{"id": text, "y": -1.0, "widths": ""}]


@given(text=st.text("=+-@\t'\"ax,\n", max_size=5))
def test_guarded_text_comes_back(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    RunDirectory(folder).write_rows("guarded.csv", ("id", "method"), [{"id": text, "method": "m"}])
    assert read_front(folder / "guarded.csv") == [{"id": text, "method": "m"}]


@pytest.mark.parametrize("text", ["a\rb", "\r", "\ud800"])
def test_text_that_would_not_come_back_is_not_written(tmp_path, text):
    with pytest.raises(ArgumentError, match="rows: expected text that CSV and UTF-8 can hold"):
        RunDirectory(tmp_path).write_rows("front.csv", ("id",), [{"id": text}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "id,x\n1,inf\n",
        "id,x\n1,nan\n",
        "id,x\n1,1e999\n",
        "id,x\n1,1_0\n",
        "id,x\n1, 1\n",
        "id,x\n1,١\n",
        "id,param_count\n1,1_0\n",
        "id,param_count\n1,-1\n",
        "id,param_count\n1,+1\n",
        f"id,param_count\n1,{'9' * 300}\n",
        f"id,param_count\n1,{'9' * 5000}\n",
        "id,id\n1,2\n",
        'id,x\n1,"2\n',
        'id,x\n1,"2"3\n',
        "id,x\n1,2,3\n",
        f"id,x\n{'a' * 200_000},1\n",
    ],
    ids=kind,
)
def test_a_front_holds_finite_numbers_and_whole_rows(tmp_path, content):
    path = tmp_path / "front.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"front\.csv: expected a front, but") as caught:
        read_front(path)
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1, "a": 2}]', "a name twice"),
        ('[{"a": [1]}]', "something else than numbers and text under 'a'"),
        ('[{"a": {"b": 1}}]', "something else than numbers and text under 'a'"),
        ('[{"a": "\\ud800"}]', "text that is none under 'a'"),
        ('[{"\\ud800": 1}]', "text that is none"),
        ('[{"a": 1' + "0" * 5000 + "}]", "integer string conversion"),
    ],
    ids=kind,
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_rows_hold_plain_values_under_distinct_names(tmp_path, content, message, suffix):
    path = tmp_path / f"l.{suffix}"
    path.write_text(content if suffix == "json" else content[1:-1])
    with pytest.raises(DataError, match=rf"expected a logbook as {suffix}, but .*{message}"):
        read_logbook(path)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e308", "-1e308", "x", "", "True"])
@pytest.mark.parametrize("column", ["gen", "accuracy_mean", "param_count_std"])
@pytest.mark.filterwarnings("ignore")
def test_odd_logbooks_are_drawn_or_refused(run, column, value):
    path = run.path / "logbook.csv"
    names, fields = (line.split(",") for line in path.read_text().splitlines())
    fields[names.index(column)] = value
    path.write_text("\n".join(map(",".join, [names, fields, fields])) + "\n")
    with contextlib.suppress(DataError):
        assert all(Path(picture).exists() for picture in plot_run(run.path))


@pytest.mark.parametrize("value", ["1e308", "-1e308", "5e-324", "", "0"])
@pytest.mark.parametrize("column", [*NAMES[1:], "param_count"])
@pytest.mark.filterwarnings("ignore")
def test_odd_fronts_are_drawn_or_refused(run, column, value):
    path = run.path / "front.csv"
    names, fields = (line.split(",") for line in path.read_text().splitlines())
    odd = fields.copy()
    odd[names.index(column)] = value
    path.write_text("\n".join(map(",".join, [names, fields, odd])) + "\n")
    with contextlib.suppress(DataError):
        assert all(Path(picture).exists() for picture in plot_run(run.path))


@pytest.mark.parametrize(
    "content",
    [b"a = " + DEEP, b"a." * 30_000 + b"a = 1", b"a = 1" + b"0" * 5000, b"x = '" + b"a" * 2**17],
    ids=kind,
)
def test_endless_options_are_refused(tmp_path, content):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    assert isinstance(stopped_after(20, lambda: load_toml(path)), EcompError)


def test_sound_factories_still_load(tmp_path):
    layers = OrderedDict(a=nn.Linear(3, 2))

    class Other(nn.Sequential):
        pass

    path = export(nn.Sequential(layers), tmp_path / "c.safetensors")
    assert type(load_child(path, Other(layers))) is Other
