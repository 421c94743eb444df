"""Files of weights that someone else has made: read as tensors, or refused, with nothing run.

Each was seen to run code, to raise another error or to take gigabytes before
`network/weights_file.py` looked through files.

Seen to fail without what protects: experiments/reliability/protections.py.
"""

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from ecomp_deap import load_parent, make_parent
from ecomp_deap.errors import DataError

SOUND = make_parent((5, 4), n_inputs=3, n_outputs=2).state_dict()


class Harmful:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def refused(path, **options):
    with pytest.raises(DataError, match=r"^parent: ") as found:
        load_parent(path, **options)
    message = str(found.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert "weights_only" not in message  # no advice to load without safety
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("how", ["bare", "archive", "legacy"])
def test_pickles_of_every_protocol_are_not_run(tmp_path, protocol, suffix, how):
    path, mark = tmp_path / f"p{suffix}", tmp_path / "ran"
    content = {"layer_1_linear.weight": Harmful(mark)}
    if how == "bare":
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        archive = how == "archive"
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    refused(path)
    refused(path, network=nn.Linear(3, 3))
    assert not mark.exists()


def rewritten(path, *, pickle_bytes=None, method=zipfile.ZIP_STORED):
    """Write the archive again with another pickle, or packed."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            own = pickle_bytes is not None and name.endswith("data.pkl")
            archive.writestr(name, pickle_bytes if own else content)


def test_what_is_packed_is_not_unpacked(tmp_path):
    path = tmp_path / "p.pt"
    torch.save(SOUND, path)
    bomb = b"\x80\x02}." + bytes(2**26)
    rewritten(path, pickle_bytes=bomb, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    assert "not packed" in refused(path)


@pytest.mark.parametrize(
    "called",
    [
        *("builtins bytearray", "__builtin__ bytearray", "builtins exec", "builtins getattr"),
        *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor"),
        *("torch._utils _rebuild_meta_tensor_no_storage", "os system", "torch.hub load"),
    ],
)
def test_whatever_a_pickle_names_but_tensors_is_not_called(tmp_path, called):
    path = tmp_path / "p.pt"
    torch.save(SOUND, path)
    module, name = called.split()
    huge = b"\x8a\x05\x00\x00\x00\x00\x02"  # 2^33, which bytearray would make bytes of
    rewritten(path, pickle_bytes=b"\x80\x02c" + f"{module}\n{name}\n".encode() + huge + b"\x85R.")
    assert "only tensors are" in refused(path)


def test_an_object_by_names_from_the_stack_is_refused(tmp_path):
    path = tmp_path / "p.pt"
    torch.save(SOUND, path)
    rewritten(path, pickle_bytes=pickle.dumps(print, protocol=4))
    assert "it has an object" in refused(path)


@pytest.mark.parametrize(
    "extra",
    [
        {1: torch.zeros(2)},
        {None: torch.zeros(2)},
        {"x": torch.zeros(2).to_sparse()},
        {"x": torch.empty(2**40, 3, device="meta")},
        {"x": torch.zeros(1, 1).expand(30_000, 30_000)},
        {"x": torch.zeros(2, dtype=torch.complex64)},
        {"x": torch.zeros(2).to(torch.float8_e5m2)},
        {"x": [torch.zeros(2)]},
        {"x" * 10**6: torch.zeros(1, 1, 1)},
        {f"x{i}": torch.zeros(1) for i in range(5000)},
    ],
)
def test_tensors_that_are_not_plain_are_refused(tmp_path, extra):
    path = tmp_path / "p.pt"
    torch.save({**SOUND, **extra}, path)
    refused(path)
    refused(path, network=make_parent((5, 4), n_inputs=3, n_outputs=2))


@pytest.mark.parametrize("metadata", [5, {"": 5}, {"layer_1_linear": {"version": "x"}}])
def test_what_hangs_on_a_state_dict_is_left_out(tmp_path, metadata):
    path = tmp_path / "p.pt"
    state = OrderedDict(SOUND)
    state._metadata = metadata
    state.keys = state.values = 5
    torch.save(state, path)
    loaded = load_parent(path)
    assert torch.equal(loaded.output.bias, SOUND["output.bias"])


def safetensors(path, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def entry(*shape):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]}


@pytest.mark.parametrize(
    "shapes",
    [
        {"layer_1_linear.weight": (50_000, 0), "output.weight": (1, 0)},
        {"layer_1_linear.weight": (2**40, 0), "output.weight": (0, 2**40)},
        {"layer_1_linear.weight": (0, 2), "output.weight": (2, 0)},
    ],
)
def test_no_network_is_made_of_claimed_shapes(tmp_path, shapes):
    # Without the check a parent of 50,000 units a layer was made of a file of 200 bytes.
    path = tmp_path / "p.safetensors"
    safetensors(path, {name: entry(*shape) for name, shape in shapes.items()})
    assert "expected weights and biases" in refused(path)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 0),
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 4) + b"null",
    ],
)
def test_absurd_headers_are_refused(tmp_path, content):
    path = tmp_path / "p.safetensors"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_file_is_not_read(tmp_path, suffix):
    fifo, device = tmp_path / f"f{suffix}", tmp_path / f"d{suffix}"
    os.mkfifo(fifo)
    device.symlink_to("/dev/zero")
    refused(fifo)
    refused(device)
    with pytest.raises(DataError, match="name too long"):
        load_parent(tmp_path / ("a" * 5000 + suffix))
