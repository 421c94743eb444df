"""A result of Python's is saved as a run's folder, which the command takes like its own."""

import json

import pytest
import torch
from torch import nn

import ecomp_deap as ed
from ecomp_deap.cli import main
from ecomp_deap.report import child_details, compared, listing, run_details
from tests import two_layers


class Twin(nn.Module):
    """A network that is no stack."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(6, 8)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.cat([self.left(x).relu(), self.right(x).relu()], dim=1))


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(0)
    task = ed.Task(Twin(), two_layers.samples(), batch_size=40)
    options = {"population": 8, "generations": 2, "finalise_count": 6, "finalise_epochs": 40}
    return ed.compress(task, objectives=("accuracy", "param_count"), seed=3, **options)


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    return result.save(tmp_path_factory.mktemp("results") / "mine")


def test_what_is_saved_is_what_was_found(result, saved):
    details = run_details(saved)
    assert [row["id"] for row in details["front"]] == [child.id for child in result.front]
    assert details["picks"]["best"] == result.best.id
    assert details["summary"]["digest"] == result.digest()
    assert details["summary"]["seed"] == 3
    assert ed.read_logbook(saved / "logbook.csv") == ed.logbook_to_rows(result.logbook)
    child = ed.load_child(saved / "children" / f"{result.best.id}.safetensors", Twin)
    x = torch.randn(5, 6)
    assert torch.equal(child(x), result.best.module(x))
    assert child_details(saved, "best")["parent"]["param_count"] == 163


def test_what_was_asked_is_there_too(saved):
    asked = run_details(saved)["config"]
    assert (asked["evolve.population"], asked["evolve.generations"]) == (8, 2)
    assert asked["task.batch_size"] == 40
    assert asked["fitness"]["objectives"] == ["accuracy", "param_count"]
    assert asked["seed"] == 3


def test_it_is_listed_and_compared(result, saved, tmp_path):
    (row,) = listing(saved.parent)
    assert (row["name"], row["state"]) == ("mine", "finished")
    assert row["generations"] == row["generations_asked"] == 2
    again = compared([saved, result.save(tmp_path / "again")])
    assert again["options"] == {}
    assert again["runs"][1]["differences"]["value"] == 0


def test_the_command_shows_reports_and_exports_it(saved, capsys, tmp_path):
    assert main(["show", str(saved)]) == 0
    assert main(["report", str(saved)]) == 0
    page = (saved / "report.html").read_text(encoding="utf-8")
    assert "evolve.population" in page
    where = f"{__name__}:Twin"
    out = tmp_path / "best.pt2"
    assert main(["export", str(saved), "--factory", where, "--out", str(out)]) == 0
    assert torch.export.load(out).module()(torch.randn(4, 6)).shape == (4, 3)
    assert main(["resume", str(saved)]) == 0
    assert "is finished" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(result, tmp_path):
    (tmp_path / "mine").mkdir()
    result.save(tmp_path / "mine")
    before = sorted((tmp_path / "mine").rglob("*"))
    with pytest.raises(ed.DataError, match=r"mine: expected a new folder, but it holds something"):
        result.save(tmp_path / "mine")
    assert sorted((tmp_path / "mine").rglob("*")) == before
    (tmp_path / "file").touch()
    with pytest.raises(ed.DataError, match=r"file: cannot be made \(File exists\)"):
        result.save(tmp_path / "file")
    with pytest.raises(ed.ArgumentError, match="folder: expected a path, got 3"):
        result.save(3)


def test_a_result_is_told_in_a_sentence(result):
    best = result.best.validation
    assert str(result) == (
        f"{len(result.front)} children; the best, {result.best.id}, has {best.param_count} of 163 "
        f"parameters ({best.param_count / 163:.1%}) and accuracy {best.metric:.4g} on validation "
        f"data (the parent {result.parent.validation.metric:.4g})"
    )


def test_progress_is_shown_where_it_is_asked_for(result, capsys):
    task = result.toolbox.evaluator.task
    with ed.progress_on() as progress:
        ed.compress(task, population=6, generations=1, finalise_count=0, callback=progress)
    assert "generation 1 of 1" in capsys.readouterr().err


def test_a_manifest_names_the_parent_once_for_all(saved):
    manifests = [json.loads(path.read_text()) for path in sorted(saved.glob("children/*.json"))]
    parent = json.loads((saved / "parent.json").read_text())
    assert len(manifests) > 1
    assert {manifest["parent"]["sha256"] for manifest in manifests} == {parent["sha256"]}
