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
        ("{file}:fails", r"\(RuntimeError: no such weights\)"),
        ("{file}:number", "factory: expected a torch.nn.Module, or a callable that returns one"),
        ("nowhere_at_all:make", r"\(ModuleNotFoundError: "),
        ("nowhere.py:make", r"\(FileNotFoundError: "),
    ],
)
def test_what_makes_no_network_is_refused(text, message, file):
    with pytest.raises(ArgumentError, match=message):
        network_from_code(text.format(file=file))
