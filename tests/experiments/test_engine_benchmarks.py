import math

import pytest

from tests.experiments.benchmarks import load, pictures, rows_of, run_benchmark
from tests.experiments.scripts import read_table, run_script

original = load("_original")
tasks = load("_tasks")


@pytest.fixture(scope="module")
def inputs(small_fashion, small_parent_file):
    return ("--quick", "--data-dir", small_fashion, "--parent", small_parent_file)


def test_engines_are_compared_as_users_start_it(inputs, tmp_path, monkeypatch):
    # Where tests share the cores, torch's threads would wait for each other busily.
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    done = run_script("benchmarks/engine", *inputs, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    rows = rows_of(tmp_path)
    names = set(load("engine").ALTERNATIVES)
    settings = {(row["part"], row["genome"], row["population"]) for row in rows}
    assert len(settings) == 4 + 3
    assert len(rows) == len(settings) * len(names)
    assert {row["alternative"] for row in rows} == names
    evaluations = [row for row in rows if row["part"] == "evaluation"]
    assert max(float(row["relative_loss_batched_against_scikit_learn"]) for row in evaluations) > 0
    assert pictures(tmp_path) == ["evaluation.png", "generation.png"]


def test_engines_that_differ_are_not_compared(monkeypatch, tiny_task):
    engine = load("engine")
    honest = original.OriginalEvaluator.measure

    def measure(self, *arguments, **options):
        return honest(self, *arguments, **options)[::-1]

    monkeypatch.setattr(original.OriginalEvaluator, "measure", measure)
    population = tasks.Search("mask").toolbox(tiny_task()).population(n=4)
    genomes = [individual.plain() for individual in population]
    with pytest.raises(SystemExit, match="MaskGenome: batched against scikit-learn do not agree"):
        engine.measure_evaluation(tiny_task(), genomes, 1)


def test_the_report_preset_is_compared(inputs, tmp_path):
    # The preset wants 10,000 images, more than the small folder has.
    run_benchmark("preset_report", "--quick", *inputs[3:], "--out", tmp_path)
    rows = rows_of(tmp_path)
    assert [row["alternative"] for row in rows] == [
        "ecomp_deap, whole run",
        "ecomp_deap, search and scoring",
        "scikit-learn, 1 thread",
        "scikit-learn, 2 threads",
    ]
    assert {row["rounds"] for row in rows} == {"1"}
    searches = [(row["generations"], row["evaluations"]) for row in rows[1:]]
    assert searches == [("2", "12")] * 3
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "searches ended with the same population" in page
    assert "children on all 500 images: counts equal" in page
    assert pictures(tmp_path) == ["preset_report.png"]


def test_the_slower_baseline_is_run_once(monkeypatch):
    preset = load("preset_report")
    calls = []

    def turn(name, seconds):
        def run():
            calls.append(name)
            return seconds

        return run

    turns = {
        preset.RUN: turn("run", 1.0),
        preset.ONE: turn("one", 10.0),
        preset.TWO: turn("two", 20.0),
    }
    timings = preset._rounds(turns, 3)
    assert calls == ["run", "one", "two", "run", "one", "run", "one"]
    assert timings[preset.TWO].seconds == (20.0,)
    assert timings[preset.ONE].seconds == (10.0,) * 3


def test_costs_are_measured_for_every_value(small_fashion, tmp_path):
    run_benchmark("cost", "--quick", "--data-dir", small_fashion, "--out", tmp_path)
    cost = load("cost")
    rows = rows_of(tmp_path)
    found = {(row["varied"], row["genome"], int(row[row["varied"]])) for row in rows}
    assert found == {
        (name, genome, value)
        for name, values in cost.QUICK.items()
        for genome in cost.GENOMES
        for value in values
    }
    for row in rows:
        per_child = float(row["median_s"]) / int(row["children"])
        assert float(row["per_child_s"]) == pytest.approx(per_child)
    usual = [r for r in rows if r["alternative"] == r["baseline"]]
    assert {float(row["per_child_to_baseline"]) for row in usual} == {1.0}
    memory_rows = read_table(tmp_path / "memory.csv")
    assert [float(row["bound_MiB"]) >= 1 for row in memory_rows] == [True, False, True]
    assert pictures(tmp_path) == ["per_child.png", "total.png"]


def test_training_is_compared_for_both_networks(inputs, tmp_path):
    run_benchmark("training", *inputs, "--out", tmp_path)
    rows = rows_of(tmp_path)
    assert {(row["network"], row["steps"]) for row in rows} == {
        *(("784-24-16-10", "1"), ("784-24-16-10", "2"), ("20-32-32-3", "1"), ("20-32-32-3", "2"))
    }
    assert {row["alternative"] for row in rows} == set(load("training").ALTERNATIVES)
    assert max(float(row["largest_difference_trained"]) for row in rows) <= 1e-5
    assert pictures(tmp_path) == ["training.png"]


def test_training_that_differs_is_not_compared(monkeypatch, tiny_task):
    training = load("training")
    monkeypatch.setattr(training, "TOLERANCE", -1.0)
    task = tiny_task()
    with pytest.raises(SystemExit, match="trained numbers differ"):
        training.measure(task.parent, task.splits, {"train_steps": 1, "batch_size": 30}, 3, 1)


EXTREMES = ("min_s", "max_s")


def test_a_generation_is_shown_in_phases(inputs, tmp_path):
    run_benchmark("profile_generation", *inputs, "--out", tmp_path)
    rows = rows_of(tmp_path)
    for genome in ("weights", "mask"):
        own = {row["phase"]: row for row in rows if row["genome"] == genome}
        together, whole = own.pop("all phases"), own.pop("whole generation")
        assert len(own) == 12
        assert float(whole["share"]) == 1.0
        # The phases of each round are added up, so that no sum is beyond those of the extremes.
        fastest, slowest = (math.fsum(float(r[name]) for r in own.values()) for name in EXTREMES)
        bounds = [fastest * (1 - 1e-9), slowest * (1 + 1e-9)]
        assert bounds[0] <= float(together["min_s"]) <= float(together["max_s"]) <= bounds[1]
        floor = math.fsum(float(row["floor_s"] or 0) for row in own.values())
        assert float(together["floor_s"]) == pytest.approx(floor)
    assert pictures(tmp_path) == ["profile.png"]


def test_what_saving_takes_is_measured(inputs, tmp_path):
    done = run_script("benchmarks/saving", *inputs, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    saving = load("saving")
    rows = rows_of(tmp_path)
    found = [(row["search"], row["alternative"]) for row in rows]
    assert found == [(s, a) for s in saving.SEARCHES for a in (saving.WITHOUT, saving.WITH)]
    # The two saves that every search has, of three rounds.
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert page.count("| 2 |") == len(saving.SEARCHES)


def test_the_first_minute_is_measured(tmp_path):
    done = run_script("benchmarks/first_minute", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert [row["run"] for row in rows] == list(load("first_minute").RUNS)
    for row in rows:
        moments = [float(row[name]) for name in ("first words", "generation 0", "result")]
        assert 0 < moments[0] < moments[1] < moments[2]
        assert float(row["report"]) > 0
        assert 1e5 < int(row["bytes"]) < 5e6
        assert row["messages"] in ("0", "")
