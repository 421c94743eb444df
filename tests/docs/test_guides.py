"""What the guides show must run, print what they say, and name what exists.

The blocks of a guide are run in order, in one folder and one namespace:

- ``python``: run, in a namespace of its own if the guide is one of scripts; or saved, if its first
  line is ``# NAME.py``.
- ``bash``: each line that calls ``ecomp-deap`` or ``python NAME.py`` is run; ``bash long`` is not.
- ``text``: what the block before has printed; numbers may be others.
- ``toml``: saved under the name in its first line, ``# NAME.toml``.
"""

import contextlib
import csv
import io
import re
import shlex
import subprocess
import sys
from statistics import fmean

import pytest

from ecomp_deap import cli
from ecomp_deap.runs.options import OPTIONS, PRESETS
from tests.markdown import (
    ROOT,
    broken_links,
    fences,
    importable,
    missing_paths,
    run_python,
    unknown_options,
)

GUIDES = (
    "quick-start",
    "pareto-or-weighted",
    "your-own-network",
    "deap-algorithms",
    "exporting-statistics",
    "from-ecomp",
    "reproducing-the-report",
    "troubleshooting",
)
# Guides whose blocks of Python are scripts of their own, as commands stand between them.
SCRIPTS = ("quick-start",)
COMMANDS = ("run", "resume", "show", "inspect", "export", "report", "baselines", "to-optuna")
# Guides whose blocks are tested elsewhere, or that have none.
PAGES = (*GUIDES, "index", "options", "scaling-out")


def read(name):
    """Return a guide's text."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def without_numbers(text):
    """Return what a text says, whatever its numbers are and however its columns are spread."""
    text = re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?(?<![.,])", "0", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def run_command(line, folder):
    """Run a line of a shell's, and return what it prints."""
    words = shlex.split(line, comments=True)
    if words[0] == "ecomp-deap":
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.chdir(folder)
            assert cli.main(words[1:]) == 0, line
        return printed.getvalue()
    assert words[0] == "python", line
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(block, folder):
    """Run the lines of a block that are ours, and return what they print."""
    lines = block.replace("\\\n", " ").splitlines()
    return "".join(
        run_command(line, folder) for line in lines if re.match(r"ecomp-deap |python \w+\.py", line)
    )


def executed(name, folder):
    """Run a guide's blocks in order, and yield each that runs with what it prints.

    A block of text comes with what the block before it has printed.
    """
    names = {"__name__": "guide"}
    printed = ""
    with importable(folder):
        for words, block in fences(read(name)):
            saved = re.match(r"# ([\w-]+\.(py|toml))\n", block)
            if saved:
                (folder / saved[1]).write_text(block, encoding="utf-8")
                continue
            if name in SCRIPTS:
                names = {"__name__": "guide"}
            if words == "python":
                printed = run_python([block], folder, names, f"{name}.md")
            elif words == "bash":
                printed = run_shell(block, folder)
            elif words != "text":
                assert words == "bash long", words
                continue
            yield words, block, printed


# Of SQLAlchemy 2.1, about what MLflow asks of it.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.parametrize("name", GUIDES)
def test_guide_runs_and_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    n_run = 0
    for words, block, printed in executed(name, tmp_path):
        n_run += words != "text"
        if words == "text":
            assert without_numbers(printed) == without_numbers(block)
    assert n_run > 0


def test_every_guide_is_tested_and_in_the_index():
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(PAGES)
    index = read("index")
    assert {name for name in pages if f"]({name}.md" in index} == pages - {"index"}


@pytest.mark.parametrize("name", PAGES)
def test_linked_files_and_sections_exist(name):
    assert broken_links(ROOT / "docs" / f"{name}.md") == []


@pytest.mark.parametrize("name", PAGES)
def test_named_paths_exist(name):
    assert missing_paths(read(name)) == []


