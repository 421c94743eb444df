import json
import os
import platform
import re
import sys

import numpy as np
import torch

from ecomp_deap import _version
from ecomp_deap.cli import main
from ecomp_deap.installation import installation, installation_text
from tests.test_cli import SLOW_TO_IMPORT, in_new_process


def test_an_issue_gets_what_it_needs(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = installation()
    assert found["ecomp-deap"] == _version.__version__
    assert found["python"] == platform.python_version()
    assert found["torch"]["version"] == torch.__version__
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["threads"]["OMP_NUM_THREADS"] == "3"
    assert found["packages"]["numpy"] == np.__version__
    assert found["processors"]["all"] == os.cpu_count()
    assert "onnxruntime" in found["extras"]["onnx"]
    assert "test" not in found["extras"]
    text = installation_text(found)
    for word in (torch.__version__, "OMP_NUM_THREADS 3, MKL_NUM_THREADS not set", "[onnx]", "CUDA"):
        assert word in text


def test_a_broken_torch_is_told_and_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises
    found = installation()
    assert found["torch"]["problem"].startswith("cannot be used: ModuleNotFoundError")
    assert re.search("^torch +cannot be used", installation_text(found), re.M)
    json.dumps(found)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr("ecomp_deap.installation.requires", lambda _: ["no-such>=1; extra == 'x'"])
    found = installation()
    assert found["extras"] == {"x": {"no-such": None}}
    assert "[x]         no-such missing" in installation_text(found)


def test_the_command_prints_it(capsys):
    assert main(["version", "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert re.search(f"^torch +{re.escape(torch.__version__)}", shown, re.M)
    assert main(["version", "--verbose", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch"]["version"] == torch.__version__


def test_the_version_comes_at_once():
    code, output, _, modules = in_new_process("version")
    assert (code, output.strip()) == (0, f"ecomp-deap {_version.__version__}")
    assert not modules & SLOW_TO_IMPORT
    code, output, _, _ = in_new_process("version", "--json")
    assert json.loads(output) == {"ecomp-deap": _version.__version__}
