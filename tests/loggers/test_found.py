import json

from ecomp_deap.loggers.found import found_table
from ecomp_deap.runs.directory import RunDirectory
from tests.report.made_runs import make_run, row_of


def table(run):
    """Return the cells of a run's table without its header, by the first of each row."""
    summary = json.loads((run / "summary.json").read_text())
    lines = found_table(RunDirectory(run), summary).splitlines()
    rows = [[part.strip() for part in line[1:-1].split(" | ")] for line in lines[2:]]
    return {first: rest for first, *rest in rows}


def test_the_parent_and_each_picked_child_are_a_row(tmp_path):
    front = [row_of("001", 0.1, 0.8), row_of("002", 0.25, 0.905), row_of("003", 0.5, 0.92)]
    picks = {"best": "002", "knee": "001", "within:0.01": "002", "under:10": None}
    assert table(make_run(tmp_path, front=front, picks=picks)) == {
        "parent": ["–", "0.91", "0.905", "100,000", "100.0%"],
        "best, within:0.01": ["002", "0.905", "0.9", "25,000", "25.0%"],
        "knee": ["001", "0.8", "0.795", "10,000", "10.0%"],
    }


def test_what_was_not_tested_and_what_markdown_takes_for_its_own_are_shown(tmp_path):
    front = [{**row_of("a|b", 0.1, 0.8), "test_accuracy": None}]
    found = table(make_run(tmp_path, front=front, picks={"best": "a|b"}))
    assert found["best"] == ["a\\|b", "0.8", "–", "10,000", "10.0%"]
