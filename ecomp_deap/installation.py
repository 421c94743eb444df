"""Installation: the versions and the machine that a result, or a fault, depends on."""

import os
import platform
import re
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from ecomp_deap._version import __version__
from ecomp_deap.errors import named

__all__ = ["installation", "installation_text"]

_PACKAGES = ("numpy", "deap", "torchvision", "torch-pruning", "safetensors", "moocore", "rich")
# What the numbers of threads of torch's libraries follow.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*;.*extra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]")


def installation() -> dict[str, Any]:
    """Return what an issue should tell; torch is imported for it, if it can be.

    >>> sorted(installation())
    ['ecomp-deap', 'extras', 'packages', 'processors', 'python', 'system', 'threads', 'torch']
    """
    torch = _torch()
    return {
        "ecomp-deap": __version__,
        "python": platform.python_version(),
        "system": f"{platform.platform()} {platform.machine()}",
        "processors": {"all": os.cpu_count(), "usable": _usable()},
        "torch": torch,
        "threads": {
            "torch": torch.pop("threads", None),
            **{name: os.environ.get(name) for name in _VARIABLES},
        },
        "packages": {name: _version(name) for name in _PACKAGES},
        "extras": _extras(),
    }


def installation_text(found: Mapping[str, Any]) -> str:
    """Return what `installation` found, a line for each part."""
    processors, torch, threads = found["processors"], found["torch"], found["threads"]
    lines = {
        "ecomp-deap": found["ecomp-deap"],
        "Python": found["python"],
        "system": found["system"],
        "processors": f"{processors['all']}, {processors['usable']} of them usable",
        "torch": torch.get("problem") or f"{torch['version']}, CUDA {torch['cuda'] or 'none'}",
        "GPUs": ", ".join(torch.get("gpus") or ["none"]),
        "threads": ", ".join(f"{name} {count or 'not set'}" for name, count in threads.items()),
        "packages": _listed(found["packages"]),
    }
    for extra, packages in found["extras"].items():
        lines[f"[{extra}]"] = _listed(packages)
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def _listed(packages: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {found or 'missing'}" for name, found in packages.items())


def _torch() -> dict[str, Any]:
    """Return what torch says of itself, or why it cannot be imported."""
    try:
        import torch

        with warnings.catch_warnings():  # of drivers that are too old
            warnings.simplefilter("ignore")
            n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            return {
                "version": torch.__version__,
                "cuda": torch.version.cuda,
                "gpus": [torch.cuda.get_device_name(i) for i in range(n_gpus)],
                "threads": torch.get_num_threads(),
            }
    except Exception as error:  # whatever a broken installation raises
        return {"problem": f"cannot be used: {named(error)}"}


def _extras() -> dict[str, dict[str, str | None]]:
    """Return the packages of each extra but the tests', with their versions, None if missing."""
    try:
        wanted = requires("ecomp-deap") or []
    except PackageNotFoundError:  # run from its sources
        wanted = []
    found: dict[str, dict[str, str | None]] = {}
    for requirement in wanted:
        match = _EXTRA.fullmatch(requirement)
        if match and match[2] != "test":
            found.setdefault(match[2], {})[match[1]] = _version(match[1])
    return found


def _usable() -> int | None:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