@pytest.mark.parametrize("name", [name for name in PAGES if name != "scaling-out"])
def test_named_options_exist(name):
    page = read(name)
    lines = [line for _, block in fences(page) for line in block.splitlines()]
    shown = [line for line in lines if "ecomp-deap" in line]
    shown += re.findall(r"`(--[^`\n]*|ecomp-deap [^`\n]*)`", page)
    # A guide may name a script of the experiments, with its own options.
    for script in re.findall(r"python (experiments/[\w/]+\.py)", page):
        own = re.findall(r'"(--[\w-]+)"', (ROOT / script).read_text(encoding="utf-8"))
        shown = [text for text in shown if text.split()[0] not in own]
    assert unknown_options(" ".join(shown), COMMANDS) == []


def table_rows(page, first):
    """Return the rows of the table whose header begins with these words, as lists of cells."""
    lines = page[page.index(f"\n| {first} |") :].lstrip("\n").split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def results(*names):
    """Return the rows of a file of figures."""
    path = ROOT.joinpath("experiments", "results", *names)
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_figures_of_whole_fronts_are_those_that_were_measured():
    measured = {row["mode"]: row for row in results("pareto_vs_weighted", "table.csv")}
    rows = table_rows(read("pareto-or-weighted"), "mode")
    assert len(rows) == 10
    for mode, *shown in rows:
        row = {name: value for name, value in measured[mode].items() if name != "mode"}
        number = {name: float(value) for name, value in row.items() if value}
        low, high = number["smallest_size_median"], number["largest_size_median"]
        assert shown == [
            f"{number['test_hypervolume_median']:.3f}",
            f"{number['front_children_median']:.0f}",
            f"{100 * low:.0f} to {100 * high:.0f} %",
            f"{100 * number['smallest_within_1_median']:.1f} %",
            f"{number['smallest_within_1_n']:.0f}",
        ]


def test_figures_at_a_size_are_those_that_were_measured():
    runs = [r for r in results("similarity_ablation", "results.csv") if r["measure"] == "none"]
    rows = table_rows(read("pareto-or-weighted"), "search")
    assert len(rows) == 4
    for kind, *shown in rows:
        mode = "pareto" if kind.startswith("Pareto") else "weighted"
        stage = "after" if "after" in kind else "before"
        for limit, cell in zip((56000, 27000, 13100), shown, strict=True):
            column = f"{stage}_test_accuracy_under_{limit}"
            found = [float(r[column]) for r in runs if r["mode"] == mode and r[column]]
            mean = f"{fmean(found):.4f}" if found else "–"
            assert cell == f"{mean} ({len(found)})"


def test_the_report_preset_is_what_it_is_said_to_be():
    shown = dict(table_rows(read("reproducing-the-report"), "option | value"))
    assert {n: OPTIONS[n].kind.parse(n, v) for n, v in shown.items()} == dict(PRESETS["report"])


def test_figures_of_the_repeated_report_are_those_that_were_measured():
    measured = {row["weighting"]: row for row in results("weightings", "table.csv")}
    rows = table_rows(read("reproducing-the-report"), "weighting")
    assert {weighting for weighting, *_ in rows} == set(measured)
    names = ("accuracy", "original_accuracy", "width", "original_width")
    for weighting, *shown in rows:
        found = [float(measured[weighting][f"{name}_median"]) for name in names]
        # Of halves the last digit is whatever their nearest float has.
        assert all(abs(float(a) - b) <= 0.0005 + 1e-9 for a, b in zip(shown, found, strict=True))


def test_figures_of_weightings_are_those_that_were_measured():
    measured = {row["weighting"]: row for row in results("weightings", "table.csv")}
    rows = table_rows(read("pareto-or-weighted"), "accuracy, similarity, compression")
    assert {weighting for weighting, *_ in rows} == set(measured)
    for weighting, *shown in rows:
        row = measured[weighting]
        assert shown == [f"{float(row[f'{name}_median']):.3f}" for name in ("accuracy", "width")]
