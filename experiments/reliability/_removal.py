"""Removing a protection: the package is imported with a statement taken out of its source.

Nothing is written; a finder of modules changes what is compiled, in a process of its own.
"""

import ast
import builtins
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

# Found without importing it, as it is imported later, changed.
_SPEC = importlib.util.find_spec("ecomp_deap")
assert _SPEC is not None
assert _SPEC.origin is not None
PACKAGE = Path(_SPEC.origin).parent


@dataclass(frozen=True)
class Raise:
    """A ``raise`` statement.

    Attributes:
        file: Below the package's folder.
        number: Counted from 0 in its file.
        function: Where it is.
        line: In the file.
        handles: Whether it turns another error into this one.
    """

    file: str
    number: int
    function: str
    line: int
    handles: bool

    def __str__(self) -> str:
        return f"{self.file}: raise in {self.function}, line {self.line}"


@dataclass(frozen=True)
class Change:
    """A protection that is no single ``raise``.

    Attributes:
        what: Is taken away, in a few words.
        edits: Files below the package's folder, each with a text that is there once, and what
            replaces it.
    """

    what: str
    edits: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return f"{self.edits[0][0]}: {self.what}"

    def made_in(self, file: str, source: str) -> str:
        """Return the source of a file without the protection.

        Raises:
            ValueError: It is not there, or more than once.
        """
        for name, old, new in self.edits:
            if name == file:
                if source.count(old) != 1:
                    raise ValueError(f"{self}: {old!r} is {source.count(old)} times in {file}")
                source = source.replace(old, new)
        return source


def all_raises() -> list[Raise]:
    """Return all statements of the package that raise an error, other than one that was caught."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = str(path.relative_to(PACKAGE))
        places = _raises(ast.parse(path.read_text(encoding="utf-8")))
        found += [
            Raise(file, i, name, node.lineno, handles)
            for i, (node, name, handles) in enumerate(places)
        ]
    return found


def _raises(tree: ast.Module) -> list[tuple[ast.Raise, str, bool]]:
    """Return each ``raise`` with the function around it and whether it handles, in order."""
    found: list[tuple[ast.Raise, str, bool]] = []

    def visit(node: ast.AST, name: str, handles: bool) -> None:
        for child in ast.iter_child_nodes(node):
            own, within = name, handles or isinstance(child, ast.ExceptHandler)
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                own, within = f"{name}.{child.name}".lstrip("."), False
            if isinstance(child, ast.Raise) and child.exc is not None and not _is_signal(child.exc):
                found.append((child, name, handles))
            visit(child, own, within)

    visit(tree, "", False)
    return found


def _is_signal(raised: ast.expr) -> bool:
    """Return whether what is raised ends a loop, and tells of no fault."""
    return isinstance(raised, ast.Name) and raised.id == "StopSearch"


class _Replace(ast.NodeTransformer):
    """Puts statements in the place of each ``raise``."""

    def __init__(self, tree: ast.Module, put: Callable[[int, ast.Raise], list[ast.stmt]]) -> None:
        self._numbers = {id(node): i for i, (node, *_) in enumerate(_raises(tree))}
        self._put = put

    def visit_Raise(self, node: ast.Raise) -> list[ast.stmt]:
        number = self._numbers.get(id(node))
        if number is None:
            return [node]
        return [ast.copy_location(new, node) for new in self._put(number, node)]


class Finder(MetaPathFinder):
    """Imports the package's modules from changed sources, once it is put into `sys.meta_path`.

    Args:
        compiled: Given a file below the package's folder and its source, returns a tree.
    """

    def __init__(self, compiled: Callable[[str, str], ast.Module]) -> None:
        self._compiled = compiled

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] != PACKAGE.name:
            return None
        base = PACKAGE.parent.joinpath(*fullname.split("."))
        inside = base / "__init__.py"
        file = inside if inside.exists() else base.with_suffix(".py")
        if not file.exists():
            return None
        loader = _Loader(fullname, str(file), self._compiled)
        folders = [str(base)] if file == inside else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=folders
        )


class _Loader(SourceFileLoader):
    def __init__(
        self, fullname: str, path: str, compiled: Callable[[str, str], ast.Module]
    ) -> None:
        super().__init__(fullname, path)
        self._compiled = compiled

    def get_code(self, fullname: str) -> CodeType:
        file = str(Path(self.path).relative_to(PACKAGE))
        tree = self._compiled(file, Path(self.path).read_text(encoding="utf-8"))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


def without(removed: Raise | Change) -> Finder:
    """Return a finder of the package without a protection."""

    def compiled(file: str, source: str) -> ast.Module:
        if isinstance(removed, Change):
            return ast.parse(removed.made_in(file, source))
        tree = ast.parse(source)
        if file != removed.file:
            return tree

        def put(number: int, node: ast.Raise) -> list[ast.stmt]:
            if number != removed.number:
                return [node]
            # Where an error of others is turned into one of ours, that one is let through.
            return [ast.Raise() if removed.handles else ast.Pass()]

        return _Replace(tree, put).visit(tree)

    return Finder(compiled)


def noting(note: Callable[[str, int], None]) -> Finder:
    """Return a finder of the package as it is, in which each ``raise`` is noted before."""
    builtins._note_raise = note  # type: ignore[attr-defined]

    def compiled(file: str, source: str) -> ast.Module:
        tree = ast.parse(source)

        def put(number: int, node: ast.Raise) -> list[ast.stmt]:
            arguments: list[ast.expr] = [ast.Constant(file), ast.Constant(number)]
            call = ast.Call(ast.Name("_note_raise", ast.Load()), arguments, [])
            return [ast.Expr(call), node]

        return _Replace(tree, put).visit(tree)

    return Finder(compiled)
