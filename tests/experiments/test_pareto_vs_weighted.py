import itertools
import json
import math

import numpy as np
import pytest

from tests.experiments.scripts import load, read_table, run_main, run_to_table

POPULATION, GENERATIONS, SEEDS = 6, 5, 2
BUDGET = POPULATION + 2 * POPULATION * GENERATIONS
MODES = load("pareto_vs_weighted").MODES


@pytest.fixture(scope="module")
def arguments(small_fashion, small_parent_file):
    options = {
        "--seeds": SEEDS,
        "--population": POPULATION,
        "--generations": GENERATIONS,
        "--finalise-epochs": 1,
        "--finalise-children": 3,
        "--data-dir": small_fashion,
        "--parent": small_parent_file,
    }
    return list(itertools.chain(*options.items()))


@pytest.fixture(scope="module")
def out(arguments, tmp_path_factory):
    """The outputs of the script as users start it, with two processes."""
    folder = tmp_path_factory.mktemp("pareto-vs-weighted")
    return run_to_table("pareto_vs_weighted", [*arguments, "--jobs", 2], folder)


@pytest.fixture(scope="module")
def runs(out):
    found = [json.loads(path.read_text()) for path in sorted((out / "runs").iterdir())]
    return {(run["mode"], run["seed"]): run for run in found}


def staircase_volume(front, parent_count, accuracy):
    """The hypervolume of the definition, as a sum of rectangles from the worst error down."""
    points = [
        (min(max(1 - row[accuracy], 0), 0.9), math.log10(row["param_count"] / parent_count))
        for row in front
    ]
    volume, lowest = 0.0, 0.0
    # From the largest error to the smallest, each strip is as high as the best size at or below.
    for error, next_error in itertools.pairwise(sorted({e for e, _ in points} | {0.9})):
        lowest = min(max(size, -3) for e, size in points if e <= error)
        volume += (next_error - error) * min(lowest, 0) * -1
    return volume


def make_run(mode="NSGA-II", seed=1, front=(), finalised=()):
    def rows(points):
        return [
            {"param_count": n, "validation_accuracy": v, "test_accuracy": t} for n, v, t in points
        ]

    return {
        "mode": mode,
        "seed": seed,
        "evaluations": 100,
        "generations": [3, 4],
        "search_seconds": 1.5,
        "parent": {"param_count": 1000, "validation_accuracy": 0.9, "test_accuracy": 0.88},
        "scored_children": 7,
        "distinct_sizes": 6,
        "front": rows(front),
        "population_front": rows(front[:1]),
        "finalised": rows(finalised),
    }


def test_every_mode_and_seed_has_a_run(runs):
    assert set(runs) == {(mode.name, seed) for mode in MODES for seed in (1, 2)}


def test_every_mode_uses_up_the_same_budget(runs):
    for mode in MODES:
        parts = max(len(mode.weightings), 1)
        cost = POPULATION * (2 if mode.is_pareto else 1)
        for seed in (1, 2):
            run = runs[mode.name, seed]
            assert len(run["generations"]) == parts
            if not mode.searches:
                assert (run["evaluations"], run["generations"]) == (POPULATION, [0])
                continue
            # One more generation of any part would not have fitted.
            assert BUDGET - parts * cost < run["evaluations"] <= BUDGET
            assert min(run["generations"]) > 0


def test_seeds_differ_and_survivors_count(runs):
    first, second = (runs["NSGA-II", seed] for seed in (1, 2))
    assert first["front"] != second["front"]
    # Survivors are measured again: children alone would take half of this in five generations.
    for run in (first, second):
        (generations,) = run["generations"]
        assert generations >= GENERATIONS
        assert run["evaluations"] > POPULATION + POPULATION * generations


def test_fronts_are_what_validation_chooses(runs):
    for run in runs.values():
        for rows in (run["front"], run["population_front"], run["finalised"]):
            counts = [row["param_count"] for row in rows]
            accuracies = [row["validation_accuracy"] for row in rows]
            # Larger children are on the front for a higher accuracy alone.
            assert counts == sorted(set(counts))
            assert accuracies == sorted(set(accuracies))


