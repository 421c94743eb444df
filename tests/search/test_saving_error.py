"""A saved search by a metric of one's own, of which less is better, is read as such."""

import json
import warnings

import pytest
import torch
from torch import nn

import ecomp_deap as ed
from ecomp_deap.cli import main
from ecomp_deap.loggers.found import found_table
from ecomp_deap.report import child_details, compared, listing, plot_run, run_details, run_text
from ecomp_deap.runs.directory import RunDirectory
from tests.report.made_runs import check_sound, page_of

SMALL = {"population": 10, "generations": 2, "finalise_count": 6, "finalise_epochs": 10, "seed": 3}


def error(outputs, targets):
    return (outputs.argmax(dim=1) != targets).double().mean()


def widest(module):
    return max(layer.out_features for layer in module if isinstance(layer, nn.Linear))


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(240, 6, generator=generator)
    targets = inputs[:, :3].argmax(dim=1)
    torch.manual_seed(0)
    parent = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    adam = torch.optim.Adam(parent.parameters(), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(parent(inputs), targets).backward()
        adam.step()
    metric = ed.Metric(error, "error", maximise=False, worst=1.0, tolerance=0.02)
    data = inputs, targets
    costs = {"widest": widest}
    return ed.Task(parent, data, test=data, metric=metric, batch_size=40, costs=costs)


@pytest.fixture(scope="module")
def result(task):
    return ed.compress(task, objectives=("error", "param_count", "widest"), **SMALL)


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    return result.save(tmp_path_factory.mktemp("results") / "mine")


@pytest.fixture(scope="module")
def weighted(task, tmp_path_factory):
    result = ed.compress(task, selection="roulette", loss_weights=(2, 1, 1), **SMALL)
    return result, result.save(tmp_path_factory.mktemp("results") / "weighted")


def test_the_summary_says_which_way_is_better(saved):
    summary = json.loads((saved / "summary.json").read_text())
    assert summary["metric"] == {"name": "error", "maximise": False, "tolerance": 0.02}


def test_children_are_chosen_by_the_least(result, saved):
    sizes = sorted({child.validation.param_count for child in result.front})
    assert len(sizes) > 3
    for size in sizes:
        word = f"under:{size}"
        chosen = child_details(saved, word)["child"]
        assert chosen["id"] == result.most_accurate_under(size).id
    assert child_details(saved, "knee")["child"]["id"] == result.knee.id
    assert child_details(saved, "within:0.1")["child"]["id"] == result.smallest_within(0.1).id


def test_what_is_shown_is_by_the_metric(result, saved):
    details = run_details(saved)
    near = result.best.validation.metric <= result.parent.validation.metric + 0.02
    assert details["best_is"] == ("smallest within 0.02" if near else "best error")
    text = run_text(details)
    best = result.best
    assert text.startswith(f"mine: test error {best.test:.4g} with ")
    assert "validation error is at most 0.02 above the parent's" in text or not near
    assert "ccura" not in text
    assert "%" not in text.splitlines()[0].partition("error")[2].partition("with")[0]


def test_the_page_is_by_the_metric(saved):
    page = page_of(saved)
    check_sound(page)
    said = " ".join(page.text("main").split())
    assert "Less error is better." in said
    assert "at most 0.02 above the parent’s" in said
    assert "ccurac" not in said.partition("How it was made")[0]
    assert page.text("p", cls="aside").startswith("The search made ")


def test_it_is_listed_compared_and_drawn(result, saved, tmp_path, capsys):
    (row,) = listing(saved.parent)
    assert (row["metric"], row["value"]) == ("error", result.best.test)
    again = result.save(tmp_path / "again")
    found = compared([saved, again])
    assert (found["metric"], found["runs"][0]["value"]) == ("error", result.best.test)
    assert main(["report", str(saved), str(again), "--out", str(tmp_path / "both.html")]) == 0
    assert main(["list", str(saved.parent)]) == 0
    assert " error " in capsys.readouterr().out.splitlines()[-2]
    names = [path.name for path in plot_run(again)]
    assert names == ["front.png", "error.png", "size.png", "similarity_loss.png"]


def test_a_weighted_search_is_known_by_its_settings(weighted):
    _, saved = weighted
    assert run_details(saved)["best_is"] == "highest fitness"
    assert "the one with the highest weighted sum" in page_of(saved).text("main")


def test_loggers_name_the_metric(saved):
    summary = RunDirectory(saved).summary()
    assert "| validation error | test error |" in found_table(RunDirectory(saved), summary)


def test_optuna_takes_what_python_was_asked(result, saved, weighted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        pytest.importorskip("optuna")
    for found, folder in ((result, saved), weighted):
        of_result, of_folder = ed.export_optuna(found), ed.export_optuna(folder)
        assert of_folder.metric_names == of_result.metric_names
        assert of_folder.directions == of_result.directions
        assert [t.values for t in of_folder.trials] == [t.values for t in of_result.trials]
    assert of_folder.metric_names == ["weighted sum (2, 1, 1)"]
    study = ed.export_optuna(saved)
    assert study.metric_names == ["error", "param_count", "widest"]
    assert {d.name for d in study.directions} == {"MINIMIZE"}


@pytest.mark.parametrize("fitness", [3, {}, {"objectives": 3}, {"objectives": ["accuracy", "x"]}])
def test_damaged_settings_are_named(result, tmp_path, fitness):
    pytest.importorskip("optuna")
    saved = result.save(tmp_path / "mine")
    settings = json.loads((saved / "settings.json").read_text())
    (saved / "settings.json").write_text(json.dumps({**settings, "fitness": fitness}))
    with pytest.raises(ed.DataError, match=r"mine: expected what a search was selected by, but "):
        ed.export_optuna(saved)
