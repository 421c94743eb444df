import sys

import pytest
import torch
from torch import nn

from ecomp_deap.errors import ArgumentError
from ecomp_deap.search.code import network_from_code

CODE = """
from dataclasses import dataclass
import torch
from torch import nn

class Inner:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

def make():
    return Inner.Net()

ready = make()
number = 3

@dataclass
class Settings:  # looks itself up in sys.modules
    width: int = 3

def fails():
    raise RuntimeError("no such weights")

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text(CODE)
    yield tmp_path / "my_models.py"
    sys.modules.pop("my_models", None)


@pytest.mark.parametrize("name", ["Inner.Net", "make", "ready"])
def test_a_file_or_a_module_names_a_network(name, file):
    for source in (str(file), "my_models"):
        network = network_from_code(f"{source}:{name}")
        assert isinstance(network, nn.Module)
        assert network.layer.in_features == 3
    assert "" not in sys.path


def test_initial_weights_follow_the_seed_and_nothing_else_is_drawn(file):
    state = torch.random.get_rng_state()
    weights = [network_from_code(f"{file}:make", seed=s).layer.weight for s in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{file}:missing", r"expected code that makes a network \(AttributeError: "),
        ("{file}:fails", r"--factory: expected .*, but it raised RuntimeError: no such weights"),
        ("{file}:leaves", r"\(SystemExit: 3\)"),
        ("my_\0models.py:make", r"\(ValueError: embedded null byte\)"),
        ("x" * 5000 + ".py:make", r"\(OSError: .*File name too long"),
        ("{file}:number", "--factory: expected a torch.nn.Module, or a callable that returns one"),
        ("nowhere_at_all:make", r"\(ModuleNotFoundError: "),
        ("nowhere.py:make", r"\(FileNotFoundError: "),
    ],
)
def test_what_makes_no_network_is_refused(text, message, file):
    with pytest.raises(ArgumentError, match=message):
        network_from_code(text.format(file=file))
    assert str(file.parent) not in sys.path


def test_code_may_import_what_lies_beside_it_also_when_it_is_called(file, tmp_path, monkeypatch):
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "blocks_beside.py").write_text("WIDTH = 3")
    (folder / "later_beside.py").write_text("from torch import nn")
    (folder / "net_beside.py").write_text(
        "import torch\nfrom blocks_beside import WIDTH\n"
        "def make():\n    from later_beside import nn\n    return nn.Linear(WIDTH, 2)\n"
    )
    try:
        assert network_from_code(f"{folder / 'net_beside.py'}:make").in_features == 3
        monkeypatch.chdir(folder)
        assert network_from_code("net_beside:make").in_features == 3
    finally:
        for name in ("blocks_beside", "later_beside", "net_beside"):
            sys.modules.pop(name, None)
    assert str(folder) not in sys.path


def test_a_file_does_not_take_the_place_of_a_module_in_use(tmp_path):
    before = sys.modules["json"]
    (tmp_path / "json.py").write_text(CODE)
    with pytest.raises(ArgumentError, match="a file of a name that no module in use has"):
        network_from_code(f"{tmp_path / 'json.py'}:make")
    assert sys.modules["json"] is before


def test_a_file_that_fails_leaves_no_module_behind(tmp_path):
    (tmp_path / "broken_models.py").write_text("import torch\nraise ValueError('no')")
    with pytest.raises(ArgumentError, match="ValueError: no"):
        network_from_code(f"{tmp_path / 'broken_models.py'}:make")
    assert "broken_models" not in sys.modules
