import csv
import json

import pytest

from tests.experiments.scripts import read_table, run_main, run_to_table

METHODS = "uniform_l1_inputs,random_search"


@pytest.fixture(scope="module")
def arguments(small_fashion, small_parent_file, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "small.toml"
    config.write_text(
        "population = 6\ngenerations = 1\ntrain-steps = 1\nfinalise-count = 4\n"
        "finalise-epochs = 2\nbatch-size = 100\nmax-params = 200000\n"
        "objectives = ['accuracy', 'param_count']\n"
    )
    return [
        *("--seeds", 2, "--config", config, "--methods", METHODS, "--limits", "15000,9000"),
        *("--children", 2, "--max-epochs", 1),
        *("--data-dir", small_fashion, "--parent", small_parent_file),
    ]


@pytest.fixture(scope="module")
def out(arguments, tmp_path_factory):
    """The outputs of the script as users start it."""
    return run_to_table("baselines", arguments, tmp_path_factory.mktemp("baselines"))


def test_every_method_has_every_seed(out):
    names = ("search", "uniform_l1_inputs", "random_search")
    runs = {(n, s): out / "runs" / f"{n}_seed_{s}.json" for n in names for s in (1, 2)}
    found = {key: json.loads(path.read_text()) for key, path in runs.items()}
    for (name, seed), run in found.items():
        assert (run["method"], run["seed"]) == (name, seed)
        ours = found["search", seed]
        assert run["samples"] == ours["samples"]  # the budget
        assert all(int(row["samples"]) <= ours["samples"] for row in run["rows"])
        assert all(row["method"] == name for row in run["rows"])
    rows = read_table(out / "results.csv")
    assert {(row["method"], row["seed"]) for row in rows} == {(n, str(s)) for n, s in runs}
    lines = read_table(out / "table.csv")
    assert {line["figure"] for line in lines} == {
        *("test_hypervolume", "validation_hypervolume"),
        *("test_accuracy_under_15000", "test_accuracy_under_9000"),
    }
    assert {line["method"] for line in lines} == {*names}
    text = (out / "table.md").read_text()
    assert "Mean ± standard deviation of 2 seeds; dense." in text
    assert (out / "attainment.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_finished_runs_are_kept(out, arguments, capsys):
    def files():
        return {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("*") if p.is_file()}

    before, text = files(), (out / "table.md").read_text()
    gone = out / "runs" / "uniform_l1_inputs_seed_2.json"
    content = json.loads(gone.read_text())
    gone.unlink()
    run_main("baselines", *arguments, "--out", out)
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("1/1: uniform_l1_inputs, seed 2: ")
    again = json.loads(gone.read_text())
    assert {**again, "seconds": 0} == {**content, "seconds": 0}
    assert {p: t for p, t in files().items() if p != gone} == {
        p: t for p, t in before.items() if p != gone
    }
    assert (out / "table.md").read_text() == text


def test_other_settings_are_not_mixed(out, arguments):
    with pytest.raises(SystemExit, match=r"other settings \(max_epochs\)"):
        run_main("baselines", *arguments, "--max-epochs", 2, "--out", out)


def test_networks_of_other_kinds_take_part(small_fashion, tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(
        "population = 4\ngenerations = 0\ntrain-steps = 0\nfinalise-epochs = 0\nbatch-size = 20\n"
    )
    run_main(
        *("baselines", "--network", "resnet20", "--seeds", 1, "--config", config),
        *("--methods", "global_magnitude", "--limits", "27000", "--children", 2),
        *("--parent-epochs", 0, "--data-dir", small_fashion, "--out", tmp_path / "out"),
    )
    rows = read_table(tmp_path / "out" / "results.csv")
    assert {row["method"] for row in rows} == {"search", "global_magnitude"}
    assert {len(row["widths"].split("-")) for row in rows} == {12}
    assert {row["samples"] for row in rows} == {"0"}
    assert "of 1 seeds; resnet20." in (tmp_path / "out" / "table.md").read_text()


def test_csv_files_are_tables(out):
    with open(out / "results.csv", newline="") as file:
        header = next(csv.reader(file))
    assert header[:3] == ["method", "seed", "id"]
