"""Files of weights, as anyone may have made them: read without running or believing anything.

`torch.load` with ``weights_only`` runs no code, but builds what a file of some bytes claims, of any
size, and unpacks what is packed. So a file is looked through before it is read, and what it holds
is looked through before it is used.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ecomp_deap.errors import DataError, argument_error, one_line

__all__ = ["FACTORY", "listed", "read_weights"]

#: What a message says of weights of another network than a dense stack.
FACTORY = "takes --factory my_models.py:Net (in Python load_parent(path, network))"

_SUFFIXES = (".safetensors", ".pt", ".pth")
# Names and shapes of a hundred thousand tensors.
_PICKLE_BYTES = 2**26
# What the pickle of a state dict calls. Other tensors than plain ones are made by other functions.
_CALLED = {
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.storage.UntypedStorage",
}
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
_SHOWN = 6
_LONGEST_KEY = 60


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name.

    Args:
        path: A ``.safetensors`` file, or a ``.pt`` or ``.pth`` file with a state dict, as
            `torch.save` has written it since torch 1.6.

    Raises:
        DataError: No such file, it is damaged, or it holds anything but plain tensors by name.
        ArgumentError: Another suffix.
    """
    if path.suffix not in _SUFFIXES:
        raise argument_error("parent", "a .safetensors, .pt or .pth file", str(path))
    try:
        if not path.is_file():
            raise DataError(f"parent: no such file: {path}")
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            _look_through(path)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except (OSError, SafetensorError) as error:
        raise DataError(f"parent: cannot read {path}: {one_line(error)[:200]}") from error
    except Exception as error:  # whatever a damaged archive raises
        # Without torch's text, which advises to load without safety.
        raise DataError(
            f"parent: cannot read {path} as a state dict of tensors ({type(error).__name__})"
        ) from error
    return _plain_tensors(found, path)


def _look_through(path: Path) -> None:
    """Check that an archive of torch's packs nothing, and that its pickle makes tensors alone."""
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"parent: cannot read {path}: expected an archive of torch.save, 1.6 or later: older "
            "ones cannot be checked before they are read"
        )
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise DataError(
                    f"parent: cannot read {path}: expected entries that are not packed, but "
                    f"{entry.filename[:60]!r} is, with {entry.file_size} bytes"
                )
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > _PICKLE_BYTES:
            expected = f"one data.pkl of {_PICKLE_BYTES} bytes at most"
            raise DataError(f"parent: cannot read {path}: expected {expected}")
        content = archive.read(pickles[0])
    whole = b"torch.nn.modules." in content
    for operation, argument, _ in pickletools.genops(content):
        name = str(argument).replace(" ", ".")
        if operation.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1"):
            raise DataError(f"parent: cannot read {path}: only tensors are, and it has an object")
        stored = name.startswith("torch.") and name.endswith("Storage") and name.count(".") == 1
        if operation.name == "GLOBAL" and name not in _CALLED and not stored:
            expected = f"only tensors are, and it names {name[:60]!r}"
            hint = f"; it holds a whole network: save its state_dict(), which {FACTORY}"
            raise DataError(f"parent: cannot read {path}: {expected}{hint if whole else ''}")


def _plain_tensors(found: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return a state dict's tensors, without whatever else hangs on it."""
    if not isinstance(found, dict):
        raise DataError(f"parent: {path} holds no state dict of tensors")
    # Not found.items(), which a pickle can replace; nor its attributes, which a network reads.
    tensors = dict(dict.items(found))
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            inner = _within(tensors, path)
            raise DataError(f"parent: {path} holds no state dict of tensors{inner}")
        n_bytes = tensor.numel() * tensor.element_size()
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.dtype not in _DTYPES or tensor.untyped_storage().nbytes() < n_bytes:
            raise DataError(
                f"parent: {path}: expected plain tensors, but {name[:60]!r} is none, or claims "
                "more than the file has"
            )
    return tensors


def _within(found: dict[Any, Any], path: Path) -> str:
    """Return what takes a state dict out of a checkpoint that has one, for a message."""
    for key, value in found.items():
        if isinstance(key, str) and len(key) <= _LONGEST_KEY and isinstance(value, dict):
            inner = dict(dict.items(value))  # as above
            if inner and all(isinstance(tensor, torch.Tensor) for tensor in inner.values()):
                taken = f"torch.load({str(path)!r})[{key!r}]"
                return f", but its {key!r} does: torch.save({taken}, 'weights.pt')"
    return ""


def listed(names: list[str]) -> str:
    """Return the first of some names, shortened, for a message.

    >>> listed(["a", "b", "c", "d", "e", "f", "g", "h"])
    "'a', 'b', 'c', 'd', 'e', 'f' and 2 more"
    """
    if not names:
        return "nothing"
    shown = ", ".join(repr(name[:60]) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
