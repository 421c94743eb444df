"""What a page in Markdown shows and names: its blocks of code, links and options."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

from ecomp_deap import cli

ROOT = Path(__file__).resolve().parents[1]


def blocks(page, language):
    """Return the blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def fences(page):
    """Return the blocks of every language, in order, each with the words behind its fence."""
    return re.findall(r"^```(.+)\n((?:.*\n)*?)```$", page, flags=re.MULTILINE)


def section(page, title):
    """Return what stands below a title, up to the next one of its kind."""
    return page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def run_python(sources, folder, namespace, name):
    """Run blocks in order in one folder and namespace; return what they print."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        for source in sources:
            exec(compile(source, name, "exec"), namespace)
    return printed.getvalue()


@contextlib.contextmanager
def importable(folder):
    """Let files of a folder be imported, as by a script beside them, until the block ends."""
    before = set(sys.modules)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            yield
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(folder):
                del sys.modules[name]


def sections(page):
    """Return the names by which links find the page's sections."""
    return {
        re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }


def broken_links(path):
    """Return the links of a page to files and sections that are not there."""
    page = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, section = target.partition("#")
        place = path.parent / name if name else path
        if not place.exists() or (
            section and section not in sections(place.read_text(encoding="utf-8"))
        ):
            broken.append(target)
    return broken


def missing_paths(page):
    """Return the paths that a page names and that are not there."""
    named = re.findall(r"`(experiments/[\w./]+|ecomp_deap/[\w./]+)`", page)
    return [path for path in named if not (ROOT / path).exists()]


def unknown_options(text, commands):
    """Return the options in a text that none of our commands has."""
    out = io.StringIO()
    for command in commands:
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            cli.main([command, "--help"])
    known = set(re.findall(r"--[\w-]+", out.getvalue()))
    return sorted(set(re.findall(r"--[a-z][a-z-]+", text)) - known)
