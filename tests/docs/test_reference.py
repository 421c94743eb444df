"""The table of options, the notebooks and the site are whole, and as the code has them."""

import json
import re
import runpy
from importlib import import_module

import pytest

from ecomp_deap import cli
from ecomp_deap.runs.schema import config_schema
from tests.markdown import ROOT

OPTIONS = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def test_the_table_of_options_is_what_the_command_takes():
    written = runpy.run_path(str(ROOT / "docs" / "write_options.py"))
    assert written["options_page"]() == OPTIONS


def test_every_option_that_help_shows_is_in_the_table_and_in_the_schema(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    shown = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, flags=re.MULTILINE))
    in_files = {f"--{name.replace('_', '-')}" for name in config_schema()["properties"]}
    assert shown - in_files == {"--config", "--json", "--debug"}
    assert in_files - shown == {"--n-runs", "--name"}
    first_cells = [row.split(" | ")[0] for row in OPTIONS.splitlines()]
    assert shown <= set(re.findall(r"`(--[\w-]+)", " ".join(first_cells)))


@pytest.mark.parametrize("name", ["islands", "lenet"])
def test_notebooks_are_sound_and_have_no_outputs(name):
    path = ROOT / "docs" / "notebooks" / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    compile("\n".join("".join(cell["source"]) for cell in code), path.name, "exec")


def test_the_site_has_all_pages_and_all_public_names(tmp_path):
    site = runpy.run_path(str(ROOT / "docs" / "build.py"))
    guides = {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    pages = site["build"](tmp_path)  # a link to nowhere, or a warning, is an error
    assert guides <= set(pages)
    assert {"README.html", "index.html"} <= set(pages)
    for module in site["modules"]():
        page = (tmp_path / "api" / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")
        missing = [n for n in import_module(module).__all__ if f'id="{n}"' not in page]
        assert missing == []