def test_only_pareto_modes_add_an_archive(runs):
    for mode in MODES:
        individuals = POPULATION * max(len(mode.weightings), 1)
        scored = [runs[mode.name, seed]["scored_children"] for seed in (1, 2)]
        if mode.is_pareto and mode.searches:
            assert max(scored) > individuals
        else:
            assert max(scored) <= individuals


def test_finalised_children_are_those_of_the_front_trained_for_longer(runs):
    for run in runs.values():
        tested = {row["widths"]: row["test_accuracy"] for row in run["front"]}
        assert 1 <= len(run["finalised"]) <= 3
        for row in run["finalised"]:
            assert row["test_accuracy_before"] == tested[row["widths"]]
    moved = [
        r["test_accuracy"] - r["test_accuracy_before"]
        for run in runs.values()
        for r in run["finalised"]
    ]
    assert np.mean(moved) > 0


def test_hypervolumes_are_those_of_the_fronts(out, runs):
    results = read_table(out / "results.csv")
    assert [(r["mode"], int(r["seed"])) for r in results] == [
        (mode.name, seed) for seed in (1, 2) for mode in MODES
    ]
    for row in results:
        run = runs[row["mode"], int(row["seed"])]
        count = run["parent"]["param_count"]
        for column, front, accuracy in (
            ("hypervolume", "front", "validation_accuracy"),
            ("test_hypervolume", "front", "test_accuracy"),
            ("population_test_hypervolume", "population_front", "test_accuracy"),
            ("finalised_hypervolume", "finalised", "validation_accuracy"),
            ("finalised_test_hypervolume", "finalised", "test_accuracy"),
        ):
            expected = staircase_volume(run[front], count, accuracy)
            assert float(row[column]) == pytest.approx(expected, rel=1e-9), (row["mode"], column)


def test_the_table_sums_up_the_results(out):
    results = read_table(out / "results.csv")
    reference = [float(r["test_hypervolume"]) for r in results if r["mode"] == "NSGA-II"]
    for line in read_table(out / "table.csv"):
        rows = [row for row in results if row["mode"] == line["mode"]]
        for name in ("evaluations", "best_test_accuracy", "front_children", "largest_size"):
            values = [float(row[name]) for row in rows]
            found = [float(line[f"{name}_{kind}"]) for kind in ("min", "median", "max")]
            assert found == pytest.approx(np.quantile(values, [0, 0.5, 1]))
        differences = [
            float(r["test_hypervolume"]) - v for r, v in zip(rows, reference, strict=True)
        ]
        mean = sum(differences) / 2
        # Two pairs: one degree of freedom, whose 97.5 % quantile is tan(0.475 π).
        half = math.tan(0.475 * math.pi) * abs(differences[0] - differences[1]) / 2
        found = [float(line[f"test_hypervolume_difference{k}"]) for k in ("", "_low", "_high")]
        assert found == pytest.approx([mean, mean - half, mean + half], abs=1e-12)
        assert int(line["test_hypervolume_better_seeds"]) == sum(d > 0 for d in differences)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert all(text.count(f"| {mode.name} |") == 2 for mode in MODES)


def test_figures_are_drawn(out):
    for name in ("fronts.png", "hypervolume.png"):
        assert (out / name).read_bytes()[:4] == b"\x89PNG"


def test_finished_runs_are_kept_and_missing_ones_made_again_alike(out, arguments):
    """They are made in this process: the number of processes makes no difference."""
    table = (out / "table.csv").read_bytes()
    gone = [out / "runs" / f"{name}.json" for name in ("spea2_seed_2", "tournament_sweep_seed_1")]
    before = [json.loads(path.read_text()) for path in gone]
    kept = out / "runs" / "nsga_ii_seed_1.json"
    marked = {**json.loads(kept.read_text()), "search_seconds": -1.0}
    kept.write_text(json.dumps(marked))
    for path in gone:
        path.unlink()
    run_main("pareto_vs_weighted", *arguments, "--out", out)
    assert json.loads(kept.read_text()) == marked
    for path, run in zip(gone, before, strict=True):
        assert {**json.loads(path.read_text()), "search_seconds": run["search_seconds"]} == run
    assert (out / "table.csv").read_bytes() == table


