import gzip
import itertools
import json
import math
import statistics

import numpy as np
import pytest
from deap import tools
from safetensors.torch import save_file

from ecomp_deap import export_logbook, make_parent
from tests.data.idx_files import small_set, write_set
from tests.experiments.scripts import load, read_table, run_main, run_script

WEIGHTINGS = ("001", "020", "021", "100", "101", "120", "121")
RUNS = 3


def accuracy_of(weighting, run):
    """A figure that no two runs share."""
    return round(0.5 + 0.05 * WEIGHTINGS.index(weighting) + 0.0131 * run, 4)


def width_of(weighting, run):
    return round(0.9 - 0.07 * WEIGHTINGS.index(weighting) - 0.011 * run**2, 4)


def make_logbook(weighting, run):
    logbook = tools.Logbook()
    for generation in range(3):
        last = generation == 2
        logbook.record(
            gen=generation,
            accuracy_mean=accuracy_of(weighting, run) - 0.1 if last else 0.2,
            similarity_loss_mean=0.3,
            relative_width_mean=width_of(weighting, run) if last else 0.99,
        )
    return logbook


def make_finished_run(out, weighting, run):
    """Leave behind what the experiment reads of a finished run."""
    folder = out / "runs" / f"{weighting}_{run:02d}_1"
    folder.mkdir(parents=True)
    summary = {
        "best": {"test_accuracy": accuracy_of(weighting, run)},
        "seconds": {"search": 12.5},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    export_logbook(make_logbook(weighting, run), folder / "logbook.csv")


def original_value(weighting, run, *, width=False):
    # Four runs, well above ours for the first weighting and in between them for the others.
    shift = 0.4 if weighting == "001" else 0.007
    value = width_of(weighting, run) if width else accuracy_of(weighting, run)
    return round(value + shift, 4)


def make_original(folder):
    """Write the original's results and trajectories in its own layout."""
    folder.mkdir()
    lines = ["weighting,run,best_child_test_accuracy,final_mean_relative_width"]
    rows = ["weighting,run,gen,accuracy_mean,similarity_loss_mean,relative_width_mean"]
    for weighting, run in itertools.product(WEIGHTINGS, range(4)):
        values = (original_value(weighting, run), original_value(weighting, run, width=True))
        lines.append(",".join(map(str, (weighting, run, *values))))
        rows += [f"{weighting},{run},{gen},0.{gen + 1},0.5,0.9" for gen in range(3)]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    with gzip.open(folder / "trajectories.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
    return folder


def exact_p(ours, theirs):
    """The two-sided Mann-Whitney test by going through all ways to share out the ranks."""
    pooled = sorted([*ours, *theirs])
    assert len(set(pooled)) == len(pooled)

    def wins(group):
        rest = [value for value in pooled if value not in group]
        return sum(a > b for a in group for b in rest)

    observed = wins(ours)
    every = [wins(group) for group in itertools.combinations(pooled, len(ours))]
    below = np.mean([count <= observed for count in every])
    above = np.mean([count >= observed for count in every])
    return min(1.0, 2 * min(below, above))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("weightings")
    for weighting, run in itertools.product(WEIGHTINGS, range(1, RUNS + 1)):
        make_finished_run(out, weighting, run)
    original = make_original(tmp_path_factory.mktemp("original") / "results")
    run_main("weightings", "--runs", RUNS, "--out", out, "--original", original)
    return out


def test_every_run_is_a_row_of_the_results(out):
    rows = read_table(out / "results.csv")
    assert len(rows) == len(WEIGHTINGS) * RUNS
    for row in rows:
        weighting, run = row["weighting"], int(row["run"])
        assert float(row["best_child_test_accuracy"]) == accuracy_of(weighting, run)
        assert float(row["final_mean_relative_width"]) == width_of(weighting, run)
        assert float(row["final_mean_batch_accuracy"]) == accuracy_of(weighting, run) - 0.1
        assert float(row["seconds"]) == 12.5


def test_the_statistics_of_the_table_are_right(out):
    lines = read_table(out / "table.csv")
    assert [line["weighting"].replace(",", "") for line in lines] == list(WEIGHTINGS)
    for line, weighting in zip(lines, WEIGHTINGS, strict=True):
        for name, ours, theirs in (
            (
                "accuracy",
                [accuracy_of(weighting, run) for run in (1, 2, 3)],
                [original_value(weighting, run) for run in range(4)],
            ),
            (
                "width",
                [width_of(weighting, run) for run in (1, 2, 3)],
                [original_value(weighting, run, width=True) for run in range(4)],
            ),
        ):
            for prefix, values in ((name, ours), (f"original_{name}", theirs)):
                found = [float(line[f"{prefix}_{kind}"]) for kind in ("min", "median", "max")]
                assert found == pytest.approx(np.quantile(values, [0, 0.5, 1]), abs=1e-12)
            assert float(line[f"{name}_p"]) == pytest.approx(exact_p(ours, theirs))
            inside = min(theirs) <= statistics.median(ours) <= max(theirs)
            assert line[f"{name}_inside"] == str(inside)
            assert inside is (weighting != "001")


def test_the_table_for_people_says_what_is_outside(out):
    text = (out / "table.md").read_text(encoding="utf-8")
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert "0.526 [0.513, 0.539]" in lines["| 0,0,1"]
    assert lines["| 0,0,1"].count("median outside") == 2
    assert "outside" not in lines["| 1,2,1"]


def test_only_a_very_small_p_is_marked():
    weightings = load("weightings")
    ours = [
        {"weighting": w, weightings.ACCURACY: 0.5 + run / 100, weightings.WIDTH: run / 100}
        for w in WEIGHTINGS
        for run in range(10)
    ]
    theirs = [
        {"weighting": w, weightings.ACCURACY: 0.8 + run / 100, weightings.WIDTH: run / 99}
        for w in WEIGHTINGS
        for run in range(10)
    ]
    text = weightings._markdown(weightings._table(ours, theirs))
    # All of ten runs below all of ten others: U = 0, in its normal approximation.
    p = math.erfc((50 - 0.5) / math.sqrt(10 * 10 * 21 / 12) / math.sqrt(2))
    assert text.count(f"{p:.3g}, median outside *") == len(WEIGHTINGS)
    assert text.count(" * |") == len(WEIGHTINGS)


def test_figures_are_drawn(out):
    names = ["best_children", "widths", *(f"trajectories_{w}" for w in WEIGHTINGS)]
    for name in names:
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_without_the_original_there_is_nothing_to_compare(out, tmp_path):
    for weighting, run in itertools.product(WEIGHTINGS, range(1, RUNS + 1)):
        make_finished_run(tmp_path, weighting, run)
    run_main("weightings", "--runs", RUNS, "--out", tmp_path, "--original", tmp_path / "none")
    assert "accuracy_p" not in read_table(tmp_path / "table.csv")[0]
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "Mann-Whitney" not in text
    assert "| 0,0,1 | 0.526 [0.513, 0.539] | 0.856 [0.801, 0.889] |" in text


def test_only_what_is_missing_is_run(tmp_path):
    """One run is done for real; an interrupted one of the same name is put aside."""
    for weighting in WEIGHTINGS[:-1]:
        make_finished_run(tmp_path, weighting, 1)
    kept = {path: path.read_bytes() for path in tmp_path.glob("runs/*/*")}
    interrupted = tmp_path / "runs" / "121_01_1"
    interrupted.mkdir()
    (interrupted / "config.json").write_text("interrupted")
    # The original's protocol scores on 10,000 training images.
    data = write_set(tmp_path / "data", small_set(10_000, 50))
    parent = tmp_path / "parent.safetensors"
    save_file(make_parent((8, 6)).state_dict(), parent)
    done = run_script(
        "weightings",
        *("--runs", 1, "--generations", 1, "--data-dir", data, "--parent", parent),
        *("--out", tmp_path, "--original", tmp_path / "none"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("1/1: 121_01_1 in ")
    assert all(path.read_bytes() == content for path, content in kept.items())
    aside = interrupted.with_name("121_01_1.interrupted") / "config.json"
    assert aside.read_text() == "interrupted"

    config = json.loads((interrupted / "config.json").read_text())
    assert (config["preset"], config["seed"]) == ("report", 1)
    assert (config["population"], config["generations"]) == (100, 1)
    assert config["loss_weights"] == [1, 2, 1]
    summary = json.loads((interrupted / "summary.json").read_text())
    assert summary["evaluations"] == 200
    (row,) = (r for r in read_table(tmp_path / "results.csv") if r["weighting"] == "121")
    assert float(row["best_child_test_accuracy"]) == summary["best"]["test_accuracy"]
    last = read_table(interrupted / "logbook.csv")[-1]
    assert row["final_mean_relative_width"] == last["relative_width_mean"]
    assert row["final_mean_batch_accuracy"] == last["accuracy_mean"]
