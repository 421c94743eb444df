"""The shape of the package: imports point down one list, and few places know DEAP or torch."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ecomp_deap

ROOT = Path(ecomp_deap.__file__).parent

# From the top down; names on one line may not import each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("loggers",),
    ("progress", "report", "search"),
    ("runs",),
    ("algorithms",),
    ("toolbox",),
    ("logbook",),
    ("evaluation",),
    ("operators",),
    ("fitness",),
    ("exports",),
    ("network",),
    ("task",),
    ("similarity",),
    ("measurement", "recipe"),
    ("genomes",),
    ("callbacks",),
    ("data",),
    ("seeding", "files", "checks", "copying", "interrupts", "threads", "defaults", "installation"),
    ("errors", "_version", "finite"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAY_IMPORT_DEAP = {*("algorithms", "toolbox", "logbook", "operators", "fitness", "search", "runs")}
# Where only these are imported beside the standard library and the package itself.
ONLY = {
    "recipe": {"numpy"},  # for its types alone
    "genomes": {"numpy"},
    "similarity": {"numpy", "torch"},
    "errors": set(),
    "finite": set(),
    "files": set(),
    "interrupts": set(),
    "defaults": set(),
    "callbacks": set(),
    "measurement": set(),
    "seeding": {"numpy"},
    "cli": {"shtab"},
    "progress": {"rich"},
}
# Where other parts of the package than these are not imported, although they lie below.
NARROW = {
    "similarity": {"errors"},
    "data": {"checks", "errors"},
    "report": {
        "checks",
        "defaults",
        "errors",
        "files",
        "logbook",
        "runs",
    },  # it reads files, so it needs no search
}

SOURCES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(path):
    """The part of the package that a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path):
    """Yield the dotted names a file imports, also inside functions, but not for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "ecomp_deap":
                yield from (f"ecomp_deap.{alias.name}" for alias in node.names)
            else:
                yield node.module


def parts_imported(path):
    names = (name.split(".") for name in imports_of(path))
    return {name[1] for name in names if name[0] == "ecomp_deap"} - {part_of(path)}


def packages_imported(path):
    names = {name.split(".")[0] for name in imports_of(path)}
    return names - {"ecomp_deap"} - set(sys.stdlib_module_names)


def label(path):
    return str(path.relative_to(ROOT))


def test_every_file_has_a_place_in_the_list():
    assert {part_of(path) for path in SOURCES} <= set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_point_down(path):
    own = LEVEL[part_of(path)]
    assert {part for part in parts_imported(path) if LEVEL[part] <= own} == set()


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_stay_within_the_part(path):
    part = part_of(path)
    if part in NARROW:
        assert parts_imported(path) <= NARROW[part]
    if part in ONLY:
        assert packages_imported(path) - {"tomli"} <= ONLY[part]


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_deap_is_known_in_few_places(path):
    if part_of(path) not in MAY_IMPORT_DEAP:
        assert "deap" not in packages_imported(path)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_tools_of_the_tests_are_no_dependencies(path):
    assert packages_imported(path) <= {
        *("cloudpickle", "deap", "loky", "matplotlib", "moocore", "numpy", "rich", "safetensors"),
        *("scipy", "shtab", "tomli", "torch", "torch_pruning", "torchvision"),
    }


def modules():
    found = pkgutil.walk_packages([str(ROOT)], prefix="ecomp_deap.")
    names = [module.name for module in found if not module.name.endswith("__main__")]
    return [name for name in names if not any(p.startswith("_") for p in name.split("."))]


@pytest.mark.parametrize("name", modules())
def test_public_names_are_listed_and_exist(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", modules())
def test_public_classes_and_functions_say_what_they_are(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, public


def test_names_of_the_package_are_found_when_they_are_used():
    assert sorted(ecomp_deap.__all__) == dir(ecomp_deap)
    for name in ecomp_deap.__all__:
        assert getattr(ecomp_deap, name) is not None
    with pytest.raises(AttributeError, match="module 'ecomp_deap' has no attribute 'decompress'"):
        ecomp_deap.decompress  # noqa: B018


def test_the_package_and_its_command_come_without_torch():
    script = (
        "import sys, ecomp_deap, ecomp_deap.cli\n"
        "heavy = {'torch', 'numpy', 'deap', 'matplotlib', 'rich', 'torchvision'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "ecomp_deap.Task\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_type_checkers_and_users_see_the_same_names():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module.removeprefix("ecomp_deap.")
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == ecomp_deap._MODULE_OF


def test_types_are_marked_as_shipped():
    assert (ROOT / "py.typed").is_file()