def test_other_settings_need_another_folder(out, arguments):
    with pytest.raises(SystemExit, match=r"other settings \(genome, population\): choose another"):
        run_main(
            "pareto_vs_weighted", *arguments, "--population", 7, "--genome", "weights", "--out", out
        )


def test_weight_genomes_and_no_finalising(arguments, tmp_path):
    run_main(
        "pareto_vs_weighted",
        *arguments,
        *("--genome", "weights", "--finalise-epochs", 0, "--seeds", 1),
        *("--out", tmp_path),
    )
    results = read_table(tmp_path / "results.csv")
    assert {row["finalised_test_hypervolume"] for row in results} == {""}
    lines = read_table(tmp_path / "table.csv")
    assert {line["finalised_test_hypervolume_difference"] for line in lines} == {""}
    # One seed makes no interval.
    assert {line["test_hypervolume_difference_low"] for line in lines} == {""}
    assert {line["test_hypervolume_difference"] for line in lines} != {""}


def test_a_missing_parent_is_trained_once_and_kept(small_fashion, tmp_path):
    common = load("common")
    first = common.parent_file(tmp_path, None, small_fashion).stat()
    second = common.parent_file(tmp_path, None, small_fashion).stat()
    assert (first.st_mtime_ns, first.st_ino) == (second.st_mtime_ns, second.st_ino)


def test_figures_of_a_run_are_those_one_can_count():
    table = load("pareto_vs_weighted_table")
    front = [(10, 0.5, 0.6), (100, 0.885, 0.7), (500, 0.895, 0.8), (1000, 0.91, 0.79)]
    row = table.result(make_run(front=front, finalised=[(100, 0.889, 0.85)]))
    assert row["generations"] == "3+4"
    assert row["front_children"] == 4
    assert (row["smallest_size"], row["largest_size"]) == (0.01, 1.0)
    # 0.885 is within two points of the parent's 0.9, not within one; the test value has no say.
    assert (row["smallest_within_1"], row["smallest_within_2"]) == (0.5, 0.1)
    assert row["best_test_accuracy"] == 0.79
    # Errors 0.4 and 0.3 below 0.9 at two decades and one, error 0.2 at log10(2).
    expected = 0.5 * 2 + 0.1 * 1 + 0.1 * math.log10(2)
    assert row["test_hypervolume"] == pytest.approx(expected)
    assert row["population_test_hypervolume"] == pytest.approx(0.5 * 2)
    assert row["finalised_test_hypervolume"] == pytest.approx(0.75 * 1)
    assert row["finalised_smallest_within_1"] is None
    assert row["finalised_smallest_within_2"] == 0.1


def test_the_interval_of_five_pairs_is_students():
    table = load("pareto_vs_weighted_table")
    accuracies = {"NSGA-II": [0.5, 0.6, 0.7, 0.8, 0.9], "other": [0.55, 0.6, 0.72, 0.83, 0.94]}
    results = [
        table.result(make_run(mode, seed, front=[(100, a, a)]))
        for mode, values in accuracies.items()
        for seed, a in enumerate(values, start=1)
    ]
    ours, other = table.table(results, reference="NSGA-II")
    # At one decade the hypervolume is the accuracy above chance: differences 5, 0, 2, 3 and 4 %.
    name = "test_hypervolume"
    differences = np.array([0.05, 0.0, 0.02, 0.03, 0.04])
    half = 2.776445 * differences.std(ddof=1) / math.sqrt(5)
    assert other[f"{name}_difference"] == pytest.approx(0.028)
    assert other[f"{name}_difference_low"] == pytest.approx(0.028 - half, rel=1e-5)
    assert other[f"{name}_difference_high"] == pytest.approx(0.028 + half, rel=1e-5)
    assert other[f"{name}_median"] == pytest.approx(0.62)
    assert ours[f"{name}_difference"] == 0
    text = table.markdown([ours, other], reference="NSGA-II", note="A note.")
    assert "| other | 0.620 [0.450, 0.840] | +0.028 [+0.004, +0.052], 4/5 |" in text
    assert "| NSGA-II | 0.600 [0.400, 0.800] | – |" in text
    assert "none" in text
    assert text.endswith("A note.\n")
