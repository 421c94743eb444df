import json

import pytest
from deap import tools

from ecomp_deap.errors import DataError
from ecomp_deap.report import plot_run
from ecomp_deap.runs.directory import RunDirectory

COLUMNS = (
    *("id", "validation_accuracy", "test_accuracy", "similarity_loss", "relative_width"),
    *("param_count", "mac_count", "size_bytes", "widths"),
)
CHAPTERS = (
    *("fitness", "accuracy", "similarity_loss"),
    *("relative_width", "param_count", "mac_count", "size_bytes"),
)


@pytest.fixture
def folder(tmp_path):
    """A run directory made by hand, without a search."""
    directory = RunDirectory.create(tmp_path, "first")

    def row(name, accuracy, param_count):
        costs = (param_count, param_count, 4 * param_count)
        values = (name, accuracy, accuracy, 0.1, 0.5, *costs, "5-5")
        return dict(zip(COLUMNS, values, strict=True))

    directory.write_rows("front.csv", COLUMNS, [row("001", 0.7, 100), row("002", 0.8, 300)])
    summary = {
        "parent": row("parent", 0.9, 1000),
        "best": row("002", 0.8, 300),
        "picks": {"best": "002", "knee": "001", "within:0.01": None},
    }
    directory.write_json("summary.json", summary)
    logbook = tools.Logbook()
    for generation in range(3):
        figures = {"min": 0.1, "mean": 0.2, "max": 0.3 + generation, "std": 0.1}
        record = dict.fromkeys(CHAPTERS, figures)
        logbook.record(gen=generation, nevals=4, failed=0, **record)
    directory.write_logbook(logbook)
    return directory.path


def test_pictures_are_drawn_from_files_alone(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    paths = plot_run(folder)
    assert {path.parent for path in paths} == {folder / "plots"}
    assert {path.name for path in paths} == {
        "front.png",
        "accuracy.png",
        "similarity_loss.png",
        "size.png",
    }
    assert sorted(paths) == sorted((folder / "plots").iterdir())
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in paths)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_pictures_are_drawn_again_over_the_old_ones(folder):
    plot_run(str(folder))
    (folder / "plots" / "front.png").write_bytes(b"old")
    paths = plot_run(folder)
    assert len(list((folder / "plots").iterdir())) == len(paths)
    assert (folder / "plots" / "front.png").read_bytes() != b"old"


def test_the_front_shows_best_and_knee(folder):
    before = plot_run(folder)[0].read_bytes()
    summary = json.loads((folder / "summary.json").read_text())
    for picks in ({"best": "001", "knee": "002"}, {"best": "002"}):
        (folder / "summary.json").write_text(json.dumps({**summary, "picks": picks}))
        assert plot_run(folder)[0].read_bytes() != before
    picks = {**summary["picks"], "within:0.01": "001"}
    (folder / "summary.json").write_text(json.dumps({**summary, "picks": picks}))
    assert plot_run(folder)[0].read_bytes() == before


def test_a_folder_of_pictures_that_is_a_link_is_refused(folder):
    (folder / "elsewhere").mkdir()
    (folder / "plots").symlink_to(folder / "elsewhere")
    with pytest.raises(DataError, match=r"plots: expected a folder, but it is a link"):
        plot_run(folder)
    assert [*(folder / "elsewhere").iterdir()] == []


@pytest.mark.parametrize("name", ["plots", "plots/front.png"])
def test_what_is_in_the_way_of_pictures_is_named(folder, name):
    if name == "plots":
        (folder / name).touch()
    else:
        (folder / name).mkdir(parents=True)
    with pytest.raises(DataError, match=rf"{name}: (expected a folder|cannot be written \(Is a)"):
        plot_run(folder)


@pytest.mark.parametrize("name", ["front.csv", "logbook.csv", "summary.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        plot_run(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", json.dumps({"best": 1}), "\xff"])
def test_a_damaged_summary_is_named(folder, content):
    (folder / "summary.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"summary\.json: expected a run's summary"):
        plot_run(folder)


@pytest.mark.parametrize("name", ["front.csv", "logbook.csv"])
def test_a_damaged_table_is_named(folder, name):
    (folder / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=name):
        plot_run(folder)
